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

/// Browsers that have the reference types our wasm uses have all of ES2022.
const COMMON: [&str; 3] = ["--bundle", "--target=es2022", "--log-level=warning"];
const SCRIPT: [&str; 5] = [
    "--format=iife",
    "--minify",
    "--legal-comments=none",
    "--reserve-props=^_(method|events)$",
    // Nobody declares the client with `using`.
    "--define:Symbol.dispose=undefined",
];
/// Names that start with an underscore are our own, but for the form field of `emulateHTTP`
/// and where Backbone keeps listeners.
const PRIVATE: &str = "^_[a-z]|^__destroy|^__wbg_ptr$";
/// Names our files know each other by. Nobody else does: they are no property of what a page, Backbone,
/// jQuery or the browser hands us, and are written neither to the wire nor to a storage.
const OWN: [&str; 43] = [
    "again",
    "assume",
    "begin",
    "birth",
    "client",
    "concerned",
    "delay",
    "delayed",
    "end",
    "enter",
    "except",
    "forget",
    "hear",
    "isMoved",
    "isReading",
    "isRestored",
    "isStopped",
    "isWanted",
    "isWhole",
    "keep",
    "latest",
    "learn",
    "leave",
    "made",
    "offsetOf",
    "others",
    "path",
    "readings",
    "recordOf",
    "refetch",
    "refreshAll",
    "requestHeaders",
    "resend",
    "resource",
    "resourceOf",
    "restore",
    "room",
    "shown",
    "take",
    "targets",
    "tell",
    "undo",
    "whenAborted",
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
            let mangled = format!("--mangle-props={PRIVATE}|^({})$", OWN.join("|"));
            let script = [&[mangled.as_str()], &SCRIPT[..]].concat();
            bundle(workspace, "tag.js", &script, &workspace.script())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that others know us by: pages, and the client in wasm.
    const KNOWN: [&str; 3] = [
        include_str!("../../js-shim/src/index.d.ts"),
        include_str!("../../client-wasm/src/shell.rs"),
        include_str!("../../client-wasm/src/listener.rs"),
    ];

    #[test]
    fn a_name_that_others_know_us_by_is_none_of_our_own() {
        for name in OWN {
            let declared = format!(r"(?m)(pub fn |^  (readonly )?){name}\??[(:]");
            let declared = regex::Regex::new(&declared).unwrap();
            assert!(!KNOWN.iter().any(|text| declared.is_match(text)), "{name}");
        }
    }
}
