//! The files of a database and their folder.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use crate::Error;

/// Makes the creations, deletions and renames of files in a folder durable.
pub(super) type SyncFolder<'s> = &'s dyn Fn(&Path) -> io::Result<()>;

/// The suffixes that the journals of a database add to its name: the write-ahead log, and the
/// rollback journal.
pub(super) const JOURNALS: [&str; 2] = ["-wal", "-journal"];

/// Syncs a folder. Some network file systems cannot do that, and say so.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if is_unsupported(&error) => Ok(()),
        synced => synced,
    }
}

/// Linux reports `EINVAL` if a file system has no sync of folders.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Syncs the folder of a file.
pub(super) fn sync_folder_of(path: &Path, sync: SyncFolder<'_>) -> Result<(), Error> {
    let folder = folder_of(path);
    sync(folder).map_err(|error| {
        let (path, folder) = (path.display(), folder.display());
        Error::Unavailable(format!("{path}: the folder {folder} cannot be synced: {error}"))
    })
}

pub(super) fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Creates the file of the database, which only its owner may read: it has the secret of the
/// session cookies. SQLite gives its journal the same permissions.
pub(super) fn create_database(path: &Path) -> Result<(), Error> {
    match create_private(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::Unavailable(format!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Creates the folder of the database, if it is the default one. Another missing folder may be a
/// volume that is not mounted, so it is not created.
pub(super) fn make_folder_of(path: &Path, sync: SyncFolder<'_>) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    let shown = folder.display();
    if is_in_data(folder) {
        return make_folders(folder, sync)
            .map_err(|error| Error::Unavailable(format!("{shown}: {error}")));
    }
    // A file without a folder is in the working directory.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    Err(Error::Unavailable(format!(
        "the folder {shown} of the database does not exist: create it, or name another file"
    )))
}

/// Creates a folder and those above it, and makes their names durable: a database is lost with the
/// name of its folder.
fn make_folders(folder: &Path, sync: SyncFolder<'_>) -> io::Result<()> {
    let named = folder.ancestors().filter(|it| !it.as_os_str().is_empty());
    let missing: Vec<_> = named.take_while(|it| !it.is_dir()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    missing.into_iter().try_for_each(|made| sync(folder_of(made)))
}

/// Whether a folder is the default one or below it.
fn is_in_data(folder: &Path) -> bool {
    folder.strip_prefix(".").unwrap_or(folder).starts_with("data")
        && folder.components().all(|part| part != Component::ParentDir)
}

/// Fails if the journal of a former database is beside a name that a new one is about to get:
/// SQLite would apply it to the new one.
pub(super) fn check_for_journals(path: &Path) -> Result<(), Error> {
    for journal in JOURNALS.map(|suffix| with_suffix(path, suffix)) {
        if journal.symlink_metadata().is_ok() {
            return Err(Error::Unavailable(format!(
                "{}: left by another database of this name: move it away, or name another file",
                journal.display()
            )));
        }
    }
    Ok(())
}

/// Creates an empty file that only its owner may read.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

/// Returns a path with a suffix added to its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn names_of_created_folders_are_durable() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data/a");
        for expected in [vec![root.path().join("data"), root.path().to_owned()], vec![]] {
            let synced = RefCell::new(Vec::new());
            let sync = |it: &Path| {
                synced.borrow_mut().push(it.to_owned());
                Ok(())
            };
            make_folders(&folder, &sync).unwrap();
            assert_eq!(*synced.borrow(), expected);
        }
    }

    #[test]
    fn file_system_without_a_sync_of_folders_is_accepted_and_a_failed_sync_is_not() {
        // EINVAL, and then EIO, which have these numbers on all systems.
        assert!(is_unsupported(&io::Error::from_raw_os_error(22)));
        assert!(!is_unsupported(&io::Error::from_raw_os_error(5)));
        assert!(sync_folder(Path::new("/missing")).is_err());
    }

    #[test]
    fn only_the_default_folder_is_created() {
        for folder in ["data", "./data", "data/a/b"] {
            assert!(is_in_data(Path::new(folder)), "{folder}");
        }
        for folder in
            ["", ".", "database", "/data", "/srv/data", "../data", "data/../../x", "a/data"]
        {
            assert!(!is_in_data(Path::new(folder)), "{folder}");
        }
    }
}
