//! `cargo xtask build`: everything that people run or download.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::command::{cargo, run};
use crate::requirements::{CC, GZIP, MAKE, Requirement, WASM_TARGET};
use crate::workspace::{Profile, Workspace};
use crate::{bundle, client, demo_site, size, wire_constants};

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] = &[RUNTIME, SERVER, &[GZIP]];
/// The requirements of [`runtime`].
pub(crate) const RUNTIME: &[Requirement] =
    &[WASM_TARGET, Requirement::Node, Requirement::NpmPackages];
/// The requirements of [`server`].
pub(crate) const SERVER: &[Requirement] = &[CC, MAKE];

/// Build the runtime for pages (js-shim/dist), the server that serves it, and the demo's pages.
///
/// What has not changed since the last time is not made again.
#[derive(Args)]
pub(crate) struct Build {
    /// Build the server without optimisation: sooner done, slower to run
    #[arg(long)]
    debug_server: bool,
}

impl Build {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        wire_constants::write(workspace)?;
        runtime(workspace)?;
        let profile = if self.debug_server { Profile::Debug } else { Profile::Release };
        server(workspace, profile)?;
        demo_site::assemble(workspace)?;
        let script = workspace.script();
        println!("{}: {}", workspace.short(&script), size::Size::of(&script)?);
        println!("{}", workspace.server(profile).display());
        Ok(ExitCode::SUCCESS)
    }
}

/// What a page downloads.
pub(crate) fn runtime(workspace: &Workspace) -> Result<()> {
    client::build(workspace)?;
    bundle::build(workspace)
}

/// The server. It embeds the runtime as it finds it, so that comes first.
pub(crate) fn server(workspace: &Workspace, profile: Profile) -> Result<()> {
    let mut build = cargo(workspace, ["build", "--package", "backwire-cli"]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    run(&mut build)
}
