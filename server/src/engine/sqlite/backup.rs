//! Copies of a store, made while a server uses it, and how one takes the place of the store.
//!
//! A copy is complete when it has its name: it is made beside it, with `.partial` behind the name, and is
//! on the disk before it is renamed. The same is true of a restored store.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::lock::Lock;
use super::schema;
use crate::engine::Error;

/// Copies a store to a file that does not exist yet. Writers do not wait for it; the copy has what
/// was committed before it began. It holds all that the store holds, the secret of the session
/// cookies included, so only its owner may read it.
pub fn back_up(store: &Path, copy: &Path) -> Result<(), Error> {
    if !store.exists() {
        return Err(failed(store, "there is no such database"));
    }
    if copy.exists() {
        return Err(failed(copy, "the file exists already: name another one"));
    }
    write_copy(store, copy)
}

/// Puts a copy in the place of a store, which no server may have open. Returns where the former
/// store is now, if there was one.
pub fn restore(copy: &Path, store: &Path) -> Result<Option<PathBuf>, Error> {
    check(copy)?;
    super::make_folder_of(store)?;
    // Whichever link leads to the store.
    let store = &fs::canonicalize(store).unwrap_or_else(|_| store.to_owned());
    let _lock = Lock::of(store)?;
    let new = with_suffix(store, ".restored");
    remove(&new)?;
    write_copy(copy, &new)?;
    let former = set_aside(store)?;
    fs::rename(&new, store).map_err(|error| failed(store, error))?;
    sync_folder_of(store)?;
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
        Err(error) => Err(failed(copy, format!("not a database of backwire: {error}"))),
    }
}

/// Whoever reads a database of a server that runs needs its index of the journal, and so may write.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

fn write_copy(from: &Path, to: &Path) -> Result<(), Error> {
    let partial = with_suffix(to, ".partial");
    remove(&partial)?;
    let written = write_partial(from, &partial).and_then(|()| {
        fs::rename(&partial, to).map_err(|error| failed(to, error))?;
        sync_folder_of(to)
    });
    if written.is_err() {
        // That it stays does no harm: the next copy replaces it.
        let _ = fs::remove_file(&partial);
    }
    written
}

fn write_partial(from: &Path, partial: &Path) -> Result<(), Error> {
    let failed_here = |error: &dyn std::fmt::Display| failed(partial, error);
    // SQLite takes an empty file.
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial);
    created.map_err(|error| failed_here(&error))?;
    let connection = open(from).map_err(|error| failed(from, error))?;
    let name = partial.to_str().ok_or_else(|| failed_here(&"the name has to be UTF-8"))?;
    let copied = connection.execute("VACUUM INTO ?1", [name]);
    copied.map_err(|error| failed(from, error))?;
    File::open(partial).and_then(|file| file.sync_all()).map_err(|error| failed_here(&error))
}

/// Gives the store another name beside its own, which it keeps until something takes its place.
fn set_aside(store: &Path) -> Result<Option<PathBuf>, Error> {
    if !store.exists() {
        return Ok(None);
    }
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
    let former = with_suffix(store, &format!(".before-restore-{now}"));
    // Afterwards all is in one file. A store that is too damaged for it keeps its journal.
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

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(path, error)),
        _ => Ok(()),
    }
}

/// A name is on the disk when its folder is.
fn sync_folder_of(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    File::open(folder).and_then(|it| it.sync_all()).map_err(|error| failed(folder, error))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn failed(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Unavailable(format!("{}: {reason}", path.display()))
}
