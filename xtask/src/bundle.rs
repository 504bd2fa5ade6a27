//! The files that a page downloads: the shim with the wasm in it.
//!
//! For script tags there is `backwire.js`, which starts by itself and sends the page's first
//! requests, and one script for each part that it loads (see [`scripts`]). For bundlers there is
//! one module with everything in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::run;
use crate::scripts::Script;
use crate::stamp::{Inputs, files_under};
use crate::workspace::Workspace;
use crate::{client, npm, scripts};

/// The short names, in a file of esbuild's.
const NAMES: &str = "names.json";

/// Browsers that have the reference types our wasm uses have all of ES2022.
const COMMON: [&str; 3] = ["--bundle", "--target=es2022", "--log-level=warning"];
const SCRIPT: [&str; 5] = [
    "--format=iife",
    "--minify",
    "--legal-comments=none",
    "--reserve-props=^_(method|events|callbacks|byId|byCid|changing|prepareModel|onModelEvent)$",
    // Nobody declares the client with `using`.
    "--define:Symbol.dispose=undefined",
];
/// Terser saves a few percent more than esbuild's minifier. It may assume that no code depends on
/// the number of a function's parameters, and that reading a property has no effect. It does not
/// search for variables with one value (`reduce_vars`), because terser 5.51.4 takes this `isClosed`
/// for always true, and removes the last statement:
///
/// ```js
/// let socket, isClosed;
/// const connection = {
///   send: frame => socket?.send(frame),
///   close() { isClosed = true; socket?.close(); }
/// };
/// open(opened => { if (isClosed) return opened.close(); socket = opened; });
/// ```
const TERSER: [&str; 5] = [
    "--compress=passes=3,ecma=2020,unsafe_arrows=true,unsafe_methods=true,keep_fargs=false,pure_getters=true,reduce_vars=false",
    "--mangle",
    "--toplevel",
    "--ecma=2020",
    "--format=ascii_only=false",
];
/// Names that start with an underscore are our own, but for the form field of `emulateHTTP`
/// and what Backbone keeps.
const PRIVATE: &str = "^_[a-z]|^__destroy|^__wbg_ptr$";
/// Names our files know each other by, one a line. Nobody else does: they are no property of what a
/// page, Backbone, jQuery or the browser hands us, and are written neither to the wire nor to a
/// storage.
const OWN: &str = include_str!("own_names.txt");
/// How it is done, word for word: a change of it makes all anew.
const RECIPE: &str =
    concat!(include_str!("bundle.rs"), include_str!("scripts.rs"), include_str!("own_names.txt"));
/// A page that takes the module has its own Backbone and its own minifier.
const MODULE: [&str; 2] = ["--format=esm", "--packages=external"];

/// Makes the files and the types beside them. Needs the wasm and the npm packages.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let scripts = scripts::all(workspace)?;
    let [module, types] =
        ["backwire.esm.js", "backwire.esm.d.ts"].map(|name| workspace.dist().join(name));
    let mut outputs = vec![module.clone(), types.clone()];
    for script in &scripts {
        outputs.extend([
            script.path(workspace),
            bundled(workspace, script),
            contents(workspace, script),
        ]);
    }
    Inputs::new(RECIPE)
        .folder(&workspace.shim())?
        .folder(&client::folder(workspace))?
        .file(&workspace.root().join("package-lock.json"))?
        .stamp(workspace.dist().join(".bundle-stamp"))
        .unless_fresh(&outputs, || {
            remove_former(workspace)?;
            minify(workspace, &scripts)?;
            let output = format!("--outfile={}", workspace.short(&module));
            esbuild(workspace, &["js-shim/src/index.js"], &MODULE, &[&output])?;
            copy(&workspace.shim().join("index.d.ts"), &types)
        })
}

/// A script as esbuild writes it, before terser makes it shorter.
pub(crate) fn bundled(workspace: &Workspace, script: &Script) -> PathBuf {
    workspace.dist().join("bundled").join(&script.name)
}

/// The list of the modules in that file, as JSON: esbuild's metafile.
pub(crate) fn contents(workspace: &Workspace, script: &Script) -> PathBuf {
    bundled(workspace, script).with_extension("json")
}

/// Removes scripts, some of which may be of parts that are no more. The server would serve them.
fn remove_former(workspace: &Workspace) -> Result<()> {
    for path in files_under(&workspace.dist())? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_script = name.starts_with("backwire.") && name.ends_with(".js");
        if is_script || name == NAMES {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Bundles the scripts, with the same short names in all of them.
fn minify(workspace: &Workspace, scripts: &[Script]) -> Result<()> {
    let own: Vec<_> = OWN.lines().collect();
    let mangled = format!("--mangle-props={PRIVATE}|^({})$", own.join("|"));
    let names = workspace.dist().join(NAMES);
    let cache = format!("--mangle-cache={}", workspace.short(&names));
    let form = [&[mangled.as_str(), cache.as_str()], &SCRIPT[..]].concat();
    for script in scripts {
        let (bundled, contents) = (bundled(workspace, script), contents(workspace, script));
        let output = format!("--outfile={}", workspace.short(&bundled));
        let metafile = format!("--metafile={}", workspace.short(&contents));
        let entry: Vec<_> = script.entry.iter().map(String::as_str).collect();
        esbuild(workspace, &entry, &form, &[&output, &metafile])?;
        let [from, to] =
            [bundled, script.path(workspace)].map(|path| workspace.short(&path).to_string());
        run(npm::tool(workspace, "terser", TERSER).args([&from, "--output", &to]))?;
    }
    Ok(())
}

/// Runs esbuild with an entry, the options of a form, and those of an output.
pub(crate) fn esbuild(
    workspace: &Workspace,
    entry: &[&str],
    form: &[&str],
    output: &[&str],
) -> Result<()> {
    run(npm::tool(workspace, "esbuild", COMMON).args(entry).args(form).args(output))
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
            for name in OWN.lines() {
                assert!(
                    !source.contains(&format!("'{name}'")),
                    "{name} is shortened, but its text is not"
                );
            }
        }
    }

    #[test]
    fn public_name_is_not_shortened() {
        for name in OWN.lines() {
            let declared = format!(r"(?m)(pub fn |^  (readonly )?){name}\??[(:]");
            let declared = regex::Regex::new(&declared).unwrap();
            assert!(!KNOWN.iter().any(|text| declared.is_match(text)), "{name}");
        }
    }

    #[test]
    fn names_are_in_order_and_listed_once() {
        let names: Vec<_> = OWN.lines().collect();
        assert!(names.is_sorted_by(|a, b| a < b));
    }
}
