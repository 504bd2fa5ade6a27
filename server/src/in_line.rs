//! Deeds that stand in line together.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::future::maybe_done;
use tokio::task::coop::unconstrained;

/// Does all of them in their order, without waiting for one before the next is in line, and tells what
/// came of each.
pub(crate) async fn in_line<D: Future>(deeds: impl IntoIterator<Item = D>) -> Vec<D::Output> {
    let mut begun = Vec::new();
    for deed in deeds {
        let mut deed = Box::pin(maybe_done(unconstrained(deed)));
        // Asked once, it has its place in line.
        poll_fn(|cx| Poll::Ready(deed.as_mut().poll(cx).is_ready())).await;
        begun.push(deed);
    }
    let mut outcomes = Vec::with_capacity(begun.len());
    for mut deed in begun {
        deed.as_mut().await;
        outcomes.extend(deed.as_mut().take_output());
    }
    outcomes
}
