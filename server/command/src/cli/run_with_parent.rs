//! `backwire run-with-parent`: runs a program that ends with the process that has started it. Only
//! `backwire chaos` uses it, for its server and its Redis.
//!
//! The system offers that on Linux. On other systems, the program is only run.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

/// `backwire run-with-parent`
#[derive(Debug, Args)]
pub(super) struct RunWithParent {
    /// The id of the process that starts this one
    parent: i32,

    program: OsString,

    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl RunWithParent {
    /// Becomes the program. Returns only if that fails.
    pub(super) fn run(self) -> io::Error {
        if let Err(error) = end_with(self.parent) {
            return error;
        }
        Command::new(self.program).args(self.arguments).exec()
    }
}

/// Has the system kill this process when its parent ends, which has this id. The program that this
/// process becomes inherits that.
#[cfg(target_os = "linux")]
fn end_with(parent: i32) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before.
    match getppid().is_some_and(|id| id.as_raw_pid() == parent) {
        true => Ok(()),
        false => Err(io::Error::other("the process that started this one has ended")),
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with(_: i32) -> io::Result<()> {
    Ok(())
}
