//! Which events of one connection are answered together.
//!
//! Events begin in the order of their arrival. Each begins when the event before it has passed on
//! its turn. A write passes on its turn as soon as it has its place in the queue of the engine, so
//! that writes in flight share a commit, and a push. Any other event keeps its turn until it is
//! answered. Before it does anything, it waits until all events before it have been answered: a
//! read sees exactly the writes that were sent before it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::SetOnce;

/// The turn of one event. The request of the event carries it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Set when all events before it have been answered.
    is_first: SetOnce<()>,
    /// Whether the next event may begin.
    has_passed: AtomicBool,
}

impl Turn {
    /// Lets the next event begin.
    pub(crate) fn pass(&self) {
        self.0.has_passed.store(true, Ordering::Release);
    }

    /// Whether all events before it have been answered.
    pub(crate) fn is_first(&self) -> bool {
        self.0.is_first.initialized()
    }

    /// Waits until all events before it have been answered. The next event does not begin
    /// meanwhile, so this event then runs alone.
    pub(crate) async fn wait_until_alone(&self) {
        self.0.is_first.wait().await;
    }

    fn has_passed(&self) -> bool {
        self.0.has_passed.load(Ordering::Acquire)
    }
}

/// Runs a request alone. This is for routes whose behaviour is not known.
pub(crate) async fn run_alone(request: Request, next: Next) -> Response {
    if let Some(turn) = request.extensions().get::<Turn>().cloned() {
        turn.wait_until_alone().await;
    }
    next.run(request).await
}

/// The turns of all events that have begun and have not been answered, in the order of their
/// arrival.
#[derive(Debug, Default)]
pub(super) struct Turns(VecDeque<Turn>);

impl Turns {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one more event may begin.
    ///
    /// Invariant: no event begins before the event ahead of it is answered or has its place in the
    /// queue of the engine, so writes are committed in the order of their arrival.
    pub(super) fn can_begin(&self) -> bool {
        self.0.back().is_none_or(Turn::has_passed)
    }

    /// Begins an event. Returns its turn.
    pub(super) fn begin(&mut self) -> Turn {
        let turn = Turn::default();
        self.0.push_back(turn.clone());
        self.notify_first();
        turn
    }

    /// Removes the turn of the first event, which has been answered.
    pub(super) fn end(&mut self) {
        self.0.pop_front();
        self.notify_first();
    }

    fn notify_first(&self) {
        if let Some(first) = self.0.front() {
            // An error means that it has been notified already.
            let _ = first.0.is_first.set(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_alone(turn: &Turn) -> bool {
        pin!(turn.wait_until_alone()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn event_begins_after_the_event_ahead_has_passed_on_its_turn() {
        let mut turns = Turns::default();
        assert!(turns.can_begin());
        let first = turns.begin();
        assert!(!turns.can_begin());
        first.pass();
        assert!(turns.can_begin());
        turns.begin();
        assert!(!turns.can_begin());
        turns.end();
        turns.end();
        assert!(turns.can_begin());
    }

    #[test]
    fn event_is_alone_when_all_events_before_it_have_been_answered() {
        let mut turns = Turns::default();
        let [first, second, third] = [(); 3].map(|()| turns.begin());
        assert_eq!([&first, &second, &third].map(is_alone), [true, false, false]);
        turns.end();
        assert_eq!([&second, &third].map(is_alone), [true, false]);
        turns.end();
        assert!(is_alone(&third) && is_alone(&third));
    }
}
