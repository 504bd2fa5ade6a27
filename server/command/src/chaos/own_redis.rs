//! A Redis that the run starts for its server. The run can kill and pause it. Each write is on the
//! disk before Redis replies, so a kill must lose nothing.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::process;

/// The program, of Redis 7 or a compatible server.
const PROGRAM: &str = "redis-server";

/// How long a start may take.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause between two attempts to connect to a Redis that starts.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The process of a Redis. It ends when this is dropped.
pub(super) struct OwnRedis {
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl OwnRedis {
    /// Starts a Redis with its files in this folder, on a free port.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        check_program()?;
        fs::create_dir(folder)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut redis = Self { folder: folder.to_owned(), port, child: None };
        redis.start()?;
        Ok(redis)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts Redis, and waits until it answers. Before that, Redis loads its append-only file.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let mut command = process::command(PROGRAM)?;
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        command.args(["--logfile", "redis.log", "--dir", "."]).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Redis must not get the Ctrl+C that is meant for the run.
        command.process_group(0);
        self.child = Some(process::start(command)?);
        let begin = Instant::now();
        while !self.answers() {
            let has_ended = self.child.as_mut().is_none_or(|it| !matches!(it.try_wait(), Ok(None)));
            if has_ended || begin.elapsed() > START_TIMEOUT {
                let log = fs::read_to_string(self.folder.join("redis.log")).unwrap_or_default();
                return Err(io::Error::other(format!("{PROGRAM} did not start:\n{log}")));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Kills the process, as a crash does.
    pub(super) fn kill(&mut self) {
        process::kill(&mut self.child);
    }

    /// Pauses the process, or lets it continue.
    pub(super) fn pause(&self, is_paused: bool) {
        process::pause(self.child.as_ref(), is_paused);
    }

    fn answers(&self) -> bool {
        let ping = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(START_TIMEOUT))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            io::Result::Ok(answer)
        };
        ping().is_ok_and(|answer| answer == *b"+PONG")
    }
}

/// Checks that the program is installed.
fn check_program() -> io::Result<()> {
    let version = Command::new(PROGRAM).arg("--version").output();
    version.map(drop).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => {
                ": install Redis 7 or later, or give the address of a running Redis: --engine \
                 redis://HOST"
            }
            _ => "",
        };
        io::Error::other(format!("{PROGRAM} cannot be started: {error}{hint}"))
    })
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill();
    }
}
