//! Accepted TCP connections, and handles that abort them from other tasks.
//!
//! The server sets `TCP_NODELAY`. Without it, a small frame waits for the ack of the frame before
//! it.
//!
//! A client that stops reading would keep its connection forever: the heartbeat gives it up, but
//! the task that writes to it is stuck and holds what closing the connection needs. So a write that
//! makes no progress within the write timeout ends the connection. After an abort, every read and
//! write fails at once, so no task stays stuck on the connection.
//!
//! A client that reads slowly differs from a client that reads nothing. The kernel accepts more
//! data when a third of the send buffer is free, and the buffer grows to megabytes on a fast
//! connection. So the kernel may hold only a few bytes that the peer has no room for yet
//! (`TCP_NOTSENT_LOWAT`): it then accepts more after each `MAX_UNSENT / 2` that the peer has made
//! room for. The kernel also ends a connection whose peer acknowledges nothing, or has no room, for
//! some time (`TCP_USER_TIMEOUT`). That timeout is later than the write timeout, so that the write
//! timeout decides about a peer that is still there.
//!
//! A peer may disappear silently while the server writes nothing to it, between two requests or in
//! the middle of one. The kernel detects that, too (`SO_KEEPALIVE`).

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::activity::RequestPart;
use super::connection_handle::{ConnectionHandle, State};
use super::connections::Registration;
use super::head_memory::HeadMemory;
use super::uploads::UploadMemory;
use crate::limit_monitor::LimitMonitor;
use crate::settings::Limit;
use crate::task_budget;

/// How much later than the write timeout the kernel ends a connection whose peer acknowledges
/// nothing.
const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(10);

/// Bytes that the kernel holds beyond those that the peer has room for. A reader must take at least
/// half of them within the write timeout. With a smaller value, a connection would have to wait for
/// the server.
const MAX_UNSENT: u32 = 128 * 1024;

/// How long a peer may be silent before the kernel sends a keepalive probe.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// Whether the system reports a connection when it becomes readable, and not while it is readable.
/// A read that returns less than requested has then emptied the connection. tokio relies on the
/// same for its own streams.
const EDGE_TRIGGERED: bool = cfg!(any(target_os = "linux", target_os = "macos"));

/// Bytes that may be read for each unit of a task's budget: 128 KiB before other tasks run. A read
/// alone spends one unit, however many bytes it returns, so a peer that sends as fast as it can
/// would delay all other connections.
const BYTES_PER_UNIT: usize = 1024;

/// Bytes per read. A connection buffers them until its reader takes them.
const MAX_READ: usize = 8 << 10;

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct TcpConnection {
    stream: Arc<TcpStream>,
    state: Arc<State>,
    limits: Option<Arc<LimitMonitor>>,
    registration: Option<Registration>,
    /// Counts the memory of the heads of its requests.
    heads: Option<HeadMemory>,
    /// How long a write may make no progress.
    write_timeout: Duration,
    /// Ends when the current write has made no progress for `write_timeout`.
    stuck_timer: Option<Pin<Box<Sleep>>>,
}

impl TcpConnection {
    /// Creates a connection that ends when a write makes no progress for `write_timeout`.
    pub(super) fn new(
        stream: TcpStream,
        write_timeout: Duration,
        limits: Option<Arc<LimitMonitor>>,
    ) -> Self {
        let socket = SockRef::from(&stream);
        let keepalive =
            TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_TIME / 4);
        let options = [
            socket.set_tcp_nodelay(true),
            socket.set_tcp_keepalive(&keepalive),
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(write_timeout.saturating_add(USER_TIMEOUT_MARGIN))),
            #[cfg(target_os = "linux")]
            socket.set_tcp_notsent_lowat(MAX_UNSENT),
        ];
        // If the peer is gone already, the next read returns the error.
        for error in options.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "cannot set up a connection");
        }
        let (stream, state) = (Arc::new(stream), Arc::default());
        let (registration, heads, stuck_timer) = (None, None, None);
        Self { stream, state, limits, registration, heads, write_timeout, stuck_timer }
    }

    pub(super) fn handle(&self) -> ConnectionHandle {
        ConnectionHandle::of_tcp(Arc::downgrade(&self.stream), Arc::clone(&self.state))
    }

    /// Counts the connection as open until it is dropped.
    pub(super) fn register(&mut self, registration: Registration) {
        self.registration = Some(registration);
    }

    /// Counts the memory of the heads of its requests.
    pub(super) fn count_heads(&mut self, memory: &Arc<UploadMemory>) {
        self.heads = Some(HeadMemory::new(Arc::clone(memory)));
    }

    /// Reads and discards all data until the peer closes the connection.
    pub(super) async fn read_to_end(mut self) -> io::Result<u64> {
        tokio::io::copy(&mut self, &mut tokio::io::sink()).await
    }
}

impl Drop for TcpConnection {
    fn drop(&mut self) {
        self.handle().mark_closed();
    }
}

