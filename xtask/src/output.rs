//! The standard output.
//!
//! Its reader may close it before the end, as in `cargo xtask build | head -1`. The command then
//! ends without a message, with the exit code of a program that SIGPIPE has ended.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Error, Result};

/// The exit code after the reader has closed the output: 128 and the number of SIGPIPE.
const CLOSED: u8 = 141;

/// The error of a command whose output has no reader any more.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the standard output is closed")
    }
}

impl std::error::Error for Closed {}

/// Prints a line.
pub(crate) fn print_line(text: impl fmt::Display) -> Result<()> {
    write(format_args!("{text}\n").to_string().as_bytes())
}

/// Prints bytes, which need not be text.
pub(crate) fn write(bytes: &[u8]) -> Result<()> {
    write_to(&mut io::stdout().lock(), bytes)
}

fn write_to(output: &mut impl Write, bytes: &[u8]) -> Result<()> {
    output.write_all(bytes).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Closed.into(),
        _ => Error::new(error).context("cannot print"),
    })
}

/// Reports the error of a command, unless its output is closed. Returns the exit code.
pub(crate) fn report(error: &Error) -> ExitCode {
    if error.is::<Closed>() {
        return ExitCode::from(CLOSED);
    }
    // The standard error may be closed as well.
    let _ = writeln!(io::stderr(), "error: {error:#}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_output_is_an_error_of_its_own() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let error = write_to(&mut writer, b"a line\n").unwrap_err();
        assert!(error.is::<Closed>(), "{error}");
        assert!(error.context("in a step").is::<Closed>());
    }
}
