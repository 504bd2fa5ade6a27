//! The budget that tokio gives a task before other tasks run: 128 units.

use std::task::{Context, Poll};

use tokio::task::coop::poll_proceed;

/// Spends units of the budget of the current task. When none is left, its next read is pending, and
/// other tasks run first.
pub(crate) fn spend(cx: &mut Context<'_>, units: usize) {
    for _ in 0..units {
        match poll_proceed(cx) {
            Poll::Ready(unit) => unit.made_progress(),
            Poll::Pending => return,
        }
    }
}
