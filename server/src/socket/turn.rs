//! Which events of one connection are answered together.
//!
//! Events begin in the order of their arrival, each when the one before it has passed its turn on. A
//! write does that as soon as it has its place in the engine's line, so that those in flight share a
//! commit, and a push. Everything else keeps its turn until it is answered, and waits before it does
//! anything until all before it have been: a read sees exactly the writes that were sent before it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::SetOnce;

/// One event's turn. Its request carries it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Those before it have been answered.
    is_first: SetOnce<()>,
    /// The one behind it may begin.
    has_passed: AtomicBool,
}

impl Turn {
    /// Lets the next one begin.
    pub(crate) fn pass(&self) {
        self.0.has_passed.store(true, Ordering::Release);
    }

    /// Waits until all before it have been answered. The one behind it does not begin meanwhile, so
    /// then it is alone.
    pub(crate) async fn alone(&self) {
        self.0.is_first.wait().await;
    }

    fn has_passed(&self) -> bool {
        self.0.has_passed.load(Ordering::Acquire)
    }
}

/// Has a request that nothing is known of wait until it is alone.
pub(crate) async fn alone(request: Request, next: Next) -> Response {
    if let Some(turn) = request.extensions().get::<Turn>().cloned() {
        turn.alone().await;
    }
    next.run(request).await
}

/// The turns of all that have begun and have not been answered, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Turns(VecDeque<Turn>);

impl Turns {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one more may begin.
    ///
    /// Invariant: none begins before the one ahead of it is answered or has its place in the engine's
    /// line, so writes are committed in the order of their arrival.
    pub(super) fn are_open(&self) -> bool {
        self.0.back().is_none_or(Turn::has_passed)
    }

    /// The turn of the one that begins now.
    pub(super) fn begin(&mut self) -> Turn {
        let turn = Turn::default();
        self.0.push_back(turn.clone());
        self.tell_first();
        turn
    }

    /// The first has been answered.
    pub(super) fn end(&mut self) {
        self.0.pop_front();
        self.tell_first();
    }

    fn tell_first(&self) {
        if let Some(first) = self.0.front() {
            // An error means that it knows.
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
        pin!(turn.alone()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn nobody_begins_before_the_one_ahead_has_passed_its_turn_on() {
        let mut turns = Turns::default();
        assert!(turns.are_open());
        let first = turns.begin();
        assert!(!turns.are_open());
        first.pass();
        assert!(turns.are_open());
        turns.begin();
        assert!(!turns.are_open());
        turns.end();
        turns.end();
        assert!(turns.are_open());
    }

    #[test]
    fn one_is_alone_when_all_before_it_have_been_answered() {
        let mut turns = Turns::default();
        let [first, second, third] = [(); 3].map(|()| turns.begin());
        assert_eq!([&first, &second, &third].map(is_alone), [true, false, false]);
        turns.end();
        assert_eq!([&second, &third].map(is_alone), [true, false]);
        turns.end();
        assert!(is_alone(&third) && is_alone(&third));
    }
}
