//! The command line, whose options can also be set in `BACKWIRE_…` variables.
//!
//! In reading order:
//!
//! - `settings`: the options for settings, and the files;
//! - `setting_options`: those options that are derived from the definition of the settings;
//! - `send`: `backwire send`;
//! - `migrate`: `backwire migrate`;
//! - `chaos`: `backwire chaos`;
//! - `run_with_parent`: how that starts its server and its Redis.

mod chaos;
mod migrate;
mod run_with_parent;
mod send;
mod setting_options;
mod settings;

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use backwire::Server;
use backwire::sites::Sites;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::descriptors;
use crate::output::{print, print_line};
use settings::SettingsArgs;

/// The push server that makes Backbone apps live.
#[derive(Debug, Parser)]
#[command(name = "backwire", version, about)]
pub struct Command {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Debug, Subcommand)]
enum Operation {
    /// Serves resources over HTTP and sockets until it is stopped
    Serve(Serve),
    /// Prints the settings of `serve` with the same options and file, or the error in them
    Check(SettingsArgs),
    /// Copies the database to a file, also while a server uses it
    Backup(CopyArgs),
    /// Replaces the database by a copy that `backup` has made. Stop the server first
    Restore(CopyArgs),
    /// Copies everything to another engine, or what waits in a SocketIO Web Service. Stop the
    /// servers first
    Migrate(migrate::Migrate),
    /// Sends a message to people's browsers, or many from the standard input
    Send(send::Send),
    /// Tests a server with clients that check its guarantees, while connections are cut and the
    /// server is killed
    Chaos(chaos::Chaos),
    /// Runs a program that ends with the process that has started it
    #[command(hide = true)]
    RunWithParent(run_with_parent::RunWithParent),
}

/// `backwire serve`
#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    args: SettingsArgs,

    /// Stops by itself after this many seconds
    #[arg(long, env = "BACKWIRE_OPEN_FOR", value_name = "SECONDS")]
    open_for: Option<u64>,
}

/// `backwire backup`, `backwire restore`
#[derive(Debug, Args)]
struct CopyArgs {
    #[command(flatten)]
    args: SettingsArgs,

    /// The copy
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Command {
    /// Runs the operation. Returns when it is done.
    pub async fn run(self) -> io::Result<ExitCode> {
        let done = match self.operation {
            Operation::Serve(serve) => serve.run().await,
            Operation::Send(send) => send.run().await,
            Operation::Migrate(migrate) => migrate.run().await,
            Operation::Chaos(chaos) => return chaos.run().await,
            Operation::RunWithParent(program) => Err(program.run()),
            Operation::Check(args) => {
                let settings = args.settings()?;
                Server::builder().settings(settings.clone()).check()?;
                print(settings)
            }
            Operation::Backup(copy) => copy.back_up(),
            Operation::Restore(copy) => copy.restore(),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

impl CopyArgs {
    fn back_up(self) -> io::Result<()> {
        let store = self.args.settings()?.store;
        store.back_up(&self.file).map_err(io::Error::other)?;
        let size = self.file.metadata()?.len();
        let file = self.file.display();
        print_line(format_args!("{store} is copied to {file}, {size} bytes"))
    }

    fn restore(self) -> io::Result<()> {
        let store = self.args.settings()?.store;
        let former = store.restore(&self.file).map_err(io::Error::other)?;
        print_line(format_args!("{store} is restored from {}", self.file.display()))?;
        match former {
            Some(former) => print_line(format_args!("the former database is {}", former.display())),
            None => {
                let folder = env::current_dir()?;
                print_line(format_args!("there was no database before (in {})", folder.display()))
            }
        }
    }
}

impl Serve {
    async fn run(self) -> io::Result<()> {
        // Registered before other processes can know of this one, so that no signal is missed.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let open_for = self.open_for.map(Duration::from_secs);
        let settings = self.args.settings()?;
        if let Some(warning) = settings.host_warning() {
            tracing::warn!("{warning}");
        }
        let reloads = reload_sites_on_hangup(settings.sites.clone())?;
        descriptors::raise_descriptor_limit(settings.limits.connections);
        let bind = Server::builder().settings(settings).bind();
        // Binding may wait, also in vain, for a server that is still stopping.
        let server = tokio::select! {
            server = bind => server?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        // The only line on stdout. A parent process may wait for it.
        print_line(format_args!("listening on {}", server.url()))?;
        let timer = async {
            match open_for {
                Some(open_for) => tokio::time::sleep(open_for).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = timer => {}
            () = reloads => {}
        }
        tracing::info!("stopping");
        server.shutdown().await;
        Ok(())
    }
}

/// Returns a future that reads the file with the sites again at each SIGHUP, and never resolves.
/// Without a file, SIGHUP ends the process.
fn reload_sites_on_hangup(sites: Sites) -> io::Result<impl Future<Output = ()>> {
    let hangups = sites.file().is_some().then(|| signal(SignalKind::hangup())).transpose()?;
    Ok(async move {
        if let Some(mut hangups) = hangups {
            while hangups.recv().await.is_some() {
                match sites.reload() {
                    Ok(()) => tracing::info!(sites = sites.all().len(), "sites are read again"),
                    Err(error) => tracing::error!(%error, "the sites stay as they are"),
                }
            }
        }
        std::future::pending().await
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Command::command().debug_assert();
    }
}
