//! The packages from npm, as `package-lock.json` lists them.

use std::env::consts::{ARCH, OS};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command::{program, run};
use crate::stamp::{Inputs, Stamp};
use crate::workspace::Workspace;

/// All packages are development dependencies. The programs in some of them are optional packages,
/// one for each platform. A user's settings (`NODE_ENV=production`) must not omit them.
const INSTALL: [&str; 3] = ["ci", "--include=dev", "--include=optional"];

/// The programs that we run from packages.
const TOOLS: [&str; 3] = ["esbuild", "tsc", "wasm-opt"];

/// Returns why the packages cannot be used, or `None` if they can.
pub(crate) fn problem(workspace: &Workspace) -> Option<String> {
    let tools = TOOLS.map(|name| path(workspace, name));
    let is_current = stamp(workspace).is_ok_and(|stamp| stamp.is_fresh(&tools));
    (!is_current).then(|| "the npm packages of package-lock.json are not installed".to_owned())
}

/// Installs the packages.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    stamp(workspace)?.renew(|| run(program(workspace, "npm").args(INSTALL)))
}

/// A tool that one of the packages brings.
pub(crate) fn tool<const N: usize>(
    workspace: &Workspace,
    name: &str,
    arguments: [&str; N],
) -> Command {
    let mut tool = program(workspace, path(workspace, name));
    tool.args(arguments);
    tool
}

fn path(workspace: &Workspace, tool: &str) -> PathBuf {
    workspace.node_modules().join(".bin").join(tool)
}

fn stamp(workspace: &Workspace) -> Result<Stamp> {
    // A folder that was installed on another platform, such as a container, has other programs.
    let recipe = format!("npm {} on {OS} {ARCH}", INSTALL.join(" "));
    let inputs = ["package.json", "package-lock.json", ".npmrc"]
        .iter()
        .try_fold(Inputs::new(&recipe), |inputs, name| inputs.file(&workspace.root().join(name)))?;
    Ok(inputs.stamp(workspace.node_modules().join(".stamp")))
}
