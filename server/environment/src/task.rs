//! The handle of a task.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, abortable};
use tokio::sync::oneshot;

/// A task that runs in the background. As a future, this resolves when the task has ended, also
/// after a panic. If it is dropped, the task goes on.
#[derive(Debug)]
pub struct Task {
    abort: AbortHandle,
    ended: oneshot::Receiver<()>,
}

impl Task {
    /// Ends the task at its next `await`.
    pub fn abort(&self) {
        self.abort.abort();
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // An error is the normal end: the task has dropped the sender.
        self.ended.poll_unpin(cx).map(drop)
    }
}

/// Returns a future to run, and its handle.
pub(super) fn with_handle<F>(future: F) -> (impl Future<Output = ()> + Send + 'static, Task)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, ended) = oneshot::channel::<()>();
    let (future, abort) = abortable(future);
    let run = async move {
        // Dropped when this ends, and when it panics or its executor drops it.
        let _sender = sender;
        // An error means that it was aborted.
        let _ = future.await;
    };
    (run, Task { abort, ended })
}
