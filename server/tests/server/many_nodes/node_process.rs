//! A server in a process of its own, which can be stopped and killed.

use std::io::{BufRead, BufReader, Read, stdin};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use backwire::Server;
use backwire::engine::Window;

use super::on_redis;
use crate::client::start;

/// The variables of the process: the port of Redis, and the number of the server.
const REDIS: &str = "BACKWIRE_TEST_REDIS";
const WORKER: &str = "BACKWIRE_TEST_WORKER";
/// The number of changes that the logs of its resources keep.
const LOG_COUNT: &str = "BACKWIRE_TEST_LOG_COUNT";

/// The beginning of the line that the process prints when it is ready.
const READY: &str = "the server listens on ";

/// A server in a process of its own. It is killed when this is dropped.
pub(super) struct NodeProcess {
    pub(super) addr: SocketAddr,
    child: Child,
}

impl NodeProcess {
    /// Starts a server whose logs keep this many changes.
    pub(super) fn start(redis: u16, worker: u8, log_count: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["many_nodes::node_process::serves_until_its_input_ends", "--exact"])
            .args(["--ignored", "--nocapture"])
            .env(REDIS, redis.to_string())
            .env(WORKER, worker.to_string())
            .env(LOG_COUNT, log_count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The test runner may have printed something in the same line.
        let addr = lines.map_while(Result::ok).find_map(|line| {
            line.split_once(READY).map(|(_, addr)| addr.parse::<SocketAddr>().unwrap())
        });
        Self { addr: addr.expect("the process starts a server"), child }
    }

    /// Stops the process with SIGSTOP.
    pub(super) fn pause(&self) {
        signal("STOP", self.child.id());
    }

    /// Continues a process that is stopped.
    pub(super) fn resume(&self) {
        signal("CONT", self.child.id());
    }

    /// Kills the process with SIGKILL.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It fails if the process has been killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub(super) fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([format!("-{name}"), process.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// The process itself.
#[test]
#[ignore = "other tests start it as a process"]
fn serves_until_its_input_ends() {
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let window = Window { count: number(LOG_COUNT), ..Window::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let builder = on_redis(Server::builder(), number(REDIS) as u16, number(WORKER) as u8);
    let server = runtime.block_on(start(builder.window(window)));
    println!("{READY}{}", server.addr());
    // If the test ends, so does the process.
    stdin().read_to_end(&mut Vec::new()).unwrap();
    runtime.block_on(server.shutdown());
}
