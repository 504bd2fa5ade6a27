//! A server as a child process, and the CPU time and memory that it uses.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::measure::Sample;

/// The program, from Redis 7 or a program like it.
const REDIS: &str = "redis-server";

/// How long Redis may take to start.
const REDIS_START: Duration = Duration::from_secs(10);

/// A server is idle if it uses less CPU time than this in [`IDLE_PERIOD`]. The heartbeats of 5,000
/// connections take less.
const IDLE_CPU: Duration = Duration::from_millis(2);
const IDLE_PERIOD: Duration = Duration::from_millis(200);

/// The servers that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Durable, with a log and idempotency keys.
    Backwire,
    /// The build of Backwire that is given by `--before`.
    Before,
    /// The library that Backwire uses, with records in a map.
    Bare,
    /// The original Socket.IO, with records in a map.
    Npm,
    /// The same with connection state recovery.
    RecoveringNpm,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Backwire, Self::Bare, Self::Npm];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Backwire => "Backwire",
            Self::Before => "Backwire before",
            Self::Bare => "bare socketioxide",
            Self::Npm => "npm Socket.IO",
            Self::RecoveringNpm => "npm Socket.IO, recovery",
        }
    }
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// `SIGKILL`
    Killed,
    /// `SIGTERM`
    Stopped,
}

/// The programs of the servers, and the directory of their files.
#[derive(Debug, clap::Args)]
pub(crate) struct Programs {
    /// The program `backwire`
    #[arg(long)]
    backwire: PathBuf,

    /// Another build of `backwire`, to compare with instead of the peers
    #[arg(long)]
    pub(crate) before: Option<PathBuf>,

    /// The program made of examples/bare.rs
    #[arg(long)]
    bare: PathBuf,

    /// The script peers/node.mjs, with the package socket.io in reach
    #[arg(long)]
    node: PathBuf,

    /// The script peers/relay.mjs, with the package socket.io in reach
    #[arg(long)]
    pub(crate) relay: PathBuf,

    /// The script peers/clients.mjs, with the package socket.io-client in reach
    #[arg(long)]
    pub(crate) clients: PathBuf,

    /// The directory of the databases, on the disk to measure
    #[arg(long)]
    directory: PathBuf,
}

impl Programs {
    /// Starts a server on a free port.
    pub(crate) async fn start(&self, kind: Kind) -> Result<Peer> {
        self.start_with(kind, "").await
    }

    /// Starts a server on a free port. Backwire gets this configuration file.
    pub(crate) async fn start_with(&self, kind: Kind, config: &str) -> Result<Peer> {
        let home = self.temporary_directory()?;
        let command = match kind {
            Kind::Backwire | Kind::Before => {
                let file = home.path().join("config.yml");
                fs::write(&file, config)?;
                let before = self.before.as_deref().context("--before is missing");
                let program = if kind == Kind::Before { before? } else { &self.backwire };
                let mut command = serve(program, &home);
                command.arg("--config").arg(&file);
                command
            }
            Kind::Bare => Command::new(&self.bare),
            Kind::Npm | Kind::RecoveringNpm => {
                let mut command = Command::new("node");
                command.arg(&self.node).env("NODE_ENV", "production");
                if kind == Kind::RecoveringNpm {
                    command.arg("recovery");
                }
                command
            }
        };
        Peer::launch(kind.name(), command, home).await
    }

    /// Starts servers that share a new Redis with these options. They get this configuration file,
    /// and more arguments.
    pub(crate) async fn start_sharing(
        &self,
        nodes: usize,
        redis_options: &[&str],
        config: &str,
        arguments: &[&OsStr],
    ) -> Result<Peer> {
        let home = self.temporary_directory()?;
        let redis = Redis::start(&home, redis_options).await?;
        let mut peers = Vec::new();
        for number in 1..=nodes {
            let file = home.path().join(format!("node-{number}.yml"));
            fs::write(&file, format!("flakeid: {{worker: {number}}}\n{config}"))?;
            let mut command = serve_from(&self.backwire, &redis.url(), 0);
            command.arg("--config").arg(&file).args(arguments);
            peers.push(Node::launch(Kind::Backwire.name(), command).await?);
        }
        Ok(Peer { nodes: peers, store: Some(redis), home })
    }

