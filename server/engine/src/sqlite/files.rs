//! The files of a database and their folder.

use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use crate::Error;

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
pub(super) fn make_folder_of(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    let shown = folder.display();
    if is_in_data(folder) {
        return DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
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

/// Whether a folder is the default one or below it.
fn is_in_data(folder: &Path) -> bool {
    folder.strip_prefix(".").unwrap_or(folder).starts_with("data")
        && folder.components().all(|part| part != Component::ParentDir)
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
    use super::*;

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
