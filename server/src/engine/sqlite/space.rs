//! The room that a store takes on the disk: a reserve for when the disk is full, and a bound for the
//! write-ahead log.
//!
//! Without a reserve nothing could be deleted on a full disk, as a delete is a write. So a file beside the store
//! keeps some room. When a commit finds the disk full, the file is removed, and until there is room for it again
//! only those writes are accepted that make the store smaller.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::schema::PATIENCE;
use super::{backup, lock};

/// Bytes of the reserve.
const RESERVE: u64 = 4 << 20;

/// The size that the write-ahead log is brought back to.
pub(super) const MAX_WAL_BYTES: u64 = 64 << 20;

/// How long a checkpoint may wait for readers. Writers wait with it.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(100);

/// The time between two attempts to bring the log back to its size.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(5);

/// The time between two lines that say that it was not possible.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// What others may know of it.
#[derive(Debug, Default)]
pub(super) struct SpaceState {
    /// Whether only writes are accepted that make the store smaller.
    pub(super) is_full: AtomicBool,
    /// The size of the write-ahead log.
    pub(super) wal_bytes: AtomicU64,
}

impl SpaceState {
    /// Whether there is something to do when nobody writes.
    pub(super) fn needs_work(&self) -> bool {
        self.is_full.load(Ordering::Relaxed) || self.has_large_log()
    }

    fn has_large_log(&self) -> bool {
        self.wal_bytes.load(Ordering::Relaxed) > MAX_WAL_BYTES
    }
}

/// The room of a store, as its writer sees it.
#[derive(Debug)]
pub(super) struct Space {
    reserve: PathBuf,
    wal: PathBuf,
    state: Arc<SpaceState>,
    last_checkpoint: Option<Instant>,
    last_warning: Option<Instant>,
}

impl Space {
    pub(super) fn of(store: &Path) -> Self {
        let store = lock::resolved(store);
        Self {
            reserve: backup::with_suffix(&store, ".reserve"),
            wal: backup::with_suffix(&store, "-wal"),
            state: Arc::default(),
            last_checkpoint: None,
            last_warning: None,
        }
    }

    pub(super) fn state(&self) -> &Arc<SpaceState> {
        &self.state
    }

    pub(super) fn is_full(&self) -> bool {
        self.state.is_full.load(Ordering::Relaxed)
    }

    /// The disk is full: gives up the reserve. `false` if that was done before.
    pub(super) fn give_up_reserve(&self) -> bool {
        if self.state.is_full.swap(true, Ordering::Relaxed) {
            return false;
        }
        tracing::error!(
            "the disk with {} is full: only reads, deletes and acknowledgements are accepted; free 8 MiB at \
             least",
            self.wal.display()
        );
        let _ = fs::remove_file(&self.reserve);
        true
    }

    /// Makes the reserve at the start. Without room for it, the disk is full.
    pub(super) fn begin(&self) {
        match make(&self.reserve) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.give_up_reserve();
            }
            Err(error) => {
                tracing::warn!(
                    "cannot create the reserve {}: {error}: on a full disk, deletes will fail",
                    self.reserve.display()
                );
            }
        }
    }

    /// Makes the reserve again, if there is room for it and for as much again. Otherwise the disk would be
    /// full again soon.
    fn recover(&self) {
        let probe = backup::with_suffix(&self.reserve, ".probe");
        let made = make(&self.reserve).and_then(|()| make(&probe));
        let _ = fs::remove_file(&probe);
        match made {
            Ok(()) => {
                self.state.is_full.store(false, Ordering::Relaxed);
                tracing::info!("the disk has room again: all writes are accepted");
            }
            Err(_) => drop(fs::remove_file(&self.reserve)),
        }
    }

    /// After each commit: measures the write-ahead log, and brings it back to its size if it has grown. SQLite does
    /// that by itself unless readers overlap all the time.
    pub(super) fn settle(&mut self, connection: &Connection) {
        self.measure();
        let is_due = self.last_checkpoint.is_none_or(|last| last.elapsed() >= CHECKPOINT_PAUSE);
        if !self.state.needs_work() || !is_due {
            return;
        }
        self.last_checkpoint = Some(Instant::now());
        if let Err(error) = checkpoint(connection) {
            tracing::debug!(%error, "checkpoint of the write-ahead log");
        }
        self.measure();
        if self.state.has_large_log() {
            self.warn();
        }
        if self.is_full() {
            self.recover();
        }
    }

    fn measure(&self) {
        let bytes = fs::metadata(&self.wal).map_or(0, |wal| wal.len());
        self.state.wal_bytes.store(bytes, Ordering::Relaxed);
    }

    fn warn(&mut self) {
        if self.last_warning.is_none_or(|last| last.elapsed() >= WARNING_PAUSE) {
            self.last_warning = Some(Instant::now());
            tracing::warn!(
                bytes = self.state.wal_bytes.load(Ordering::Relaxed),
                "the write-ahead log {} cannot shrink: another process reads the database in a long \
                 transaction; close it, for example an open shell of sqlite3",
                self.wal.display()
            );
        }
    }
}

/// Moves all changes to the database and empties the log, unless somebody reads it.
fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(CHECKPOINT_PATIENCE)?;
    let done = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
    connection.busy_timeout(PATIENCE)?;
    done
}

/// Makes a file that takes its room on the disk, if it is not there.
fn make(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|it| it.len() == RESERVE) {
        return Ok(());
    }
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let made = made.and_then(fill);
    if made.is_err() {
        let _ = fs::remove_file(path);
    }
    made
}

/// With bytes that no file system compresses to nothing.
fn fill(mut file: File) -> io::Result<()> {
    const BLOCK: usize = 1 << 16;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend(state.to_le_bytes());
    }
    for _ in 0..RESERVE / BLOCK as u64 {
        file.write_all(&block)?;
    }
    file.flush()
}
