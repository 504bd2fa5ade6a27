//! `cargo xtask build`: everything that people run or download.

use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{cargo, run};
use crate::output::print_line;
use crate::requirements::{CC, GZIP, MAKE, Requirement, WASM_TARGET};
use crate::workspace::{Profile, Workspace};
use crate::{bundle, client, demo_site, modules, wire_constants};

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] = &[RUNTIME, SERVER, &[GZIP]];
/// The requirements of [`runtime`].
pub(crate) const RUNTIME: &[Requirement] =
    &[WASM_TARGET, Requirement::Node, Requirement::NpmPackages];
/// The requirements of [`server`].
pub(crate) const SERVER: &[Requirement] = &[CC, MAKE];

/// Build the runtime for pages (js-shim/dist), the server that serves it, and the demo's pages.
///
/// Parts that have not changed since the last time are not built again.
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
        modules::print(workspace)?;
        print_line(workspace.server(profile).display())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Builds the scripts that a page downloads.
pub(crate) fn runtime(workspace: &Workspace) -> Result<()> {
    client::build(workspace)?;
    bundle::build(workspace)
}

/// The server. It embeds the runtime as it finds it, so that comes first.
pub(crate) fn server(workspace: &Workspace, profile: Profile) -> Result<()> {
    run(&mut server_build(workspace, profile))
}

/// Starts to build the release server beside other work.
///
/// Its last part uses one core for minutes. It has the same priority as the other work, so that it
/// ends while there is other work for the other core. Nothing is printed. [`server`] waits for it,
/// since one cargo at a time uses a target folder, and prints its errors.
pub(crate) fn begin_server(workspace: &Workspace) -> Result<BackgroundBuild> {
    let mut build = server_build(workspace, Profile::Release);
    build.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(BackgroundBuild(build.spawn().context("`cargo` could not be started")?))
}

/// A build that is in progress. If it is still running when this is dropped, it is interrupted: it
/// begins no more compilers.
pub(crate) struct BackgroundBuild(Child);

impl Drop for BackgroundBuild {
    fn drop(&mut self) {
        if let (Ok(id), Ok(None)) = (i32::try_from(self.0.id()), self.0.try_wait()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGINT);
        }
        let _ = self.0.wait();
    }
}

fn server_build(workspace: &Workspace, profile: Profile) -> Command {
    let mut build = cargo(workspace, ["build", "--package", "backwire-cli"]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    build
}
