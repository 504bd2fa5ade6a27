//! `cargo xtask crash`: servers that are killed at any moment, more often than a test run has time
//! for.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::build;
use crate::command::{cargo, run};
use crate::requirements::Requirement;
use crate::workspace::Workspace;

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] = &[build::SERVER];

/// Kill servers while messages are sent, told and acked: none may be lost, and none that is done
/// with may come again.
#[derive(Args)]
pub(crate) struct Crash {
    /// How often
    #[arg(long, default_value_t = 1000, value_name = "N")]
    kills: u32,

    /// Draw the moments as a run did that has failed, which has told its seed
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

impl Crash {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        let test = ["test", "--package", "backwire-cli", "--test", "command", "crashes"];
        let mut test = cargo(workspace, test);
        test.args(["--", "--nocapture"]).env("BACKWIRE_KILLS", self.kills.to_string());
        if let Some(seed) = self.seed {
            test.env("BACKWIRE_SEED", seed.to_string());
        }
        run(&mut test)?;
        Ok(ExitCode::SUCCESS)
    }
}
