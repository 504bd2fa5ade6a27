//! The scripts for script tags: `backwire.js`, and the parts that it loads.
//!
//! A part is a file `js-shim/src/<name>-part.js`, and its script is `backwire.<name>.js`. Whatever
//! builds, checks or measures scripts gets them from [`all`], so a new part needs no change here.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::size::{BUDGET, PART_BUDGET};
use crate::workspace::Workspace;

/// The end of the name of a part's file.
const PART: &str = "-part.js";

/// A script that pages load.
pub(crate) struct Script {
    /// The file name.
    pub(crate) name: String,
    /// The arguments of esbuild that name the source.
    pub(crate) entry: Vec<String>,
    /// The most bytes that it may have, gzipped.
    pub(crate) budget: usize,
}

/// All scripts: first `backwire.js`, then its parts by name.
pub(crate) fn all(workspace: &Workspace) -> Result<Vec<Script>> {
    let files = fs::read_dir(workspace.shim()).context("the sources of the shim are missing")?;
    let names = files.map(|file| Ok(file?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<Result<Vec<_>>>()?;
    let mut parts: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(PART)).collect();
    parts.sort_unstable();
    Ok([main()].into_iter().chain(parts.into_iter().map(part)).collect())
}

fn main() -> Script {
    let entry = vec!["js-shim/src/tag.js".to_owned()];
    Script { name: "backwire.js".to_owned(), entry, budget: BUDGET }
}

/// All parts have the same entry, which imports the part under the name `part`.
fn part(name: &str) -> Script {
    let alias = format!("--alias:part=./js-shim/src/{name}{PART}");
    let entry =
        vec!["js-shim/src/part-script.js".to_owned(), alias, format!("--define:NAME={name:?}")];
    Script { name: format!("backwire.{name}.js"), entry, budget: PART_BUDGET }
}

impl Script {
    /// The file for pages.
    pub(crate) fn path(&self, workspace: &Workspace) -> PathBuf {
        workspace.dist().join(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_es_module_has_a_script() {
        let parts = include_str!("../../js-shim/src/all-parts.js");
        let imported: Vec<_> =
            parts.lines().filter_map(|line| line.split_once("from './")).collect();
        let imported = imported.iter().filter_map(|(_, file)| file.strip_suffix("-part.js';"));
        let expected = imported.map(|name| format!("backwire.{name}.js"));
        let expected: Vec<_> = ["backwire.js".to_owned()].into_iter().chain(expected).collect();
        let scripts = all(&Workspace::find()).unwrap();
        assert_eq!(scripts.iter().map(|script| script.name.clone()).collect::<Vec<_>>(), expected);
    }
}
