//! A TCP proxy whose connections can be cut, frozen, delayed and truncated.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// The maximum number of bytes that are forwarded at a time.
const CHUNK: usize = 16 << 10;

/// No byte limit.
const UNLIMITED: u64 = u64::MAX;

/// The proxy. Its connections end when it is dropped.
pub(super) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::AbortHandle,
}

struct Shared {
    /// The server, as host and port. It changes when the server is started again.
    target: Mutex<String>,
    /// The connections, by their number.
    links: Mutex<BTreeMap<u64, Arc<Link>>>,
    next_number: AtomicU64,
}

/// A connection through the proxy.
pub(super) struct Link {
    is_cut: watch::Sender<bool>,
    is_frozen: watch::Sender<bool>,
    /// The latency of each chunk, in milliseconds.
    delay: AtomicU64,
    /// How many more bytes are forwarded to the client. Then the connection is cut.
    bytes_left: AtomicU64,
    is_over: AtomicBool,
}

impl Proxy {
    /// Listens on a free port, and forwards connections to a target, which is host and port.
    pub(super) async fn to(target: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (target, links) = (Mutex::new(target), Mutex::default());
        let shared = Arc::new(Shared { target, links, next_number: AtomicU64::new(0) });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the server behind the proxy, as host and port.
    pub(super) fn target(&self) -> String {
        self.shared.target.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_target(&self, target: String) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Returns the open connections, in the order in which they were opened.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        let mut links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, link| !link.is_over.load(Ordering::Relaxed));
        links.values().cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.links().iter().for_each(|link| link.cut());
    }
}

impl Link {
    /// Ends the connection on both sides.
    pub(super) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Stops or resumes forwarding. The connection stays open on both sides.
    pub(super) fn freeze(&self, is_frozen: bool) {
        self.is_frozen.send_replace(is_frozen);
    }

    /// Delays each further chunk, in both directions.
    pub(super) fn set_delay(&self, milliseconds: u64) {
        self.delay.store(milliseconds, Ordering::Relaxed);
    }

    /// Cuts the connection after this many more bytes to the client.
    pub(super) fn truncate_after(&self, bytes: u64) {
        self.bytes_left.store(bytes, Ordering::Relaxed);
    }

    /// Returns how many of `count` bytes may be forwarded to the client, and subtracts them from
    /// the limit.
    fn take_bytes(&self, count: usize) -> usize {
        let left = self.bytes_left.load(Ordering::Relaxed);
        if left == UNLIMITED {
            return count;
        }
        let taken = left.min(count as u64);
        self.bytes_left.store(left - taken, Ordering::Relaxed);
        usize::try_from(taken).unwrap_or(count)
    }

    async fn wait_while_frozen(&self) {
        // There is no error: the sender is a field of this link.
        let _ = self.is_frozen.subscribe().wait_for(|is_frozen| !is_frozen).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // A connection may end before it is accepted.
        let Ok((client, _)) = listener.accept().await else { continue };
        let number = shared.next_number.fetch_add(1, Ordering::Relaxed);
        let link = Arc::new(Link {
            is_cut: watch::Sender::new(false),
            is_frozen: watch::Sender::new(false),
            delay: AtomicU64::new(0),
            bytes_left: AtomicU64::new(UNLIMITED),
            is_over: AtomicBool::new(false),
        });
        shared
            .links
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, Arc::clone(&link));
        let target = shared.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::spawn(async move {
            let mut cut = link.is_cut.subscribe();
            tokio::select! {
                () = forward(client, target, &link) => {}
                _ = cut.wait_for(|is_cut| *is_cut) => {}
            }
            link.is_over.store(true, Ordering::Relaxed);
        });
    }
}

/// Forwards both directions until one of them ends.
async fn forward(client: TcpStream, target: String, link: &Link) {
    // If the server does not accept connections, the connection of the client ends, too.
    let Ok(server) = TcpStream::connect(target).await else { return };
    // Small frames must not wait for each other's acknowledgement.
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return;
    }
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        () = copy(from_client, to_server, link, false) => {}
        () = copy(from_server, to_client, link, true) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: &Link, is_to_client: bool) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        link.wait_while_frozen().await;
        let delay = link.delay.load(Ordering::Relaxed);
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        let taken = if is_to_client { link.take_bytes(count) } else { count };
        if to.write_all(&buffer[..taken]).await.is_err() || taken < count {
            return;
        }
    }
}
