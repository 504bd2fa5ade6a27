//! The plan for missing requirements: actions of xtask, and commands for the user.

use std::env;
use std::path::Path;

use anyhow::Result;

use super::requirement::{Missing, Requirement};
use crate::command::{answers, program, run};
use crate::npm;
use crate::workspace::Workspace;

/// The means by which xtask may install something.
pub(super) struct Machine {
    pub(super) apt: Apt,
    pub(super) has_rustup: bool,
    /// The toolchain that rustup started cargo with.
    pub(super) toolchain: Option<String>,
}

/// Whether Debian's packages can be installed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Apt {
    /// By xtask, which runs as root.
    AsRoot,
    /// By the user, with `sudo`.
    WithSudo,
    /// Not at all: another system.
    Absent,
}

/// Actions that meet missing requirements.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Actions of xtask, each with the problem that it solves.
    pub(super) actions: Vec<(String, Action)>,
    /// Instructions for the user, a line each.
    pub(super) manual: Vec<String>,
}

/// An action of xtask that installs requirements.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Installs Debian packages.
    Apt(Vec<&'static str>),
    /// Calls rustup with these arguments.
    Rustup(Vec<String>),
    /// Installs the npm packages.
    Npm,
}

impl Machine {
    /// Detects the properties of this machine.
    pub(super) fn detect(workspace: &Workspace) -> Self {
        let apt = match Path::new("/usr/bin/apt-get").exists() {
            true if nix::unistd::geteuid().is_root() => Apt::AsRoot,
            true => Apt::WithSudo,
            false => Apt::Absent,
        };
        let has_rustup = answers(program(workspace, "rustup").arg("--version"));
        Self { apt, has_rustup, toolchain: env::var("RUSTUP_TOOLCHAIN").ok() }
    }
}

impl Plan {
    /// Decides what to do about each missing requirement.
    pub(super) fn new(machine: &Machine, missing: &[Missing]) -> Self {
        let mut plan = Self::default();
        plan.add_programs(machine, missing);
        for Missing { requirement, problem } in missing {
            match requirement {
                Requirement::Program(_) => {} // `add_programs` handles all of them together.
                Requirement::NpmPackages => plan.actions.push((problem.clone(), Action::Npm)),
                Requirement::Rust(part) => plan.add_part(machine, problem, part.rustup_words()),
                Requirement::NightlyRust => plan.manual.push(format!(
                    "{problem}; run `rustup toolchain install nightly --profile minimal`"
                )),
                Requirement::Node => plan.manual.push(format!(
                    "{problem}; install Node.js 20 or later with npm (https://nodejs.org)"
                )),
            }
        }
        plan
    }

    /// Adds one call of apt-get for all programs.
    fn add_programs(&mut self, machine: &Machine, missing: &[Missing]) {
        let mut problems = Vec::new();
        let mut packages = Vec::new();
        for Missing { requirement, problem } in missing {
            let Requirement::Program(program) = requirement else { continue };
            problems.push(problem.as_str());
            if !packages.contains(&program.package) {
                packages.push(program.package);
            }
        }
        if packages.is_empty() {
            return;
        }
        let (problems, names) = (problems.join(", "), packages.join(" "));
        match machine.apt {
            Apt::AsRoot => self.actions.push((problems, Action::Apt(packages))),
            Apt::WithSudo => self.manual.push(format!(
                "{problems}; run `sudo apt-get update && sudo apt-get install {names}`"
            )),
            Apt::Absent => self.manual.push(format!(
                "{problems}; install the equivalents of the Debian packages {names} with the system's package manager"
            )),
        }
    }

    fn add_part(&mut self, machine: &Machine, problem: &str, words: [&str; 3]) {
        let mut words: Vec<_> = words.map(str::to_owned).into();
        if let Some(toolchain) = &machine.toolchain {
            words.extend(["--toolchain".to_owned(), toolchain.clone()]);
        }
        if machine.has_rustup {
            self.actions.push((problem.to_owned(), Action::Rustup(words)));
        } else {
            self.manual.push(format!(
                "{problem}; install rustup (https://rustup.rs) and run `rustup {}`",
                words.join(" ")
            ));
        }
    }
}

