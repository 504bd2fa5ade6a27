//! Backups of a database that a server uses, and their restore.
//!
//! A copy is complete when it has its name. It is first written to a file beside it, whose name
//! ends with `.partial-` and random digits, and is on the disk before it gets its name. The same is
//! true of a restored database.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::files::{
    JOURNALS, SyncFolder, check_for_journals, create_private, folder_of, make_folder_of,
    sync_folder, sync_folder_of, with_suffix,
};
use super::lock::{self, Lock};
use super::schema;
use crate::Error;

/// Copies a store to a file that does not exist yet. Writers do not wait for it; the copy has what
/// was committed before it began. It holds all that the store holds, the secret of the session
/// cookies included, so only its owner may read it.
pub fn back_up(store: &Path, copy: &Path) -> Result<(), Error> {
    if !store.exists() {
        let reason = "there is no such database: use the --config or --engine of the server";
        return Err(failed(store, reason));
    }
    if copy.symlink_metadata().is_ok() {
        return Err(exists(copy));
    }
    check_for_journals(copy)?;
    let partial = write_partial(store, copy)?;
    // Unlike a rename, a link never replaces a file. Not every file system has links.
    let named = fs::hard_link(&partial, copy).or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::rename(&partial, copy),
    });
    let _ = fs::remove_file(&partial);
    match named {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(copy)),
        Err(error) => Err(failed(copy, error)),
        Ok(()) => sync_folder_of(copy, &sync_folder),
    }
}

fn exists(copy: &Path) -> Error {
    failed(copy, "the file exists already: name another one")
}

/// Replaces a store, which no server may have open, by a copy. Returns the path of the former
/// store, if there was one.
pub fn restore(copy: &Path, store: &Path) -> Result<Option<PathBuf>, Error> {
    restore_with(copy, store, &sync_folder)
}

fn restore_with(copy: &Path, store: &Path, sync: SyncFolder<'_>) -> Result<Option<PathBuf>, Error> {
    check(copy)?;
    make_folder_of(store, sync)?;
    let store = &lock::resolved(store);
    let lock = Lock::of(store)?;
    let new = write_partial(copy, store)?;
    let prepared =
        give_to_owner_of(store, [&new, lock.path()]).and_then(|()| set_aside(store, sync));
    let replaced = prepared.and_then(|former| {
        fs::rename(&new, store).map_err(|error| failed(store, error))?;
        Ok(former)
    });
    if replaced.is_err() {
        let _ = fs::remove_file(&new);
    }
    let former = replaced?;
    sync_folder_of(store, sync)?;
    Ok(former)
}

/// Fails if a file is not an intact store of this version or an older one.
fn check(copy: &Path) -> Result<(), Error> {
    if !copy.exists() {
        return Err(failed(copy, "there is no such file"));
    }
    let checked = open(copy).and_then(|connection| {
        let version = schema::version(&connection)?;
        let report: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((version, report))
    });
    match checked {
        Ok((version, report)) if report == "ok" => schema::check_version(copy, version),
        Ok((_, report)) => Err(failed(copy, format!("the file is damaged: {report}"))),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            Err(failed(copy, format!("the file is damaged: {error}")))
        }
        Err(error) => Err(failed(copy, format!("not a database of backwire: {error}"))),
    }
}

/// SQLite needs write access even to read a database in WAL mode, for its `-shm` file.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// Writes a copy to a new file beside `to`, and returns its name.
fn write_partial(from: &Path, to: &Path) -> Result<PathBuf, Error> {
    let partial = with_suffix(to, &format!(".partial-{:016x}", rand::random::<u64>()));
    let written = write(from, &partial);
    if written.is_err() {
        for leftover in [partial.clone(), with_suffix(&partial, "-journal")] {
            let _ = fs::remove_file(leftover);
        }
    }
    written.map(|()| partial)
}

fn write(from: &Path, partial: &Path) -> Result<(), Error> {
    let failed_here = |error: &dyn std::fmt::Display| failed(partial, error);
    // SQLite accepts an empty file.
    create_private(partial).map_err(|error| failed_here(&error))?;
    let connection = open(from).map_err(|error| failed(from, error))?;
    // SQLite parses a name that begins with `file:` as a url. An absolute path does not begin with
    // that.
    let name = std::path::absolute(partial).map_err(|error| failed_here(&error))?;
    let name = name.to_str().ok_or_else(|| failed_here(&"the name has to be UTF-8"))?;
    let copied = connection.execute("VACUUM INTO ?1", [name]);
    copied.map_err(|error| failed(from, error))?;
    File::open(partial).and_then(|file| file.sync_all()).map_err(|error| failed_here(&error))
}

