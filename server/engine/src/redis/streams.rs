//! The streams that the tail of a node follows, and the commands that read them.
//!
//! Invariant: one read takes a bounded amount of memory. It has at most [`MAX_NEW`] entries of each
//! stream that the node is up to date with, and a page of the others with at most
//! [`MAX_PAGE_BYTES`], unless a single entry has more.

use std::fmt;
use std::time::Duration;

use backwire_records::change::Resource;
use redis::{Cmd, cmd};

use super::script::{self, Call};

/// How long Redis waits for entries in one command.
pub(super) const BLOCK: Duration = Duration::from_secs(1);

/// The maximum number of entries of each stream in the reply of `XREAD`. A stream with so many may
/// have more, and is read in pages until it has not.
pub(super) const MAX_NEW: usize = 2;

/// The maximum bytes of the entries of a page.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    /// The names of all resources.
    Resources,
    /// The events of all servers.
    Events,
    /// The answers to the server with this token.
    Answers(String),
    /// The log of a resource.
    Log(Resource),
}

impl Stream {
    /// Reads a name.
    pub(super) fn of(name: &str) -> Self {
        match name.split_once(':') {
            Some(("log", resource)) => Self::Log(Resource::internal(resource)),
            Some((_, token)) => Self::Answers(token.to_owned()),
            None if name == "events" => Self::Events,
            None => Self::Resources,
        }
    }
}

/// Writes the key without its prefix.
impl fmt::Display for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resources => formatter.write_str("resources"),
            Self::Events => formatter.write_str("events"),
            Self::Answers(token) => write!(formatter, "answers:{token}"),
            Self::Log(resource) => write!(formatter, "log:{resource}"),
        }
    }
}

/// A stream, and the id of its last entry that was read.
pub(super) struct StreamPosition {
    pub(super) stream: Stream,
    pub(super) last: String,
}

/// Returns the command that reads the next entries of streams. It waits for them if it may.
pub(super) fn new_entries(prefix: &str, streams: &[StreamPosition], may_wait: bool) -> Cmd {
    let mut read = cmd("XREAD");
    read.arg("COUNT").arg(MAX_NEW);
    if may_wait {
        read.arg("BLOCK").arg(BLOCK.as_millis().to_string());
    }
    read.arg("STREAMS");
    for StreamPosition { stream, .. } in streams {
        read.arg(format!("{prefix}:{stream}"));
    }
    for StreamPosition { last, .. } in streams {
        read.arg(last);
    }
    read
}

/// Returns the command that reads a page of streams. Only the last id of a stream is read if its
/// entries are not needed.
pub(super) fn page(
    prefix: &str,
    streams: &[StreamPosition],
    is_needed: impl Fn(&Stream) -> bool,
) -> Cmd {
    let mut call = Call::new(&script::TAIL).with(MAX_PAGE_BYTES).with(streams.len());
    for StreamPosition { stream, last } in streams {
        call.add(stream.to_string()).add(last).add(u8::from(is_needed(stream)));
    }
    call.read_only_command(prefix)
}
