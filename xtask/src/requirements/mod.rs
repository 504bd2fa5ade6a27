//! The requirements of the commands: programs and packages on the machine.
//!
//! Each command lists its requirements, and `main` checks them before the command starts. xtask
//! installs what it may: parts of Rust with rustup, npm packages with npm, and Debian packages with
//! apt if it runs as root. For anything else it fails with a line that has the command to run.
//!
//! A command that starts to use another program or part of Rust must list it. A developer's machine
//! usually has it already, so a missing entry is only noticed on other machines.

mod node;
mod plan;
mod program;
mod rust;

use anyhow::{Context, Result, bail};

use crate::npm;
use crate::workspace::Workspace;

use plan::{Machine, Plan};
use program::Program;
use rust::Part;

pub(crate) use program::{BROWSER, CC, CXX, GZIP, KILL, LANGUAGES, MAKE, REDIS};

/// A program or package that a command needs on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// A part of Rust that rustup adds to the toolchain.
    Rust(Part),
    /// A nightly toolchain beside the project's own.
    NightlyRust,
    /// Node.js and npm, in a version that the tools support.
    Node,
    /// The packages of `package-lock.json`.
    NpmPackages,
    /// A program of the system.
    Program(Program),
}

/// A requirement that is not met, and why.
struct Missing {
    requirement: Requirement,
    problem: String,
}

/// Rust's standard library for WebAssembly.
pub(crate) const WASM_TARGET: Requirement = Requirement::Rust(Part::WasmTarget);
/// The formatter.
pub(crate) const RUSTFMT: Requirement = Requirement::Rust(Part::Rustfmt);
/// The linter.
pub(crate) const CLIPPY: Requirement = Requirement::Rust(Part::Clippy);

/// Checks requirements and installs those that are missing.
pub(crate) fn ensure(workspace: &Workspace, requirements: &[Requirement]) -> Result<()> {
    let missing = check(workspace, requirements);
    let plan = Plan::new(&Machine::detect(workspace), &missing);
    if !plan.manual.is_empty() {
        bail!("{}", plan.manual.join("\nerror: "));
    }
    for (problem, action) in &plan.actions {
        action.run(workspace).context(problem.clone())?;
    }
    // A program may still fail to start, or another one may come first in the PATH.
    let remaining = check(workspace, missing.iter().map(|missing| &missing.requirement));
    match remaining.first() {
        Some(missing) => bail!("{}, although it was just installed", missing.problem),
        None => Ok(()),
    }
}

fn check<'a>(
    workspace: &Workspace,
    requirements: impl IntoIterator<Item = &'a Requirement>,
) -> Vec<Missing> {
    let mut checked = Vec::new();
    let mut missing = Vec::new();
    for &requirement in requirements {
        if checked.contains(&requirement) {
            continue;
        }
        checked.push(requirement);
        let problem = requirement.problem(workspace);
        missing.extend(problem.map(|problem| Missing { requirement, problem }));
    }
    missing
}

impl Requirement {
    /// Returns why the requirement is not met, or `None` if it is.
    fn problem(self, workspace: &Workspace) -> Option<String> {
        match self {
            Self::Rust(part) => part.problem(workspace),
            Self::NightlyRust => rust::nightly_problem(workspace),
            Self::Node => node::problem(workspace),
            Self::NpmPackages => npm::problem(workspace),
            Self::Program(program) => program.problem(workspace),
        }
    }
}