/// The server may run as another user than the one who restores. It has to be able to use these
/// files, so they get the owner of the former store, or else of its folder.
fn give_to_owner_of(store: &Path, files: [&Path; 2]) -> Result<(), Error> {
    let folder = folder_of(store);
    let owner = fs::metadata(store).or_else(|_| fs::metadata(folder));
    let owner = owner.map_err(|error| failed(folder, error))?;
    for file in files {
        let is_same = fs::metadata(file).is_ok_and(|it| it.uid() == owner.uid());
        if !is_same {
            let given = chown(file, Some(owner.uid()), Some(owner.gid()));
            given.map_err(|error| failed(file, error))?;
        }
    }
    Ok(())
}

/// Gives the store a second name, and its journals. It keeps its own name until another file
/// replaces it.
///
/// Invariant: before another file gets the name of the store, it is durable that no journal of the
/// store is beside that name. After a power cut, SQLite would apply the journal to the other file.
fn set_aside(store: &Path, sync: SyncFolder<'_>) -> Result<Option<PathBuf>, Error> {
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
    let former = with_suffix(store, &format!(".before-restore-{now}"));
    let exists = store.exists();
    if exists {
        // Afterwards all data is in one file. A store that is too damaged for that keeps its
        // journal.
        let merged = open(store).and_then(|connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        });
        drop(merged);
        let kept = fs::hard_link(store, &former).or_else(|_| copy_durably(store, &former));
        kept.map_err(|error| failed(&former, error))?;
    }
    // A store that is missing may have left its journals.
    for journal in JOURNALS.into_iter().chain(["-shm"]) {
        let (from, to) = (with_suffix(store, journal), with_suffix(&former, journal));
        if from.exists() {
            fs::rename(&from, to).map_err(|error| failed(&from, error))?;
        }
    }
    sync_folder_of(store, sync)?;
    Ok(exists.then_some(former))
}

fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

fn failed(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Unavailable(format!("{}: {reason}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A folder with a store and a copy of another one.
    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            for path in [home.store(), home.copy()] {
                schema::create(&path, &|_| Ok(())).unwrap();
            }
            home
        }

        fn store(&self) -> PathBuf {
            self.0.path().join("backwire.db")
        }

        fn copy(&self) -> PathBuf {
            self.0.path().join("copy.db")
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.path()).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    #[test]
    fn restored_database_gets_its_name_after_journals_have_durably_lost_theirs() {
        let home = Home::new();
        let old = fs::metadata(home.store()).unwrap().ino();
        // A missing store, too, may have left its journals.
        for exists in [true, false] {
            if !exists {
                fs::remove_file(home.store()).unwrap();
                for suffix in JOURNALS {
                    fs::write(with_suffix(&home.store(), suffix), "left").unwrap();
                }
            }
            let synced = RefCell::new(Vec::new());
            let sync = |folder: &Path| {
                assert_eq!(folder, home.0.path());
                let file = fs::metadata(home.store()).ok().map(|store| store.ino());
                let has_journals = JOURNALS.map(|it| with_suffix(&home.store(), it).exists());
                synced.borrow_mut().push((file, has_journals));
                Ok(())
            };
            let former = restore_with(&home.copy(), &home.store(), &sync).unwrap();
            assert_eq!(former.is_some(), exists);
            let new = fs::metadata(home.store()).unwrap().ino();
            let before = exists.then_some(old);
            assert_eq!(*synced.borrow(), [(before, [false; 2]), (Some(new), [false; 2])]);
        }
        for suffix in JOURNALS {
            let is_kept = |name: &String| name.contains("before-restore") && name.ends_with(suffix);
            assert!(home.names().iter().any(is_kept), "{:?}", home.names());
        }
    }

    #[test]
    fn database_is_not_replaced_if_the_folder_cannot_be_synced() {
        let home = Home::new();
        let old = fs::metadata(home.store()).unwrap().ino();
        let failing = |_: &Path| Err(io::Error::other("it is broken"));
        let refused = restore_with(&home.copy(), &home.store(), &failing).unwrap_err().to_string();
        assert!(refused.contains("cannot be synced: it is broken"), "{refused}");
        assert_eq!(fs::metadata(home.store()).unwrap().ino(), old);
        assert!(!home.names().iter().any(|name| name.contains("partial")), "{:?}", home.names());
    }
}
