//! The wasm half of what a page downloads: two modules, each the client's crate with one feature.
//!
//! Cargo compiles them for size, panics lose their words, wasm-bindgen writes the JS around them,
//! the two agree on shorter names, and binaryen makes the modules smaller still. The outcome is in
//! `js-shim/dist/wasm/` for the shim to import: for each module the JS, and the wasm both as it is
//! and as a JS module of its bytes.

use std::fs;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::command::{cargo, run};
use crate::stamp::Inputs;
use crate::workspace::{WASM_TRIPLE, Workspace};
use crate::{glue, literal, names, npm, panics};

/// A module.
struct Module {
    /// The feature of the crate that the module consists of, and the profile that it is built in.
    feature: &'static str,
    profile: &'static str,
    /// The name of its files.
    name: &'static str,
}

static MODULES: [Module; 2] = [
    Module { feature: "client", profile: "wasm", name: "backwire_client_wasm" },
    Module { feature: "queries", profile: "wasm-queries", name: "backwire_queries_wasm" },
];

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
    // Code of Rust never reads or writes invalid addresses: a panic is an explicit trap, and those
    // stay. The first kilobyte is the far end of the stack.
    "--ignore-implicit-traps",
    "--low-memory-unused",
    "--reorder-functions",
    "--strip-producers",
    "--strip-target-features",
];

/// The folder in which the shim finds the modules.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.dist().join("wasm")
}

/// Makes all of it. Needs the npm packages.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let mut inputs = Inputs::new(RECIPE).file(&workspace.root().join("package-lock.json"))?;
    compile_all(workspace)?;
    for module in &MODULES {
        inputs = inputs.file(&workspace.raw_wasm(module.profile))?;
    }
    let outputs = MODULES.iter().flat_map(|module| {
        ["_bg.wasm", "_bytes.js", ".js", ".d.ts"].map(|ending| module.output(workspace, ending))
    });
    fs::create_dir_all(folder(workspace))?;
    inputs.stamp(workspace.dist().join(".wasm-stamp")).unless_fresh(
        &outputs.collect::<Vec<_>>(),
        || {
            MODULES.iter().try_for_each(|module| module.bind(workspace))?;
            glue::trim(&MODULES.each_ref().map(|module| module.output(workspace, ".js")))?;
            // Each module is packed with references to the module before it.
            MODULES
                .iter()
                .try_fold(Vec::new(), |known, module| module.shrink(workspace, &known))?;
            Ok(())
        },
    )
}

/// Compiles the modules side by side, because one of them often uses one core only.
fn compile_all(workspace: &Workspace) -> Result<()> {
    thread::scope(|scope| {
        let compile = |module: &'static Module| scope.spawn(|| module.compile(workspace));
        let compiled = MODULES.each_ref().map(compile);
        compiled.into_iter().try_for_each(|it| it.join().expect("nothing panics"))
    })
}

impl Module {
    fn compile(&self, workspace: &Workspace) -> Result<()> {
        run(cargo(workspace, ["build", "--package", "backwire-client-wasm"])
            .args(["--target", WASM_TRIPLE, "--profile", self.profile])
            .args(["--no-default-features", "--features", self.feature]))
    }

    /// Writes the JS, its types, and the wasm that fits them.
    fn bind(&self, workspace: &Workspace) -> Result<()> {
        Bindgen::new()
            .input_module(self.name, panics::silenced(&workspace.raw_wasm(self.profile))?)
            .web(true)?
            .typescript(true)
            // The shim hands the bytes over; a bundle for script tags has no `import.meta` to find
            // them by.
            .omit_default_module_path(true)
            .generate(folder(workspace))
            .context("wasm-bindgen could not write the JS around the client")
    }

    /// Makes the wasm smaller, and a JS module of its bytes, which it returns. `known` are the
    /// bytes that the page has at that time.
    fn shrink(&self, workspace: &Workspace, known: &[u8]) -> Result<Vec<u8>> {
        let [wasm, bytes, js] =
            ["_bg.wasm", "_bytes.js", ".js"].map(|ending| self.output(workspace, ending));
        names::shorten(self.name, &wasm, &js)?;
        run(npm::tool(workspace, "wasm-opt", OPTIMISE).arg(&wasm).arg("--output").arg(&wasm))?;
        let content = fs::read(&wasm)?;
        fs::write(bytes, literal::module(&content, known)?)?;
        Ok(content)
    }

    fn output(&self, workspace: &Workspace, ending: &str) -> PathBuf {
        folder(workspace).join(format!("{}{ending}", self.name))
    }
}
