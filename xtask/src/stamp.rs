//! Knowing that there is nothing to do.
//!
//! A step that makes files leaves a stamp: a hash of all that went in, the words of its recipe
//! among it. While the hash is the same and the files are there, the step need not run again.
//! Contents are compared, not times: a fresh clone or a switched branch changes every time and no
//! content.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The inputs of a step, taken in one by one.
pub(crate) struct Inputs(DefaultHasher);

/// The place where a step notes what it was made from.
pub(crate) struct Stamp {
    path: PathBuf,
    inputs: String,
}

impl Inputs {
    /// Starts with the recipe: whatever decides the outcome beside the files.
    pub(crate) fn new(recipe: &str) -> Self {
        let mut inputs = Self(DefaultHasher::new());
        inputs.take(recipe.as_bytes());
        inputs
    }

    /// Takes in one file.
    pub(crate) fn file(mut self, path: &Path) -> Result<Self> {
        self.take(&read(path)?);
        Ok(self)
    }

    /// Takes in all files of a folder and of the folders in it, with their names.
    pub(crate) fn folder(mut self, folder: &Path) -> Result<Self> {
        for path in files_under(folder)? {
            let name = path.strip_prefix(folder).unwrap_or(&path);
            self.take(name.as_os_str().as_encoded_bytes());
            self.take(&read(&path)?);
        }
        Ok(self)
    }

    /// The stamp that these inputs leave at a path.
    pub(crate) fn stamp(self, path: PathBuf) -> Stamp {
        Stamp { path, inputs: format!("{:016x}", self.0.finish()) }
    }

    fn take(&mut self, bytes: &[u8]) {
        // With its length, so that moving a byte from one input to the next is a change.
        self.0.write_usize(bytes.len());
        self.0.write(bytes);
    }
}

impl Stamp {
    /// Runs the step, unless its outputs are there and were made from the same inputs.
    pub(crate) fn unless_fresh(
        &self,
        outputs: &[PathBuf],
        step: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if self.is_fresh(outputs) { Ok(()) } else { self.renew(step) }
    }

    /// Runs the step in any case.
    pub(crate) fn renew(&self, step: impl FnOnce() -> Result<()>) -> Result<()> {
        // A step that is interrupted leaves no stamp, so the next run does not trust its outputs.
        if self.path.exists() {
            fs::remove_file(&self.path)?;
        }
        step()?;
        fs::write(&self.path, &self.inputs)
            .with_context(|| format!("{} could not be written", self.path.display()))
    }

    /// Returns whether the outputs exist and were made from the same inputs.
    pub(crate) fn is_fresh(&self, outputs: &[PathBuf]) -> bool {
        outputs.iter().all(|output| output.exists())
            && fs::read_to_string(&self.path).is_ok_and(|inputs| inputs == self.inputs)
    }
}

/// All files of a folder and of the folders in it, in an order that does not change.
pub(crate) fn files_under(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("{} is missing", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_under(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} is missing", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with one input, and the step that makes one output of it.
    struct Kitchen {
        folder: tempfile::TempDir,
    }

    impl Kitchen {
        fn new() -> Self {
            let kitchen = Self { folder: tempfile::tempdir().unwrap() };
            fs::create_dir_all(kitchen.path("in/deep")).unwrap();
            fs::write(kitchen.path("in/deep/flour"), "white").unwrap();
            kitchen
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Whether the step had to run.
        fn bakes(&self, recipe: &str) -> bool {
            let inputs = Inputs::new(recipe).folder(&self.path("in")).unwrap();
            let mut ran = false;
            let output = self.path("bread");
            let step = || {
                ran = true;
                Ok(fs::write(&output, "bread")?)
            };
            inputs.stamp(self.path("stamp")).unless_fresh(&[self.path("bread")], step).unwrap();
            ran
        }
    }

    #[test]
    fn step_runs_once_for_the_same_inputs() {
        let kitchen = Kitchen::new();
        assert!(kitchen.bakes("an hour"));
        assert!(!kitchen.bakes("an hour"));
    }

    #[test]
    fn step_runs_again_when_a_file_changes() {
        let kitchen = Kitchen::new();
        kitchen.bakes("an hour");
        fs::write(kitchen.path("in/deep/flour"), "brown").unwrap();
        assert!(kitchen.bakes("an hour"));
    }

    #[test]
    fn step_runs_again_when_a_file_is_renamed() {
        let kitchen = Kitchen::new();
        kitchen.bakes("an hour");
        fs::rename(kitchen.path("in/deep/flour"), kitchen.path("in/deep/sugar")).unwrap();
        assert!(kitchen.bakes("an hour"));
    }

    #[test]
    fn step_runs_again_when_its_recipe_changes() {
        let kitchen = Kitchen::new();
        kitchen.bakes("an hour");
        assert!(kitchen.bakes("two hours"));
    }

    #[test]
    fn step_runs_again_when_its_output_is_missing() {
        let kitchen = Kitchen::new();
        kitchen.bakes("an hour");
        fs::remove_file(kitchen.path("bread")).unwrap();
        assert!(kitchen.bakes("an hour"));
    }

    #[test]
    fn step_that_failed_runs_again() {
        let kitchen = Kitchen::new();
        kitchen.bakes("an hour");
        let burnt = Inputs::new("hotter").stamp(kitchen.path("stamp"));
        burnt.unless_fresh(&[], || anyhow::bail!("burnt")).unwrap_err();
        assert!(kitchen.bakes("an hour"));
    }
}
