//! The project's own commands: `cargo xtask build`, `demo`, `test`, `bench`, `fuzz`, `crash`.
//!
//! In reading order: each command is a file of its name. [`client`] and [`bundle`] make what a page
//! downloads, with [`panics`], [`names`] and [`literal`] to make it small and [`stamp`] to know when
//! there is nothing to do; [`checks`] are the steps of the test command, [`count`] and [`size`] what
//! they measure. [`server`] and [`browser`] are the programs that the checks meet, [`npm`] and
//! [`command`] start all others, and [`workspace`] knows where everything is.

mod bench;
mod browser;
mod build;
mod bundle;
mod checks;
mod client;
mod command;
mod count;
mod crash;
mod demo;
mod fuzz;
mod glue;
mod literal;
mod names;
mod npm;
mod panics;
mod server;
mod size;
mod stamp;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Backwire's own commands: build it, show it, check it.
///
/// They fetch what they need (npm packages, and for `test` a browser) from the package registries.
/// Besides Rust, which rustup takes from rust-toolchain.toml, a C compiler and Node 20 must be there.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    Build(build::Build),
    Demo(demo::Demo),
    Test(test::Test),
    Bench(bench::Bench),
    Fuzz(fuzz::Fuzz),
    Crash(crash::Crash),
}

fn main() -> ExitCode {
    let workspace = Workspace::find();
    let outcome = match Cli::parse().command {
        Task::Build(build) => build.run(&workspace),
        Task::Demo(demo) => demo.run(&workspace),
        Task::Test(test) => test.run(&workspace),
        Task::Bench(bench) => bench.run(&workspace),
        Task::Fuzz(fuzz) => fuzz.run(&workspace),
        Task::Crash(crash) => crash.run(&workspace),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
