//! The counts and measurements of a run, by the second.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::fault::Fault;

/// Counts the events of a run. Its clock begins when it is created.
pub(super) struct Meter {
    begin: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    online: i64,
    seconds: Vec<Second>,
    /// When a client made each write.
    made: BTreeMap<u64, Instant>,
    faults: Vec<(f64, Fault)>,
}

/// The counts of one second.
#[derive(Debug, Clone, Default)]
pub(super) struct Second {
    pub(super) online: i64,
    pub(super) writes: u64,
    pub(super) deliveries: u64,
    /// The milliseconds from a write to each delivery of it, for the deliveries of this second.
    pub(super) lags: Vec<u32>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { begin: Instant::now(), state: Mutex::default() }
    }
}

impl Meter {
    pub(super) fn elapsed(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    pub(super) fn online(&self, change: i64) {
        let mut state = self.lock();
        self.second(&mut state).online += change;
        state.online += change;
    }

    pub(super) fn written(&self, number: u64) {
        let mut state = self.lock();
        self.second(&mut state).writes += 1;
        state.made.insert(number, Instant::now());
    }

    pub(super) fn received(&self, number: u64) {
        let mut state = self.lock();
        let lag = state.made.get(&number).map(Instant::elapsed);
        let second = self.second(&mut state);
        second.deliveries += 1;
        second.lags.extend(lag.and_then(|lag| u32::try_from(lag.as_millis()).ok()));
    }

    pub(super) fn fault(&self, fault: Fault) {
        let time = self.elapsed();
        self.lock().faults.push((time, fault));
    }

    /// Returns the counts of each second.
    pub(super) fn seconds(&self) -> Vec<Second> {
        let mut state = self.lock();
        self.second(&mut state);
        state.seconds.clone()
    }

    /// Returns the faults and their times, in seconds.
    pub(super) fn faults(&self) -> Vec<(f64, Fault)> {
        self.lock().faults.clone()
    }

    /// Returns how many clients are online now.
    pub(super) fn online_now(&self) -> i64 {
        self.lock().online
    }

    /// Returns the counts of the current second.
    fn second<'s>(&self, state: &'s mut State) -> &'s mut Second {
        let now = self.begin.elapsed().as_secs() as usize;
        let online = state.online;
        let empty = Second { online, ..Second::default() };
        while state.seconds.len() <= now {
            state.seconds.push(empty.clone());
        }
        &mut state.seconds[now]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a percentile by the nearest-rank method, or 0 if there are no values. A `share` of 0.99
/// is the 99th percentile.
pub(super) fn percentile(values: &mut [u32], share: f64) -> u32 {
    values.sort_unstable();
    let at = (values.len() as f64 * share).ceil() as usize;
    at.checked_sub(1).and_then(|at| values.get(at)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_one_of_the_values() {
        assert_eq!(percentile(&mut [], 0.5), 0);
        assert_eq!(percentile(&mut [3, 1, 2], 0.5), 2);
        assert_eq!(percentile(&mut [3, 1, 2], 0.99), 3);
    }
}
