//! `cargo xtask abuse`: attacks on the release server, each beside an innocent client.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::build;
use crate::command::{cargo, program, run};
use crate::requirements::Requirement;
use crate::workspace::{Profile, Workspace};

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] = &[build::RUNTIME, build::SERVER];

const ABUSE: &str = "backwire-abuse";

/// Attack the release server for a minute in each of 22 ways, beside an innocent client.
///
/// An attack fails the run if it delays the client's p99 beyond the larger of 50 ms and 10 times
/// its idle value, raises the server's memory by more than 256 MB, or stops `/health`. Needs Linux,
/// and about 30 minutes on a machine that does nothing else.
#[derive(Args)]
pub(crate) struct Abuse {
    /// How long each attack takes
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,

    /// Run only this attack; may be given several times
    #[arg(long, value_name = "ATTACK")]
    only: Vec<String>,

    /// Attack this program instead of building the server
    #[arg(long, value_name = "FILE", hide = true)]
    binary: Option<PathBuf>,
}

impl Abuse {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        let server = match self.binary {
            Some(binary) => std::env::current_dir()?.join(binary),
            None => {
                build::runtime(workspace)?;
                build::server(workspace, Profile::Release)?;
                workspace.server(Profile::Release)
            }
        };
        let arguments = ["build", "--release", "--package", "backwire-bench", "--bin", ABUSE];
        run(&mut cargo(workspace, arguments))?;
        let mut abuse = program(workspace, workspace.release(ABUSE));
        abuse.arg("--backwire").arg(server);
        // The directory of temporary files may be in memory, which would be counted.
        abuse.arg("--directory").arg(workspace.scratch().join("abuse"));
        abuse.args(["--seconds", &self.seconds.to_string()]);
        for attack in &self.only {
            abuse.args(["--only", attack]);
        }
        run(&mut abuse)?;
        Ok(ExitCode::SUCCESS)
    }
}
