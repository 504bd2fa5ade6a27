//! The checks of a run, and the violations that they have found.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use backwire_checker::history::Violation;
use backwire_checker::observations::Observations;
use backwire_records::counted::counted;

use super::Plan;
use super::deployment::Deployment;
use super::fault::Fault;
use super::meter::{Second, percentile};
use super::story::{self, Event};

/// How many violations are printed.
pub(super) const MAX_PRINTED: usize = 10;

/// The verdict about a run.
pub(super) struct Verdict {
    pub(super) clients: usize,
    pub(super) seed: u64,
    pub(super) server: String,
    pub(super) seconds: Vec<Second>,
    /// The kinds of faults of the run.
    pub(super) possible_faults: Vec<Fault>,
    pub(super) faults: Vec<(f64, Fault)>,
    pub(super) checks: Vec<Check>,
    pub(super) not_checked: Vec<String>,
    pub(super) violations: Vec<Violation>,
    /// The history of the record of the first violation that is about a record.
    pub(super) story: Vec<Event>,
    /// The name of that record.
    pub(super) record: String,
    pub(super) cleaned_up: Option<Result<usize, String>>,
    deployment: Arc<Deployment>,
    /// The back end sends messages to the clients.
    has_messages: bool,
    observations: Option<Observations>,
    pub(super) command: String,
}

/// The result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was checked, and no violation was found.
    Kept,
    /// Not everything was checked. No violation was found.
    NotAllChecked,
    /// A violation of a guarantee was found.
    Broken,
}

/// A kind of check.
pub(super) struct Check {
    /// The guarantee that was checked.
    pub(super) guarantee: &'static str,
    /// How often it was checked.
    pub(super) count: u64,
}

impl Verdict {
    pub(super) fn of(plan: &Plan, deployment: Arc<Deployment>) -> Self {
        let (server, target) = match &plan.url {
            Some(url) => (url.to_string(), format!("--url {url}")),
            None => (format!("own server, {}", plan.engine), format!("--engine {}", plan.engine)),
        };
        let faults: Vec<_> = plan.faults.iter().map(Fault::to_string).collect();
        let command = format!(
            "backwire chaos {target} --clients {} --seconds {} --seed {} --faults {}",
            plan.clients,
            plan.seconds,
            plan.seed,
            faults.join(",")
        );
        Self {
            clients: plan.clients,
            seed: plan.seed,
            server,
            possible_faults: plan.faults.clone(),
            seconds: Vec::new(),
            faults: Vec::new(),
            checks: Vec::new(),
            not_checked: Vec::new(),
            violations: Vec::new(),
            story: Vec::new(),
            record: String::new(),
            cleaned_up: None,
            deployment,
            has_messages: plan.url.is_none(),
            observations: None,
            command,
        }
    }

    fn checked(&mut self, guarantee: &'static str, count: u64) {
        match count {
            0 => self.not_checked(format!("{guarantee}: there was nothing to compare")),
            _ => self.checks.push(Check { guarantee, count }),
        }
    }

    pub(super) fn not_checked(&mut self, reason: String) {
        self.not_checked.push(reason);
    }

    pub(super) fn observed(&mut self, observations: Option<Observations>) {
        let Some(observations) = observations else { return };
        let changes = self.deployment.history.changes().len() as u64;
        self.checked("the log has each change once, without gaps", changes);
        let reads = observations.reads() as u64;
        self.checked("a read returns what the log has at its position, and nothing older", reads);
        let shown = observations.shown();
        self.checked("a client shows records only as they were in the log", shown);
        self.observations = Some(observations);
    }

    pub(super) fn listed(&mut self, count: usize) {
        self.checked("each list is up to date at the end", count as u64);
        let writes = self.deployment.writes.count() as u64;
        self.checked("an answered write is in the log once, a refused one is not", writes);
        if self.has_messages {
            let messages = self.deployment.messages.count();
            self.checked("each device gets each message once, in order", messages);
        }
    }

    pub(super) fn resumed(&mut self, count: usize) {
        self.checked("a resume from the first position returns the whole log", count as u64);
    }

    pub(super) fn cleaned_up(&mut self, destroyed: Result<usize, String>) {
        self.cleaned_up = Some(destroyed);
    }

    /// Collects the measurements and the violations.
    pub(super) fn end(&mut self) {
        let deployment = &*self.deployment;
        self.seconds = deployment.meter.seconds();
        self.faults = deployment.meter.faults();
        self.violations = deployment.history.violations();
        let record = self.violations.iter().find_map(|violation| violation.record.clone());
        if let Some((kind, id)) = record {
            self.record = format!("{}/{id}", deployment.history.names().of(kind));
            self.story = story::of(deployment, self.observations.as_ref(), kind, &id);
        }
        for violation in &mut self.violations {
            violation.message = deployment.with_short_names(&violation.message);
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.violations.is_empty() {
            false => Outcome::Broken,
            true if self.not_checked.is_empty() => Outcome::Kept,
            true => Outcome::NotAllChecked,
        }
    }

    pub(super) fn summary(&self) -> String {
        match self.outcome() {
            Outcome::Kept => "all guarantees were kept".to_owned(),
            Outcome::NotAllChecked if self.checks.is_empty() => "nothing was checked".to_owned(),
            Outcome::NotAllChecked => {
                "no violation of a guarantee was found, but not everything was checked".to_owned()
            }
            Outcome::Broken if self.violations.len() == 1 => "a guarantee was broken".to_owned(),
            Outcome::Broken => format!("{} violations of guarantees", self.violations.len()),
        }
    }

    /// Returns the number of faults of each kind.
    pub(super) fn fault_counts(&self) -> BTreeMap<Fault, usize> {
        let mut counts = BTreeMap::new();
        for (_, fault) in &self.faults {
            *counts.entry(*fault).or_default() += 1;
        }
        counts
    }

    /// Returns the median and the 99th percentile of all lags.
    pub(super) fn lags(&self) -> (u32, u32) {
        let mut lags: Vec<u32> = self.seconds.iter().flat_map(|it| it.lags.clone()).collect();
        (percentile(&mut lags, 0.5), percentile(&mut lags, 0.99))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.fault_counts();
        let counts: Vec<_> =
            counts.iter().map(|(fault, count)| format!("{count} {fault}")).collect();
        let faults = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
        let (median, p99) = self.lags();
        writeln!(f, "server   {}", self.server)?;
        writeln!(f, "clients  {}, for {} s", self.clients, self.seconds.len())?;
        writeln!(f, "faults   {faults}")?;
        writeln!(f, "lag      p50 {median} ms, p99 {p99} ms from a write to a delivery of it")?;
        writeln!(f, "seed     {}: {}", self.seed, self.command)?;
        writeln!(f)?;
        for Check { guarantee, count } in &self.checks {
            writeln!(f, "{count:>9}  {guarantee}")?;
        }
        for reason in &self.not_checked {
            writeln!(f, "not checked: {reason}")?;
        }
        match &self.cleaned_up {
            Some(Ok(count)) => {
                writeln!(f, "destroyed to clean up: {}", counted(*count, "record"))?;
            }
            Some(Err(error)) => writeln!(f, "the records of the run were not destroyed: {error}")?,
            None => {}
        }
        writeln!(f, "\n{}", self.summary())?;
        for Violation { message, .. } in self.violations.iter().take(MAX_PRINTED) {
            writeln!(f, "- {message}")?;
        }
        if !self.story.is_empty() {
            writeln!(f, "\nhistory of {}:", self.record)?;
            self.story.iter().try_for_each(|event| writeln!(f, "  {event}"))?;
        }
        Ok(())
    }
}
