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
    create_private, folder_of, make_folder_of, sync_folder, sync_folder_of, with_suffix,
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
    check(copy)?;
    make_folder_of(store, &sync_folder)?;
    let store = &lock::resolved(store);
    let lock = Lock::of(store)?;
    let new = write_partial(copy, store)?;
    let prepared = give_to_owner_of(store, [&new, lock.path()]).and_then(|()| set_aside(store));
    let replaced = prepared.and_then(|former| {
        fs::rename(&new, store).map_err(|error| failed(store, error))?;
        Ok(former)
    });
    if replaced.is_err() {
        let _ = fs::remove_file(&new);
    }
    let former = replaced?;
    sync_folder_of(store, &sync_folder)?;
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

/// Gives the store a second name. It keeps its own name until another file replaces it.
fn set_aside(store: &Path) -> Result<Option<PathBuf>, Error> {
    if !store.exists() {
        return Ok(None);
    }
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
    let former = with_suffix(store, &format!(".before-restore-{now}"));
    // Afterwards all data is in one file. A store that is too damaged for that keeps its journal.
    let merged = open(store).and_then(|connection| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    });
    drop(merged);
    for journal in ["-wal", "-shm"] {
        let (from, to) = (with_suffix(store, journal), with_suffix(&former, journal));
        if from.exists() {
            fs::rename(&from, to).map_err(|error| failed(&from, error))?;
        }
    }
    let kept = fs::hard_link(store, &former).or_else(|_| fs::copy(store, &former).map(drop));
    kept.map_err(|error| failed(&former, error))?;
    Ok(Some(former))
}

fn failed(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Unavailable(format!("{}: {reason}", path.display()))
}
