//! A disk that has failed while a checkpoint was made durable.
//!
//! A checkpoint copies pages of the write-ahead log to the database. Only one that has copied all
//! of them syncs the database, and then SQLite reuses the log. If that sync fails, the system may
//! have dropped any of the pages since the last sync, and a later sync succeeds without them.
//! SQLite would only copy those again that were copied last, and then reuse the log.
//!
//! Invariant: after such a failure the log stays as it is: there is no checkpoint, not even when
//! the last connection is closed, and nothing is written. The next start reads the whole log, and
//! copies all of its pages again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};

use crate::Error;

/// Whether the disk of a store has failed.
#[derive(Debug, Clone)]
pub(super) struct DiskFailure {
    store: Arc<PathBuf>,
    has_failed: Arc<AtomicBool>,
}

impl DiskFailure {
    pub(super) fn of(store: &Path) -> Self {
        Self { store: Arc::new(store.to_owned()), has_failed: Arc::default() }
    }

    pub(super) fn has_happened(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// Records the error of a checkpoint.
    pub(super) fn record(&self, error: &rusqlite::Error) {
        let is_sync =
            error.sqlite_error().is_some_and(|it| it.extended_code == ffi::SQLITE_IOERR_FSYNC);
        if is_sync && !self.has_failed.swap(true, Ordering::SeqCst) {
            tracing::error!("{}", self.error());
        }
    }

    /// Returns an error if the disk has failed. Called before each transaction that writes.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.has_happened() { Err(self.error()) } else { Ok(()) }
    }

    fn error(&self) -> Error {
        Error::Unavailable(format!(
            "{}: the disk has failed to sync the file: nothing more is written until the next start, which \
             has all that was answered; check the disk and restart the server",
            self.store.display()
        ))
    }
}

/// Lets the log stay when a connection is closed as the last one.
pub(super) fn keep_log(connection: &Connection) {
    let kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    if let Err(error) = kept {
        tracing::error!("the write-ahead log may be lost when the server stops: {error}");
    }
}
