//! Handles of TCP connections, with which other tasks read their state and abort them.

use std::net::{IpAddr, Shutdown};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::activity::Activity;
use super::address::network;

/// A handle with which other tasks abort a connection and read its state. It does not keep the
/// connection open.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionHandle {
    pub(super) stream: Weak<TcpStream>,
    pub(super) state: Arc<State>,
}

/// The state of a connection that other tasks can read.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) activity: Activity,
    /// The client of the last request, which may not be the peer.
    pub(super) client: Mutex<Option<IpAddr>>,
    /// Bytes that have arrived.
    pub(super) read: AtomicU64,
    /// Bytes that the server has passed to the kernel.
    pub(super) written: AtomicU64,
    /// Whether the kernel accepts no more data now.
    pub(super) is_blocked: AtomicBool,
    /// Wakes the body that waits until the kernel accepts more data.
    pub(super) body: AtomicWaker,
    pub(super) is_closed: AtomicBool,
    pub(super) closing: Notify,
}

impl ConnectionHandle {
    /// Ends the connection at once and discards all queued data.
    pub(crate) fn abort(&self) {
        if let Some(stream) = self.stream.upgrade() {
            // An error means that the connection has ended already.
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Both);
        }
    }

    /// Sends the text if the kernel accepts it now, and closes the sending side.
    pub(super) fn finish_with(&self, text: &str) {
        if let Some(stream) = self.stream.upgrade() {
            // Errors mean that the peer does not wait for the text.
            let _ = stream.try_write(text.as_bytes());
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Write);
        }
    }

    /// Returns what the connection waits for.
    pub(super) fn activity(&self) -> &Activity {
        &self.state.activity
    }

    /// Whether the server waits for more of a request or message, as far as HTTP knows.
    pub(super) fn awaits_client(&self) -> bool {
        self.state.activity.awaits_client()
    }

    /// Whether the connection does not use HTTP any more.
    pub(super) fn is_upgraded(&self) -> bool {
        self.state.activity.is_upgraded()
    }

    /// Sets the client of the current request.
    pub(super) fn set_client(&self, address: IpAddr) {
        *self.state.client.lock() = Some(address);
    }

    /// Returns the client of the last request, or else the address of the peer.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        let client = *self.state.client.lock();
        client.or_else(|| self.peer().map(network))
    }

    /// Returns how many bytes have arrived so far.
    pub(crate) fn bytes_received(&self) -> u64 {
        self.state.read.load(Ordering::Relaxed)
    }

    /// Returns how many bytes the server has passed to the kernel so far.
    pub(crate) fn written(&self) -> u64 {
        self.state.written.load(Ordering::Relaxed)
    }

    /// Is ready when the kernel accepts more data. Only one body at a time may poll it.
    pub(crate) fn poll_unblocked(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.state.body.register(cx.waker());
        match self.state.is_blocked.load(Ordering::SeqCst) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Whether the connection is open, as far as the server knows.
    pub(crate) fn is_open(&self) -> bool {
        !self.state.is_closed.load(Ordering::SeqCst)
    }

    /// Resolves when the server has dropped the connection.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let handle = self.clone();
        async move {
            let mut closing = pin!(handle.state.closing.notified());
            // From here on no notification is missed.
            closing.as_mut().enable();
            if handle.is_open() {
                closing.await;
            }
        }
    }

    /// Returns the address of the peer.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        Some(self.stream.upgrade()?.peer_addr().ok()?.ip())
    }

    /// Returns the handle of a connection that has ended.
    #[cfg(test)]
    pub(super) fn closed_for_test() -> Self {
        Self { stream: Weak::new(), state: Arc::default() }
    }
}
