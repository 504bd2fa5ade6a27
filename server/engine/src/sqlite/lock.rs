//! Invariant: one process at a time has a store open.
//!
//! Two processes would commit to one log, each would send changes only to its own listeners, and
//! devices that are connected to one would be away for the other. So the process that opens a store
//! first locks a file beside it, as long as it writes. The operating system releases the lock when
//! the process ends for any reason. The file is not removed, because a process could remove one
//! that is locked.
//!
//! The lock is not on the store's own file: SQLite has locks there, and all of them would be lost
//! when a process closes any one of its descriptors of the file. A process that only reads or
//! copies the store needs no lock.

use std::fs::{self, File, TryLockError};
use std::iter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::Error;

/// How long to wait for another process that is being stopped: a little longer than the maximum
/// time of [`Server::shutdown`](crate::Server::shutdown).
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);

/// The time between two attempts to lock.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The maximum number of symbolic links that are followed.
const MAX_LINKS: usize = 40;

/// The lock of a store, which is held until this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// The system unlocks it when it is closed.
    _file: File,
}

impl Lock {
    /// Locks a store, which need not exist yet. Waits for another process that is about to end.
    pub(super) fn of(store: &Path) -> Result<Self, Error> {
        let pauses = LOCK_TIMEOUT.as_millis() / LOCK_POLL_INTERVAL.as_millis();
        let pauses = usize::try_from(pauses).unwrap_or(usize::MAX);
        Self::lock_with_retries(
            store,
            iter::repeat_with(|| thread::sleep(LOCK_POLL_INTERVAL)).take(pauses),
        )
    }

    /// Returns the path of the locked file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks a store. Tries again after each pause.
    fn lock_with_retries(
        store: &Path,
        mut pauses: impl Iterator<Item = ()>,
    ) -> Result<Self, Error> {
        let path = lock_path(store);
        let failed = |error| Error::Unavailable(format!("{}: {error}", path.display()));
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(failed)?;
        let mut is_waited_for = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { path, _file: file }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if !is_waited_for => {
                    let store = store.display();
                    tracing::info!("{store} is open in another process: waiting for it to stop");
                    is_waited_for = true;
                }
                Err(TryLockError::WouldBlock) => {}
            }
            pauses.next().ok_or_else(|| in_use(store, &path))?;
        }
    }
}

fn in_use(store: &Path, path: &Path) -> Error {
    let (store, path) = (store.display(), path.display());
    Error::Unavailable(format!(
        "{store} is open in another process, which has locked {path}: stop that server first"
    ))
}

/// Returns the path of the lock file. It is the same for all links to the store, also before the
/// store exists.
fn lock_path(store: &Path) -> PathBuf {
    let mut path = resolved(store).into_os_string();
    path.push(".lock");
    path.into()
}

/// Returns the file that symbolic links lead to. It need not exist.
pub(super) fn resolved(store: &Path) -> PathBuf {
    let led_to = |link: &PathBuf| Some(link.parent()?.join(fs::read_link(link).ok()?));
    let links = iter::successors(Some(store.to_owned()), led_to);
    links.take(MAX_LINKS).last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::super::Sqlite;
    use super::*;
    use crate::Window;

    fn open(store: &Path) -> Sqlite {
        let (tail, _) = mpsc::channel(1);
        Sqlite::open(store, Window::default(), tail).unwrap()
    }

    #[tokio::test]
    async fn open_store_is_refused_with_the_names_of_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("backwire.db");
        let _open = open(&store);
        let mut looked = 0;
        let pauses = iter::repeat_with(|| looked += 1).take(3);
        let refused = Lock::lock_with_retries(&store, pauses).unwrap_err().to_string();
        assert_eq!(looked, 3);
        assert!(refused.contains("backwire.db is open in another process"), "{refused}");
        assert!(refused.contains("backwire.db.lock"), "{refused}");
    }

    #[tokio::test]
    async fn lock_waits_for_a_store_that_is_being_closed() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("backwire.db");
        let mut is_open = Some(open(&store));
        let mut looked = 0;
        let pauses = iter::repeat_with(|| {
            looked += 1;
            // The thread of its writer has to end.
            is_open.take();
            thread::yield_now();
        });
        Lock::lock_with_retries(&store, pauses).unwrap();
        assert!(looked > 0);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn links_to_a_store_share_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (store, link) = (folder.path().join("backwire.db"), folder.path().join("link.db"));
        let other = folder.path().join("folder");
        // The store does not exist yet.
        std::os::unix::fs::symlink("folder/link.db", &link).unwrap();
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink("../backwire.db", other.join("link.db")).unwrap();
        let _open = open(&link);
        for way in [link, other.join("link.db"), store, other.join("../backwire.db")] {
            assert!(Lock::lock_with_retries(&way, iter::empty()).is_err(), "{}", way.display());
        }
    }

    #[test]
    fn error_names_the_lock_file_that_cannot_be_created() {
        let folder = tempfile::tempdir().unwrap();
        let refused =
            Lock::lock_with_retries(&folder.path().join("nowhere/backwire.db"), iter::empty());
        assert!(refused.unwrap_err().to_string().contains("nowhere/backwire.db.lock"));
    }
}
