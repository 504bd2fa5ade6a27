//! Checkpoints of the write-ahead log, in a thread of their own.
//!
//! A commit appends its pages to the log, and a checkpoint copies them to the database. SQLite
//! restarts the log when all of it has been copied and no reader needs it. The thread copies while
//! the writer continues, and stops it only for the few pages that it has written meanwhile.
//!
//! Pages that were committed after a reader began cannot be copied before it ends. So lists that
//! overlap all the time would make the log grow without end. When it is too large, the thread
//! [pauses](ReadPool::pause_lists) them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{FairMutex, FairMutexGuard};
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, ErrorCode, Result};

use super::disk_failure::{DiskFailure, keep_log};
use super::files::with_suffix;
use super::read_pool::ReadPool;
use super::schema::BUSY_TIMEOUT;
use super::{lock, schema};
use crate::Error;

/// A checkpoint begins when the log has this many pages that are not copied: 4 MiB, the default of
/// SQLite.
const MIN_PAGES: u32 = 1000;

/// The thread stops the writer to copy the last pages when only this many are left.
const MAX_PAGES_WHILE_WRITER_WAITS: u32 = 64;

/// When the log has this many pages (16 MiB), the thread stops the writer in any case.
const PAGES_TO_STOP_WRITER: u32 = 4 * MIN_PAGES;

/// The maximum number of times in a row that the thread copies while the writer continues.
const MAX_PASSES: usize = 3;

/// The time between two checks of a log without any writes.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The time between two attempts to shrink a log that is too large.
const SHRINK_INTERVAL: Duration = Duration::from_secs(5);

/// After a pause of lists that did not help, the thread waits this long before the next one. It
/// logs a warning as often.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// The maximum time of a pause of lists.
const MAX_LIST_PAUSE: Duration = Duration::from_secs(5);

/// The maximum time that the writer waits for short readers.
const MAX_WAIT_FOR_SHORT_READS: Duration = Duration::from_millis(100);

/// The checkpoints of a store, as its writer sees them. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Checkpoints {
    progress: Arc<Progress>,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Held by the writer while it commits, and by the thread while the writer has to wait. It is
    /// fair, so that neither waits for more than one turn of the other.
    turn: FairMutex<()>,
    /// The number of pages in the log.
    written: AtomicU32,
    /// The number of pages of the log that are in the database.
    copied: AtomicU32,
    /// Whether a checkpoint found the disk full.
    needs_room: AtomicBool,
}

impl Progress {
    /// Returns the number of pages that are not in the database.
    fn left(&self) -> u32 {
        let written = self.written.load(Ordering::Relaxed);
        // SQLite has restarted the log if it has fewer pages than were copied.
        written.checked_sub(self.copied.load(Ordering::Relaxed)).unwrap_or(written)
    }
}

