//! What a page downloads: the shim with the wasm in it.
//!
//! One file for script tags, which starts by itself, and one module for bundlers. In both the wasm is
//! inlined, so that a page needs one request and Backwire can start before the next script runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::client;
use crate::command::run;
use crate::npm;
use crate::stamp::Inputs;
use crate::workspace::Workspace;

/// Browsers that have the reference types our wasm uses have all of ES2022. The wasm in it is made of
/// letters that are not to be escaped.
const COMMON: [&str; 4] = ["--bundle", "--charset=utf8", "--target=es2022", "--log-level=warning"];
const SCRIPT: [&str; 7] = [
    "--format=iife",
    "--minify",
    "--legal-comments=none",
    // Names that start with an underscore are our own, but for the form field of `emulateHTTP`.
    "--mangle-props=^_[a-z]|^__destroy|^__wbg_ptr$",
    "--reserve-props=^_method$",
    // The runtime frees its one client itself, and nobody declares it with `using`.
    "--define:FinalizationRegistry=undefined",
    "--define:Symbol.dispose=undefined",
];
/// A page that takes the module has its own Backbone and its own minifier.
const MODULE: [&str; 2] = ["--format=esm", "--packages=external"];

/// Makes both files and the types beside them. Needs the wasm and the npm packages.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let [module, types] =
        ["backwire.esm.js", "backwire.esm.d.ts"].map(|name| workspace.dist().join(name));
    Inputs::new(include_str!("bundle.rs"))
        .folder(&workspace.shim())?
        .folder(&client::folder(workspace))?
        .file(&workspace.root().join("package-lock.json"))?
        .stamp(workspace.dist().join(".bundle-stamp"))
        .unless_fresh(&[workspace.script(), module.clone(), types.clone()], || {
            bundle(workspace, "tag.js", &SCRIPT, &workspace.script())?;
            bundle(workspace, "index.js", &MODULE, &module)?;
            copy(&workspace.shim().join("index.d.ts"), &types)
        })
}

fn bundle(workspace: &Workspace, entry: &str, form: &[&str], output: &Path) -> Result<()> {
    let entry: PathBuf = Path::new("js-shim/src").join(entry);
    let output = format!("--outfile={}", workspace.short(output));
    run(npm::tool(workspace, "esbuild", COMMON).arg(entry).args(form).arg(output))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("{} could not be copied", from.display()))?;
    Ok(())
}
