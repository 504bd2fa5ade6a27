//! `cargo xtask package`: the npm package `backwire`.
//!
//! Its `package.json`, README and types for `@types/backbone` are in `js-shim/npm`. The version is
//! that of the workspace. The scripts for pages are those that the server serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command::{program, run, run_tests};
use crate::outcome::Outcome;
use crate::requirements::Requirement;
use crate::stamp::files_under;
use crate::workspace::Workspace;
use crate::{build, bundle, scripts};

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] = &[build::RUNTIME];

/// The version of the package, which is that of the server.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The line of `package.json` before the version.
const NAME: &str = "  \"name\": \"backwire\",\n";
/// The end of the types of the runtime: what they export by default, and the global of a tag.
const DEFAULT_EXPORT: &str = "declare const backwire: Backwire;\nexport default backwire;\n";

/// Make the npm package (target/package and a tarball beside it).
#[derive(Args)]
pub(crate) struct Package {}

impl Package {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        assemble(workspace)?;
        let mut pack = program(workspace, "npm");
        run(pack
            .args(["pack", "--pack-destination"])
            .args([workspace.target(), &workspace.package()]))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Tests the package: it is packed, installed in small projects, and these run in Chromium against
/// the server at this path. The fake server of the package is compared with it.
pub(crate) fn test(workspace: &Workspace, server: &Path) -> Result<Outcome> {
    assemble(workspace)?;
    let files = files_under(&workspace.root().join("tests/package"))?;
    let tests = files.iter().filter(|file| file.to_string_lossy().ends_with(".test.mjs"));
    let names = tests.map(|file| workspace.short(file).to_string());
    let mut node = program(workspace, "node");
    node.args(["--test", "--test-reporter=spec"]).args(names);
    node.env("BACKWIRE_BIN", server).env("BACKWIRE_PACKAGE", workspace.package());
    Ok(run_tests(&mut node)?.into())
}

/// Puts the files of the package together.
fn assemble(workspace: &Workspace) -> Result<()> {
    build::runtime(workspace)?;
    let package = workspace.package();
    if package.exists() {
        fs::remove_dir_all(&package)?;
    }
    fs::create_dir_all(&package)?;
    for script in scripts::all(workspace)? {
        copy(&script.path(workspace), &package.join(&script.name))?;
    }
    copy(&workspace.dist().join("backwire.esm.js"), &package.join("backwire.mjs"))?;
    bundle_others(workspace)?;
    write_types(workspace)?;
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&workspace.root().join(license), &package.join(license))?;
    }
    copy(&workspace.npm().join("README.md"), &package.join("README.md"))?;
    let manifest = with_version(&read(&workspace.npm().join("package.json"))?)?;
    write(&package.join("package.json"), &manifest)
}

/// The builds that only the package has.
fn bundle_others(workspace: &Workspace) -> Result<()> {
    let output = |name: &str| format!("--outfile={}", workspace.package().join(name).display());
    // The newest syntax that the optimizer of require.js reads.
    let script = ["--format=iife", "--minify", "--legal-comments=none", "--target=es2017"];
    // `module` is that of CommonJS.
    let other = ["--log-override:commonjs-variable-in-esm=silent", &output("backwire.umd.js")];
    bundle::esbuild(workspace, &["js-shim/src/umd.js"], &script, &other)?;
    // The fake server installs the Backwire that the app imports.
    let entry = ["js-shim/testing/index.js"];
    for (name, format) in [("testing.mjs", "--format=esm"), ("testing.js", "--format=cjs")] {
        let form = [format, "--packages=external", "--alias:#backwire=backwire"];
        bundle::esbuild(workspace, &entry, &form, &[&output(name)])?;
    }
    Ok(())
}

/// For each module the types of its ES module (`.d.mts`) and of its CommonJS module (`.d.ts`).
fn write_types(workspace: &Workspace) -> Result<()> {
    let package = workspace.package();
    let types = read(&workspace.shim().join("index.d.ts"))?;
    write(&package.join("backwire.d.mts"), &types)?;
    write(&package.join("backwire.d.ts"), &as_common_js(&types)?)?;
    let testing = read(&workspace.root().join("js-shim/testing/index.d.ts"))?;
    let backbone = read(&workspace.npm().join("backbone.d.ts"))?;
    for (name, text) in [("testing", &testing), ("backbone", &backbone)] {
        write(&package.join(format!("{name}.d.mts")), text)?;
        write(&package.join(format!("{name}.d.ts")), text)?;
    }
    // They only have types.
    write(&package.join("backbone.mjs"), "export {};\n")?;
    write(&package.join("backbone.js"), "'use strict';\n")
}

/// The types of a module whose value is the default export of these: the interfaces are members of
/// a namespace with the name of the value.
fn as_common_js(types: &str) -> Result<String> {
    let Some((interfaces, _)) = types.split_once(DEFAULT_EXPORT) else {
        bail!("index.d.ts does not export Backwire as expected");
    };
    Ok(format!(
        "declare const backwire: backwire.Backwire;\nexport = backwire;\n\
         export as namespace Backwire;\n\ndeclare namespace backwire {{\n{interfaces}}}\n"
    ))
}

fn with_version(manifest: &str) -> Result<String> {
    if !manifest.contains(NAME) || manifest.contains("\"version\"") {
        bail!("package.json of the npm package must have its name and no version");
    }
    Ok(manifest.replace(NAME, &format!("{NAME}  \"version\": \"{VERSION}\",\n")))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{} could not be written", path.display()))
}

fn copy(from: &PathBuf, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("{} could not be copied", from.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = include_str!("../../js-shim/npm/package.json");
    const TYPES: &str = include_str!("../../js-shim/src/index.d.ts");

    #[test]
    fn package_has_the_version_of_the_workspace() {
        let manifest = with_version(MANIFEST).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["version"], VERSION);
        assert_eq!(manifest["name"], "backwire");
    }

    #[test]
    fn second_version_is_an_error() {
        assert!(with_version(&with_version(MANIFEST).unwrap()).is_err());
    }

    #[test]
    fn common_js_types_have_every_interface() {
        let types = as_common_js(TYPES).unwrap();
        let count = |text: &str| text.matches("export interface ").count();
        assert_eq!(count(&types), count(TYPES));
        assert!(!types.contains("export default"));
    }
}
