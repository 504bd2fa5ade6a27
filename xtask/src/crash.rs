//! `cargo xtask crash`: servers that are killed at any moment, and disks that lose power or fail,
//! more often than a test run has time for.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::build;
use crate::command::{cargo, run};
use crate::requirements::{REDIS, Requirement};
use crate::workspace::Workspace;

/// Kill servers while messages are sent, told and acked: none may be lost, and none that is done
/// with may come again. Or cut the power of the disk under an engine.
#[derive(Args)]
pub(crate) struct Crash {
    /// Engine of the servers
    #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
    engine: Engine,

    /// How often
    #[arg(long, default_value_t = 1000, value_name = "N")]
    kills: u32,

    /// Cut the power of a disk this often instead, and let disks fail: no answered write may be
    /// lost
    #[arg(long, conflicts_with_all = ["engine", "kills"], value_name = "N")]
    power_cuts: Option<u64>,

    /// Draw the moments as a run did that has failed, which has told its seed
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

/// The engines whose servers are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// A file, which survives its server
    Sqlite,
    /// A Redis with `appendfsync always`, which two servers share and which is killed as well
    Redis,
}

impl Engine {
    /// The name of its test.
    const fn test(self) -> &'static str {
        match self {
            Self::Sqlite => "crashes::killed_server_loses",
            Self::Redis => "crashes::killed_servers_with_redis",
        }
    }
}

impl Crash {
    /// Returns the requirements of the command.
    pub(crate) fn requirements(&self) -> Vec<Requirement> {
        if self.power_cuts.is_some() {
            return Vec::new();
        }
        let mut requirements = build::SERVER.to_vec();
        if self.engine == Engine::Redis {
            requirements.push(REDIS);
        }
        requirements
    }

    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        let mut test = match self.power_cuts {
            Some(cuts) => cuts_of_power(workspace, cuts),
            None => self.kills(workspace),
        };
        if let Some(seed) = self.seed {
            test.env("BACKWIRE_SEED", seed.to_string());
        }
        run(&mut test)?;
        Ok(ExitCode::SUCCESS)
    }

    fn kills(&self, workspace: &Workspace) -> Command {
        let test = ["test", "--package", "backwire-cli", "--test", "command"];
        let mut test = cargo(workspace, test);
        test.arg(self.engine.test());
        test.args(["--", "--nocapture"]).env("BACKWIRE_KILLS", self.kills.to_string());
        test
    }
}

/// Returns the tests with a disk that loses power, and with one that fails.
fn cuts_of_power(workspace: &Workspace, cuts: u64) -> Command {
    let test = ["test", "--package", "backwire-power-loss", "--test", "power_loss"];
    let mut test = cargo(workspace, test);
    test.arg("loses_no_answered_write");
    test.args(["--", "--nocapture"]).env("BACKWIRE_POWER_CUTS", cuts.to_string());
    test
}
