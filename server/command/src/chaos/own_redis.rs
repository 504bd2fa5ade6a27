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

/// The server of Redis 7, or a compatible one.
const PROGRAM: &str = "redis-server";

/// The program that repairs an append-only file. It comes with Redis.
const REPAIR_PROGRAM: &str = "redis-check-aof";

/// The list of append-only files, in the folder of Redis.
const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";

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
        check_programs()?;
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
        if self.folder.join(MANIFEST).exists() {
            self.repair()?;
        }
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

    /// Removes a transaction of which a killed Redis has written only a part. Redis itself removes
    /// only the command that is cut in the middle. The other commands of the transaction would have
    /// their effect at the start after the next one, after those of later transactions.
    fn repair(&self) -> io::Result<()> {
        let mut command = Command::new(REPAIR_PROGRAM);
        command.args(["--fix", MANIFEST]).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let mut repair = command.spawn().map_err(|error| not_started(REPAIR_PROGRAM, &error))?;
        if let Some(mut stdin) = repair.stdin.take() {
            // It asks only if it removes something, and has ended otherwise.
            let _ = stdin.write_all(b"y\n");
        }
        let output = repair.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            return Err(io::Error::other(format!("{REPAIR_PROGRAM} failed:\n{said}")));
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

/// Checks that the programs are installed.
fn check_programs() -> io::Result<()> {
    for program in [PROGRAM, REPAIR_PROGRAM] {
        let version = Command::new(program).arg("--version").output();
        version.map_err(|error| not_started(program, &error))?;
    }
    Ok(())
}

fn not_started(program: &str, error: &io::Error) -> io::Error {
    let hint = match error.kind() {
        ErrorKind::NotFound => {
            ": install Redis 7 or later, or give the address of a running Redis: --engine redis://HOST"
        }
        _ => "",
    };
    io::Error::other(format!("{program} cannot be started: {error}{hint}"))
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill();
    }
}
