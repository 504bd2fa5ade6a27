//! How many bytes the client of a session has taken, over the connections that it had.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::http::connection_handle::ConnectionHandle;

/// The bytes that a client has taken.
#[derive(Debug, Default)]
pub(super) struct TakenBytes {
    /// Bytes that the client has taken by polling, without those of the last answer.
    polled: AtomicU64,
    last: Mutex<LastTransport>,
}

/// The TCP connections by which a session takes bytes.
#[derive(Debug, Default)]
struct LastTransport {
    poll: Option<Poll>,
    websocket: Option<ConnectionHandle>,
}

/// An answer to a poll. The client has taken it when so many bytes have been written.
#[derive(Debug)]
struct Poll {
    handle: ConnectionHandle,
    written: u64,
    size: u64,
}

impl TakenBytes {
    /// Records an answer to a poll of `size` bytes on this TCP connection.
    pub(super) fn record_poll(&self, handle: ConnectionHandle, size: u64) {
        let mut last = self.last.lock();
        // Bytes that the TCP connection has not taken by now count as not taken: an honest client
        // has read them.
        self.polled.fetch_add(last.taken_by_last_poll(), Ordering::Relaxed);
        let written = handle.written() + size;
        last.poll = Some(Poll { handle, written, size });
    }

    /// Sets the TCP connection on which the session becomes a WebSocket, or `None` if it may not.
    pub(super) fn set_websocket(&self, handle: Option<ConnectionHandle>) {
        self.last.lock().websocket = handle;
    }

    pub(super) fn websocket(&self) -> Option<ConnectionHandle> {
        self.last.lock().websocket.clone()
    }

    /// Counts bytes as taken by the client.
    #[cfg(test)]
    pub(super) fn add(&self, bytes: u64) {
        self.polled.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns how many bytes the client has taken.
    pub(super) fn count(&self) -> u64 {
        let last = self.last.lock();
        let over_websocket = last.websocket.as_ref().map_or(0, ConnectionHandle::written);
        self.polled.load(Ordering::Relaxed) + last.taken_by_last_poll() + over_websocket
    }
}

impl LastTransport {
    fn taken_by_last_poll(&self) -> u64 {
        self.poll.as_ref().filter(|poll| poll.is_taken()).map_or(0, |poll| poll.size)
    }
}

impl Poll {
    fn is_taken(&self) -> bool {
        self.handle.written() >= self.written || !self.handle.is_open()
    }
}
