//! `cargo xtask demo`: the todo app, served.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command::program;
use crate::output::print_line;
use crate::requirements::Requirement;
use crate::server::{Event, Server};
use crate::workspace::{Profile, Workspace};
use crate::{build, demo_site};

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] = &[build::RUNTIME, build::SERVER];

/// Build everything and serve the todo app until Ctrl-C.
///
/// Open the printed address in two browsers: a change in one of them appears in the other.
#[derive(Args)]
pub(crate) struct Demo {
    /// Port to listen on, on this machine only; 0 takes any free port
    #[arg(long, default_value_t = 1337)]
    port: u16,
    /// Engine that stores the todos: `memory`, or `sqlite:FILE` to keep them after a restart
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
        demo_site::assemble(workspace)?;
        let server = self.start(workspace)?;
        let interrupted = server.sender();
        ctrlc::set_handler(move || {
            let _ = interrupted.send(Event::Interrupted);
        })?;
        print_line(format_args!(
            "\n  Open {} in two browsers. Ctrl-C stops the demo.\n",
            address(server.origin())
        ))?;
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
    fn address_is_printed_as_typed_in_a_browser() {
        assert_eq!(address("http://127.0.0.1:4000"), "http://localhost:4000");
    }
}
