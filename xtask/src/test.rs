//! `cargo xtask test`: every check there is, as the build server runs it.
//!
//! Nothing is skipped in silence: a check that cannot be made has failed. Few parts of checks
//! depend on what the machine allows, and the summary names those that were left out. The first
//! failure ends the run.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::build::begin_server;
use crate::checks::{EMBEDDED_STEP, STEPS, Step};
use crate::compiler;
use crate::disk_space;
use crate::outcome::Outcome;
use crate::output::print_line;
use crate::requirements::Requirement;
use crate::workspace::Workspace;

/// Run every check, the cheapest first, and stop at the first that fails.
#[derive(Args)]
pub(crate) struct Test {
    /// Run only this check, with what it needs. May be repeated
    #[arg(long, value_name = "STEP", value_parser = names())]
    only: Vec<String>,
}

/// A check that was made.
struct Done {
    name: &'static str,
    duration: Duration,
    outcome: Result<Outcome>,
}

/// All checks that were made.
struct Summary<'a>(&'a [Done]);

impl Test {
    /// Returns the requirements of the chosen steps.
    pub(crate) fn requirements(&self) -> Vec<Requirement> {
        self.steps().flat_map(|step| step.requirements.concat()).collect()
    }

    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        let builds: Vec<_> = self.steps().flat_map(|step| step.builds).copied().collect();
        disk_space::check(workspace, &builds)?;
        compiler::install(workspace)?;
        let mut done = Vec::new();
        let mut server = None;
        for step in self.steps() {
            print_line(format_args!("\n== {}: {}", step.name, step.about))?;
            let made = make(step, workspace);
            let failed = made.outcome.is_err();
            done.push(made);
            if failed {
                break;
            }
            if self.only.is_empty() && step.name == EMBEDDED_STEP {
                print_line("\nthe release server is built in the background")?;
                server = Some(begin_server(workspace)?);
            }
        }
        drop(server);
        print_line(format_args!("\n== summary\n{}", Summary(&done)))?;
        let failed = done.iter().any(|done| done.outcome.is_err());
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn steps(&self) -> impl Iterator<Item = &'static Step> {
        let is_chosen = |step: &&Step| self.only.iter().any(|only| only == step.name);
        STEPS.iter().filter(move |step| self.only.is_empty() || is_chosen(step))
    }
}

fn names() -> PossibleValuesParser {
    let value = |step: &Step| PossibleValue::new(step.name).help(step.about);
    STEPS.iter().map(value).collect::<Vec<_>>().into()
}

fn make(step: &Step, workspace: &Workspace) -> Done {
    let start = Instant::now();
    let outcome = (step.run)(workspace);
    Done { name: step.name, duration: start.elapsed(), outcome }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.duration.as_secs_f64();
        write!(f, "{:12} {seconds:7.1} s  ", self.name)?;
        match &self.outcome {
            Ok(outcome) => write!(f, "{:4} passed", outcome.passed),
            Err(error) => write!(f, "FAILED: {error:#}"),
        }
    }
}

/// A line for each check and for each part that was left out, and a last one of the form that build
/// servers read.
impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for done in self.0 {
            writeln!(f, "{done}")?;
        }
        let outcomes = || self.0.iter().filter_map(|done| done.outcome.as_ref().ok());
        for not_checked in outcomes().flat_map(|outcome| &outcome.not_checked) {
            writeln!(f, "not checked: {not_checked}")?;
        }
        let passed: usize = outcomes().map(|outcome| outcome.passed).sum();
        let failed = self.0.iter().filter(|done| done.outcome.is_err()).count();
        write!(f, "\n{passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(name: &'static str, outcome: Result<impl Into<Outcome>>) -> Done {
        let outcome = outcome.map(Into::into);
        Done { name, duration: Duration::from_millis(1_250), outcome }
    }

    #[test]
    fn last_line_has_the_total_of_passed_tests() {
        let summary = Summary(&[done("format", Ok(1)), done("native", Ok(41))]).to_string();
        assert_eq!(summary.lines().last(), Some("42 passed, 0 failed"));
    }

    #[test]
    fn failure_is_printed_with_its_reason_and_counted() {
        let error = anyhow::anyhow!("no such tool").context("lint could not start");
        let summary =
            Summary(&[done("format", Ok(1)), done("lint", Err::<usize, _>(error))]).to_string();
        assert!(summary.contains("FAILED: lint could not start: no such tool"), "{summary}");
        assert_eq!(summary.lines().last(), Some("1 passed, 1 failed"));
    }

    #[test]
    fn summary_names_what_was_not_checked() {
        let outcome = Outcome::from(41).without("a full disk, because it cannot be mounted");
        let summary = Summary(&[done("native", Ok(outcome)), done("js", Ok(1))]).to_string();
        let lines: Vec<_> = summary.lines().collect();
        assert_eq!(lines[2], "not checked: a full disk, because it cannot be mounted", "{summary}");
        assert_eq!(lines.last(), Some(&"42 passed, 0 failed"));
    }

    #[test]
    fn chosen_checks_run_once_and_in_their_usual_order() {
        let chosen = |only: &[&str]| {
            let test = Test { only: only.iter().map(|&name| name.to_owned()).collect() };
            test.steps().map(|step| step.name).collect::<Vec<_>>()
        };
        assert_eq!(chosen(&["js"]), ["js"]);
        assert_eq!(chosen(&["js", "format", "js"]), ["format", "js"]);
        assert_eq!(chosen(&[]).len(), STEPS.len());
    }
}
