//! The errors of engines.

use std::time::Duration;

use backwire_records::answer_memory::OutOfMemory;
use backwire_records::change::Resource;
use backwire_records::counted::counted;
use backwire_records::write::WriteError;

/// The error of an engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The write cannot be done; nothing was stored.
    #[error(transparent)]
    Refused(#[from] WriteError),
    /// The disk is full; nothing was stored. Only writes that make the store smaller are accepted.
    #[error(
        "the disk of the server is full: only reads, deletes and acknowledgements are accepted"
    )]
    DiskFull,
    /// A read took longer than the limit `read_deadline`.
    #[error(
        "the read took too long (read_deadline: {0:?}): filter or sort by attributes that are declared \
         `indexed`, or ask for fewer records with `limit`"
    )]
    ReadDeadline(Duration),
    /// The answer has more records than the limit `answer_records` allows.
    #[error(
        "the answer would have too many records (answer_records: {0}): ask for a part of it with `limit` and \
         `skip`, or with `where`"
    )]
    TooManyRecords(usize),
    /// The answer is larger than the limit `answer_bytes` allows.
    #[error(
        "the answer would have too many bytes (answer_bytes: {0}): ask for fewer records with `limit`, or \
         for less of each with `select`"
    )]
    TooManyBytes(usize),
    /// A read would have to hold more in memory to sort than the limit `sort_bytes` allows.
    #[error(
        "sorting needs too much memory (sort_bytes: {0}): sort by an attribute that is declared \
         `indexed`, or ask for fewer records with `where` or a smaller `skip`"
    )]
    TooMuchToSort(usize),
    /// A read would have to look at more records than the store reads without an index.
    #[error(
        "the read of {resource} looks at more than {}: {}",
        counted(*.limit, "record"),
        index_advice(.attributes)
    )]
    TooMuchToScan {
        /// The resource.
        resource: Resource,
        /// The maximum.
        limit: usize,
        /// The attributes that the read is about and that are not indexed.
        attributes: Vec<String>,
    },
    /// There is no memory left for the answer of a read.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The maximum number of sessions is reached, and somebody has signed in to each.
    #[error("all {limit} sessions are in use by people who have signed in (sessions)")]
    TooManySessions {
        /// The maximum.
        limit: usize,
    },
    /// The store failed; nothing was stored. The exception is a disk that fails while it syncs a
    /// write: the write may be there after a restart, and a repeat with its key finds out.
    #[error("database: {0}")]
    Unavailable(String),
}

impl Error {
    /// Whether a read failed only because it takes too long, or because its answer is too large.
    pub fn is_limit_of_read(&self) -> bool {
        match self {
            Self::ReadDeadline(_)
            | Self::TooManyRecords(_)
            | Self::TooManyBytes(_)
            | Self::TooMuchToSort(_)
            | Self::TooMuchToScan { .. } => true,
            Self::Refused(_)
            | Self::DiskFull
            | Self::OutOfMemory(_)
            | Self::TooManySessions { .. }
            | Self::Unavailable(_) => false,
        }
    }
}

fn index_advice(attributes: &[String]) -> String {
    match attributes {
        [] => "ask for fewer with `limit`".to_owned(),
        names => {
            format!("declare {} as `indexed`, or ask for fewer with `limit`", names.join(", "))
        }
    }
}
