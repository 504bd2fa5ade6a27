//! The streams that the tail of a node follows, and the commands that read them.
//!
//! Invariant: one read takes a bounded amount of memory. A stream that the node is behind with is
//! read in pages of at most [`MAX_PAGE_BYTES`], unless a single entry has more. Of the others it
//! has what was added since the last read, which was shortly before: few entries of each, or only
//! two while entries are large.

use std::fmt;
use std::time::Duration;

use backwire_records::change::Resource;
use redis::{Cmd, Value, cmd};

use super::script::{self, Call};

/// How long Redis waits for entries in one command.
pub(super) const BLOCK: Duration = Duration::from_secs(1);

/// The maximum number of entries of each stream in the reply of `XREAD`. A stream with so many may
/// have more, and is read in pages until it has not. Pages cost Redis more than `XREAD`.
const MAX_NEW: usize = 64;

/// The same while entries are large.
const MAX_NEW_LARGE: usize = 2;

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

/// The size of the largest entry of the last reads. It is forgotten little by little.
#[derive(Debug, Default)]
pub(super) struct LargestEntry(usize);

impl LargestEntry {
    /// Records the size of the largest entry of a read.
    pub(super) fn record(&mut self, bytes: usize) {
        self.0 = bytes.max(self.0 - self.0.div_ceil(64));
    }

    /// Returns how many entries of each stream may be read at once.
    pub(super) fn max_new(&self) -> usize {
        if self.0 <= MAX_PAGE_BYTES / MAX_NEW { MAX_NEW } else { MAX_NEW_LARGE }
    }
}

/// Returns the bytes of an entry in a reply.
pub(super) fn bytes_of(entry: &Value) -> usize {
    match entry {
        Value::Array(parts) => parts.iter().map(bytes_of).sum(),
        Value::BulkString(bytes) => bytes.len(),
        _ => 0,
    }
}

/// Returns the command that reads at most this many next entries of each stream. It waits for them
/// if it may.
pub(super) fn new_entries(
    prefix: &str,
    streams: &[StreamPosition],
    max: usize,
    may_wait: bool,
) -> Cmd {
    let mut read = cmd("XREAD");
    read.arg("COUNT").arg(max);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_entry_reduces_the_entries_of_later_reads_for_a_while() {
        let mut largest = LargestEntry::default();
        assert_eq!(largest.max_new(), MAX_NEW);
        largest.record(1 << 20);
        for _ in 0..64 {
            assert_eq!(largest.max_new(), MAX_NEW_LARGE);
            largest.record(100);
        }
        for _ in 0..1_000 {
            largest.record(100);
        }
        assert_eq!(largest.max_new(), MAX_NEW);
        let bytes = |length| Value::BulkString(vec![0; length]);
        let entry = Value::Array(vec![bytes(3), Value::Array(vec![bytes(1), bytes(6)])]);
        assert_eq!(bytes_of(&entry), 10);
    }
}
