//! When a read has to end: at its deadline, when nobody waits for it any more, or when there is too much
//! of the answer.
//!
//! SQLite asks after some steps of a statement, and what is done with a row in Rust asks for each row. A
//! read that has to end fails as if it had been interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Error as SqlError, ErrorCode, ffi};

use crate::{Error, ReadOptions};

/// A read that has begun.
#[derive(Debug)]
pub(super) struct ReadControl {
    begin: Instant,
    /// For the message, and what of it was left to this read.
    deadline: Duration,
    left: Duration,
    is_cancelled: Arc<AtomicBool>,
    /// What comes after the read itself is not interrupted.
    is_done: AtomicBool,
    /// Why it ends, if not for one of the reasons above.
    refusal: Mutex<Option<Error>>,
}

impl ReadControl {
    /// Begins now.
    pub(super) fn begin(
        deadline: Duration,
        options: &ReadOptions,
        is_cancelled: Arc<AtomicBool>,
    ) -> Self {
        Self {
            begin: Instant::now(),
            deadline,
            left: options.time.left_of(deadline),
            is_cancelled,
            is_done: AtomicBool::new(false),
            refusal: Mutex::default(),
        }
    }

    /// Whether the statement that is running has to end.
    pub(super) fn is_over(&self) -> bool {
        !self.is_done.load(Ordering::Relaxed)
            && (self.is_cancelled.load(Ordering::Relaxed) || self.is_late())
    }

    fn is_late(&self) -> bool {
        self.begin.elapsed() >= self.left
    }

    /// The same between the rows of a statement.
    pub(super) fn check(&self) -> rusqlite::Result<()> {
        if self.is_over() { Err(interrupted()) } else { Ok(()) }
    }

    /// Ends the read with this error.
    pub(super) fn refuse(&self, error: Error) -> SqlError {
        *self.refusal.lock() = Some(error);
        interrupted()
    }

    /// How long it took.
    pub(super) fn finish(&self) -> Duration {
        self.is_done.store(true, Ordering::Relaxed);
        self.begin.elapsed()
    }

    /// What an error of the read means.
    pub(super) fn reason(&self, error: SqlError) -> Error {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => {
                let refusal = self.refusal.lock().take();
                refusal.unwrap_or(Error::ReadDeadline(self.deadline))
            }
            _ => error.into(),
        }
    }
}

fn interrupted() -> SqlError {
    SqlError::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERRUPT), None)
}
