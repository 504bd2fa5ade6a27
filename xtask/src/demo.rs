//! `cargo xtask demo`: the todo app, served.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build;
use crate::command::program;
use crate::requirements::Requirement;
use crate::server::{Event, Server};
use crate::stamp::files_under;
use crate::workspace::{Profile, Workspace};

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] = &[build::RUNTIME, build::SERVER];

/// What the demo's page loads beside Backwire, as npm has it.
const VENDOR: [&str; 3] =
    ["jquery/dist/jquery.min.js", "underscore/underscore-min.js", "backbone/backbone-min.js"];

/// Build everything and serve the todo app until Ctrl-C.
///
/// Open the printed address in two browsers: a change in one of them appears in the other.
#[derive(Args)]
pub(crate) struct Demo {
    /// Port to listen on, on this machine only; 0 takes any free port
    #[arg(long, default_value_t = 1337)]
    port: u16,
    /// Where the todos are stored: `memory`, or `sqlite:FILE` to keep them after a restart
    #[arg(long, default_value = "sqlite:data/backwire.db")]
    engine: String,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS")]
    open_for: Option<u64>,
}

impl Demo {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        self.check_port()?;
        build::runtime(workspace)?;
        build::server(workspace, Profile::Release)?;
        assemble(workspace)?;
        let server = self.start(workspace)?;
        let interrupted = server.sender();
        ctrlc::set_handler(move || {
            let _ = interrupted.send(Event::Interrupted);
        })?;
        println!("\n  Open {} in two browsers. Ctrl-C stops the demo.\n", address(server.origin()));
        match server.next_event(self.open_for.map(Duration::from_secs)) {
            Some(Event::Ended) => {
                bail!("the server stopped unexpectedly; see its last lines above")
            }
            _ => server.stop()?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Checks the port before the build, which may take minutes.
    fn check_port(&self) -> Result<()> {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)) {
            Ok(_) => Ok(()),
            Err(error) => bail!("port {} cannot be used: {error}; try another --port", self.port),
        }
    }

    fn start(&self, workspace: &Workspace) -> Result<Server> {
        let mut serve = program(workspace, workspace.server(Profile::Release));
        serve.args(["serve", "--port", &self.port.to_string(), "--engine", &self.engine]);
        serve.arg("--static").arg(workspace.demo_site());
        Server::start(&mut serve, io::stdout())
            .context("the demo did not start; see the server's last lines above")
    }
}

/// Returns the address that people type. The server prints `http://127.0.0.1:1337` instead.
fn address(origin: &str) -> String {
    match origin.rsplit_once(':') {
        Some((_, port)) => format!("http://localhost:{port}"),
        None => origin.to_owned(),
    }
}

/// Puts together what the demo's page loads. Needs the npm packages.
pub(crate) fn assemble(workspace: &Workspace) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn demo(port: u16) -> Demo {
        Demo { port, engine: "memory".to_owned(), open_for: None }
    }

    #[test]
    fn port_in_use_is_refused_with_its_number() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let error = demo(port).check_port().unwrap_err().to_string();
        assert!(error.starts_with(&format!("port {port} cannot be used: ")), "{error}");
        demo(0).check_port().unwrap();
    }

    #[test]
    fn address_is_printed_as_people_type_it() {
        assert_eq!(address("http://127.0.0.1:4000"), "http://localhost:4000");
    }
}
