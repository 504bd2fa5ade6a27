//! The control of a read: it ends at its deadline, when its future is dropped, or when the answer
//! is too large.
//!
//! SQLite calls the control after some steps of a statement, and the Rust code that handles rows
//! calls it for each row. A read that has to end fails as if it had been interrupted.

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
    /// The whole deadline, for the message.
    deadline: Duration,
    /// The part of the deadline that is left to this read.
    left: Duration,
    is_cancelled: Arc<AtomicBool>,
    /// Whether the read itself has ended. Later work is not interrupted.
    is_done: AtomicBool,
    /// The error with which the read ends, if it is neither late nor cancelled.
    refusal: Mutex<Option<Error>>,
}

impl ReadControl {
    /// Begins a read now.
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

    /// Returns an error if the read has to end. Called between the rows of a statement.
    pub(super) fn check(&self) -> rusqlite::Result<()> {
        if self.is_over() { Err(interrupted()) } else { Ok(()) }
    }

    /// Ends the read with this error.
    pub(super) fn refuse(&self, error: Error) -> SqlError {
        *self.refusal.lock() = Some(error);
        interrupted()
    }

    /// Ends the read, and returns how long it took.
    pub(super) fn finish(&self) -> Duration {
        self.is_done.store(true, Ordering::Relaxed);
        self.begin.elapsed()
    }

    /// Returns the reason for an error of the read.
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
