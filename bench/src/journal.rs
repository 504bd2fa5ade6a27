//! The events that each client has received, with their times.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The changes that clients have received. Times are milliseconds since 1970, because some clients
/// are in another process.
pub(crate) struct Journal {
    clients: Vec<Mutex<Entries>>,
}

#[derive(Default)]
struct Entries {
    /// The number of each change, and when it arrived.
    arrivals: Vec<(usize, f64)>,
    /// How often the client has read everything again, because changes were missed.
    read_again: usize,
    /// The changes of each answer to a resume.
    resumed: Vec<usize>,
}

/// The totals of all clients.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) expected: usize,
    /// Counted once.
    pub(crate) delivered: usize,
    /// Changes that arrived again.
    pub(crate) twice: usize,
    /// Changes that arrived after a later one.
    pub(crate) out_of_order: usize,
    pub(crate) read_again: usize,
    /// From the request of the writer to the arrival.
    pub(crate) lags: Lags,
    /// Of the changes that a client has missed: from the time at which it was connected again.
    pub(crate) lags_from_return: Lags,
}

/// Milliseconds, in order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Lags(Vec<f64>);

impl Journal {
    pub(crate) fn new(clients: usize) -> Arc<Self> {
        Arc::new(Self { clients: (0..clients).map(|_| Mutex::default()).collect() })
    }

    /// Records the arrival of a change.
    pub(crate) fn received(&self, client: usize, number: usize, time: f64) {
        self.lock(client).arrivals.push((number, time));
    }

    /// Records that a client has missed changes, and reads everything again.
    pub(crate) fn read_again(&self, client: usize) {
        self.lock(client).read_again += 1;
    }

    /// Records a resume that was answered with this many changes.
    pub(crate) fn resumed(&self, client: usize, changes: usize) {
        self.lock(client).resumed.push(changes);
    }

    /// Returns how many resumes were answered, and with how many changes.
    pub(crate) fn resumes(&self) -> (usize, usize) {
        let of = |client| self.lock(client).resumed.clone();
        let all: Vec<_> = (0..self.clients.len()).flat_map(of).collect();
        (all.len(), all.iter().sum())
    }

    /// Returns how many changes have arrived.
    pub(crate) fn arrived(&self) -> usize {
        (0..self.clients.len()).map(|client| self.lock(client).arrivals.len()).sum()
    }

    /// Whether each client has this many different changes.
    pub(crate) fn is_complete(&self, changes: usize) -> bool {
        (0..self.clients.len()).all(|client| self.lock(client).distinct() == changes)
    }

    /// Returns what has arrived, of changes that were sent at these times, at clients that were
    /// connected at these.
    pub(crate) fn outcome(&self, sent: &[f64], returns: &[Vec<f64>]) -> Outcome {
        let mut outcome = Outcome { expected: sent.len() * returns.len(), ..Outcome::default() };
        for (client, returns) in returns.iter().enumerate() {
            self.lock(client).add_to(&mut outcome, sent, returns);
        }
        outcome.lags.0.sort_by(f64::total_cmp);
        outcome.lags_from_return.0.sort_by(f64::total_cmp);
        outcome
    }

    /// Returns when the last change arrived, of each client that has this many different changes.
    pub(crate) fn last_arrivals(&self, changes: usize) -> Vec<f64> {
        let last = |client| {
            let entries = self.lock(client);
            let times = entries.arrivals.iter().map(|(_, time)| *time);
            (entries.distinct() == changes).then(|| times.fold(0.0, f64::max))
        };
        (0..self.clients.len()).filter_map(last).collect()
    }

    fn lock(&self, client: usize) -> MutexGuard<'_, Entries> {
        self.clients[client].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn distinct(&self) -> usize {
        self.arrivals.iter().map(|(number, _)| number).collect::<BTreeSet<_>>().len()
    }

    fn add_to(&self, outcome: &mut Outcome, sent: &[f64], returns: &[f64]) {
        outcome.read_again += self.read_again;
        let (mut seen, mut last) = (BTreeSet::new(), None);
        for &(number, time) in &self.arrivals {
            if !seen.insert(number) {
                outcome.twice += 1;
                continue;
            }
            outcome.out_of_order += usize::from(Some(number) < last);
            last = last.max(Some(number));
            outcome.lags.0.push(time - sent[number]);
            let is_between = |it: &&f64| (sent[number]..time).contains(*it);
            if let Some(back) = returns.iter().rev().find(is_between) {
                outcome.lags_from_return.0.push(time - back);
            }
        }
        outcome.delivered += seen.len();
    }
}

impl Outcome {
    /// Whether everything has arrived once and in order.
    pub(crate) fn is_complete(&self) -> bool {
        self.delivered == self.expected && self.twice == 0 && self.out_of_order == 0
    }
}

impl Lags {
    pub(crate) fn new(mut lags: Vec<f64>) -> Self {
        lags.sort_by(f64::total_cmp);
        Self(lags)
    }

    /// Returns the value that this share of the lags is at most.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let at = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn shown(&self) -> String {
        if self.0.is_empty() {
            return "–".to_owned();
        }
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| self.at(share));
        format!("{p50:.0}, {p95:.0}, {p99:.0} ms")
    }
}

/// The time in milliseconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_repeated_and_late_changes_are_counted() {
        let journal = Journal::new(2);
        for (number, time) in [(0, 1.0), (2, 9.0), (1, 9.0), (2, 9.5)] {
            journal.received(0, number, time);
        }
        journal.read_again(1);
        let outcome = journal.outcome(&[0.0, 2.0, 3.0], &[vec![-1.0, 8.0], vec![-1.0]]);
        let expected = Outcome {
            expected: 6,
            delivered: 3,
            twice: 1,
            out_of_order: 1,
            read_again: 1,
            lags: Lags(vec![1.0, 6.0, 7.0]),
            lags_from_return: Lags(vec![1.0, 1.0]),
        };
        assert_eq!(outcome, expected);
        assert!(!outcome.is_complete() && !journal.is_complete(3));
    }

    #[test]
    fn everything_once_and_in_order_is_complete() {
        let journal = Journal::new(1);
        journal.received(0, 0, 1.0);
        journal.received(0, 1, 2.0);
        assert!(journal.is_complete(2));
        assert!(journal.outcome(&[0.5, 1.5], &[vec![0.0]]).is_complete());
    }
}
