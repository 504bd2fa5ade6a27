//! Files that this process has read secrets from: those of `{file: …}`, of `--session-secret-file`, and the
//! configuration, which may have secrets in its text. A folder of pages does not serve them.
//!
//! The list belongs to the process, because a secret is read long before it is known which folders are served, and
//! the keys of sites are read again while the server runs.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

static FILES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Reads a file that has secrets, and remembers its path.
pub(crate) fn read(file: impl AsRef<Path>) -> io::Result<String> {
    let file = file.as_ref();
    // Relative paths are those of the current directory, which may change.
    FILES.lock().insert(std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
    std::fs::read_to_string(file)
}

/// The paths of all files that were read.
pub(crate) fn all() -> Vec<PathBuf> {
    FILES.lock().iter().cloned().collect()
}
