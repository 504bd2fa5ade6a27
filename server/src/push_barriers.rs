//! Barriers: a request waits until the fan-out has sent what was committed before.
//!
//! Invariant: the tail has a change before its writer hears that it is committed. So the changes
//! that are in the tail when a barrier arrives, and those before them, are all that the request has
//! made.

use std::collections::VecDeque;
use std::future::pending;

use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

type Barrier = oneshot::Sender<()>;

/// The barriers of a server.
pub(crate) struct PushBarriers {
    sender: UnboundedSender<Barrier>,
    /// Taken by the fan-out.
    receiver: Mutex<Option<UnboundedReceiver<Barrier>>>,
}

impl Default for PushBarriers {
    fn default() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl PushBarriers {
    /// Waits until the fan-out has sent all changes that were committed before the call. Returns at
    /// once if there is no fan-out any more.
    pub(crate) async fn pass(&self) {
        let (barrier, passed) = oneshot::channel();
        // An error means that there is no fan-out.
        let _ = self.sender.send(barrier);
        let _ = passed.await;
    }

    /// Returns the barriers for the fan-out, which takes them once.
    pub(crate) fn take(&self) -> WaitingBarriers {
        WaitingBarriers { receiver: self.receiver.lock().take(), waiting: VecDeque::new(), sent: 0 }
    }
}

/// The barriers at the fan-out.
pub(crate) struct WaitingBarriers {
    receiver: Option<UnboundedReceiver<Barrier>>,
    /// Each with the number of changes that are sent before it is passed, in this order.
    waiting: VecDeque<(u64, Barrier)>,
    /// The number of changes that were sent.
    sent: u64,
}

impl WaitingBarriers {
    /// Returns the next barrier.
    pub(crate) async fn next(&mut self) -> Barrier {
        let next = match &mut self.receiver {
            Some(receiver) => receiver.recv().await,
            None => None,
        };
        match next {
            Some(barrier) => barrier,
            None => pending().await,
        }
    }

    /// Adds a barrier, which is passed when as many more changes are sent as are queued.
    pub(crate) fn add(&mut self, barrier: Barrier, queued: usize) {
        self.waiting.push_back((self.sent + queued as u64, barrier));
        self.sent(0);
    }

    /// Counts changes that were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.sent += count as u64;
        while let Some((_, barrier)) = self.waiting.pop_front_if(|(after, _)| *after <= self.sent) {
            // The request may not wait any more.
            let _ = barrier.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn barrier_is_passed_when_the_changes_before_it_are_sent() {
        let mut barriers = PushBarriers::default().take();
        let mut add = |queued| {
            let (barrier, passed) = oneshot::channel();
            barriers.add(barrier, queued);
            passed
        };
        let mut passed = [add(0), add(2), add(3)];
        let mut count = || {
            let passed = passed.iter_mut().filter_map(|it| it.try_recv().ok());
            passed.count()
        };
        assert_eq!(count(), 1);
        barriers.sent(1);
        assert_eq!(count(), 0);
        barriers.sent(1);
        assert_eq!(count(), 1);
        barriers.sent(7);
        assert_eq!(count(), 1);
    }

    #[tokio::test]
    async fn barrier_is_passed_at_once_without_a_fan_out() {
        let barriers = PushBarriers::default();
        drop(barriers.take());
        barriers.pass().await;
    }
}
