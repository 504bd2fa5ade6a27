//! Starting other programs.
//!
//! Each is shown as one would type it before it runs, and a failure names it, so that whoever sees
//! the output can repeat the step by hand.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, anyhow, bail};

use crate::count;
use crate::output::{self, print_line};
use crate::workspace::Workspace;

/// The variable of cargo that turns incremental compilation off or on.
const INCREMENTAL: &str = "CARGO_INCREMENTAL";

/// Cargo, the same one that started us, in the same target folder.
pub(crate) fn cargo<const N: usize>(workspace: &Workspace, arguments: [&str; N]) -> Command {
    let mut cargo = program(workspace, env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).env("CARGO_TARGET_DIR", workspace.target());
    if !builds_incrementally() {
        cargo.env(INCREMENTAL, "0");
    }
    // `cargo run` describes xtask to us in these; a crate that watches one would be rebuilt every
    // time.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// Returns whether these commands of cargo keep what incremental compilation needs.
///
/// A build server compiles each change once, so that would only take space.
pub(crate) fn builds_incrementally() -> bool {
    is_incremental(|name| env::var(name).ok())
}

fn is_incremental(variable: impl Fn(&str) -> Option<String>) -> bool {
    match variable(INCREMENTAL) {
        Some(chosen) => chosen != "0",
        None => variable("CI").is_none_or(|ci| ci.is_empty() || ci == "false"),
    }
}

/// Any program, started in the repository's first folder.
pub(crate) fn program(workspace: &Workspace, name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(workspace.root());
    command
}

/// Whether a program can be started and is content with these arguments. Prints nothing.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    announce(command)?;
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    ended(command, status)
}

/// Runs a program to its end and returns what it printed. If it fails, that is shown.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let printed = command.output().map_err(|error| cannot_start(command, &error))?;
    io::stderr().write_all(&printed.stderr)?;
    if !printed.status.success() {
        output::write(&printed.stdout)?;
    }
    ended(command, printed.status)?;
    Ok(String::from_utf8_lossy(&printed.stdout).into_owned())
}

/// Runs a program that runs tests, and tells how many passed. None at all is a failure: a suite
/// that lost its tests must not look like one that passed.
pub(crate) fn run_tests(command: &mut Command) -> Result<usize> {
    let passed = run_counted(command)?;
    if passed == 0 {
        bail!("`{}` ran no test", shown(command));
    }
    Ok(passed)
}

/// Runs a program that may run tests, and tells how many passed.
pub(crate) fn run_counted(command: &mut Command) -> Result<usize> {
    announce(command)?;
    let (output, input) = io::pipe().context("a pipe could not be made")?;
    command.stdout(input.try_clone()?).stderr(input).env("CARGO_TERM_COLOR", "never");
    let mut child = command.spawn().map_err(|error| cannot_start(command, &error))?;
    // The command holds our ends for writing; while they are open the output would never end.
    command.stdout(io::stdout()).stderr(io::stderr());
    let passed = echo(BufReader::new(output))?;
    ended(command, child.wait()?)?;
    Ok(passed)
}

/// Shows output as it comes and adds up the tests that it says have passed.
fn echo(mut output: impl BufRead) -> Result<usize> {
    let mut passed = 0;
    let mut line = Vec::new();
    // Bytes, not text: what a test prints need not be UTF-8.
    while output.read_until(b'\n', &mut line)? > 0 {
        output::write(&line)?;
        passed += count::tests_passed(&String::from_utf8_lossy(&line)).unwrap_or(0);
        line.clear();
    }
    Ok(passed)
}

fn announce(command: &Command) -> Result<()> {
    print_line(format_args!("$ {}", shown(command)))
}

fn ended(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

fn cannot_start(command: &Command, error: &io::Error) -> anyhow::Error {
    let name = command.get_program().to_string_lossy();
    match error.kind() {
        ErrorKind::NotFound => anyhow!("`{name}` is not installed"),
        _ => anyhow!("`{name}` could not be started: {error}"),
    }
}

/// A command as one would type it: programs by name, not by path.
fn shown(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut words = vec![name.to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_server_compiles_without_incremental_compilation() {
        let incremental = |variables: &[(&str, &str)]| {
            is_incremental(|name| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(incremental(&[]));
        assert!(incremental(&[("CI", "false")]));
        assert!(!incremental(&[("CI", "true")]));
        assert!(!incremental(&[("CI", "1")]));
        assert!(incremental(&[("CI", "true"), (INCREMENTAL, "1")]));
        assert!(!incremental(&[(INCREMENTAL, "0")]));
    }

    #[test]
    fn tests_are_counted_on_both_outputs() {
        let script = "echo 'test result: ok. 2 passed; 0 failed'; echo '# pass 3' >&2";
        assert_eq!(run_tests(Command::new("sh").args(["-c", script])).unwrap(), 5);
    }

    #[test]
    fn suite_without_tests_is_a_failure() {
        let script = "echo 'test result: ok. 0 passed; 0 failed'";
        let error = run_tests(Command::new("sh").args(["-c", script])).unwrap_err();
        assert!(error.to_string().ends_with("ran no test"), "{error}");
    }

    #[test]
    fn failure_names_the_command() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` failed (exit status: 3)");
    }

    #[test]
    fn missing_command_is_named() {
        let error = cannot_start(&Command::new("npm"), &ErrorKind::NotFound.into());
        assert_eq!(error.to_string(), "`npm` is not installed");
    }
}
