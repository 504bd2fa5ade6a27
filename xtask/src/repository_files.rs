//! The files of the repository that people write.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders of files that are made or downloaded.
const SKIPPED: [&str; 5] = ["target", "node_modules", "dist", "data", "corpus"];

/// Returns the paths of all files, from the root. Hidden folders are left out.
pub(crate) fn repository_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(root, Path::new(""), &mut files)?;
    Ok(files)
}

/// Whether a file has this extension, without a dot.
pub(crate) fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|it| it == extension)
}

/// Adds the files of a folder and of the folders in it.
fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let path = root.join(folder);
    let entries = fs::read_dir(&path).with_context(|| format!("{} is missing", path.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let file = folder.join(&name);
        let name = name.to_string_lossy();
        // A symbolic link is neither: it may lead to a folder above.
        let kind = entry.file_type()?;
        if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&&*name) {
            collect(root, &file, files)?;
        } else if kind.is_file() {
            files.push(file);
        }
    }
    Ok(())
}
