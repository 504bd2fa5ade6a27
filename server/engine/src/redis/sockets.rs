//! The sockets of devices at this node. Redis counts them, too, so that all nodes know which
//! devices are connected.
//!
//! If the outcome of a step is unknown, because Redis did not answer in time or the caller has gone
//! away, the number in Redis may be wrong. It is corrected as soon as Redis answers again.
//!
//! Invariant: a step that was given up has no effect after its correction. Each correction has a
//! number, each step has the number of the last correction before it, and Redis ignores steps that
//! it receives after a later correction. So a step is queued under the lock that its number was
//! read under.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backwire_environment::HashMap;
use parking_lot::Mutex;
use redis::Value;

use super::runtime;
use super::script::Call;
use super::steps::Steps;
use crate::{Device, Error};

/// The time between two attempts to correct numbers.
const RETRY: Duration = Duration::from_millis(500);

/// A change of the number of sockets of a device at this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is one more.
    Connect,
    /// There is one less.
    Disconnect,
    /// The number is set to the current one, which is one at least.
    Restore,
}

/// Makes the call that corrects the number of sockets of a device. It gets the number of the
/// correction, and the sockets.
type Correct = Arc<dyn Fn(u64, u64) -> Call + Send + Sync>;

/// The sockets of all devices at this node. Clones are the same.
#[derive(Clone)]
pub(super) struct Sockets(Arc<Inner>);

impl fmt::Debug for Sockets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sockets").finish_non_exhaustive()
    }
}

struct Inner {
    steps: Arc<Steps>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: HashMap<Device, u64>,
    /// The number of the last correction.
    correction: u64,
    /// The devices whose numbers in Redis may be wrong.
    uncertain: BTreeMap<Device, Correct>,
    /// Whether a task corrects them.
    is_correcting: bool,
}

/// A step whose outcome is not known yet.
struct Pending {
    sockets: Sockets,
    device: Device,
    step: Step,
    correct: Option<Correct>,
}

impl Sockets {
    pub(super) fn new(steps: Arc<Steps>) -> Self {
        Self(Arc::new(Inner { steps, state: Mutex::default() }))
    }

    /// Forgets everything: Redis takes all devices at this node for disconnected.
    pub(super) fn clear(&self) {
        let mut state = self.0.state.lock();
        state.counts.clear();
        state.correction = 0;
    }

    /// Runs a step: a call, which gets the number of the last correction and the sockets after the
    /// step. It is queued when the future is polled first. If there is no reply, or only `Nil`, the
    /// device has no socket more.
    pub(super) async fn run(
        &self,
        (device, step): (Device, Step),
        call: Call,
        correct: impl Fn(u64, u64) -> Call + Send + Sync + 'static,
    ) -> Result<Value, Error> {
        let (mut pending, running) = {
            let mut state = self.0.state.lock();
            let sockets = state.count(&device, step);
            let call = call.with(state.correction).with(sockets);
            let (sockets, correct) = (self.clone(), Some(Arc::new(correct) as Correct));
            (Pending { sockets, device, step, correct }, self.0.steps.queue(None, call))
        };
        let outcome = running.await;
        match &outcome {
            // There is no room for the device.
            Ok(Value::Nil) if step == Step::Connect => pending.undo(),
            Ok(_) => {}
            // `pending` corrects the number.
            Err(_) => return outcome,
        }
        pending.correct = None;
        outcome
    }
}

/// Corrects the numbers of uncertain devices until all are known, or the engine is gone.
async fn correct_all(sockets: Weak<Inner>) {
    while let Some(inner) = sockets.upgrade() {
        let Some(corrections) = inner.next_corrections() else { return };
        let mut has_failed = false;
        for (device, correct) in corrections {
            let running = {
                let mut state = inner.state.lock();
                state.correction += 1;
                let sockets = state.counts.get(&device).copied().unwrap_or_default();
                inner.steps.queue(None, correct(state.correction, sockets))
            };
            if running.await.is_err() {
                has_failed = true;
                inner.state.lock().uncertain.entry(device).or_insert(correct);
            }
        }
        drop(inner);
        if has_failed {
            runtime::pause(RETRY).await;
        }
    }
}

impl Inner {
    fn next_corrections(&self) -> Option<BTreeMap<Device, Correct>> {
        let mut state = self.state.lock();
        state.is_correcting = !state.uncertain.is_empty();
        state.is_correcting.then(|| std::mem::take(&mut state.uncertain))
    }
}

impl State {
    /// Counts a step, and returns the sockets of the device after it.
    fn count(&mut self, device: &Device, step: Step) -> u64 {
        let count = self.counts.entry(device.clone()).or_default();
        *count = match step {
            Step::Connect => *count + 1,
            Step::Disconnect => count.saturating_sub(1),
            Step::Restore => (*count).max(1),
        };
        let count = *count;
        if count == 0 {
            self.counts.remove(device);
        }
        count
    }
}

impl Pending {
    /// Takes a connect back.
    fn undo(&self) {
        self.sockets.0.state.lock().count(&self.device, Step::Disconnect);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(correct) = self.correct.take() else { return };
        if self.step == Step::Connect {
            self.undo();
        }
        let mut state = self.sockets.0.state.lock();
        state.uncertain.insert(self.device.clone(), correct);
        if !std::mem::replace(&mut state.is_correcting, true) {
            drop(state);
            runtime::try_spawn(correct_all(Arc::downgrade(&self.sockets.0)));
        }
    }
}
