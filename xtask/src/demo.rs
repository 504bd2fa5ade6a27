//! `cargo xtask demo`: the todo app, served.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command::program;
use crate::server::{Event, Server};
use crate::stamp::files_under;
use crate::workspace::{Profile, Workspace};
use crate::{build, npm};

/// What the demo's page loads beside Backwire, as npm has it.
const VENDOR: [&str; 3] =
    ["jquery/dist/jquery.min.js", "underscore/underscore-min.js", "backbone/backbone-min.js"];

/// Build everything and serve the todo app; Ctrl-C ends it.
///
/// Open the address that it prints in two browsers, and watch one while you use the other.
#[derive(Args)]
pub(crate) struct Demo {
    /// Where to listen on this machine; 0 takes any free port
    #[arg(long, default_value_t = 1337)]
    port: u16,
    /// Where the todos live: `memory`, or `sqlite:FILE` to find them again
    #[arg(long, default_value = "sqlite:data/backwire.db")]
    engine: String,
    /// Stop by itself after so many seconds
    #[arg(long, value_name = "SECONDS")]
    open_for: Option<u64>,
}

impl Demo {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        build::runtime(workspace)?;
        build::server(workspace, Profile::Release)?;
        assemble(workspace)?;
        let server = self.start(workspace)?;
        let interrupted = server.sender();
        ctrlc::set_handler(move || {
            let _ = interrupted.send(Event::Interrupted);
        })?;
        println!("\n  The demo is at {} (Ctrl-C ends it)\n", self.address(server.origin()));
        match server.next_event(self.open_for.map(Duration::from_secs)) {
            Some(Event::Ended) => bail!("the server ended by itself; its last lines say why"),
            _ => server.stop()?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn start(&self, workspace: &Workspace) -> Result<Server> {
        let mut serve = program(workspace, workspace.server(Profile::Release));
        serve.args(["serve", "--port", &self.port.to_string(), "--engine", &self.engine]);
        serve.arg("--static").arg(workspace.demo_site());
        let hint = || format!("port {} may be taken: another one is given with --port", self.port);
        Server::start(&mut serve, io::stdout()).with_context(hint)
    }

    /// What to type into a browser. The server says where it is bound, which reads less well.
    fn address(&self, origin: &str) -> String {
        match origin.rsplit_once(':') {
            Some((_, port)) => format!("http://localhost:{port}"),
            None => origin.to_owned(),
        }
    }
}

/// Puts together what the demo's page loads. Needs the npm packages.
pub(crate) fn assemble(workspace: &Workspace) -> Result<()> {
    npm::install(workspace)?;
    let site = workspace.demo_site();
    if site.exists() {
        fs::remove_dir_all(&site)?;
    }
    let written = workspace.demo();
    for file in files_under(&written)? {
        let name = file.strip_prefix(&written).expect("the file was found under this folder");
        copy(&file, site.join(name))?;
    }
    for name in VENDOR.map(Path::new) {
        let file_name = name.file_name().expect("the list is of files");
        copy(&workspace.node_modules().join(name), site.join("vendor").join(file_name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: PathBuf) -> Result<()> {
    let folder = to.parent().expect("a file is in a folder");
    fs::create_dir_all(folder)?;
    fs::copy(from, &to).with_context(|| format!("{} could not be copied", from.display()))?;
    Ok(())
}
