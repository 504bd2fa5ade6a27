//! Which events of one connection are answered together.
//!
//! Events begin in the order of their arrival. Each begins when the event before it has passed on
//! its turn. A write passes on its turn as soon as it has its place in the queue of the engine, so
//! that writes in flight share a commit, and a push. Any other event keeps its turn until it is
//! answered. Before it does anything, it waits until all events before it have been answered: a
//! read sees exactly the writes that were sent before it.
//!
//! A route of the user that only reads, or is declared concurrent, may take long. It begins as any
//! other event, and then leaves the order: no event waits for it, and its answer is sent when it is
//! there.

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
    /// Whether the event has left the order.
    has_left: AtomicBool,
    /// Whether it began while events that have left the order were being answered.
    is_beside_others: bool,
}

impl Turn {
    /// Lets the next event begin.
    pub(crate) fn pass(&self) {
        self.0.has_passed.store(true, Ordering::Release);
    }

    /// Whether no event before it is being answered.
    pub(crate) fn is_only(&self) -> bool {
        self.0.is_first.initialized() && !self.0.is_beside_others
    }

    /// Waits until all events before it have been answered. The next event does not begin
    /// meanwhile, so this event then runs alone.
    pub(crate) async fn wait_until_alone(&self) {
        self.0.is_first.wait().await;
    }

    fn has_passed(&self) -> bool {
        self.0.has_passed.load(Ordering::Acquire)
    }

    /// Waits until all events before it have been answered, and leaves the order: later events do
    /// not wait for this one.
    async fn leave_order(&self) {
        self.wait_until_alone().await;
        self.0.has_left.store(true, Ordering::Release);
    }

    pub(super) fn has_left(&self) -> bool {
        self.0.has_left.load(Ordering::Acquire)
    }
}

/// Runs a request alone. This is for routes whose behaviour is not known.
pub(crate) async fn run_alone(request: Request, next: Next) -> Response {
    if let Some(turn) = request.extensions().get::<Turn>() {
        turn.clone().wait_until_alone().await;
    }
    next.run(request).await
}

/// Runs a request beside later ones.
pub(crate) async fn run_concurrently(request: Request, next: Next) -> Response {
    if let Some(turn) = request.extensions().get::<Turn>() {
        turn.clone().leave_order().await;
    }
    next.run(request).await
}

/// Runs a read beside later requests, and any other request alone.
pub(crate) async fn run_reads_concurrently(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        run_concurrently(request, next).await
    } else {
        run_alone(request, next).await
    }
}

/// The turns of all events that have begun, and have neither been answered nor left the order, in
/// the order of their arrival.
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

    /// Begins an event. Returns its turn. `is_beside_others` means that events that have left the
    /// order are being answered.
    pub(super) fn begin(&mut self, is_beside_others: bool) -> Turn {
        let turn = Turn(Arc::new(State { is_beside_others, ..State::default() }));
        self.0.push_back(turn.clone());
        self.notify_first();
        turn
    }

    /// Removes the turn of the first event, which has been answered or has left the order.
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
        let first = turns.begin(false);
        assert!(!turns.can_begin());
        first.pass();
        assert!(turns.can_begin());
        turns.begin(false);
        assert!(!turns.can_begin());
        turns.end();
        turns.end();
        assert!(turns.can_begin());
    }

    #[test]
    fn event_is_alone_when_all_events_before_it_have_been_answered() {
        let mut turns = Turns::default();
        let [first, second, third] = [(); 3].map(|()| turns.begin(false));
        assert_eq!([&first, &second, &third].map(is_alone), [true, false, false]);
        turns.end();
        assert_eq!([&second, &third].map(is_alone), [true, false]);
        turns.end();
        assert!(is_alone(&third) && is_alone(&third));
    }
}
