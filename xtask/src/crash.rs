//! `cargo xtask crash`: servers that are killed at any moment, more often than a test run has time
//! for.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::build;
use crate::command::{cargo, run};
use crate::requirements::{REDIS, Requirement};
use crate::workspace::Workspace;

/// Kill servers while messages are sent, told and acked: none may be lost, and none that is done
/// with may come again.
#[derive(Args)]
pub(crate) struct Crash {
    /// What the servers store their data in
    #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
    engine: Engine,

    /// How often
    #[arg(long, default_value_t = 1000, value_name = "N")]
    kills: u32,

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
        let mut requirements = build::SERVER.to_vec();
        if self.engine == Engine::Redis {
            requirements.push(REDIS);
        }
        requirements
    }

    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        let test = ["test", "--package", "backwire-cli", "--test", "command"];
        let mut test = cargo(workspace, test);
        test.arg(self.engine.test());
        test.args(["--", "--nocapture"]).env("BACKWIRE_KILLS", self.kills.to_string());
        if let Some(seed) = self.seed {
            test.env("BACKWIRE_SEED", seed.to_string());
        }
        run(&mut test)?;
        Ok(ExitCode::SUCCESS)
    }
}
