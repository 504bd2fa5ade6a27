//! `backwire`, the command.

mod cli;
mod descriptors;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use cli::Command;

/// A write takes and gives back many small pieces of memory; this is quicker at it than the C library.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let command = Command::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_writer(stderr).with_ansi(stderr().is_terminal());
    log.with_env_filter(filter).init();
    let done = Runtime::new().and_then(|runtime| {
        let done = runtime.block_on(command.run());
        // Nobody waits for a line on the standard input that is not wanted any more.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