    /// Starts Backwire on this port.
    pub(crate) async fn start_on(&self, port: u16) -> Result<Peer> {
        let home = self.temporary_directory()?;
        let command = serve_on(&self.backwire, &home, port);
        Peer::launch(Kind::Backwire.name(), command, home).await
    }

    /// Backwire as it is installed, on a free port.
    pub(crate) fn serve(&self, home: &TempDir) -> Command {
        serve(&self.backwire, home)
    }

    /// A new directory on the disk to measure.
    pub(crate) fn temporary_directory(&self) -> Result<TempDir> {
        fs::create_dir_all(&self.directory)?;
        let directory = TempDir::new_in(&self.directory);
        directory.with_context(|| format!("no directory in {}", self.directory.display()))
    }
}

/// A build of Backwire, on a free port.
fn serve(program: &Path, home: &TempDir) -> Command {
    serve_on(program, home, 0)
}

fn serve_on(program: &Path, home: &TempDir, port: u16) -> Command {
    let engine = format!("sqlite:{}", home.path().join("backwire.db").display());
    serve_from(program, &engine, port)
}

fn serve_from(program: &Path, engine: &str, port: u16) -> Command {
    let mut command = Command::new(program);
    command.args(["serve", "--port", &port.to_string(), "--engine", engine]);
    command
}

/// Raises this process's limit of open files, which its children inherit: thousands of connections
/// need more than the usual 1,024.
pub(crate) fn raise_open_file_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// A running server, or several with the same data.
pub(crate) struct Peer {
    nodes: Vec<Node>,
    /// Their database, if that is a program of its own.
    store: Option<Redis>,
    /// The directory of the database and the configuration.
    home: TempDir,
}

/// The process of a server.
struct Node {
    process: Process,
    address: String,
    /// Kept open: a server that cannot print might fail.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Node {
    /// Starts a server and waits until it prints its address.
    async fn launch(name: &str, mut command: Command) -> Result<Self> {
        let mut process = Process::spawn(command.env("RUST_LOG", "warn").stdout(Stdio::piped()))?;
        let output = process.child.stdout.take().context("it has been piped")?;
        let mut output = BufReader::new(output).lines();
        let line = output.next_line().await?;
        let line = line.with_context(|| format!("{name} ended before it listened"))?;
        let Some((_, address)) = line.split_once("http://") else {
            bail!("no address in {line:?}")
        };
        Ok(Self { process, address: address.into(), _output: output })
    }
}

/// A program that runs as long as this is kept.
pub(crate) struct Process {
    child: Child,
    id: u32,
    clock: ClockId,
}

impl Process {
    fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("cannot be started: {command:?}"))?;
        let id = child.id().context("it runs")?;
        let clock = clock_getcpuclockid(Pid::from_raw(id.try_into()?))?;
        Ok(Self { child, id, clock })
    }

    /// User and system time of all its threads so far.
    fn cpu(&self) -> Result<Duration> {
        Ok(self.clock.now().context("the process has ended")?.into())
    }
}

/// When Redis writes its append-only file to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fsync {
    EverySecond,
    /// Before it replies.
    Always,
}

impl Fsync {
    pub(crate) const ALL: [Self; 2] = [Self::EverySecond, Self::Always];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EverySecond => "fsync every second",
            Self::Always => "fsync always",
        }
    }

    pub(crate) const fn options(self) -> &'static [&'static str] {
        match self {
            Self::EverySecond => {
                &["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
            }
            Self::Always => &["--save", "", "--appendonly", "yes", "--appendfsync", "always"],
        }
    }
}

/// A Redis that runs as long as this is kept.
pub(crate) struct Redis {
    process: Process,
    pub(crate) port: u16,
}

impl Redis {
    /// Starts a server, and waits until it accepts connections.
    pub(crate) async fn start(home: &TempDir, options: &[&str]) -> Result<Self> {
        let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(REDIS);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--loglevel", "warning", "--dir"]).arg(home.path()).args(options);
        let process = Process::spawn(command.stdout(Stdio::null()))?;
        let connected = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(REDIS_START, connected).await.context("redis-server does not listen")?;
        Ok(Self { process, port })
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How often each command was called so far, also by scripts.
    pub(crate) async fn calls(&self) -> Result<BTreeMap<String, usize>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        stream.write_all(b"INFO commandstats\r\nQUIT\r\n").await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        let of_line = |line: &str| {
            let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let (calls, _) = stats.split_once(',')?;
            Some((name.to_owned(), calls.parse().ok()?))
        };
        Ok(reply.lines().filter_map(of_line).collect())
    }
}

