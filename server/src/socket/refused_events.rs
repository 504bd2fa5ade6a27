//! Events of one connection that have to be refused, because a limit was reached when they arrived.

use std::collections::VecDeque;

use crate::settings::Limit;

/// The maximum number of runs. Clients number their events one by one, so a burst of any size is
/// one run. Other numbers make more runs.
const MAX_RUNS: usize = 512;

/// The events to refuse, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct RefusedEvents {
    runs: VecDeque<Run>,
    /// The number of events without an ack, which get no answer, and the limit that refuses them.
    without_ack: Option<(u64, Limit)>,
}

/// Events with consecutive acks that were refused because of the same limit.
#[derive(Debug)]
struct Run {
    next: i64,
    count: u64,
    limit: Limit,
}

impl RefusedEvents {
    /// Adds an event. Returns `false` if there are too many.
    pub(super) fn add(&mut self, ack: Option<i64>, limit: Limit) -> bool {
        let Some(ack) = ack else {
            let (count, _) = self.without_ack.unwrap_or((0, limit));
            self.without_ack = Some((count + 1, limit));
            return true;
        };
        if let Some(run) = self.runs.back_mut().filter(|run| run.is_followed_by(ack, limit)) {
            run.count += 1;
            return true;
        }
        let has_room = self.runs.len() < MAX_RUNS;
        if has_room {
            self.runs.push_back(Run { next: ack, count: 1, limit });
        }
        has_room
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.without_ack.is_none()
    }

    /// Takes out the number of events without an ack, and the limit that refuses them.
    pub(super) fn take_without_ack(&mut self) -> Option<(u64, Limit)> {
        self.without_ack.take()
    }
}

/// Takes out the events with acks.
impl Iterator for RefusedEvents {
    type Item = (i64, Limit);

    fn next(&mut self) -> Option<Self::Item> {
        let run = self.runs.front_mut()?;
        let refused = (run.next, run.limit);
        run.next = run.next.wrapping_add(1);
        run.count -= 1;
        if run.count == 0 {
            self.runs.pop_front();
        }
        Some(refused)
    }
}

impl Run {
    fn is_followed_by(&self, ack: i64, limit: Limit) -> bool {
        let end = i64::try_from(self.count).ok().and_then(|count| self.next.checked_add(count));
        limit == self.limit && end == Some(ack)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn refused_events_keep_their_order() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let (mut events, mut expected, mut ack) = (RefusedEvents::default(), Vec::new(), 0_i64);
        for _ in 0..400 {
            ack = if random.random_bool(0.9) { ack + 1 } else { random.random() };
            let limit = match random.random_bool(0.9) {
                true => Limit::RequestsInFlight,
                false => Limit::RequestBytes,
            };
            assert!(events.add(Some(ack), limit));
            expected.push((ack, limit));
        }
        assert!(events.add(None, Limit::RequestBytes));
        assert_eq!(events.take_without_ack(), Some((1, Limit::RequestBytes)));
        assert_eq!(events.by_ref().collect::<Vec<_>>(), expected);
        assert!(events.is_empty());
    }

    #[test]
    fn burst_is_one_run_and_other_runs_are_bounded() {
        let mut burst = RefusedEvents::default();
        assert!((0..1_000_000).all(|ack| burst.add(Some(ack), Limit::RequestsInFlight)));
        assert_eq!(burst.runs.len(), 1);
        let mut odd = RefusedEvents::default();
        let accepted = (0..1_000_000).take_while(|_| odd.add(Some(1), Limit::RequestsInFlight));
        assert_eq!(accepted.count(), MAX_RUNS);
    }
}
