//! Files in the folder of pages that the server never serves: the files of the store and of the
//! server, files from which the server has read secrets, hidden files, databases, and the targets
//! of links that lead outside of the folder.
//!
//! The server looks up each path in the file system and compares the file that it finds, not the
//! text of the path.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::secret_files;

/// The first bytes of a database file of SQLite, and those of its write-ahead log.
const DATABASE_HEADER: &[u8] = b"SQLite format 3\0";
const WAL_HEADERS: [&[u8]; 2] = [&[0x37, 0x7f, 0x06, 0x82], &[0x37, 0x7f, 0x06, 0x83]];

/// The only hidden folder that is served: the web defines its purpose.
const WELL_KNOWN: &str = ".well-known";

/// A folder of pages, and the files in it that are private.
#[derive(Debug, Clone)]
pub(crate) struct PrivateFiles {
    directory: PathBuf,
    /// The files of the server and the folder of the store.
    ids: Vec<FileId>,
    /// The prefix of the names of the files of the store, if they are in the folder of pages
    /// itself.
    store: Option<String>,
}

/// The device and the inode of a file.
type FileId = (u64, u64);

impl PrivateFiles {
    /// Looks up the private files. `store` is the file of the database.
    pub(crate) fn new(directory: &Path, store: Option<&Path>, files: &[PathBuf]) -> Self {
        let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        let store = store.map(|store| fs::canonicalize(store).unwrap_or_else(|_| store.to_owned()));
        let folder = store.as_deref().and_then(Path::parent);
        let is_beside = folder == Some(&*directory);
        let ids = files.iter().map(PathBuf::as_path).chain(store.as_deref());
        let ids = ids.chain(folder.filter(|folder| folder.starts_with(&directory) && !is_beside));
        let ids = ids.filter_map(|path| fs::metadata(path).ok()).map(|it| file_id(&it)).collect();
        let name =
            store.as_ref().and_then(|store| store.file_name()).and_then(|name| name.to_str());
        let store = name.filter(|_| is_beside).map(str::to_lowercase);
        Self { directory, ids, store }
    }

    /// Whether a file is in the folder.
    pub(crate) fn contains(&self, file: &Path) -> bool {
        fs::canonicalize(file).is_ok_and(|file| file.starts_with(&self.directory))
    }

    /// Whether the file at the path of a url must not be served. Returns `false` if it does not
    /// exist.
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
            if is_hidden || is_of_store || self.ids.contains(&file_id(&fs::metadata(&at)?)) {
                return Ok(true);
            }
        }
        is_database(path)
    }
}

/// Returns the path relative to the folder, or `None` if it has components other than names.
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

/// Whether the server has read a secret from this file. The lookup runs each time, because the
/// server may read other secrets while it runs, and because a file may be replaced.
fn has_secret(path: &Path) -> io::Result<bool> {
    let this = file_id(&fs::metadata(path)?);
    let mut others = secret_files::all().into_iter();
    Ok(others.any(|other| fs::metadata(other).is_ok_and(|it| file_id(&it) == this)))
}

/// Whether a file is a database. A copy of the store contains its secrets, too.
fn is_database(path: &Path) -> io::Result<bool> {
    if !fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut begin = Vec::with_capacity(DATABASE_HEADER.len());
    File::open(path)?.take(DATABASE_HEADER.len() as u64).read_to_end(&mut begin)?;
    Ok(begin == DATABASE_HEADER || WAL_HEADERS.iter().any(|log| begin.starts_with(log)))
}

fn file_id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}
