//! Invariant: one process at a time has a store open.
//!
//! Two would commit to one log, each would tell only its own listeners, and devices that are connected to
//! one would be away to the other. So whoever opens a store first locks a file beside it, for as long as
//! it writes. The lock is the system's and goes with the process, whatever that dies of; the file stays, as
//! whoever removed it could remove one that is locked.
//!
//! It is not the store's own file: SQLite has locks there, and all of them would be lost when a process
//! closes any one of its descriptors of it. Who only reads the store, or copies it, needs no lock of ours.

use std::fs::{self, File, TryLockError};
use std::iter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::Error;

/// How long a process that is being stopped is waited for: a little longer than
/// [`Server::shutdown`](crate::Server::shutdown) takes at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// How soon it is looked again whether it has gone.
const PAUSE: Duration = Duration::from_millis(10);

/// Links that are followed; where there are more, they lead nowhere.
const LINKS: usize = 40;

/// The store is ours as long as this is there.
#[derive(Debug)]
pub(super) struct Lock {
    place: PathBuf,
    /// The system unlocks it when it is closed.
    _file: File,
}

impl Lock {
    /// Locks a store, which need not be there yet. Waits for a process that is about to end.
    pub(super) fn of(store: &Path) -> Result<Self, Error> {
        let pauses = PATIENCE.as_millis() / PAUSE.as_millis();
        let pauses = usize::try_from(pauses).unwrap_or(usize::MAX);
        Self::within(store, iter::repeat_with(|| thread::sleep(PAUSE)).take(pauses))
    }

    /// The locked file.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Looks again after each pause there is.
    fn within(store: &Path, mut pauses: impl Iterator<Item = ()>) -> Result<Self, Error> {
        let place = place(store);
        let failed = |error| Error::Unavailable(format!("{}: {error}", place.display()));
        let file =
            File::options().write(true).create(true).truncate(false).mode(0o600).open(&place);
        let file = file.map_err(failed)?;
        let mut is_waited_for = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { place, _file: file }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if !is_waited_for => {
                    let store = store.display();
                    tracing::info!("{store} is open in another process: waiting for it to stop");
                    is_waited_for = true;
                }
                Err(TryLockError::WouldBlock) => {}
            }
            pauses.next().ok_or_else(|| in_use(store, &place))?;
        }
    }
}

fn in_use(store: &Path, place: &Path) -> Error {
    let (store, place) = (store.display(), place.display());
    Error::Unavailable(format!(
        "{store} is open in another process, which has locked {place}: stop that server first"
    ))
}

/// The same whichever link leads to the store, also before there is one.
fn place(store: &Path) -> PathBuf {
    let mut place = resolved(store).into_os_string();
    place.push(".lock");
    place.into()
}

/// The file that symbolic links lead to. It need not exist.
pub(super) fn resolved(store: &Path) -> PathBuf {
    let led_to = |link: &PathBuf| Some(link.parent()?.join(fs::read_link(link).ok()?));
    let links = iter::successors(Some(store.to_owned()), led_to);
    links.take(LINKS).last().unwrap_or_default()
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
    async fn a_store_that_is_open_is_not_opened_by_another_and_both_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("backwire.db");
        let _open = open(&store);
        let mut looked = 0;
        let pauses = iter::repeat_with(|| looked += 1).take(3);
        let refused = Lock::within(&store, pauses).unwrap_err().to_string();
        assert_eq!(looked, 3);
        assert!(refused.contains("backwire.db is open in another process"), "{refused}");
        assert!(refused.contains("backwire.db.lock"), "{refused}");
    }

    #[tokio::test]
    async fn a_store_that_is_being_closed_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("backwire.db");
        let mut is_open = Some(open(&store));
        let mut looked = 0;
        let pauses = iter::repeat_with(|| {
            looked += 1;
            // Its writer has to end, which is a thread of its own.
            is_open.take();
            thread::yield_now();
        });
        Lock::within(&store, pauses).unwrap();
        assert!(looked > 0);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_to_a_store_is_no_way_around_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (store, link) = (folder.path().join("backwire.db"), folder.path().join("link.db"));
        let other = folder.path().join("folder");
        // Before there is a store.
        std::os::unix::fs::symlink("folder/link.db", &link).unwrap();
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink("../backwire.db", other.join("link.db")).unwrap();
        let _open = open(&link);
        for way in [link, other.join("link.db"), store, other.join("../backwire.db")] {
            assert!(Lock::within(&way, iter::empty()).is_err(), "{}", way.display());
        }
    }

    #[test]
    fn where_no_file_can_be_made_its_place_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Lock::within(&folder.path().join("nowhere/backwire.db"), iter::empty());
        assert!(refused.unwrap_err().to_string().contains("nowhere/backwire.db.lock"));
    }
}
