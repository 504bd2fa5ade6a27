//! The options of a read: the client, and the limits of the answer.

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backwire_records::answer_memory::AnswerMemory;
use serde::Serialize;

use super::Error;

/// The options of a read: the client, and the limits of the answer. The default is the server
/// itself, which reads whatever it needs.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The maximum number of records.
    pub records: usize,
    /// The maximum bytes of the records as JSON.
    pub bytes: usize,
    /// The maximum bytes in memory to sort records.
    pub sort_bytes: usize,
    /// The address of the client: one client does not get all readers of an engine at once.
    pub client: Option<IpAddr>,
    /// The time that the reads of one request have taken: together they have one deadline.
    pub time: ReadTime,
    /// The memory for the answer of one request, which may take several reads.
    pub memory: AnswerMemory,
}

/// The time that some reads have taken together, in microseconds.
#[derive(Debug, Clone, Default)]
pub struct ReadTime(Arc<AtomicU64>);

impl Default for ReadOptions {
    fn default() -> Self {
        let (records, bytes, sort_bytes) = (usize::MAX, usize::MAX, usize::MAX);
        let (time, memory) = (ReadTime::default(), AnswerMemory::default());
        Self { records, bytes, sort_bytes, client: None, time, memory }
    }
}

impl ReadTime {
    /// Returns the rest of a deadline.
    pub fn left_of(&self, deadline: Duration) -> Duration {
        deadline.saturating_sub(Duration::from_micros(self.0.load(Ordering::Relaxed)))
    }

    /// Adds the time that a read has taken.
    pub fn spend(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl ReadOptions {
    /// Returns the options for a read whose records are not in the answer: the server needs them to
    /// compute it.
    pub fn unbounded(&self) -> Self {
        Self { records: usize::MAX, bytes: usize::MAX, ..self.clone() }
    }

    /// Returns an error if an answer may not have this many records.
    pub fn check_records(&self, count: usize) -> Result<(), Error> {
        if count <= self.records { Ok(()) } else { Err(Error::TooManyRecords(self.records)) }
    }

    /// Returns an error if an answer may not have this many bytes.
    pub fn check_bytes(&self, count: usize) -> Result<(), Error> {
        if count <= self.bytes { Ok(()) } else { Err(Error::TooManyBytes(self.bytes)) }
    }

    /// Serializes an answer as JSON. It stops if the answer is too large or there is no memory for
    /// it.
    pub fn json(&self, answer: &impl Serialize) -> Result<Vec<u8>, Error> {
        let mut bounded = Bounded { bytes: Vec::new(), options: self, claimed: 0, refusal: None };
        match serde_json::to_writer(&mut bounded, answer) {
            Ok(()) => Ok(bounded.bytes),
            // Maps with string keys are JSON, so it is the writer that failed.
            Err(_) => Err(bounded.refusal.unwrap_or(Error::TooManyBytes(self.bytes))),
        }
    }
}

/// The bytes of an answer are claimed in steps of this size, because most pieces of JSON are short.
const CLAIM_STEP: usize = 16 << 10;

struct Bounded<'o> {
    bytes: Vec<u8>,
    options: &'o ReadOptions,
    /// The claimed bytes.
    claimed: usize,
    refusal: Option<Error>,
}

impl Bounded<'_> {
    fn check(&mut self, size: usize) -> Result<(), Error> {
        self.options.check_bytes(size)?;
        if size > self.claimed {
            let claimed = size.next_multiple_of(CLAIM_STEP);
            self.options.memory.set_written(claimed)?;
            self.claimed = claimed;
        }
        Ok(())
    }
}

impl Write for Bounded<'_> {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.check(self.bytes.len() + more.len()) {
            self.refusal = Some(error);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
