//! `cargo xtask docs`: the documentation as a site with search.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::command::{cargo, program, run};
use crate::links;
use crate::output::print_line;
use crate::requirements::{CC, Requirement};
use crate::workspace::Workspace;

/// The version of mdBook that is installed. Every version is told apart by its folder.
const VERSION: &str = "0.5.4";

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] = &[&[CC]];

/// Build the documentation as a site with search.
///
/// The site is in target/docs. The first build installs mdBook into target/tools, which takes some
/// minutes.
#[derive(Args)]
pub(crate) struct Docs {}

impl Docs {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        links::check(workspace)?;
        install(workspace)?;
        let site = workspace.site();
        let mut mdbook = program(workspace, tools(workspace).join("bin/mdbook"));
        run(mdbook.arg("build").arg(workspace.docs()).arg("--dest-dir").arg(&site))?;
        print_line(format_args!("\nopen {}", workspace.short(&site.join("index.html"))))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn install(workspace: &Workspace) -> Result<()> {
    let tools = tools(workspace);
    if tools.join("bin/mdbook").exists() {
        return Ok(());
    }
    let mut install = cargo(workspace, ["install", "mdbook", "--locked"]);
    install.args(["--version", &format!("={VERSION}")]);
    // The default features also have a web server, which nobody needs to read files.
    run(install.args(["--no-default-features", "--features", "search"]).arg("--root").arg(tools))
}

/// Returns a folder for this version only, so that no other version is used.
fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target().join("tools").join(format!("mdbook-{VERSION}"))
}