impl Action {
    /// Carries out the action.
    pub(super) fn run(&self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Apt(packages) => apt_install(workspace, packages),
            Self::Rustup(words) => run(program(workspace, "rustup").args(words)),
            Self::Npm => npm::install(workspace),
        }
    }
}

fn apt_install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    // A fresh system has no list of packages at all.
    run(program(workspace, "apt-get").args(["--quiet", "update"]))?;
    run(program(workspace, "apt-get")
        .args(["--quiet", "--yes", "install"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::{BROWSER, CC, MAKE, WASM_TARGET};

    const DEBIAN: Machine = Machine { apt: Apt::AsRoot, has_rustup: true, toolchain: None };

    fn plan(machine: &Machine, requirements: &[Requirement]) -> Plan {
        let missing = requirements.iter().map(|&requirement| {
            let problem = match requirement {
                Requirement::Program(program) => format!("no {}", program.package),
                _ => "it is missing".to_owned(),
            };
            Missing { requirement, problem }
        });
        Plan::new(machine, &missing.collect::<Vec<_>>())
    }

    fn actions(machine: &Machine, requirements: &[Requirement]) -> Vec<Action> {
        let plan = plan(machine, requirements);
        assert!(plan.manual.is_empty(), "{plan:?}");
        plan.actions.into_iter().map(|(_, action)| action).collect()
    }

    fn manual(machine: &Machine, requirements: &[Requirement]) -> String {
        let plan = plan(machine, requirements);
        assert!(plan.actions.is_empty(), "{plan:?}");
        plan.manual.join("\n")
    }

    #[test]
    fn nothing_missing_needs_no_action() {
        assert_eq!(plan(&DEBIAN, &[]), Plan::default());
    }

    #[test]
    fn root_installs_each_package_once_and_all_together() {
        let all = [&[CC, MAKE], BROWSER].concat();
        let packages = vec!["build-essential", "chromium", "chromium-driver"];
        assert_eq!(actions(&DEBIAN, &all), [Action::Apt(packages)]);
    }

    #[test]
    fn user_without_root_gets_one_command_for_all_packages() {
        let user = Machine { apt: Apt::WithSudo, ..DEBIAN };
        let expected = "no chromium, no chromium-driver; \
            run `sudo apt-get update && sudo apt-get install chromium chromium-driver`";
        assert_eq!(manual(&user, BROWSER), expected);
    }

    #[test]
    fn user_of_another_system_gets_the_names_of_the_packages() {
        let other = Machine { apt: Apt::Absent, ..DEBIAN };
        assert!(
            manual(&other, BROWSER)
                .contains("install the equivalents of the Debian packages chromium")
        );
    }

    #[test]
    fn rust_target_is_added_to_the_toolchain_that_cargo_runs_with() {
        let toolchain = Some("1.95.0".to_owned());
        let words = ["target", "add", "wasm32-unknown-unknown", "--toolchain", "1.95.0"];
        let expected = Action::Rustup(words.map(str::to_owned).into());
        assert_eq!(actions(&Machine { toolchain, ..DEBIAN }, &[WASM_TARGET]), [expected]);
    }

    #[test]
    fn user_without_rustup_gets_instructions_for_rust() {
        let distribution = Machine { has_rustup: false, ..DEBIAN };
        let expected = "it is missing; install rustup (https://rustup.rs) and run `rustup target \
            add wasm32-unknown-unknown`";
        assert_eq!(manual(&distribution, &[WASM_TARGET]), expected);
    }

    #[test]
    fn npm_packages_are_installed_by_npm() {
        assert_eq!(actions(&DEBIAN, &[Requirement::NpmPackages]), [Action::Npm]);
    }

    #[test]
    fn user_gets_instructions_for_toolchains_and_node() {
        let plan = plan(&DEBIAN, &[Requirement::Node, Requirement::NightlyRust]);
        assert!(plan.manual[0].contains("https://nodejs.org"), "{plan:?}");
        assert!(plan.manual[1].contains("rustup toolchain install nightly"), "{plan:?}");
    }
}
