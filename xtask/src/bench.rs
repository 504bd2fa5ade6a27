//! `cargo xtask bench`: the server beside its peers under the same load, and what a page downloads.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::command::{cargo, program, run};
use crate::requirements::{BROWSER, GZIP, REDIS, Requirement};
use crate::size::{BUDGET, Size};
use crate::workspace::{Profile, Workspace};
use crate::{build, demo};

const BENCH: &str = "backwire-bench";

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] =
    &[build::RUNTIME, build::SERVER, BROWSER, &[REDIS, GZIP]];

/// Measure the server beside a bare socketioxide program, npm's socket.io and lists in Redis;
/// docs/benchmarks.md says how to read it.
#[derive(Args)]
pub(crate) struct Bench {
    /// How often everything is done; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

impl Bench {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        build::runtime(workspace)?;
        build::server(workspace, Profile::Release)?;
        let made = ["build", "--release", "--package", BENCH, "--bins", "--examples"];
        run(&mut cargo(workspace, made))?;
        run(program(workspace, workspace.release(BENCH))
            .arg("--backwire")
            .arg(workspace.server(Profile::Release))
            .arg("--bare")
            .arg(workspace.release("examples/bare"))
            .arg("--node")
            .arg(workspace.root().join("bench/peers/node.mjs"))
            .arg("--relay")
            .arg(workspace.root().join("bench/peers/relay.mjs"))
            .args(["--rounds", &self.rounds.to_string()]))?;
        time_sync(workspace)?;
        weigh(workspace)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What a call of `Backbone.sync` costs a page. It is the browser that works, so the program that
/// drives it is built as the tests are.
fn time_sync(workspace: &Workspace) -> Result<()> {
    demo::assemble(workspace)?;
    run(cargo(
        workspace,
        ["run", "--quiet", "--package", "backwire-tests", "--example", "sync_cost"],
    )
    .env("BACKWIRE_BIN", workspace.server(Profile::Release))
    .env("BACKWIRE_DEMO", workspace.demo_site()))
}

/// The size of what a page downloads, beside socket.io's own client, which has no sync in it.
fn weigh(workspace: &Workspace) -> Result<()> {
    let ours = workspace.script();
    let theirs = workspace.node_modules().join("socket.io-client/dist/socket.io.min.js");
    println!("| download | size |\n| --- | --- |");
    for script in [&ours, &theirs] {
        println!("| {} | {} |", workspace.short(script), Size::of(script)?);
    }
    Size::of(&ours)?.within(BUDGET)
}
