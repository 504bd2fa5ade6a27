//! The files that a page downloads: the shim with the wasm in it.
//!
//! There are three files for script tags. `backwire.js` starts by itself and sends the page's first
//! requests, so it contains the wasm. It loads `backwire.live.js` at once, which has the code for
//! responses, and `backwire.extra.js` only on pages that need it. For bundlers there is one module
//! with everything in it.

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
    "--reserve-props=^_(method|events|callbacks|byId)$",
    // Nobody declares the client with `using`.
    "--define:Symbol.dispose=undefined",
];
/// Terser saves a few percent more than esbuild's minifier. It may assume that no code depends on
/// the number of a function's parameters, and that reading a property has no effect.
const TERSER: [&str; 5] = [
    "--compress=passes=3,ecma=2020,unsafe_arrows=true,unsafe_methods=true,keep_fargs=false,pure_getters=true",
    "--mangle",
    "--toplevel",
    "--ecma=2020",
    "--format=ascii_only=false",
];
/// Names that start with an underscore are our own, but for the form field of `emulateHTTP`
/// and what Backbone keeps.
const PRIVATE: &str = "^_[a-z]|^__destroy|^__wbg_ptr$";
/// Names our files know each other by. Nobody else does: they are no property of what a page,
/// Backbone, jQuery or the browser hands us, and are written neither to the wire nor to a storage.
const OWN: [&str; 136] = [
    "abortAll",
    "answer",
    "answered",
    "applyChanges",
    "assumed",
    "baseOf",
    "begin",
    "beginRead",
    "client",
    "createPath",
    "decide",
    "delay",
    "delayed",
    "description",
    "divert",
    "edits",
    "endRead",
    "enqueue",
    "enter",
    "epoch",
    "except",
    "findDuplicates",
    "forget",
    "hasIds",
    "hasOwnParse",
    "hasRestored",
    "holders",
    "idOf",
    "idsFor",
    "isAdding",
    "isAsync",
    "isBeginning",
    "isDestroyed",
    "isDiverted",
    "isFollowed",
    "isLive",
    "isMade",
    "isMapped",
    "isMoved",
    "isNewer",
    "isOpened",
    "isPartial",
    "isPending",
    "isRead",
    "isRealtime",
    "isRestored",
    "isSentAgain",
    "isSentByPage",
    "isShaped",
    "isShownOnTop",
    "isStale",
    "isStopped",
    "isTrap",
    "isUndeclared",
    "isWithParts",
    "isWriting",
    "itemFor",
    "itemNames",
    "itemOf",
    "itemsFor",
    "keep",
    "keepOnly",
    "kept",
    "latest",
    "learnRead",
    "learnRecords",
    "learnWrite",
    "leaveOut",
    "listFor",
    "listeners",
    "made",
    "makeClient",
    "makeExchange",
    "makeQueries",
    "mapped",
    "mergedCreates",
    "modelPath",
    "newer",
    "notify",
    "numberOf",
    "onAdded",
    "onAnswer",
    "onGone",
    "originalSync",
    "others",
    "outbox",
    "outcome",
    "parsed",
    "pathOf",
    "pendingCreate",
    "placeholders",
    "places",
    "prepare",
    "prepareRollback",
    "queries",
    "readAgainOverSocket",
    "recordOf",
    "records",
    "reference",
    "refreshAll",
    "rejoin",
    "remember",
    "removeExchange",
    "replaces",
    "replyHeaders",
    "requestsOf",
    "resource",
    "resourceOf",
    "revert",
    "rollback",
    "room",
    "runtime",
    "sendEdits",
    "sendQuery",
    "sendReal",
    "sentBody",
    "session",
    "setAnswer",
    "setOnline",
    "setReading",
    "stepAside",
    "store",
    "submit",
    "targets",
    "trackCreate",
    "transport",
    "unwrapSync",
    "updateOthers",
    "updateRecords",
    "use",
    "warnAboutRead",
    "wasAborted",
    "wasSet",
    "wasWritten",
    "whenAborted",
    "willSendReal",
];
/// A page that takes the module has its own Backbone and its own minifier.
const MODULE: [&str; 2] = ["--format=esm", "--packages=external"];

/// Makes the files and the types beside them. Needs the wasm and the npm packages.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let [live, extra, module, types] =
        ["backwire.live.js", "backwire.extra.js", "backwire.esm.js", "backwire.esm.d.ts"]
            .map(|name| workspace.dist().join(name));
    let scripts =
        [("tag.js", workspace.script()), ("live-script.js", live), ("extra-script.js", extra)];
    let outputs: Vec<_> =
        scripts.iter().map(|(_, script)| script).chain([&module, &types]).cloned().collect();
    Inputs::new(include_str!("bundle.rs"))
        .folder(&workspace.shim())?
        .folder(&client::folder(workspace))?
        .file(&workspace.root().join("package-lock.json"))?
        .stamp(workspace.dist().join(".bundle-stamp"))
        .unless_fresh(&outputs, || {
            minify(workspace, &scripts)?;
            bundle(workspace, "index.js", &MODULE, &module)?;
            copy(&workspace.shim().join("index.d.ts"), &types)
        })
}

/// Bundles the scripts, with the same short names in all of them.
fn minify(workspace: &Workspace, scripts: &[(&str, PathBuf)]) -> Result<()> {
    let names = workspace.dist().join("names.json");
    if names.exists() {
        fs::remove_file(&names)?;
    }
    let mangled = format!("--mangle-props={PRIVATE}|^({})$", OWN.join("|"));
    let cache = format!("--mangle-cache={}", workspace.short(&names));
    let form = [&[mangled.as_str(), cache.as_str()], &SCRIPT[..]].concat();
    for (entry, output) in scripts {
        bundle(workspace, entry, &form, output)?;
        let short = workspace.short(output).to_string();
        run(npm::tool(workspace, "terser", TERSER).args([&short, "--output", &short]))?;
    }
    Ok(())
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
    fn shortened_name_never_occurs_as_a_string() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../js-shim/src");
        for file in fs::read_dir(folder).unwrap() {
            let source = fs::read_to_string(file.unwrap().path()).unwrap();
            for name in OWN {
                assert!(
                    !source.contains(&format!("'{name}'")),
                    "{name} is shortened, but its text is not"
                );
            }
        }
    }

    #[test]
    fn public_name_is_not_shortened() {
        for name in OWN {
            let declared = format!(r"(?m)(pub fn |^  (readonly )?){name}\??[(:]");
            let declared = regex::Regex::new(&declared).unwrap();
            assert!(!KNOWN.iter().any(|text| declared.is_match(text)), "{name}");
        }
    }
}
