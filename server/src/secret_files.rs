//! The files that this process has read secrets from: those of `{file: …}`, of
//! `--session-secret-file`, and the configuration, which may contain secrets. The server does not
//! serve them, also if they are in its folder of pages.
//!
//! The list belongs to the process. Secrets are read long before the server knows which folders it
//! serves, and the keys of sites are read again while it runs.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

static FILES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Reads a file that contains secrets, and remembers its path.
pub(crate) fn read(file: impl AsRef<Path>) -> io::Result<String> {
    let file = file.as_ref();
    // The current directory of relative paths may change.
    FILES.lock().insert(std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
    std::fs::read_to_string(file)
}

/// Returns the paths of all files that were read.
pub(crate) fn all() -> Vec<PathBuf> {
    FILES.lock().iter().cloned().collect()
}
