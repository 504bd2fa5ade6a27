//! The queue of the writer. Clients take [turns](RoundRobin).

use std::sync::Arc;

use backwire_records::write::Write;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::delivery::Answer;
use super::runtime::Moment;
use crate::round_robin::{Owner, RoundRobin};
use crate::{Error, KeyLookup, LedgerEntry};

/// A request to the writer.
pub(super) enum Request {
    Write(Box<Write>, Answer),
    Lookup(KeyLookup, oneshot::Sender<Result<Option<LedgerEntry>, Error>>),
}

/// A queued request, and when it was queued.
pub(super) struct Queued {
    pub(super) request: Request,
    pub(super) since: Moment,
}

/// The sender of requests. When it is dropped, the writer handles the queued requests and ends.
pub(super) struct Requests(Arc<Shared>);

/// The receiver of requests, which the writer has.
pub(super) struct Receiver(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    requests: RoundRobin<Queued>,
    /// No more requests come.
    is_closed: bool,
}

/// Returns the sender and the receiver of a queue.
pub(super) fn queue() -> (Requests, Receiver) {
    let shared = Arc::<Shared>::default();
    (Requests(Arc::clone(&shared)), Receiver(shared))
}

impl Requests {
    /// Puts a request in the queue of its client.
    pub(super) fn push(&self, request: Request) {
        let owner = match &request {
            Request::Write(write, _) => Owner::of_write(write),
            Request::Lookup(lookup, _) => Owner::of_lookup(lookup),
        };
        let queued = Queued { request, since: Moment::now() };
        self.0.state.lock().requests.push(owner, queued);
        self.0.arrived.notify_one();
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.0.state.lock().is_closed = true;
        self.0.arrived.notify_one();
    }
}

impl Receiver {
    /// Waits for the next request. Returns `None` if there will be none.
    pub(super) async fn wait(&self) -> Option<Queued> {
        loop {
            let is_closed = self.0.state.lock().is_closed;
            let next = self.next();
            if next.is_some() || is_closed {
                return next;
            }
            self.0.arrived.notified().await;
        }
    }

    /// Returns the next request, if there is one.
    pub(super) fn next(&self) -> Option<Queued> {
        self.0.state.lock().requests.pop()
    }
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}
