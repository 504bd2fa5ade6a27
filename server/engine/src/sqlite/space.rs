//! The reserve for a full disk.
//!
//! Without a reserve nothing could be deleted on a full disk, because a delete is a write. So a
//! file beside the store reserves some space. When a commit finds the disk full, the file is
//! removed. Until there is space for it again, only writes that make the store smaller are
//! accepted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, ErrorCode};

use super::disk_failure::DiskFailure;
use super::files::with_suffix;
use super::lock;
use super::schema::BUSY_TIMEOUT;

/// The bytes of the reserve: enough to copy the write-ahead log to the database, and for some
/// deletes.
const RESERVE_BYTES: u64 = 8 << 20;

/// How long a checkpoint on a full disk may wait for readers. Writers wait with it.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_millis(100);

/// The time between two attempts to make room.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The disk space of a store, as its writer sees it.
#[derive(Debug)]
pub(super) struct Space {
    store: PathBuf,
    reserve: PathBuf,
    /// Whether the disk is full, so that only writes that make the store smaller are accepted.
    is_full: Arc<AtomicBool>,
    last_attempt: Option<Instant>,
    failure: DiskFailure,
}

impl Space {
    pub(super) fn of(store: &Path, failure: DiskFailure) -> Self {
        let store = lock::resolved(store);
        let reserve = with_suffix(&store, ".reserve");
        Self { store, reserve, is_full: Arc::default(), last_attempt: None, failure }
    }

    /// Returns the flag whether the disk is full, for other tasks.
    pub(super) fn flag(&self) -> &Arc<AtomicBool> {
        &self.is_full
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Removes the reserve, because the disk is full. Returns `false` if that was done before.
    pub(super) fn give_up_reserve(&self) -> bool {
        let is_new = !self.is_full.swap(true, Ordering::Relaxed);
        if is_new {
            let _ = fs::remove_file(&self.reserve);
            self.report();
        }
        is_new
    }

    fn report(&self) {
        tracing::error!(
            "the disk with {} is full: only reads, deletes and acknowledgements are accepted; free 16 MiB \
             at least",
            self.store.display()
        );
    }

    /// Makes room on a full disk: empties the write-ahead log, if necessary with the space of the
    /// reserve. If there is no space for a new reserve then, only writes that make the store
    /// smaller are accepted.
    pub(super) fn make_room(&mut self, connection: &Connection) {
        let was_full = self.is_full();
        if was_full && !self.is_due() {
            self.empty_log(connection);
            return;
        }
        self.last_attempt = Some(Instant::now());
        let _ = fs::remove_file(&self.reserve);
        self.empty_log(connection);
        let is_full = !self.has_room();
        self.is_full.store(is_full, Ordering::Relaxed);
        match (was_full, is_full) {
            (false, true) => self.report(),
            (true, false) => tracing::info!("the disk has room again: all writes are accepted"),
            _ => {}
        }
    }

    /// Creates the reserve at the start. Without space for it, the disk counts as full.
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

    /// Creates the reserve again, if there is space for twice its size. Otherwise the disk would be
    /// full again soon. Returns whether it did.
    fn has_room(&self) -> bool {
        let probe = with_suffix(&self.reserve, ".probe");
        let made = make(&self.reserve).and_then(|()| make(&probe));
        let _ = fs::remove_file(&probe);
        if made.is_err() {
            let _ = fs::remove_file(&self.reserve);
        }
        made.is_ok()
    }

    /// Tries to make room if the disk is full. Called after each commit.
    pub(super) fn settle(&mut self, connection: &Connection) {
        if self.is_full() && self.is_due() {
            self.make_room(connection);
        }
    }

    /// Empties the write-ahead log, unless readers need it.
    fn empty_log(&self, connection: &Connection) {
        let end = Instant::now() + CHECKPOINT_TIMEOUT;
        while !self.failure.has_happened()
            && let Err(error) = truncate_log(connection)
        {
            self.failure.record(&error);
            // SQLite does not wait for another checkpoint, which takes milliseconds.
            let is_busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            if !is_busy || Instant::now() >= end {
                tracing::debug!(%error, "checkpoint on a full disk");
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_due(&self) -> bool {
        self.last_attempt.is_none_or(|last| last.elapsed() >= RETRY_INTERVAL)
    }
}

fn truncate_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(CHECKPOINT_TIMEOUT)?;
    let truncated = connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    truncated.map(drop)
}

/// Creates a file of the size of the reserve, unless it exists.
fn make(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|it| it.len() == RESERVE_BYTES) {
        return Ok(());
    }
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let made = made.and_then(fill);
    if made.is_err() {
        let _ = fs::remove_file(path);
    }
    made
}

/// Fills a file with bytes that no file system can compress.
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
    for _ in 0..RESERVE_BYTES / BLOCK as u64 {
        file.write_all(&block)?;
    }
    file.flush()
}
