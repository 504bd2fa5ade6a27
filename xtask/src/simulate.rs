//! `cargo xtask simulate`: clients and a server in a simulation, with faults that a seed decides.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::build;
use crate::command::{cargo, run};
use crate::outcome::Outcome;
use crate::requirements::Requirement;
use crate::workspace::Workspace;

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] = &[build::SERVER];

/// The seeds of `cargo xtask test`.
const TEST_SEEDS: u64 = 2_000;

/// Run clients and a server in a simulation, with faults that a seed decides, and check the
/// guarantees of docs/explanation/guarantees.md.
///
/// A seed that breaks a guarantee is printed, with the shortest story that was found for it.
#[derive(Args)]
pub(crate) struct Simulate {
    /// The number of seeds. Two cores run about 200 per second
    #[arg(long, default_value_t = TEST_SEEDS)]
    seeds: u64,

    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,

    /// Print all packets of a single seed, or of the shortest stories that fail
    #[arg(long)]
    trace: bool,

    /// Only search for seeds that find these bugs, which are planted to test the checks, or all of
    /// them
    #[arg(long, num_args = 0.., value_name = "BUG")]
    find_planted: Option<Vec<String>>,
}

impl Simulate {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        let mut simulation = simulation(workspace);
        simulation.args(["--seeds", &self.seeds.to_string(), "--from", &self.from.to_string()]);
        if self.trace {
            simulation.arg("--trace");
        }
        if let Some(bugs) = &self.find_planted {
            simulation.arg("--find-planted").args(bugs);
        }
        run(&mut simulation)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The step of `cargo xtask test`.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    run(simulation(workspace).args(["--seeds", &TEST_SEEDS.to_string()]))?;
    run(simulation(workspace).arg("--planted"))?;
    Ok(2.into())
}

fn simulation(workspace: &Workspace) -> Command {
    let mut command = cargo(workspace, ["run", "--package", "backwire-simulation"]);
    command.args(["--profile", "simulation", "--"]);
    command
}
