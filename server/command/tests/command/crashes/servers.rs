//! The servers of a lane, which are killed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::redis_server::RedisServer;

/// Redis has everything on the disk before it replies.
const DURABLE: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];

/// The number of servers that share a Redis.
const NODES: usize = 2;

/// The pause between two attempts to use Redis.
const RETRY: Duration = Duration::from_millis(5);

/// Numbers of servers. A killed server keeps its number for some seconds, so each has a new one.
const NUMBERS: usize = 1024;

/// The store of the servers.
pub(super) enum Store {
    /// A file, which one server has open.
    File,
    /// A Redis, which several servers share.
    Redis(RedisServer),
}

/// The servers of a lane.
pub(super) struct Servers {
    home: TempDir,
    store: Store,
    running: Vec<Process>,
    /// The number of servers that were started.
    started: usize,
    /// How often Redis was killed.
    pub(super) redis_kills: usize,
}

impl Store {
    pub(super) fn redis() -> Self {
        Self::Redis(RedisServer::start(&DURABLE))
    }
}

impl Servers {
    /// Creates the files of servers.
    pub(super) fn new(store: Store, sites: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("sites.yml"), sites).unwrap();
        Self { home, store, running: Vec::new(), started: 0, redis_kills: 0 }
    }

    /// Whether several servers share the store.
    pub(super) fn has_shared_store(&self) -> bool {
        matches!(self.store, Store::Redis(_))
    }

    /// Starts the servers, and does not wait for them.
    pub(super) fn start(&mut self) {
        match &self.store {
            Store::File => self.running.push(Process::start(self.home.path())),
            Store::Redis(redis) => {
                // A server does not start while Redis reads its file.
                while redis.command(&["PING"]) != "+PONG\r\n" {
                    thread::sleep(RETRY);
                }
                let url = redis.url();
                for _ in 0..NODES {
                    self.started += 1;
                    let number = self.started % NUMBERS;
                    self.running.push(start_node(self.home.path(), &url, number));
                }
            }
        }
    }

    /// Waits until the servers listen, and returns their addresses.
    pub(super) fn wait_for_addresses(&mut self) -> Vec<SocketAddr> {
        self.running.iter_mut().map(Process::wait_for_address).collect()
    }

    /// Kills one server after the other, in random order, and sometimes Redis before.
    pub(super) async fn kill(&mut self, random: &mut StdRng) {
        if random.random() {
            self.restart_redis(random).await;
        }
        while !self.running.is_empty() {
            let next = random.random_range(0..self.running.len());
            drop(self.running.swap_remove(next));
            if !self.running.is_empty() && random.random() {
                sleep(Duration::from_micros(random.random_range(0..30_000))).await;
            }
        }
    }

    /// Kills Redis and starts it again, if there is one.
    async fn restart_redis(&mut self, random: &mut StdRng) {
        let Store::Redis(redis) = &mut self.store else { return };
        redis.stop();
        self.redis_kills += 1;
        sleep(Duration::from_millis(random.random_range(0..100))).await;
        redis.restart();
        // The servers connect again and go on, or are killed before that.
        sleep(Duration::from_millis(random.random_range(0..1_000))).await;
    }
}

/// Starts the server with this number.
fn start_node(home: &Path, redis: &str, number: usize) -> Process {
    let (datacenter, worker) = (number / 32, number % 32);
    let config = format!("node-{number}.yml");
    let flake = format!("flakeid: {{datacenter: {datacenter}, worker: {worker}}}\n");
    std::fs::write(home.join(&config), flake).unwrap();
    Process::run(home, redis, &["--config", &config], &format!("node-{number}.log"))
}

/// `backwire serve`, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a server with a database in this folder.
    pub(crate) fn start(home: &Path) -> Self {
        let engine = format!("sqlite:{}", home.join("backwire.db").display());
        Self::run(home, &engine, &[], "server.log")
    }

    fn run(home: &Path, engine: &str, arguments: &[&str], log: &str) -> Self {
        let log = home.join(log);
        let child = Command::new(env!("CARGO_BIN_EXE_backwire"))
            .args(["serve", "--port", "0", "--engine", engine, "--sites", "sites.yml"])
            .args(arguments)
            .current_dir(home)
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn();
        Self { child: child.unwrap(), log }
    }

    /// Waits until the server listens, and returns its address.
    pub(crate) fn wait_for_address(&mut self) -> SocketAddr {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Some((_, port)) = line.trim().rsplit_once(':') else {
            let status = self.child.wait().unwrap();
            let log = std::fs::read_to_string(&self.log).unwrap();
            panic!("it has not started ({status}): {log}")
        };
        ([127, 0, 0, 1], port.parse().unwrap()).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
