//! What is never served of a folder of pages, whatever its url says: the files of the store and of the server,
//! files that the server has read secrets from, hidden files, databases, and what links lead to outside of the folder.
//!
//! A path is looked up in the file system and compared by what it leads to, not by its spelling.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::secret_files;

/// How a file begins that SQLite has written, and how its write-ahead log does.
const DATABASE: &[u8] = b"SQLite format 3\0";
const WRITE_AHEAD_LOG: [&[u8]; 2] = [&[0x37, 0x7f, 0x06, 0x82], &[0x37, 0x7f, 0x06, 0x83]];

/// The one folder of hidden files that the web knows.
const WELL_KNOWN: &str = ".well-known";

/// A folder of pages, and what in it is private.
#[derive(Debug, Clone)]
pub(crate) struct PrivateFiles {
    directory: PathBuf,
    /// The files of the server and the folder of the store, by what the file system knows them by.
    entries: Vec<Entry>,
    /// The files of the store, if they are beside the pages: their names begin with this.
    store: Option<String>,
}

type Entry = (u64, u64);

impl PrivateFiles {
    /// `store` is the file of the database.
    pub(crate) fn new(directory: &Path, store: Option<&Path>, files: &[PathBuf]) -> Self {
        let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        let store = store.map(|store| fs::canonicalize(store).unwrap_or_else(|_| store.to_owned()));
        let folder = store.as_deref().and_then(Path::parent);
        let is_beside = folder == Some(&*directory);
        let entries = files.iter().map(PathBuf::as_path).chain(store.as_deref());
        let entries =
            entries.chain(folder.filter(|folder| folder.starts_with(&directory) && !is_beside));
        let entries =
            entries.filter_map(|path| fs::metadata(path).ok()).map(|it| entry(&it)).collect();
        let name =
            store.as_ref().and_then(|store| store.file_name()).and_then(|name| name.to_str());
        let store = name.filter(|_| is_beside).map(str::to_lowercase);
        Self { directory, entries, store }
    }

    /// Whether a file is in the folder.
    pub(crate) fn contains(&self, file: &Path) -> bool {
        fs::canonicalize(file).is_ok_and(|file| file.starts_with(&self.directory))
    }

    /// Whether what the path of a url leads to must not be served. It is not, if it does not exist.
    pub(crate) fn has(&self, url_path: &str) -> bool {
        let Ok(decoded) = percent_decode_str(url_path).decode_utf8() else { return true };
        let Some(path) = relative(&decoded) else { return true };
        let whole = self.directory.join(path);
        self.is_private(&whole) || self.is_private(&whole.join("index.html"))
    }

    fn is_private(&self, path: &Path) -> bool {
        match fs::canonicalize(path) {
            Ok(path) => self.is_private_file(&path).unwrap_or(true),
            Err(error) => {
                ![io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind())
            }
        }
    }

    fn is_private_file(&self, path: &Path) -> io::Result<bool> {
        let Ok(relative) = path.strip_prefix(&self.directory) else { return Ok(true) };
        if has_secret(path)? {
            return Ok(true);
        }
        let mut at = self.directory.clone();
        for part in relative {
            at.push(part);
            let name = part.to_string_lossy().to_lowercase();
            let is_hidden = name.starts_with('.') && name != WELL_KNOWN;
            let is_of_store = self.store.as_ref().is_some_and(|store| name.starts_with(store));
            if is_hidden || is_of_store || self.entries.contains(&entry(&fs::metadata(&at)?)) {
                return Ok(true);
            }
        }
        is_database(path)
    }
}

/// The path below the folder, if it says nothing else.
fn relative(path: &str) -> Option<PathBuf> {
    let parts = Path::new(path.trim_start_matches('/')).components();
    parts.filter(|part| *part != Component::CurDir).try_fold(
        PathBuf::new(),
        |path, part| match part {
            Component::Normal(name) => Some(path.join(name)),
            _ => None,
        },
    )
}

/// Whether the server has read a secret from this file. It is looked up each time, because others may be read while
/// the server runs, and because a file may be replaced.
fn has_secret(path: &Path) -> io::Result<bool> {
    let this = entry(&fs::metadata(path)?);
    let mut others = secret_files::all().into_iter();
    Ok(others.any(|other| fs::metadata(other).is_ok_and(|it| entry(&it) == this)))
}

/// A copy of the store has its secrets, too.
fn is_database(path: &Path) -> io::Result<bool> {
    if !fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut begin = Vec::with_capacity(DATABASE.len());
    File::open(path)?.take(DATABASE.len() as u64).read_to_end(&mut begin)?;
    Ok(begin == DATABASE || WRITE_AHEAD_LOG.iter().any(|log| begin.starts_with(log)))
}

fn entry(metadata: &Metadata) -> Entry {
    (metadata.dev(), metadata.ino())
}
