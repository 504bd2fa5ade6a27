//! The standard output, for all operations that print.
//!
//! A reader may close it before the end, as in `backwire check | head -3`. That is no failure: the
//! command then ends without a message, with the exit code of a program that SIGPIPE has ended.
//! (Rust ignores SIGPIPE, since a server must not end with the connection of a client.)

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// The exit code if the reader of the standard output has closed it: 128 and the number of SIGPIPE.
pub(crate) const CLOSED: u8 = 141;

/// The error of an operation whose output has no reader any more.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the standard output is closed")
    }
}

impl std::error::Error for Closed {}

/// Prints a text on the standard output.
pub(crate) fn print(text: impl fmt::Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    write!(output, "{text}").and_then(|()| output.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => io::Error::new(ErrorKind::BrokenPipe, Closed),
        _ => io::Error::new(error.kind(), format!("cannot print: {error}")),
    })
}

/// Prints a line on the standard output.
pub(crate) fn print_line(text: impl fmt::Display) -> io::Result<()> {
    print(format_args!("{text}\n"))
}

/// Whether an operation has failed because its output has no reader any more. Connections can break
/// with the same kind of error, so the kind does not decide.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Closed>())
}
