//! Runs futures concurrently and starts them in order.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::future::maybe_done;
use tokio::task::coop::unconstrained;

/// Polls each future once in order, without waiting for one to finish before the next is polled.
/// Then waits for all of them and returns their outputs in the same order.
pub(crate) async fn join_in_order<F: Future>(
    futures: impl IntoIterator<Item = F>,
) -> Vec<F::Output> {
    let mut started = Vec::new();
    for future in futures {
        let mut future = Box::pin(maybe_done(unconstrained(future)));
        // The first poll gives the future its place in the order.
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
        started.push(future);
    }
    let mut outputs = Vec::with_capacity(started.len());
    for mut future in started {
        future.as_mut().await;
        outputs.extend(future.as_mut().take_output());
    }
    outputs
}
