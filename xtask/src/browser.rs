//! The browser that the tests run in: Chromium and its driver.
//!
//! Where we may install packages we do; where we may not we say which are missing. A check that needs
//! a browser never passes without one.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{answers, program, run};
use crate::workspace::Workspace;

/// Debian's packages, and the program that each brings.
const PACKAGES: [(&str, &str); 2] = [("chromium", "chromium"), ("chromium-driver", "chromedriver")];

/// What is to be done so that there is a browser.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Nothing: it is here.
    Ready,
    /// These packages can be installed by us.
    Install(Vec<&'static str>),
    /// These packages must be installed by someone who may.
    Ask(Vec<&'static str>),
}

/// Makes sure that there is a browser.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let is_there = |name: &str| answers(Command::new(name).arg("--version"));
    let is_root = nix::unistd::geteuid().is_root();
    match plan(is_there, is_root && Path::new("/usr/bin/apt-get").exists()) {
        Plan::Ready => Ok(()),
        Plan::Install(packages) => apt_install(workspace, &packages),
        Plan::Ask(packages) => bail!(
            "the browser tests need {0}; on Debian: sudo apt-get install {0}",
            packages.join(" ")
        ),
    }
}

fn plan(is_there: impl Fn(&str) -> bool, may_install: bool) -> Plan {
    let missing: Vec<_> = PACKAGES
        .into_iter()
        .filter(|(_, program)| !is_there(program))
        .map(|(package, _)| package)
        .collect();
    match (missing.is_empty(), may_install) {
        (true, _) => Plan::Ready,
        (false, true) => Plan::Install(missing),
        (false, false) => Plan::Ask(missing),
    }
}

fn apt_install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    run(program(workspace, "apt-get").args(["--quiet", "update"]))?;
    run(program(workspace, "apt-get")
        .args(["--quiet", "--yes", "install"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_installed_where_everything_is() {
        assert_eq!(plan(|_| true, true), Plan::Ready);
        assert_eq!(plan(|_| true, false), Plan::Ready);
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let only_chromium = |program: &str| program == "chromium";
        assert_eq!(plan(only_chromium, true), Plan::Install(vec!["chromium-driver"]));
    }

    #[test]
    fn who_may_not_install_is_told_what_is_missing() {
        assert_eq!(plan(|_| false, false), Plan::Ask(vec!["chromium", "chromium-driver"]));
    }
}