impl AsyncRead for TcpConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (connection, before) = (self.get_mut(), buffer.filled().len());
        let part = connection.state.activity.request_part();
        ready!(connection.poll_head_memory(cx, part));
        loop {
            ready!(connection.stream.poll_read_ready(cx))?;
            if let Some(outcome) = connection.try_read(buffer) {
                let count = buffer.filled().len() - before;
                task_budget::spend(cx, count / BYTES_PER_UNIT);
                let heads = connection.heads.as_mut();
                if let Some(heads) = heads.filter(|_| part != RequestPart::Other) {
                    heads.received(count);
                }
                return Poll::Ready(outcome);
            }
        }
    }
}

impl TcpConnection {
    /// Is ready when there is memory for more of a head.
    fn poll_head_memory(&mut self, cx: &mut Context<'_>, part: RequestPart) -> Poll<()> {
        let (stream, state) = (&self.stream, &self.state);
        let handle = || ConnectionHandle::of_tcp(Arc::downgrade(stream), Arc::clone(state));
        match &mut self.heads {
            Some(heads) => heads.poll_claim(cx, part, handle),
            None => Poll::Ready(()),
        }
    }

    /// Reads what has arrived. Returns `None` if there is nothing to read and the connection must
    /// become ready again.
    fn try_read(&self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream.try_io(Interest::READABLE, || {
            // The buffer stays uninitialized: zeroing all of a large buffer would make all of it
            // resident, for the few bytes of a handshake.
            let part = &mut (&mut *buffer).limit(MAX_READ);
            self.stream.try_read_buf(part)?;
            let is_drained = EDGE_TRIGGERED
                && buffer.filled().len() > before
                && buffer.filled().len() - before < MAX_READ
                && buffer.remaining() > 0;
            // The connection is empty, so another read is not necessary.
            if is_drained { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        let has_read = buffer.filled().len() > before;
        if has_read {
            let count = buffer.filled().len() - before;
            self.state.read.fetch_add(count as u64, Ordering::Relaxed);
            self.state.activity.received();
        }
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => has_read.then_some(Ok(())),
            outcome => Some(outcome),
        }
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while self.stream.poll_write_ready(cx)?.is_ready() {
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    self.stuck_timer = None;
                    let count = outcome.as_ref().map_or(0, |count| *count as u64);
                    self.state.written.fetch_add(count, Ordering::Relaxed);
                    self.state.is_blocked.store(false, Ordering::SeqCst);
                    self.state.body.wake();
                    return Poll::Ready(outcome);
                }
            }
        }
        self.state.is_blocked.store(true, Ordering::SeqCst);
        let timer = self.stuck_timer.get_or_insert_with(|| Box::pin(sleep(self.write_timeout)));
        ready!(timer.as_mut().poll(cx));
        self.give_up();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends the connection in both directions, and discards the data that the kernel still holds.
    fn give_up(&self) {
        // The limit is counted once, however often this runs.
        if let Some(limits) = self.limits.as_ref().filter(|_| self.handle().is_open()) {
            limits.reached(Limit::WriteDeadline, self.handle().client());
        }
        // Errors mean that the connection has ended by itself.
        let _ = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
        self.handle().abort();
    }
}

impl AsyncWrite for TcpConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = SockRef::from(&*self.stream).shutdown(Shutdown::Write);
        Poll::Ready(match outcome {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::mem::MaybeUninit;
    use std::pin::pin;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::advance;

    use super::*;

    async fn pair() -> (TcpConnection, TcpStream) {
        pair_with_timeout(Duration::from_secs(20)).await
    }

    async fn pair_with_timeout(write_timeout: Duration) -> (TcpConnection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (TcpConnection::new(listener.accept().await.unwrap().0, write_timeout, None), client)
    }

    #[tokio::test]
    async fn accepted_connection_does_not_delay_small_frames() {
        let (connection, _client) = pair().await;
        assert!(connection.stream.nodelay().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn kernel_ends_a_connection_whose_peer_acknowledges_nothing() {
        let (connection, _client) = pair().await;
        assert_eq!(
            SockRef::from(&*connection.stream).tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(30))
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn keepalive_detects_a_dead_peer_while_nothing_is_written_to_it() {
        let (connection, _client) = pair().await;
        let socket = SockRef::from(&*connection.stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
    }

    #[tokio::test]
    async fn bytes_are_sent_in_both_directions() {
        let (mut connection, mut client) = pair().await;
        client.write_all(b"there").await.unwrap();
        let mut there = [0; 5];
        connection.read_exact(&mut there).await.unwrap();
        connection.write_all(&there).await.unwrap();
        connection.shutdown().await.unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"there");
    }

    #[tokio::test]
    async fn task_reads_at_most_128_kib_before_other_tasks_run() {
        let (mut connection, mut client) = pair().await;
        client.write_all(&[0; 48 << 10]).await.unwrap();
        let mut buffer = vec![0; 64 << 10];
        while connection.stream.peek(&mut buffer).await.unwrap() < 48 << 10 {}
        let mut count = 0;
        poll_fn(|cx| {
            // All but 16 KiB.
            task_budget::spend(cx, 112);
            loop {
                let mut part = ReadBuf::new(&mut buffer[..16 << 10]);
                match Pin::new(&mut connection).poll_read(cx, &mut part) {
                    Poll::Ready(read) => read.unwrap(),
                    Poll::Pending => return Poll::Ready(()),
                }
                count += part.filled().len();
            }
        })
        .await;
        assert!(count <= 32 << 10, "{count} bytes");
    }

    #[tokio::test]
    async fn drained_connection_becomes_readable_again_when_data_arrives() {
        let (mut connection, mut client) = pair().await;
        let mut buffer = [0; 64];
        for n in 0..100 {
            client.write_all(&[n, n]).await.unwrap();
            let mut count = 0;
            while count < 2 {
                count += connection.read(&mut buffer[count..]).await.unwrap();
            }
            assert_eq!(buffer[..2], [n, n]);
        }
        drop(client);
        assert_eq!(connection.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn read_initializes_only_the_part_of_the_buffer_that_it_fills() {
        let (mut connection, mut client) = pair().await;
        client.write_all(b"there").await.unwrap();
        let mut memory = [MaybeUninit::uninit(); 16384];
        let mut buffer = ReadBuf::uninit(&mut memory);
        poll_fn(|cx| Pin::new(&mut connection).poll_read(cx, &mut buffer)).await.unwrap();
        assert_eq!((buffer.filled(), buffer.initialized().len()), (&b"there"[..], 5));
    }

    #[tokio::test]
    async fn write_without_progress_ends_the_connection() {
        let (mut connection, mut client) = pair_with_timeout(Duration::from_millis(50)).await;
        let stuck = loop {
            if let Err(error) = connection.write_all(&[0; 65536]).await {
                break error;
            }
        };
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
        assert!(connection.write_all(&[0]).await.is_err());
        assert_eq!(connection.read(&mut [0]).await.unwrap_or_default(), 0);
        drop(connection);
        // The reset discards the data that the client had not read.
        assert!(client.read_to_end(&mut Vec::new()).await.is_err());
    }

    #[tokio::test]
    async fn slow_reader_that_keeps_reading_receives_everything() {
        const ALL: usize = 32 << 20;
        let (mut connection, mut client) = pair_with_timeout(Duration::from_secs(5)).await;
        let writing = tokio::spawn(async move {
            connection.write_all(&vec![0; ALL]).await.unwrap();
        });
        let mut buffer = vec![0; 1 << 20];
        let mut count = 0;
        while count < ALL {
            count += client.read(&mut buffer).await.unwrap();
        }
        writing.await.unwrap();
    }

    /// The test advances the clock by a second for each 16 KB that the client reads.
    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn reader_of_16_kb_per_second_stays_connected_and_one_that_reads_nothing_does_not() {
        const SECOND: Duration = Duration::from_secs(1);
        // While a thread is blocked, only the test advances the clock.
        let (test_ends, end) = std::sync::mpsc::channel::<()>();
        let blocked = tokio::task::spawn_blocking(move || end.recv());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(65536).unwrap();
        let mut client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = listener.accept().await.unwrap().0;
        let limits = Arc::new(LimitMonitor::default());
        let mut connection = TcpConnection::new(stream, 20 * SECOND, Some(limits.clone()));
        let writing = tokio::spawn(async move {
            loop {
                if let Err(error) = connection.write_all(&[0; 65536]).await {
                    break error;
                }
            }
        });
        for _ in 0..60 {
            client.read_exact(&mut [0; 16384]).await.unwrap();
            advance(SECOND).await;
            assert!(!writing.is_finished());
        }
        while !writing.is_finished() {
            advance(SECOND).await;
        }
        assert_eq!(writing.await.unwrap().kind(), io::ErrorKind::TimedOut);
        let mut counts = limits.counts();
        assert!(counts.any(|count| count == (Limit::WriteDeadline, 1)));
        drop(test_ends);
        assert!(blocked.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn closed_resolves_when_the_server_drops_the_connection() {
        let (connection, client) = pair().await;
        let handle = connection.handle();
        let mut closed = pin!(handle.closed());
        assert!(closed.as_mut().now_or_never().is_none());
        assert!(handle.is_open());
        assert_eq!(handle.peer(), Some(client.local_addr().unwrap().ip()));
        drop(connection);
        closed.await;
        handle.closed().await;
        assert!(!handle.is_open());
    }

    #[tokio::test]
    async fn abort_ends_a_stuck_write() {
        let (mut connection, client) = pair().await;
        let handle = connection.handle();
        // The client reads nothing, so this cannot end by itself.
        let stuck =
            tokio::spawn(async move { while connection.write_all(&[0; 65536]).await.is_ok() {} });
        tokio::task::yield_now().await;
        handle.abort();
        stuck.await.unwrap();
        drop(client);
    }
}
