//! A server as a child process, and what it used of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// The unit of time in /proc/PID/stat, which Linux keeps to on every machine.
const TICK: Duration = Duration::from_millis(10);

/// The program, from Redis 7 or what is like it.
const REDIS: &str = "redis-server";

/// How long it may take to start.
const REDIS_START: Duration = Duration::from_secs(10);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Durable, with a log and a ledger.
    Backwire,
    /// The library that Backwire rests on, with a map of records.
    Bare,
    /// The original, with a map of records.
    Node,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Backwire, Self::Bare, Self::Node];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Backwire => "Backwire",
            Self::Bare => "bare socketioxide",
            Self::Node => "npm socket.io",
        }
    }
}

/// A running server.
pub(crate) struct Peer {
    server: Process,
    /// What it keeps things in, if that is a program of its own.
    store: Option<Process>,
    pub(crate) address: String,
    /// Kept open: a server that can not print might mind.
    _output: Lines<BufReader<ChildStdout>>,
    /// Where its database and its configuration live.
    _home: TempDir,
}

/// A program that runs as long as this is kept.
pub(crate) struct Process {
    child: Child,
    id: u32,
}

impl Process {
    fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("can not be started: {command:?}"))?;
        let id = child.id().context("it runs")?;
        Ok(Self { child, id })
    }

    /// CPU time it has used so far.
    fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id))?;
        // The name, in parentheses, may contain anything; after it comes field 3.
        let fields = stat.rsplit_once(')').context("a name in parentheses")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
        Ok(TICK * ticks.sum::<Result<u32, _>>()?)
    }
}

/// Backwire as it is installed, on a free port.
pub(crate) fn serve(program: &Path, home: &TempDir) -> Command {
    let mut command = Command::new(program);
    command.args(["serve", "--port", "0", "--engine"]);
    command.arg(format!("sqlite:{}", home.path().join("backwire.db").display()));
    command
}

/// A Redis of its own and the path of its socket, once it can be connected to.
pub(crate) async fn redis(home: &TempDir, options: &[&str]) -> Result<(Process, PathBuf)> {
    let socket = home.path().join("redis.sock");
    let mut command = Command::new(REDIS);
    command.args(["--port", "0", "--loglevel", "warning", "--unixsocket"]).arg(&socket);
    command.arg("--dir").arg(home.path()).args(options);
    let process = Process::spawn(command.stdout(Stdio::null()))?;
    let connected = async {
        while UnixStream::connect(&socket).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(REDIS_START, connected).await.context("redis-server does not listen")?;
    Ok((process, socket))
}

/// Whether there is a Redis on this machine.
pub(crate) async fn has_redis() -> bool {
    let version = Command::new(REDIS).arg("--version").output().await;
    version.is_ok_and(|version| version.status.success())
}

impl Peer {
    /// Starts a server on a free port.
    pub(crate) async fn start(kind: Kind, program: &Path) -> Result<Self> {
        Self::start_with(kind, program, "").await
    }

    /// The same, and Backwire has this in its configuration file.
    pub(crate) async fn start_with(kind: Kind, program: &Path, config: &str) -> Result<Self> {
        let home = TempDir::new()?;
        let file = home.path().join("config.yml");
        fs::write(&file, config)?;
        let command = match kind {
            Kind::Backwire => {
                let mut command = serve(program, &home);
                command.arg("--config").arg(&file);
                command
            }
            Kind::Bare => Command::new(program),
            Kind::Node => {
                let mut command = Command::new("node");
                command.arg(program).env("NODE_ENV", "production");
                command
            }
        };
        Self::launch(kind.name(), command, home).await
    }

    /// Starts a server and waits until it says where it listens.
    pub(crate) async fn launch(name: &str, mut command: Command, home: TempDir) -> Result<Self> {
        let mut server = Process::spawn(command.env("RUST_LOG", "warn").stdout(Stdio::piped()))?;
        let output = server.child.stdout.take().context("it has been piped")?;
        let mut output = BufReader::new(output).lines();
        let line = output.next_line().await?;
        let line = line.with_context(|| format!("{name} ended before it listened"))?;
        let Some((_, address)) = line.split_once("http://") else {
            bail!("no address in {line:?}")
        };
        Ok(Self { server, store: None, address: address.into(), _output: output, _home: home })
    }

    /// With a store that is to be measured and stopped along with it.
    pub(crate) fn with(self, store: Process) -> Self {
        Self { store: Some(store), ..self }
    }

    /// CPU time it has used so far, with its store.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(self.server.cpu()? + self.store_cpu()?)
    }

    /// CPU time that its store has used, if that is a program of its own.
    pub(crate) fn store_cpu(&self) -> Result<Duration> {
        self.store.as_ref().map_or(Ok(Duration::ZERO), Process::cpu)
    }

    /// Bytes of memory it has.
    pub(crate) fn memory(&self) -> Result<i64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.id))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
        Ok(kilobytes.context("VmRSS in kB")? * 1024)
    }

    /// Waits until it has nothing left to do: no CPU time used for a while.
    pub(crate) async fn is_idle(&self) -> Result<()> {
        let mut before = self.cpu()?;
        for _ in 0..50 {
            sleep(Duration::from_millis(200)).await;
            let now = self.cpu()?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
        bail!("the server does not come to rest")
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.server.child.kill().await?;
        if let Some(mut store) = self.store {
            store.child.kill().await?;
        }
        Ok(())
    }
}
