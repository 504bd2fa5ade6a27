//! Handles of connections, with which other tasks read their state and abort them.
//!
//! A handle is of a TCP connection that this server has accepted, or of a request that another
//! server has accepted (see [`embedded`](super::embedded)). The TCP connection of such a request is
//! not known, so aborting it ends the body of the request, or the WebSocket that it has become.

use std::net::{IpAddr, Shutdown, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
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
    source: Source,
    pub(super) state: Arc<State>,
}

/// The server that has accepted a connection.
#[derive(Debug, Clone)]
enum Source {
    /// This server.
    Tcp(Weak<TcpStream>),
    /// Another server, which has passed one request on.
    Embedded(Arc<EmbeddedRequest>),
}

/// A request that another server has accepted.
#[derive(Debug, Default)]
struct EmbeddedRequest {
    peer: Option<IpAddr>,
    is_aborted: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

/// A direction of an embedded request. Each may have one task.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    Read,
    Write,
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
    /// The port of a listener that only its own machine can reach, or 0.
    pub(super) loopback_port: AtomicU16,
}

impl ConnectionHandle {
    /// Returns the handle of a TCP connection that this server has accepted.
    pub(super) fn of_tcp(stream: Weak<TcpStream>, state: Arc<State>) -> Self {
        Self { source: Source::Tcp(stream), state }
    }

    /// Returns the handle of a request that another server has accepted.
    pub(super) fn embedded(peer: Option<IpAddr>) -> Self {
        let request = EmbeddedRequest { peer, ..EmbeddedRequest::default() };
        Self { source: Source::Embedded(Arc::new(request)), state: Arc::default() }
    }

    /// Whether another server has accepted the connection.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.source, Source::Embedded(_))
    }

    fn stream(&self) -> Option<Arc<TcpStream>> {
        match &self.source {
            Source::Tcp(stream) => stream.upgrade(),
            Source::Embedded(_) => None,
        }
    }

    /// Ends the connection at once and discards all queued data.
    pub(crate) fn abort(&self) {
        if let Some(stream) = self.stream() {
            // An error means that the connection has ended already.
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Both);
        }
        if let Source::Embedded(request) = &self.source {
            request.is_aborted.store(true, Ordering::SeqCst);
            request.reader.wake();
            request.writer.wake();
        }
    }

    /// Is ready when an embedded request has been aborted.
    pub(super) fn poll_aborted(&self, direction: Direction, cx: &mut Context<'_>) -> Poll<()> {
        let Source::Embedded(request) = &self.source else { return Poll::Pending };
        match direction {
            Direction::Read => request.reader.register(cx.waker()),
            Direction::Write => request.writer.register(cx.waker()),
        }
        match request.is_aborted.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Whether an embedded request has been aborted.
    pub(super) fn is_aborted(&self) -> bool {
        match &self.source {
            Source::Tcp(_) => false,
            Source::Embedded(request) => request.is_aborted.load(Ordering::SeqCst),
        }
    }

    /// Counts bytes that an embedded request has received. A TCP connection counts them itself.
    pub(super) fn add_embedded_received(&self, bytes: usize) {
        if self.is_embedded() {
            self.state.read.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Counts bytes of an embedded request that the other server has taken to send them.
    pub(super) fn add_embedded_written(&self, bytes: usize) {
        if self.is_embedded() {
            self.state.written.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Reports that the connection has ended.
    pub(super) fn mark_closed(&self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
        self.state.closing.notify_waiters();
    }

    /// Sends the text if the kernel accepts it now, and closes the sending side.
    pub(super) fn finish_with(&self, text: &str) {
        if let Some(stream) = self.stream() {
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

    /// Returns the address of the peer. It is not known after the end of a TCP connection, and
    /// another server may not tell it.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        match &self.source {
            Source::Tcp(stream) => Some(stream.upgrade()?.peer_addr().ok()?.ip()),
            Source::Embedded(request) => request.peer,
        }
    }

    /// Sets the address that the server accepts the connection on.
    pub(super) fn set_listener(&self, addr: SocketAddr) {
        if addr.ip().is_loopback() {
            self.state.loopback_port.store(addr.port(), Ordering::Relaxed);
        }
    }

    /// Returns the port of the listener, if it is known that only its own machine can reach it.
    pub(super) fn loopback_port(&self) -> Option<u16> {
        Some(self.state.loopback_port.load(Ordering::Relaxed)).filter(|port| *port != 0)
    }

    /// Returns the handle of a connection that has ended.
    #[cfg(test)]
    pub(super) fn closed_for_test() -> Self {
        Self::of_tcp(Weak::new(), Arc::default())
    }
}
