//! The space on the disk that the checks need for the files that they build.
//!
//! A linker that runs out of space does not say so: it ends with `signal 7 [Bus error]`. So the
//! test command compares the needed space with the free space before it starts. The size of
//! the files that the target folder has already is subtracted.
//!
//! The sizes are those of a run that starts with an empty target folder, rounded up.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command;
use crate::workspace::Workspace;

/// A part of the target folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuildOutput {
    /// The modules for pages.
    Wasm,
    /// The debug build of all crates with their tests, and the files of clippy and rustdoc.
    Tests,
    /// The release build of the server.
    Release,
    /// The build of the simulation.
    Simulation,
    /// The toolchain that the step `setup` installs.
    FreshRust,
}

const GB: u64 = 1_000_000_000;

/// The space for logs, and for the files of compilers and tests that are running.
const TEMPORARY: u64 = GB;

/// Fails if the disk of the target folder has too little space for these parts of it.
pub(crate) fn check(workspace: &Workspace, outputs: &[BuildOutput]) -> Result<()> {
    if outputs.is_empty() {
        return Ok(());
    }
    let folder = workspace.target();
    compare(folder, free(folder)?, needed(folder, outputs, command::builds_incrementally()))
}

fn compare(folder: &Path, free: u64, needed: u64) -> Result<()> {
    if free < needed {
        bail!(
            "not enough space on the disk of {}: {} are free, and the tests need {}: free some \
             space, set CI=true (no incremental compilation), choose a folder on another disk with \
             CARGO_TARGET_DIR, or run single steps with --only STEP",
            folder.display(),
            in_gigabytes(free),
            in_gigabytes(needed)
        );
    }
    Ok(())
}

fn in_gigabytes(bytes: u64) -> String {
    let tenths = bytes / (GB / 10);
    format!("{}.{} GB", tenths / 10, tenths % 10)
}

/// Returns the bytes that these parts add to a target folder.
fn needed(target: &Path, outputs: &[BuildOutput], incremental: bool) -> u64 {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, output) in outputs.iter().enumerate() {
        if !outputs[..index].contains(output) {
            *sizes.entry(output.folder()).or_default() += output.size(incremental);
        }
    }
    let missing = |(folder, size): (&str, u64)| size.saturating_sub(size_of(&target.join(folder)));
    TEMPORARY + sizes.into_iter().map(missing).sum::<u64>()
}

impl BuildOutput {
    /// Returns the folder in the target folder that has most of the files.
    fn folder(self) -> &'static str {
        match self {
            Self::Wasm => "wasm32-unknown-unknown",
            Self::Tests => "debug",
            Self::Release => "release",
            Self::Simulation => "simulation",
            Self::FreshRust => "xtask/fresh-rust",
        }
    }

    /// Returns the bytes of a complete build.
    fn size(self, incremental: bool) -> u64 {
        match self {
            Self::Tests if incremental => 8 * GB,
            Self::Tests => 4 * GB,
            Self::Wasm | Self::Release | Self::Simulation | Self::FreshRust => GB,
        }
    }
}

/// Returns the free bytes on the disk of a folder, which may not exist yet.
fn free(folder: &Path) -> Result<u64> {
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    let disk = rustix::fs::statvfs(existing)
        .with_context(|| format!("cannot read the free space of {}", existing.display()))?;
    Ok(disk.f_bavail * disk.f_frsize)
}

/// Returns the bytes of all files in a folder. Files that cannot be read count as none: others may
/// be building.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.metadata().map_or(0, |file| size_of_entry(entry.path(), &file))).sum()
}

fn size_of_entry(path: PathBuf, file: &Metadata) -> u64 {
    match file.is_dir() {
        true => size_of(&path),
        // Cargo gives programs a second name, a hard link.
        false => file.blocks() * 512 / file.nlink().max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use BuildOutput::{Release, Tests, Wasm};

    #[test]
    fn error_names_the_folder_and_both_sizes() {
        let error = compare(Path::new("/build"), 3_180_000_000, 12 * GB).unwrap_err().to_string();
        let expected = "not enough space on the disk of /build: 3.1 GB are free, and the tests \
                        need 12.0 GB: ";
        assert!(error.starts_with(expected), "{error}");
        compare(Path::new("/build"), 12 * GB, 12 * GB).unwrap();
    }

    #[test]
    fn each_part_is_counted_once() {
        let target = tempfile::tempdir().unwrap();
        let outputs = [Wasm, Release, Wasm, Tests, Release];
        assert_eq!(needed(target.path(), &outputs, false), TEMPORARY + 6 * GB);
    }

    #[test]
    fn builds_without_incremental_compilation_need_less() {
        let target = tempfile::tempdir().unwrap();
        let needed = |incremental| needed(target.path(), &[Tests], incremental);
        assert!(needed(false) < needed(true));
    }

    #[test]
    fn existing_build_files_reduce_the_needed_space() {
        let target = tempfile::tempdir().unwrap();
        let deps = target.path().join("release/deps");
        fs::create_dir_all(&deps).unwrap();
        fs::write(deps.join("backwire-0"), vec![1; 3_000_000]).unwrap();
        fs::hard_link(deps.join("backwire-0"), target.path().join("release/backwire")).unwrap();
        let saved = TEMPORARY + GB - needed(target.path(), &[Release], false);
        assert!((3_000_000..3_100_000).contains(&saved), "{saved}");
    }

    #[test]
    fn free_space_of_a_folder_that_does_not_exist_is_that_of_its_parent() {
        let parent = tempfile::tempdir().unwrap();
        assert!(free(&parent.path().join("a/b")).unwrap() > 0);
    }

    #[test]
    fn checks_that_build_nothing_need_no_space() {
        check(&Workspace::find(), &[]).unwrap();
    }
}
