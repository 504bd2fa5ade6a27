//! The native crates and their tests.
//!
//! All commands compile them with the same [`compiler`], or cargo would compile them for each.

use std::process::Command;

use anyhow::Result;

use crate::command::{self, answers, run};
use crate::compiler;
use crate::workspace::Workspace;

/// The arguments that select the native crates. The client only makes sense as wasm.
///
/// A command for one of these packages selects all of them, and chooses a target instead. The
/// selected packages decide which features their dependencies have, so another selection would
/// compile many dependencies again.
pub(crate) const NATIVE: [&str; 3] = ["--workspace", "--exclude", "backwire-client-wasm"];

/// The package of the tests in browsers, and its target with them.
const END_TO_END: &str = "backwire-tests";
const STORIES: &str = "stories";

/// Returns a command of cargo that compiles the crates of the workspace with clippy and rustdoc.
pub(crate) fn cargo<const N: usize>(workspace: &Workspace, arguments: [&str; N]) -> Command {
    let mut cargo = command::cargo(workspace, arguments);
    compiler::set_for(&mut cargo, workspace);
    cargo
}

/// Builds the crates, their tests, examples and benchmarks. Fails if clippy or rustdoc find
/// anything.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    run(cargo(workspace, ["build", "--all-targets"]).args(NATIVE))
}

/// The runner of native tests: nextest where it is installed, for it is quicker.
#[derive(Clone, Copy)]
pub(crate) enum Runner {
    Nextest,
    Cargo,
}

impl Runner {
    pub(crate) fn find(workspace: &Workspace) -> Self {
        match answers(&mut command::cargo(workspace, ["nextest", "--version"])) {
            true => Self::Nextest,
            false => Self::Cargo,
        }
    }

    /// All native tests but those in browsers, and but those of a module.
    pub(crate) fn native(self, workspace: &Workspace, left_out: Option<&str>) -> Command {
        match self {
            Self::Nextest => {
                let mut tests = cargo(workspace, ["nextest", "run"]);
                tests.args(NATIVE).args(["-E", &filter(left_out)]);
                tests
            }
            // Cargo itself cannot build tests and leave out all of a target.
            Self::Cargo => {
                let mut tests = cargo(workspace, ["test", "--all-targets"]);
                tests.args(NATIVE).args(["--exclude", END_TO_END]);
                if let Some(module) = left_out {
                    tests.args(["--", "--skip", &format!("{module}::")]);
                }
                tests
            }
        }
    }

    /// The tests that [`native`](Self::native) leaves out.
    pub(crate) fn end_to_end(self, workspace: &Workspace) -> Command {
        let mut tests = match self {
            Self::Nextest => cargo(workspace, ["nextest", "run"]),
            Self::Cargo => cargo(workspace, ["test", "--all-targets"]),
        };
        match self {
            Self::Nextest => tests.args(NATIVE).args(["--test", STORIES]),
            Self::Cargo => tests.args(["--package", END_TO_END]),
        };
        tests
    }
}

/// The native tests, in the syntax of nextest.
fn filter(left_out: Option<&str>) -> String {
    let all = format!("not binary_id({END_TO_END}::{STORIES})");
    match left_out {
        Some(module) => format!("{all} and not test(/^{module}::/)"),
        None => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(command: &Command) -> Vec<&str> {
        command.get_args().map(|argument| argument.to_str().unwrap()).collect()
    }

    #[test]
    fn tests_of_a_module_are_excluded_in_the_syntax_of_each_runner() {
        let workspace = Workspace::find();
        let last = |runner: Runner, count| {
            let command = runner.native(&workspace, Some("small_disk"));
            let arguments = arguments(&command);
            arguments[arguments.len() - count..].join(" ")
        };
        let filter = "-E not binary_id(backwire-tests::stories) and not test(/^small_disk::/)";
        assert_eq!(last(Runner::Nextest, 2), filter);
        assert_eq!(last(Runner::Cargo, 3), "-- --skip small_disk::");
    }

    #[test]
    fn commands_of_nextest_select_the_same_packages() {
        let workspace = Workspace::find();
        let native = Runner::Nextest.native(&workspace, None);
        let end_to_end = Runner::Nextest.end_to_end(&workspace);
        for command in [native, end_to_end] {
            assert_eq!(arguments(&command)[2..5], NATIVE);
        }
    }
}
