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
mod requirement;
mod rust;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

use plan::{Machine, Plan};
use requirement::Missing;

pub(crate) use requirement::{
    BROWSER, CC, CLIPPY, CXX, FIREFOX, GZIP, KILL, LANGUAGES, MAKE, REDIS, RUSTFMT, Requirement,
    WASM_TARGET,
};

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
