//! A server as a child process, and its memory.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::attack::Attack;

/// Attackers are on this machine. Without this, the server would take them for proxies, whose
/// connections it does not limit.
const TRUSTS_NOBODY: &str = "trusted_proxies: []\n";

/// A server on a free port with a database of its own. It ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// Kept open: a server that cannot print might fail.
    _output: Lines<BufReader<ChildStdout>>,
    _home: TempDir,
}

impl Server {
    pub(crate) async fn start(program: &Path, directory: &Path, attack: &Attack) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let home = TempDir::new_in(directory)?;
        let config = home.path().join("config.yml");
        fs::write(&config, format!("{TRUSTS_NOBODY}{}", attack.config))?;
        let log = fs::File::create(directory.join(format!("{}.log", attack.name)))?;
        let mut command = command(program, attack.descriptors);
        command.args(["serve", "--port", "0", "--config"]).arg(&config);
        command
            .arg("--engine")
            .arg(format!("sqlite:{}", home.path().join("backwire.db").display()));
        command.env("NO_COLOR", "1").env("RUST_LOG", "warn");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| program.display().to_string())?;
        let output = child.stdout.take().context("it has been piped")?;
        let mut output = BufReader::new(output).lines();
        let line = output.next_line().await?.context("the server ended before it listened")?;
        let Some((_, address)) = line.split_once("http://") else {
            bail!("no address in {line:?}")
        };
        let address = address.trim().replace("localhost", "127.0.0.1");
        Ok(Self { child, address, _output: output, _home: home })
    }

    /// From here on the peak counts. Returns the memory in bytes as it is.
    pub(crate) fn reset_memory_peak(&self) -> Result<u64> {
        let id = self.child.id().context("the server has ended")?;
        fs::write(format!("/proc/{id}/clear_refs"), "5").context("clear_refs")?;
        self.status("VmRSS:").context("the server has ended")
    }

    /// The most memory that the server has had, or `None` if it has ended.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    }
}

/// The program, with few descriptors if so many are given.
fn command(program: &Path, descriptors: Option<u32>) -> Command {
    let Some(descriptors) = descriptors else { return Command::new(program) };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")).arg(program);
    shell
}

/// Raises this process's limit of open files, which the server inherits.
pub(crate) fn raise_open_file_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
