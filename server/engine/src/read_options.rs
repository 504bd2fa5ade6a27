//! Who reads, and how much there may be of the answer.

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backwire_records::answer_memory::AnswerMemory;
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
    /// The memory for the answer of one request, whatever reads it takes.
    pub memory: AnswerMemory,
}

/// How long some reads have taken together, in microseconds.
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
    pub fn unbounded(&self) -> Self {
        Self { records: usize::MAX, bytes: usize::MAX, ..self.clone() }
    }

    /// Whether an answer may have so many records.
    pub fn check_records(&self, count: usize) -> Result<(), Error> {
        if count <= self.records { Ok(()) } else { Err(Error::TooManyRecords(self.records)) }
    }

    /// Whether an answer may have so many bytes.
    pub fn check_bytes(&self, count: usize) -> Result<(), Error> {
        if count <= self.bytes { Ok(()) } else { Err(Error::TooManyBytes(self.bytes)) }
    }

    /// An answer as JSON, which is not written to its end if it is too large or there is no memory for it.
    pub fn json(&self, answer: &impl Serialize) -> Result<Vec<u8>, Error> {
        let mut bounded = Bounded { bytes: Vec::new(), options: self, claimed: 0, refusal: None };
        match serde_json::to_writer(&mut bounded, answer) {
            Ok(()) => Ok(bounded.bytes),
            // Maps with string keys are JSON, so it is the writer that failed.
            Err(_) => Err(bounded.refusal.unwrap_or(Error::TooManyBytes(self.bytes))),
        }
    }
}

/// The bytes of an answer are claimed in steps of this size: most pieces of JSON are short.
const STEP: usize = 16 << 10;

struct Bounded<'o> {
    bytes: Vec<u8>,
    options: &'o ReadOptions,
    /// Bytes that memory has been claimed for.
    claimed: usize,
    refusal: Option<Error>,
}

impl Bounded<'_> {
    fn check(&mut self, size: usize) -> Result<(), Error> {
        self.options.check_bytes(size)?;
        if size > self.claimed {
            let claimed = size.next_multiple_of(STEP);
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
