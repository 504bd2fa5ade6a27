//! The wasm half of what a page downloads.
//!
//! Cargo compiles it for size, panics lose their words, wasm-bindgen writes the JS around it, the
//! two agree on shorter names, and binaryen makes the module smaller still. The outcome is in
//! `js-shim/dist/wasm/` for the shim to import: the JS, and the wasm both as it is and as a JS
//! module of its bytes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::command::{cargo, run};
use crate::stamp::Inputs;
use crate::workspace::{WASM_TRIPLE, Workspace};
use crate::{glue, literal, names, npm, panics};

/// The name of both modules, and of what is around them.
const NAME: &str = "backwire_client_wasm";

/// How it is done, word for word: a change of it makes all anew.
const RECIPE: &str = concat!(
    include_str!("client.rs"),
    include_str!("glue.rs"),
    include_str!("literal.rs"),
    include_str!("names.rs"),
    include_str!("panics.rs")
);

/// No feature flags: wasm-opt reads from the module which features it uses. Told to use all there
/// are, it writes an import section that Node 20 refuses.
///
/// Functions that are called once are left where they are unless they are tiny: inlining them saves
/// bytes, but what remains repeats less, and zipped it is a tenth more.
const OPTIMISE: [&str; 12] = [
    // Taken apart and put together anew, the loops of all functions look alike.
    "--flatten",
    "--rereloop",
    "-Oz",
    "-Oz",
    "--converge",
    "--one-caller-inline-max-function-size=18",
    "--always-inline-max-function-size=6",
    // What Rust makes never reads or writes where nothing is: a panic is a trap by name, and those
    // stay. The first kilobyte is the far end of the stack.
    "--ignore-implicit-traps",
    "--low-memory-unused",
    "--reorder-functions",
    "--strip-producers",
    "--strip-target-features",
];

/// Where the shim finds the modules.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.dist().join("wasm")
}

/// Makes all of it. Needs the npm packages.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    compile(workspace)?;
    let [wasm, bytes, js, types] = ["_bg.wasm", "_bytes.js", ".js", ".d.ts"]
        .map(|ending| folder(workspace).join(format!("{NAME}{ending}")));
    fs::create_dir_all(folder(workspace))?;
    Inputs::new(RECIPE)
        .file(&workspace.raw_wasm())?
        .file(&workspace.root().join("package-lock.json"))?
        .stamp(workspace.dist().join(".wasm-stamp"))
        .unless_fresh(&[wasm.clone(), bytes.clone(), js.clone(), types], || {
            bind(workspace)?;
            glue::trim(&js)?;
            names::shorten(&wasm, &js)?;
            optimise(workspace, &wasm)?;
            Ok(fs::write(bytes, literal::module(&fs::read(&wasm)?)?)?)
        })
}

fn compile(workspace: &Workspace) -> Result<()> {
    run(cargo(workspace, ["build", "--package", "backwire-client-wasm", "--profile", "wasm"])
        .args(["--target", WASM_TRIPLE]))
}

/// Writes the JS, its types, and the wasm that fits them.
fn bind(workspace: &Workspace) -> Result<()> {
    Bindgen::new()
        .input_module(NAME, panics::silenced(&workspace.raw_wasm())?)
        .web(true)?
        .typescript(true)
        // The shim hands the bytes over; a bundle for script tags has no `import.meta` to find them
        // by.
        .omit_default_module_path(true)
        .generate(folder(workspace))
        .context("wasm-bindgen could not write the JS around the client")
}

fn optimise(workspace: &Workspace, wasm: &Path) -> Result<()> {
    run(npm::tool(workspace, "wasm-opt", OPTIMISE).arg(wasm).arg("--output").arg(wasm))
}
