//! The packages of the workspace, as cargo reports them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::cargo;
use crate::stamp::files_under;
use crate::workspace::Workspace;

/// A package of the workspace.
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// The first file of its library and of each of its programs.
    pub(super) roots: Vec<PathBuf>,
    /// The packages of the workspace that it depends on, but for tests.
    pub(super) dependencies: Vec<String>,
}

/// Returns all packages of the workspace.
pub(super) fn read(workspace: &Workspace) -> Result<Vec<Package>> {
    let output = cargo(workspace, ["metadata", "--no-deps", "--format-version", "1"]).output()?;
    ensure!(output.status.success(), "cargo: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    array(&metadata, "packages").map(Package::of).collect()
}

impl Package {
    /// Counts the lines of its library and its programs. Comments and unit tests count, other tests
    /// do not.
    pub(super) fn lines(&self) -> Result<usize> {
        // A set, because two programs may be in one folder, or one below the other.
        let mut files = BTreeSet::new();
        for folder in self.roots.iter().filter_map(|root| root.parent()) {
            files.extend(files_under(folder)?);
        }
        let is_source = |file: &&PathBuf| file.extension().is_some_and(|it| it == "rs");
        files
            .iter()
            .filter(is_source)
            .map(|file| Ok(fs::read_to_string(file)?.lines().count()))
            .sum()
    }

    fn of(package: &Value) -> Result<Self> {
        let is_ours = |target: &&Value| {
            array(target, "kind").any(|kind| kind == "bin" || kind == "lib" || kind == "rlib")
        };
        let roots = array(package, "targets").filter(is_ours);
        // Dependencies for tests and build scripts have a kind, and those of other places no path.
        let is_internal =
            |dependency: &&Value| dependency["kind"].is_null() && dependency["path"].is_string();
        let dependencies = array(package, "dependencies").filter(is_internal);
        Ok(Self {
            name: text(package, "name")?,
            roots: roots.map(|root| Ok(text(root, "src_path")?.into())).collect::<Result<_>>()?,
            dependencies: dependencies.map(|other| text(other, "name")).collect::<Result<_>>()?,
        })
    }
}

fn array<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text(value: &Value, key: &str) -> Result<String> {
    let text = value[key].as_str().with_context(|| format!("cargo reports no {key}"))?;
    Ok(text.to_owned())
}
