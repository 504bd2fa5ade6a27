//! The project's own commands: `cargo xtask build`, `demo`, `cluster`, `docs`, `package`, `test`,
//! `bench`, `fuzz`, `crash`, `simulate` and `abuse`.
//!
//! In reading order: each command is a file of its name, and [`requirements`] checks what they need
//! on the machine. [`client`] and [`bundle`] make the files that a page downloads, which
//! [`scripts`] lists; [`panics`], [`names`] and [`literal`] make them small, [`modules`] measures
//! their modules, and [`stamp`] detects that they are up to date.
//! [`wire_constants`] writes one of the sources.
//! [`demo_site`] copies the files of the demo. [`checks`] are the steps of the test command,
//! [`dependencies`], [`imports`] and [`links`] are three of them, [`count`] and [`size`] measure
//! their results, [`outcome`] is the result of a step, [`disk_space`] knows how much space they
//! need, [`native_crates`] compiles most crates and their tests with [`compiler`], [`small_disk`]
//! knows tests that not every machine allows, and [`fresh_rust`] is the step
//! that tests the requirements. [`server`] is the program for the checks, [`npm`] and [`command`]
//! start all others, [`output`] prints, and [`workspace`] has all paths.

mod abuse;
mod bench;
mod build;
mod bundle;
mod checks;
mod client;
mod cluster;
mod command;
mod comments;
mod compiler;
mod count;
mod crash;
mod demo;
mod demo_site;
mod dependencies;
mod disk_space;
mod docs;
mod fresh_rust;
mod fuzz;
mod glue;
mod imports;
mod links;
mod literal;
mod modules;
mod names;
mod native_crates;
mod npm;
mod outcome;
mod output;
mod package;
mod panics;
mod repository_files;
mod requirements;
mod scripts;
mod server;
mod simulate;
mod size;
mod small_disk;
mod stamp;
mod test;
mod wire_constants;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use output::print_line;
use requirements::Requirement;
use workspace::Workspace;

/// Backwire's own commands: build it, show it, check it.
///
/// Each command first checks what it needs on the machine. It installs missing parts of Rust (with
/// rustup), npm packages, and, as root, Debian packages; for anything else it prints a command.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// Only check and install what the command needs
    #[arg(long, global = true, display_order = 100)]
    setup_only: bool,

    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Build(build::Build),
    Demo(demo::Demo),
    Cluster(cluster::Cluster),
    Docs(docs::Docs),
    Package(package::Package),
    Test(test::Test),
    Bench(bench::Bench),
    Fuzz(fuzz::Fuzz),
    Crash(crash::Crash),
    Simulate(simulate::Simulate),
    Abuse(abuse::Abuse),
}

impl Cli {
    fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        requirements::ensure(workspace, &self.task.requirements())?;
        if self.setup_only {
            print_line("everything that this command needs is installed")?;
            return Ok(ExitCode::SUCCESS);
        }
        self.task.run(workspace)
    }
}

impl Task {
    fn requirements(&self) -> Vec<Requirement> {
        match self {
            Self::Build(_) => build::REQUIREMENTS.concat(),
            Self::Demo(_) => demo::REQUIREMENTS.concat(),
            Self::Cluster(_) => cluster::REQUIREMENTS.concat(),
            Self::Docs(_) => docs::REQUIREMENTS.concat(),
            Self::Package(_) => package::REQUIREMENTS.concat(),
            Self::Test(test) => test.requirements(),
            Self::Bench(bench) => bench.requirements(),
            Self::Fuzz(_) => fuzz::REQUIREMENTS.concat(),
            Self::Crash(crash) => crash.requirements(),
            Self::Simulate(_) => simulate::REQUIREMENTS.concat(),
            Self::Abuse(_) => abuse::REQUIREMENTS.concat(),
        }
    }

    fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        match self {
            Self::Build(build) => build.run(workspace),
            Self::Demo(demo) => demo.run(workspace),
            Self::Cluster(cluster) => cluster.run(workspace),
            Self::Docs(docs) => docs.run(workspace),
            Self::Package(package) => package.run(workspace),
            Self::Test(test) => test.run(workspace),
            Self::Bench(bench) => bench.run(workspace),
            Self::Fuzz(fuzz) => fuzz.run(workspace),
            Self::Crash(crash) => crash.run(workspace),
            Self::Simulate(simulate) => simulate.run(workspace),
            Self::Abuse(abuse) => abuse.run(workspace),
        }
    }
}

fn main() -> ExitCode {
    if let Some(code) = compiler::run() {
        return code;
    }
    Cli::parse().run(&Workspace::find()).unwrap_or_else(|error| output::report(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::{RUSTFMT, WASM_TARGET};

    fn requirements(arguments: &str) -> Vec<Requirement> {
        let words = ["cargo xtask"].into_iter().chain(arguments.split(' '));
        Cli::try_parse_from(words).unwrap().task.requirements()
    }

    #[test]
    fn every_command_that_compiles_the_client_checks_for_the_wasm_target() {
        let compile = ["bundle", "js", "lint", "server", "package", "wasm", "e2e", "setup"];
        let steps = compile.map(|step| format!("test --only {step}"));
        let commands =
            ["build", "demo", "cluster", "package", "test", "bench", "abuse"].map(str::to_owned);
        for command in commands.into_iter().chain(steps) {
            assert!(requirements(&command).contains(&WASM_TARGET), "{command}");
        }
    }

    #[test]
    fn single_step_checks_only_its_own_requirements() {
        assert_eq!(requirements("test --only format"), [RUSTFMT]);
        assert_eq!(requirements("test --only links --only format"), [RUSTFMT]);
    }
}
