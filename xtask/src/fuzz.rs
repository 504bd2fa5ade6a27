//! `cargo xtask fuzz`: every parser, fed with whatever makes it go where it has not been.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build;
use crate::command::{cargo, program, run};
use crate::requirements::{CXX, Requirement};
use crate::workspace::Workspace;

/// The version of cargo-fuzz. Its own lock file is used, so that it is the same everywhere.
const CARGO_FUZZ: &str = "0.13.2";

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] =
    &[build::SERVER, &[Requirement::NightlyRust, CXX]];

/// Fuzz every parser of what comes from a network, each for a while.
///
/// Needs a nightly toolchain (`rustup toolchain install nightly`). Inputs that make one fail are
/// kept in fuzz/artifacts.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// How long each is fuzzed
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u32,

    /// Fuzz one alone: the name of a file in fuzz/fuzz_targets
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

impl Fuzz {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        install(workspace)?;
        for target in self.targets(workspace)? {
            fs::create_dir_all(workspace.root().join("fuzz/corpus").join(&target))?;
            let seconds = format!("-max_total_time={}", self.seconds);
            let path = env::join_paths(
                [tools(workspace).join("bin")]
                    .into_iter()
                    .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
            )?;
            let mut fuzz = program(workspace, "rustup");
            fuzz.args(["run", "nightly", "cargo", "fuzz", "run", "--target-dir"])
                .arg(workspace.target().join("fuzz"))
                .arg(&target)
                // New inputs go to the first folder; the second one is only read.
                .args([format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}")])
                .args([
                    "--",
                    &seconds,
                    "-rss_limit_mb=2048",
                    "-print_final_stats=1",
                    "-verbosity=0",
                ]);
            // Cargo started us with the toolchain of the project.
            run(fuzz.env("PATH", path).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO"))
                .with_context(|| format!("{target}: see fuzz/artifacts/{target}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn targets(&self, workspace: &Workspace) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for file in fs::read_dir(workspace.root().join("fuzz/fuzz_targets"))? {
            let name = file?.path().file_stem().map(|name| name.to_string_lossy().into_owned());
            names.extend(name.filter(|name| self.only.as_ref().is_none_or(|only| only == name)));
        }
        if names.is_empty() {
            bail!("there is no such file in fuzz/fuzz_targets");
        }
        names.sort();
        Ok(names)
    }
}

fn install(workspace: &Workspace) -> Result<()> {
    let tools = tools(workspace);
    if tools.join("bin/cargo-fuzz").exists() {
        return Ok(());
    }
    run(cargo(workspace, ["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ])
        .arg("--root")
        .arg(tools))
}

/// Returns a folder for this version only, so that no other version is used.
fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target().join("tools").join(format!("cargo-fuzz-{CARGO_FUZZ}"))
}
