//! The packages from npm, as `package-lock.json` lists them.

use std::process::Command;

use anyhow::Result;

use crate::command::{program, run};
use crate::stamp::Inputs;
use crate::workspace::Workspace;

/// Installs the packages, unless the very same are installed.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    let inputs = Inputs::new("npm ci")
        .file(&root.join("package.json"))?
        .file(&root.join("package-lock.json"))?
        .file(&root.join(".npmrc"))?;
    inputs
        .stamp(workspace.node_modules().join(".stamp"))
        .unless_fresh(&[], || run(program(workspace, "npm").arg("ci")))
}

/// A tool that one of the packages brings.
pub(crate) fn tool<const N: usize>(
    workspace: &Workspace,
    name: &str,
    arguments: [&str; N],
) -> Command {
    let mut tool = program(workspace, workspace.node_modules().join(".bin").join(name));
    tool.args(arguments);
    tool
}
