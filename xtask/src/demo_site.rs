//! The demo as it is served: its own pages, with Backbone and the libraries that Backbone needs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::stamp::files_under;
use crate::workspace::Workspace;

/// The libraries that the demo's page loads beside Backwire, as npm has them.
const VENDOR: [&str; 3] =
    ["jquery/dist/jquery.min.js", "underscore/underscore-min.js", "backbone/backbone-min.js"];

/// Puts together what the demo's page loads. Needs the npm packages.
pub(crate) fn assemble(workspace: &Workspace) -> Result<()> {
    let site = workspace.demo_site();
    if site.exists() {
        fs::remove_dir_all(&site)?;
    }
    let written = workspace.demo();
    for file in files_under(&written)? {
        let name = file.strip_prefix(&written).expect("the file was found under this folder");
        copy(&file, site.join(name))?;
    }
    for name in VENDOR.map(Path::new) {
        let file_name = name.file_name().expect("the list is of files");
        copy(&workspace.node_modules().join(name), site.join("vendor").join(file_name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: PathBuf) -> Result<()> {
    let folder = to.parent().expect("a file is in a folder");
    fs::create_dir_all(folder)?;
    fs::copy(from, &to).with_context(|| format!("{} could not be copied", from.display()))?;
    Ok(())
}