impl Checkpoints {
    /// Makes the checkpoints of a writer's connection from now on.
    pub(super) fn begin(
        path: &Path,
        writer: &mut Connection,
        readers: ReadPool,
        failure: &DiskFailure,
        max_wal_bytes: u64,
    ) -> Result<Self, Error> {
        let progress = Arc::<Progress>::default();
        let written = Arc::clone(&progress);
        // Replaces the checkpoints that SQLite makes in a commit.
        writer.wal_hook(Some(move |_: &mut _, pages: i32| {
            written.written.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        let (wake, woken) = sync_channel(1);
        let checkpointer = Checkpointer {
            connection: schema::open_checkpointer(path)
                .map_err(|error| schema::in_file(path, error))?,
            wal: wal_of(path),
            max_wal_bytes,
            readers,
            failure: failure.clone(),
            progress: Arc::clone(&progress),
            last_attempt: None,
            last_failure: None,
        };
        let thread = thread::Builder::new()
            .name("sqlite-checkpoint".to_owned())
            .spawn(move || checkpointer.run(&woken))
            .map_err(|error| Error::Unavailable(format!("no thread for checkpoints: {error}")))?;
        Ok(Self { progress, wake: Some(wake), thread: Some(thread) })
    }

    /// Locks out checkpoints. The writer holds this while it commits.
    pub(super) fn turn(&self) -> FairMutexGuard<'_, ()> {
        self.progress.turn.lock()
    }

    /// Whether a checkpoint found the disk full since the last call. The reserve has room for the
    /// pages that are left now, but not for many more.
    pub(super) fn need_room(&self) -> bool {
        self.progress.needs_room.swap(false, Ordering::Relaxed)
    }

    /// Wakes the thread if there is enough to copy. Called after each commit.
    pub(super) fn committed(&self) {
        if let (true, Some(wake)) = (self.progress.left() >= MIN_PAGES, &self.wake) {
            // If this fails, the thread is awake or will be.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was logged already.
            let _ = thread.join();
        }
    }
}

/// Returns the path of the write-ahead log of a store.
pub(super) fn wal_of(store: &Path) -> PathBuf {
    with_suffix(&lock::resolved(store), "-wal")
}

/// The thread.
struct Checkpointer {
    connection: Connection,
    wal: PathBuf,
    max_wal_bytes: u64,
    readers: ReadPool,
    failure: DiskFailure,
    progress: Arc<Progress>,
    /// The last attempt to truncate the log.
    last_attempt: Option<Instant>,
    /// The last pause of lists that did not help.
    last_failure: Option<Instant>,
}

impl Checkpointer {
    /// Makes checkpoints until the writer ends.
    fn run(mut self, woken: &Receiver<()>) {
        loop {
            match woken.recv_timeout(POLL_INTERVAL) {
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if !self.has_large_log() => continue,
                // The log stays as it is.
                _ if self.failure.has_happened() => continue,
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            }
            // Another attempt follows.
            if let Err(error) = self.checkpoint() {
                self.failure.record(&error);
                let error = Error::from(error);
                tracing::debug!(%error, "checkpoint of the write-ahead log");
                let is_full = matches!(error, Error::DiskFull);
                self.progress.needs_room.fetch_or(is_full, Ordering::Relaxed);
            }
        }
        if self.failure.has_happened() {
            self.readers.keep_log();
            keep_log(&self.connection);
        }
    }

    fn checkpoint(&mut self) -> Result<()> {
        let mut left = self.copy_most()?;
        if left > 0 && (left <= MAX_PAGES_WHILE_WRITER_WAITS || self.has_pages_to_stop_writer()) {
            let _turn = self.progress.turn.lock();
            left = self.copy(CheckpointMode::PASSIVE)?;
        }
        // If all pages are copied, the next commit restarts the log. If not, readers need the rest.
        let is_due = self.last_attempt.is_none_or(|last| last.elapsed() >= SHRINK_INTERVAL);
        if self.has_large_log() && is_due {
            self.last_attempt = Some(Instant::now());
            self.shrink(left)?;
        }
        Ok(())
    }

    /// Copies pages while the writer and readers continue. Returns the number of pages that are
    /// left, because they were written meanwhile or because of a reader.
    fn copy_most(&self) -> Result<u32> {
        let mut left = self.copy(CheckpointMode::PASSIVE)?;
        for _ in 1..MAX_PASSES {
            if left > MAX_PAGES_WHILE_WRITER_WAITS && !self.has_pages_to_stop_writer() {
                left = self.copy(CheckpointMode::PASSIVE)?;
            }
        }
        Ok(left)
    }

    /// Copies pages. Returns the number of pages that are left.
    fn copy(&self, mode: CheckpointMode) -> Result<u32> {
        let (_, copied) = self.connection.wal_checkpoint_v2(None::<&str>, mode)?;
        self.progress.copied.store(copied.max(0).unsigned_abs(), Ordering::Relaxed);
        Ok(self.progress.left())
    }

    /// Empties a log that is too large. If readers need pages of it, it waits until lists have
    /// ended.
    fn shrink(&mut self, left: u32) -> Result<()> {
        let may_pause = self.last_failure.is_none_or(|last| last.elapsed() >= PAUSE_AFTER_FAILURE);
        if left == 0 {
            return self.truncate();
        }
        if !may_pause {
            return Ok(());
        }
        let paused = self.readers.pause_lists();
        let have_ended = paused.wait(MAX_LIST_PAUSE);
        self.copy_most()?;
        self.truncate()?;
        drop(paused);
        if self.has_large_log() {
            self.last_failure = Some(Instant::now());
            self.warn(have_ended);
        }
        Ok(())
    }

    fn truncate(&self) -> Result<()> {
        let _turn = self.progress.turn.lock();
        self.connection.busy_timeout(MAX_WAIT_FOR_SHORT_READS)?;
        let truncated = self.copy(CheckpointMode::TRUNCATE);
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        match truncated {
            // A reader needs the log.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
            other => other.map(drop),
        }
    }

    fn has_pages_to_stop_writer(&self) -> bool {
        self.progress.written.load(Ordering::Relaxed) >= PAGES_TO_STOP_WRITER
    }

    fn has_large_log(&self) -> bool {
        fs::metadata(&self.wal).is_ok_and(|wal| wal.len() > self.max_wal_bytes)
    }

    fn warn(&self, have_lists_ended: bool) {
        let log = self.wal.display();
        if have_lists_ended {
            tracing::warn!(
                "the write-ahead log {log} cannot shrink: another process reads the database in a long \
                 transaction; close it, for example an open shell of sqlite3"
            );
        } else {
            tracing::warn!(
                "the write-ahead log {log} cannot shrink: a read has taken more than {MAX_LIST_PAUSE:?}; lower \
                 limits.read_deadline if it is above that"
            );
        }
    }
}

#[cfg(test)]
mod tests;
