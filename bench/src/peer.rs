//! A server as a child process, and what it used of the machine.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::sleep;

/// The unit of time in /proc/PID/stat, which Linux keeps to on every machine.
const TICK: Duration = Duration::from_millis(10);

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
    child: Child,
    process: u32,
    pub(crate) address: String,
    /// Kept open: a server that can not print might mind.
    _output: Lines<BufReader<ChildStdout>>,
    /// Where its database and its configuration live.
    _home: TempDir,
}

impl Peer {
    /// Starts a server on a free port, and waits until it says which.
    pub(crate) async fn start(kind: Kind, program: &Path) -> Result<Self> {
        Self::start_with(kind, program, "").await
    }

    /// The same, and Backwire has this in its configuration file.
    pub(crate) async fn start_with(kind: Kind, program: &Path, config: &str) -> Result<Self> {
        let home = TempDir::new()?;
        let file = home.path().join("config.yml");
        fs::write(&file, config)?;
        let mut command = match kind {
            Kind::Backwire => {
                let mut command = Command::new(program);
                let database = home.path().join("backwire.db");
                command.args(["serve", "--port", "0", "--engine"]);
                command.arg(format!("sqlite:{}", database.display()));
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
        let mut child = command
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} can not be started", kind.name()))?;
        let output = child.stdout.take().context("it has been piped")?;
        let mut output = BufReader::new(output).lines();
        let line = output.next_line().await?;
        let line = line.with_context(|| format!("{} ended before it listened", kind.name()))?;
        let Some((_, address)) = line.split_once("http://") else {
            bail!("no address in {line:?}")
        };
        let process = child.id().context("it runs")?;
        Ok(Self { process, child, address: address.into(), _output: output, _home: home })
    }

    /// CPU time it has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process))?;
        // The name, in parentheses, may contain anything; after it comes field 3.
        let fields = stat.rsplit_once(')').context("a name in parentheses")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
        Ok(TICK * ticks.sum::<Result<u32, _>>()?)
    }

    /// Bytes of memory it has.
    pub(crate) fn memory(&self) -> Result<i64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process))?;
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
        self.child.kill().await?;
        Ok(())
    }
}
