//! Programs of the system, and the Debian packages that contain them.

use std::env;
use std::process::Command;

use super::Requirement;
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

/// The C compiler. SQLite, jemalloc and ring are built from their sources.
pub(crate) const CC: Requirement = Program::new("cc", BUILD_TOOLS).or_chosen_by("CC");
/// The C++ compiler. libFuzzer is built from its sources.
pub(crate) const CXX: Requirement = Program::new("c++", BUILD_TOOLS).or_chosen_by("CXX");
/// make. jemalloc is built with it.
pub(crate) const MAKE: Requirement = Program::new("make", BUILD_TOOLS).required();
/// gzip. It measures how much a page downloads.
pub(crate) const GZIP: Requirement = Program::new("gzip", "gzip").required();
/// kill. Tests of the server's command line send signals with it.
pub(crate) const KILL: Requirement = Program::new("kill", "procps").probed_with("-l");
/// Redis. The benchmark compares the server with lists in it.
pub(crate) const REDIS: Requirement = Program::new("redis-server", "redis-server").required();
/// The browser of the tests, and its driver.
pub(crate) const BROWSER: &[Requirement] = &[
    Program::new("chromium", "chromium").required(),
    Program::new("chromedriver", "chromium-driver").required(),
];

/// Languages in which the documentation shows how a message is sent.
pub(crate) const LANGUAGES: &[Requirement] = &[
    Program::new("python3", "python3").required(),
    Program::new("php", "php-cli").required(),
    Program::new("ruby", "ruby").required(),
    Program::new("curl", "curl").required(),
];

const BUILD_TOOLS: &str = "build-essential";

impl Program {
    const fn new(name: &'static str, package: &'static str) -> Self {
        Self { name, package, probe: "--version", variable: None }
    }

    const fn required(self) -> Requirement {
        Requirement::Program(self)
    }

    const fn or_chosen_by(self, variable: &'static str) -> Requirement {
        Self { variable: Some(variable), ..self }.required()
    }

    const fn probed_with(self, probe: &'static str) -> Requirement {
        Self { probe, ..self }.required()
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
    fn a_program_that_does_not_start_is_a_problem() {
        let no_program = Program::new("no-such-program", "no-such-package");
        let problem = no_program.problem(&Workspace::find());
        assert_eq!(problem.as_deref(), Some("`no-such-program` is missing or does not start"));
    }

    #[test]
    fn a_program_that_fails_its_probe_is_a_problem() {
        let fails = Program { probe: "--no-such-option", ..Program::new("ls", "coreutils") };
        assert!(fails.problem(&Workspace::find()).is_some());
        assert!(Program::new("ls", "coreutils").problem(&Workspace::find()).is_none());
    }
}
