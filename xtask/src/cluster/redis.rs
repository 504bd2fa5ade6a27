//! A Redis server that ends with its owner.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long it may take to accept connections.
const START: Duration = Duration::from_secs(20);

/// The time between two attempts to connect.
const RETRY: Duration = Duration::from_millis(10);

/// A Redis server on a free port. Its data are lost when it ends.
pub(super) struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    /// Starts a server, whose files are in a folder.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--maxmemory-policy", "noeviction", "--logfile", "redis.log", "--dir"]);
        // Ctrl-C is for the servers, which need Redis to stop.
        command.arg(folder).process_group(0).stdin(Stdio::null());
        let process = command.spawn().context("redis-server could not be started")?;
        let mut redis = Self { port, process };
        let begin = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if redis.process.try_wait()?.is_some() || begin.elapsed() > START {
                bail!("redis-server does not start; its log is in {}", folder.display());
            }
            thread::sleep(RETRY);
        }
        Ok(redis)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