/// Whether this machine has Redis.
pub(crate) async fn has_redis() -> bool {
    let version = Command::new(REDIS).arg("--version").output().await;
    version.is_ok_and(|version| version.status.success())
}

impl Peer {
    /// Starts a server and waits until it prints its address.
    pub(crate) async fn launch(name: &str, command: Command, home: TempDir) -> Result<Self> {
        let nodes = vec![Node::launch(name, command).await?];
        Ok(Self { nodes, store: None, home })
    }

    /// Adds a database that is measured and stopped along with the server.
    pub(crate) fn with_store(self, store: Redis) -> Self {
        Self { store: Some(store), ..self }
    }

    /// The address of the first server.
    pub(crate) fn address(&self) -> &str {
        &self.nodes[0].address
    }

    /// The addresses of all servers.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// The database, if that is a program of its own.
    pub(crate) fn store(&self) -> Option<&Redis> {
        self.store.as_ref()
    }

    /// Runs some load and returns what it returned, with the CPU time that the servers used for it.
    /// The sample counts nothing yet.
    pub(crate) async fn measure<T>(
        &self,
        load: impl Future<Output = Result<T>>,
    ) -> Result<(T, Sample)> {
        let (cpu, store_cpu, start) = (self.cpu()?, self.store_cpu()?, Instant::now());
        let done = load.await?;
        let elapsed = start.elapsed();
        self.until_idle().await?;
        let cpu = self.cpu()?.saturating_sub(cpu);
        let store_cpu = self.store_cpu()?.saturating_sub(store_cpu);
        Ok((done, Sample { cpu, store_cpu, elapsed, ..Sample::default() }))
    }

    /// CPU time that servers and database have used so far.
    fn cpu(&self) -> Result<Duration> {
        let of_nodes: Result<Duration> = self.nodes.iter().map(|node| node.process.cpu()).sum();
        Ok(of_nodes? + self.store_cpu()?)
    }

    /// CPU time of the database, if it is a program of its own.
    fn store_cpu(&self) -> Result<Duration> {
        self.store.as_ref().map_or(Ok(Duration::ZERO), |store| store.process.cpu())
    }

    /// Resident memory of the first server in bytes.
    pub(crate) fn memory(&self) -> Result<i64> {
        let id = self.nodes[0].process.id.to_string();
        let status = fs::read_to_string(Path::new("/proc").join(id).join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
        Ok(kilobytes.context("VmRSS in kB")? * 1024)
    }

    /// Waits until the servers have nothing left to do.
    pub(crate) async fn until_idle(&self) -> Result<()> {
        // Each process has heartbeats and timers of its own.
        let processes = self.nodes.len() + usize::from(self.store.is_some());
        let idle = IDLE_CPU * u32::try_from(processes)?;
        let mut before = self.cpu()?;
        for _ in 0..50 {
            sleep(IDLE_PERIOD).await;
            let now = self.cpu()?;
            if now.saturating_sub(before) < idle {
                return Ok(());
            }
            before = now;
        }
        bail!("the server does not become idle")
    }

    /// Ends the first server, and waits until it has ended.
    pub(crate) async fn end_server(&mut self, end: End) -> Result<()> {
        let process = &mut self.nodes[0].process;
        if end == End::Stopped {
            kill(Pid::from_raw(process.id.try_into()?), Signal::SIGTERM)?;
        } else {
            process.child.start_kill()?;
        }
        process.child.wait().await?;
        Ok(())
    }

    /// Starts the first server again, on this port and with its data.
    pub(crate) async fn start_again(&mut self, programs: &Programs, port: u16) -> Result<()> {
        let command = serve_on(&programs.backwire, &self.home, port);
        self.nodes[0] = Node::launch(Kind::Backwire.name(), command).await?;
        Ok(())
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Result<()> {
        for mut node in self.nodes {
            node.process.child.kill().await?;
        }
        if let Some(mut store) = self.store {
            store.process.child.kill().await?;
        }
        Ok(())
    }
}
