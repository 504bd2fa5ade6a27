//! How an attack is run: several workers repeat one step, until the time is over.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::wire::Client;

/// The maximum number of kinds of responses that are counted.
const MAX_OUTCOMES: usize = 8;

/// After a failure the attacker tries again.
const RETRY: Duration = Duration::from_millis(20);

/// One attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// A description of the attack.
    pub(crate) about: &'static str,
    /// How many do it at the same time.
    pub(crate) workers: usize,
    /// The configuration file of the server.
    pub(crate) config: &'static str,
    /// How many descriptors the server may have, if it is few.
    pub(crate) descriptors: Option<u32>,
    /// Stores the data that the attack needs.
    pub(crate) prepare: Step,
    /// The step that each worker repeats.
    pub(crate) step: Step,
}

pub(crate) type Step = fn(Target) -> BoxFuture<'static, Result<()>>;

/// The server that is attacked, and what the attackers got from it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) client: Client,
    outcomes: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Attack {
    /// An attack that needs no data.
    pub(crate) const fn new(
        name: &'static str,
        about: &'static str,
        workers: usize,
        step: Step,
    ) -> Self {
        let prepare: Step = |_| Box::pin(async { Ok(()) });
        Self { name, about, workers, config: "", descriptors: None, prepare, step }
    }

    pub(crate) const fn prepared_by(self, prepare: Step) -> Self {
        Self { prepare, ..self }
    }

    pub(crate) const fn with_config(self, config: &'static str) -> Self {
        Self { config, ..self }
    }

    pub(crate) const fn with_descriptors(self, descriptors: u32) -> Self {
        Self { descriptors: Some(descriptors), ..self }
    }

    /// Runs it for a time. Then the connections of the workers end.
    pub(crate) async fn run(&self, target: &Target, time: Duration) {
        let mut workers = JoinSet::new();
        for _ in 0..self.workers {
            let (step, target) = (self.step, target.clone());
            workers.spawn(async move {
                loop {
                    if let Err(error) = step(target.clone()).await {
                        target.got(format!("failed: {}", error.root_cause()));
                        sleep(RETRY).await;
                    }
                }
            });
        }
        sleep(time).await;
        workers.shutdown().await;
    }
}

impl fmt::Debug for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Target {
    pub(crate) fn new(address: &str) -> Self {
        Self { client: Client::attacker(address), outcomes: Arc::default() }
    }

    /// Counts an outcome.
    pub(crate) fn got(&self, outcome: impl fmt::Display) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        *outcomes.entry(outcome.to_string()).or_default() += 1;
    }

    /// All outcomes, the most frequent first.
    pub(crate) fn outcomes(&self) -> Vec<(String, u64)> {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcomes: Vec<_> = outcomes.clone().into_iter().collect();
        outcomes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        outcomes.truncate(MAX_OUTCOMES);
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_and_the_most_frequent_come_first() {
        let target = Target::new("127.0.0.1:1");
        for status in [200, 503, 503] {
            target.got(status);
        }
        assert_eq!(target.outcomes(), [("503".to_owned(), 2), ("200".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn workers_repeat_a_step_that_fails_until_the_time_is_over() {
        let attack = Attack::new("a", "", 2, |target| {
            Box::pin(async move {
                target.got("step");
                anyhow::bail!("no")
            })
        });
        let target = Target::new("127.0.0.1:1");
        attack.run(&target, Duration::from_millis(10)).await;
        assert!(target.outcomes()[0].1 >= 2, "{:?}", target.outcomes());
    }
}
