//! Programs of the system, and the Debian packages that contain them.

use std::env;
use std::process::Command;

use crate::command::{answers, program};
use crate::workspace::Workspace;

/// A program in the `PATH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    name: &'static str,
    /// Debian's package.
    pub(super) package: &'static str,
    /// An argument with which the program does nothing and succeeds.
    probe: &'static str,
    /// An environment variable that selects another program.
    variable: Option<&'static str>,
}

impl Program {
    /// Creates a program that has the probe `--version`.
    pub(super) const fn new(name: &'static str, package: &'static str) -> Self {
        Self { name, package, probe: "--version", variable: None }
    }

    /// Lets an environment variable select another program.
    pub(super) const fn or_chosen_by(self, variable: &'static str) -> Self {
        Self { variable: Some(variable), ..self }
    }

    /// Probes the program with another argument.
    pub(super) const fn probed_with(self, probe: &'static str) -> Self {
        Self { probe, ..self }
    }

    /// Returns why the program cannot be used, or `None` if it can.
    pub(super) fn problem(self, workspace: &Workspace) -> Option<String> {
        let is_usable = answers(self.command(workspace).arg(self.probe));
        (!is_usable).then(|| format!("`{}` is missing or does not start", self.name))
    }

    fn command(self, workspace: &Workspace) -> Command {
        let chosen = self.variable.and_then(|variable| env::var(variable).ok()).unwrap_or_default();
        // A wrapper may stand before the compiler: `CC="ccache gcc"`.
        let mut words = chosen.split_whitespace();
        let mut command = program(workspace, words.next().unwrap_or(self.name));
        command.args(words);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_does_not_start_is_a_problem() {
        let no_program = Program::new("no-such-program", "no-such-package");
        let problem = no_program.problem(&Workspace::find());
        assert_eq!(problem.as_deref(), Some("`no-such-program` is missing or does not start"));
    }

    #[test]
    fn program_that_fails_its_probe_is_a_problem() {
        let fails = Program { probe: "--no-such-option", ..Program::new("ls", "coreutils") };
        assert!(fails.problem(&Workspace::find()).is_some());
        assert!(Program::new("ls", "coreutils").problem(&Workspace::find()).is_none());
    }
}
