//! The test that missing parts of Rust are installed.
//!
//! A developer's toolchain has these parts already, so every command works there, even one that
//! forgets to check for them. This test installs the bare toolchain into an empty folder and runs
//! the commands' checks with it.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{answers, program, read, run};
use crate::outcome::Outcome;
use crate::workspace::{WASM_TRIPLE, Workspace};

/// The arguments of a command that compiles the client and of one that needs a component.
const DEMO: [&str; 2] = ["demo", "--setup-only"];
const LINT: [&str; 4] = ["test", "--only", "lint", "--setup-only"];

/// A toolchain without optional parts, in a folder of its own.
struct FreshRust<'a> {
    workspace: &'a Workspace,
    home: PathBuf,
}

/// Checks that the commands install missing parts of the toolchain. The outcome counts the parts.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    let rust = FreshRust::install(workspace)?;
    ensure!(!rust.has_wasm_target()?, "the fresh toolchain already has {WASM_TRIPLE}");
    rust.xtask(DEMO)?;
    ensure!(rust.has_wasm_target()?, "`cargo xtask demo` did not install {WASM_TRIPLE}");
    rust.compile_for_wasm()?;
    ensure!(!rust.has_clippy(), "the fresh toolchain already has clippy");
    rust.xtask(LINT)?;
    ensure!(rust.has_clippy(), "`cargo xtask test` did not install clippy");
    Ok(2.into())
}

impl<'a> FreshRust<'a> {
    fn install(workspace: &'a Workspace) -> Result<Self> {
        let rust = Self { workspace, home: workspace.scratch().join("fresh-rust") };
        rust.remove()?; // An interrupted run has left it.
        let install = ["toolchain", "install", channel(), "--profile", "minimal"];
        run(rust.command("rustup").args(install).arg("--no-self-update"))?;
        Ok(rust)
    }

    /// Returns a command that uses this toolchain, as if cargo's proxy had chosen it.
    fn command(&self, name: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = program(self.workspace, name);
        command.env("RUSTUP_HOME", &self.home).env("RUSTUP_TOOLCHAIN", channel());
        // rustup itself must not install what the test expects from xtask.
        command.env("RUSTUP_AUTO_INSTALL", "0");
        // These lead to the toolchain that xtask was started with.
        for variable in ["CARGO", "RUSTC", "LD_LIBRARY_PATH"] {
            command.env_remove(variable);
        }
        command
    }

    fn xtask<const N: usize>(&self, arguments: [&str; N]) -> Result<()> {
        run(self.command(env::current_exe()?).args(arguments))
    }

    fn has_wasm_target(&self) -> Result<bool> {
        let installed = read(self.command("rustup").args(["target", "list", "--installed"]))?;
        Ok(installed.lines().any(|target| target == WASM_TRIPLE))
    }

    fn has_clippy(&self) -> bool {
        answers(self.command("cargo").args(["clippy", "--version"]))
    }

    fn compile_for_wasm(&self) -> Result<()> {
        let [source, module] = ["tiny.rs", "tiny.wasm"].map(|name| self.home.join(name));
        fs::write(&source, "pub fn greet() -> String { format!(\"Hello\") }")?;
        run(self
            .command("rustc")
            .args(["--crate-type", "cdylib", "--target", WASM_TRIPLE, "-o"])
            .args([&module, &source]))?;
        ensure!(fs::read(&module)?.starts_with(b"\0asm"), "rustc wrote no WebAssembly module");
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        if self.home.exists() {
            fs::remove_dir_all(&self.home)
                .with_context(|| format!("{} could not be removed", self.home.display()))?;
        }
        Ok(())
    }
}

impl Drop for FreshRust<'_> {
    fn drop(&mut self) {
        // The next run tries again, and reports the reason.
        let _ = self.remove();
    }
}

/// Returns the toolchain that `rust-toolchain.toml` names.
fn channel() -> &'static str {
    let file = include_str!("../../rust-toolchain.toml");
    let (_, rest) = file.split_once("channel = \"").expect("rustup requires a channel");
    rest.split_once('"').expect("TOML closes its strings").0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_is_a_fixed_version() {
        assert_eq!(channel().split('.').count(), 3, "{}", channel());
    }
}
