//! `backwire`, the command.

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use backwire::cli::Command;
use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_writer(stderr).with_ansi(stderr().is_terminal());
    log.with_env_filter(filter).init();
    match command.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "can not serve");
            ExitCode::FAILURE
        }
    }
}
