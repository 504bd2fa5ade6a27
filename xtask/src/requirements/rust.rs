//! Parts of Rust that a toolchain may lack.
//!
//! rustup installs the parts that `rust-toolchain.toml` names together with the toolchain. It does
//! not install them if the toolchain was installed before or in another way and
//! `RUSTUP_AUTO_INSTALL` is 0, nor for another toolchain (`cargo +nightly`). So these checks run
//! the compiler that cargo would start.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::command::{answers, cargo, program};
use crate::workspace::{WASM_TRIPLE, Workspace};

/// A part that rustup adds to a toolchain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The standard library for WebAssembly.
    WasmTarget,
    /// The formatter.
    Rustfmt,
    /// The linter.
    Clippy,
}

impl Part {
    /// Returns why the part cannot be used, or `None` if it can.
    pub(super) fn problem(self, workspace: &Workspace) -> Option<String> {
        let is_installed = match self {
            Self::WasmTarget => has_standard_library(workspace),
            Self::Rustfmt => answers(&mut cargo(workspace, ["fmt", "--version"])),
            Self::Clippy => answers(&mut cargo(workspace, ["clippy", "--version"])),
        };
        let [kind, _, name] = self.rustup_words();
        (!is_installed).then(|| format!("the Rust {kind} {name} is not installed"))
    }

    /// Returns the arguments of rustup that add the part.
    pub(super) fn rustup_words(self) -> [&'static str; 3] {
        match self {
            Self::WasmTarget => ["target", "add", WASM_TRIPLE],
            Self::Rustfmt => ["component", "add", "rustfmt"],
            Self::Clippy => ["component", "add", "clippy"],
        }
    }
}

/// Returns why there is no nightly compiler, or `None` if there is one.
pub(super) fn nightly_problem(workspace: &Workspace) -> Option<String> {
    let mut rustc = program(workspace, "rustup");
    rustc.args(["run", "nightly", "rustc", "--version"]);
    (!answers(&mut rustc)).then(|| "a nightly Rust toolchain is not installed".to_owned())
}

/// Looks for the library itself: the compiler names a folder for every target that it knows, even
/// if the folder does not exist.
fn has_standard_library(workspace: &Workspace) -> bool {
    let Some(files) = target_folder(workspace).and_then(|folder| fs::read_dir(folder).ok()) else {
        return false;
    };
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

fn target_folder(workspace: &Workspace) -> Option<PathBuf> {
    let mut rustc = program(workspace, env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = rustc.args(["--print", "target-libdir", "--target", WASM_TRIPLE]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().into())
}
