//! A server in a process of its own, which can be stopped and killed.
//!
//! The process is the program of the tests again. It runs the same test as its parent, and that
//! test begins with [`serve_if_child`].

use std::io::{BufRead, BufReader, Read, stdin};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio, exit};

use backwire::Server;
use backwire::engine::Window;
use tokio::task::spawn_blocking;

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
    /// Starts a server whose logs keep this many changes, for a test of this path.
    pub(super) fn start(test: &str, redis: u16, worker: u8, log_count: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
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

/// Serves until the parent ends, and ends the process, if it was started by [`NodeProcess::start`].
pub(super) async fn serve_if_child() {
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let (Some(redis), Some(worker), Some(count)) =
        (number(REDIS), number(WORKER), number(LOG_COUNT))
    else {
        return;
    };
    let builder = on_redis(Server::builder(), redis as u16, worker as u8);
    let server = start(builder.window(Window { count, ..Window::default() })).await;
    println!("{READY}{}", server.addr());
    let parent_has_ended = spawn_blocking(|| stdin().read_to_end(&mut Vec::new()));
    parent_has_ended.await.unwrap().unwrap();
    server.shutdown().await;
    exit(0);
}
