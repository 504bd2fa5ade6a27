//! The command `backwire`.

mod chaos;
mod cli;
mod descriptors;
mod output;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use cli::Command;

/// A write allocates and frees many small pieces of memory. jemalloc is faster at it than the C
/// library.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let command = Command::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_writer(stderr).with_ansi(stderr().is_terminal());
    log.with_env_filter(filter).init();
    let outcome = Runtime::new().and_then(|runtime| {
        let outcome = runtime.block_on(command.run());
        // A pending read of the standard input does not delay the exit.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(code) => code,
        Err(error) if output::is_closed(&error) => ExitCode::from(output::CLOSED),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
