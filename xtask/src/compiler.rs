//! The compiler of the native crates: clippy, and rustdoc after it.
//!
//! `cargo clippy` and `cargo doc` generate no code, so a build of the tests after them compiles all
//! crates again, with their dependencies. But clippy's driver is a whole compiler. Here cargo calls
//! a copy of this program for each crate of the workspace, which calls clippy's driver, and then
//! rustdoc with the same crates. So each crate is compiled once: for its lints, its documentation
//! and its tests. A lint, or a broken link in the documentation, fails the build.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The name of the copy. A program of this name is the compiler.
const NAME: &str = "clippy-and-rustdoc";

/// The variable that has the folder for the documentation. Nobody reads it.
const DOCUMENTATION: &str = "XTASK_DOCUMENTATION";

/// The arguments of clippy, in the form of `cargo clippy`.
const CLIPPY_ARGS: (&str, &str) =
    ("CLIPPY_ARGS", "--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");

/// The options of rustc that rustdoc has as well. Each has its value in the next argument.
const WITH_VALUE: [&str; 6] =
    ["--crate-name", "--crate-type", "--cfg", "--check-cfg", "--extern", "-L"];

/// The options of rustdoc for a program, as `cargo doc` has them: nothing in it is public.
const OF_PROGRAMS: [&str; 2] =
    ["--document-private-items", "--allow=rustdoc::private_intra_doc_links"];

/// Makes the copy of this program.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let copy = workspace.scratch().join(NAME);
    fs::create_dir_all(workspace.scratch())?;
    // A program that is running cannot be written to, but replaced.
    let new = copy.with_extension("new");
    fs::copy(env::current_exe()?, &new).context("xtask could not be copied")?;
    fs::rename(&new, &copy).context("xtask could not be copied")
}

/// Has a command of cargo compile the crates of the workspace with the copy.
pub(crate) fn set_for(cargo: &mut Command, workspace: &Workspace) {
    cargo.env("RUSTC_WORKSPACE_WRAPPER", workspace.scratch().join(NAME)).envs([CLIPPY_ARGS]);
    cargo.env(DOCUMENTATION, workspace.scratch().join("documentation"));
}

/// Compiles a crate if this program is the copy. Returns its exit code.
pub(crate) fn run() -> Option<ExitCode> {
    let mut arguments = env::args_os();
    let program = PathBuf::from(arguments.next()?);
    if program.file_name() != Some(OsStr::new(NAME)) {
        return None;
    }
    // Cargo only passes Unicode.
    let arguments: Vec<_> = arguments.map(|it| it.to_string_lossy().into_owned()).collect();
    let options = documented(&arguments).filter(|_| !is_left_out());
    let succeeds = succeeds(Command::new("clippy-driver").args(&arguments))
        && options.is_none_or(|options| succeeds(&mut rustdoc(&options)));
    Some(if succeeds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rustdoc(options: &[String]) -> Command {
    let mut rustdoc = Command::new("rustdoc");
    rustdoc.args(options).arg("--deny=warnings");
    rustdoc.arg("-o").arg(env::var_os(DOCUMENTATION).unwrap_or_default());
    rustdoc
}

/// Whether the manifest of the package that is compiled leaves its crate out of the documentation.
fn is_left_out() -> bool {
    let folder = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let manifest = fs::read_to_string(Path::new(&folder).join("Cargo.toml"));
    manifest.is_ok_and(|text| text.lines().any(|line| line == "doc = false"))
}

fn succeeds(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("{} could not be started: {error}", command.get_program().display());
            false
        }
    }
}

/// Returns the options of rustdoc for a crate that is compiled with these arguments, or `None` if
/// `cargo doc` would not document it: a test, an example, a build script, or no crate.
fn documented(arguments: &[String]) -> Option<Vec<String>> {
    let value = |option: &str| {
        let at = arguments.iter().position(|argument| argument == option)?;
        arguments.get(at + 1)
    };
    let is_example = Path::new(value("--out-dir")?).ends_with("examples");
    let is_test = arguments.iter().any(|argument| argument == "--test");
    if is_example || is_test || value("--crate-name")? == "build_script_build" {
        return None;
    }
    let mut options = Vec::new();
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        match &**argument {
            option if WITH_VALUE.contains(&option) => {
                options.push(argument.clone());
                options.extend(rest.next().cloned());
            }
            option if option.starts_with("--edition=") || option.starts_with("--error-format=") => {
                options.push(argument.clone());
            }
            source if source.ends_with(".rs") => options.push(argument.clone()),
            "--out-dir" | "-C" | "--diagnostic-width" => drop(rest.next()),
            _ => {}
        }
    }
    options.push("--json=diagnostic-rendered-ansi".to_owned());
    if value("--crate-type")? == "bin" {
        options.extend(OF_PROGRAMS.map(str::to_owned));
    }
    Some(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn rustdoc_gets_the_crates_and_features_of_the_compiler() {
        let compiled = arguments(
            "rustc --crate-name app --edition=2024 app/src/lib.rs --error-format=json --crate-type \
             lib --emit=dep-info,metadata,link -C opt-level=1 --cfg feature=\"a\" --check-cfg \
             cfg(docsrs,test) --out-dir /t/debug/deps -L dependency=/t/debug/deps --extern \
             serde=/t/debug/deps/libserde.rmeta --warn=clippy::todo",
        );
        let expected = "--crate-name app --edition=2024 app/src/lib.rs --error-format=json \
                        --crate-type lib --cfg feature=\"a\" --check-cfg cfg(docsrs,test) -L \
                        dependency=/t/debug/deps --extern serde=/t/debug/deps/libserde.rmeta \
                        --json=diagnostic-rendered-ansi";
        assert_eq!(documented(&compiled), Some(arguments(expected)));
    }

    #[test]
    fn only_libraries_and_programs_are_documented() {
        let program = "rustc --crate-name app src/main.rs --crate-type bin --out-dir /t/debug/deps";
        let options = documented(&arguments(program)).unwrap();
        assert!(options.ends_with(&OF_PROGRAMS.map(str::to_owned)));
        let others = [
            &format!("{program} --test"),
            "rustc --crate-name chat chat.rs --crate-type bin --out-dir /t/debug/examples",
            "rustc --crate-name build_script_build build.rs --crate-type bin --out-dir /t/build/a",
            "rustc -vV",
        ];
        for other in others {
            assert_eq!(documented(&arguments(other)), None, "{other}");
        }
    }
}
