//! Who reads, and how much there may be of the answer.

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::Error;

/// Who reads, and how much there may be of the answer. The default is the server itself, which reads
/// whatever it needs.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The most records there may be.
    pub records: usize,
    /// The most bytes they may have as JSON.
    pub bytes: usize,
    /// The most bytes that may be held in memory to sort.
    pub sort_bytes: usize,
    /// The address of the client: one client does not get all readers of an engine at once.
    pub client: Option<IpAddr>,
    /// How long the reads of one request have taken: together they have one deadline.
    pub time: ReadTime,
}

/// How long some reads have taken together, in microseconds.
#[derive(Debug, Clone, Default)]
pub struct ReadTime(Arc<AtomicU64>);

impl Default for ReadOptions {
    fn default() -> Self {
        let (records, bytes, sort_bytes) = (usize::MAX, usize::MAX, usize::MAX);
        Self { records, bytes, sort_bytes, client: None, time: ReadTime::default() }
    }
}

impl ReadTime {
    /// What is left of a deadline.
    pub fn left_of(&self, deadline: Duration) -> Duration {
        deadline.saturating_sub(Duration::from_micros(self.0.load(Ordering::Relaxed)))
    }

    /// A read has taken so long.
    pub fn spend(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl ReadOptions {
    /// The same for what is not answered: what the server has to know to answer.
    pub(crate) fn unbounded(&self) -> Self {
        Self { records: usize::MAX, bytes: usize::MAX, ..self.clone() }
    }

    /// Whether an answer may have so many records.
    pub(crate) fn check_records(&self, count: usize) -> Result<(), Error> {
        if count <= self.records { Ok(()) } else { Err(Error::TooManyRecords(self.records)) }
    }

    /// Whether an answer may have so many bytes.
    pub(crate) fn check_bytes(&self, count: usize) -> Result<(), Error> {
        if count <= self.bytes { Ok(()) } else { Err(Error::TooManyBytes(self.bytes)) }
    }

    /// An answer as JSON, which is not written to its end if it is too large.
    pub(crate) fn json(&self, answer: &impl Serialize) -> Result<Vec<u8>, Error> {
        let mut bounded = Bounded { bytes: Vec::new(), limit: self.bytes };
        match serde_json::to_writer(&mut bounded, answer) {
            Ok(()) => Ok(bounded.bytes),
            // Maps with string keys are JSON, so it is the writer that failed.
            Err(_) => Err(Error::TooManyBytes(self.bytes)),
        }
    }
}

struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
