//! The input of one session that is not answered yet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::memory_budget::Claim;

/// The memory of the messages and events of one session.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// The claim of a message that has arrived and has not become an event yet.
    message_claim: Mutex<Option<Claim>>,
    /// Bytes of the events that wait to be answered and have no claim.
    unclaimed: AtomicUsize,
    /// The reader of its WebSocket, which waits until fewer bytes are unclaimed.
    reader: AtomicWaker,
}

impl Input {
    /// Stores the claim of a message that has arrived.
    pub(super) fn set_claim(&self, claim: Claim) {
        *self.message_claim.lock() = Some(claim);
    }

    /// Takes the claim of the message that arrived last.
    pub(super) fn take_claim(&self) -> Option<Claim> {
        self.message_claim.lock().take()
    }

    /// Bytes of the events that wait to be answered and have no claim.
    pub(super) fn unclaimed(&self) -> usize {
        self.unclaimed.load(Ordering::SeqCst)
    }

    /// Counts bytes of an event that waits for its answer and has no claim for them.
    pub(super) fn add_unclaimed(&self, bytes: usize) {
        self.unclaimed.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Removes the bytes of an event that has been answered.
    pub(super) fn remove_unclaimed(&self, bytes: usize) {
        if bytes > 0 {
            self.unclaimed.fetch_sub(bytes, Ordering::SeqCst);
            self.reader.wake();
        }
    }

    /// Registers the reader of the WebSocket to be woken when events have been answered.
    pub(super) fn wake_when_answered(&self, reader: &Waker) {
        self.reader.register(reader);
    }
}
