//! Accepted connections, and how to be rid of one.
//!
//! Without `TCP_NODELAY` a small frame waits for the ack of the one before it.
//!
//! A client that stops reading would keep its connection for ever: the heartbeat gives it up, but
//! the task that writes to it is stuck and holds what closing it needs. So a write that gets nowhere
//! for some time ends the line. A line whose plug has been pulled fails every read and write at
//! once, so nothing stays stuck on it.
//!
//! A client that reads slowly is not one that reads nothing. The kernel takes more when a third of the send buffer is
//! free, and the buffer grows to megabytes on a fast line. So it may hold only few bytes that the peer has no room for
//! yet (`TCP_NOTSENT_LOWAT`): then it takes more after each `MAX_UNSENT / 2` that the peer has made room for. The kernel
//! also ends a connection whose peer acknowledges nothing, or has no room, for some time (`TCP_USER_TIMEOUT`). That
//! is later than our deadline, so that ours decides about a peer that is still there.
//!
//! A peer that is gone without a word while nothing is written to it, between two requests or in the middle of one,
//! is found out by the kernel, too (`SO_KEEPALIVE`).

use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::coop::poll_proceed;
use tokio::time::{Sleep, sleep};

use super::activity::{Activity, Direction};
use super::client_address::network;
use super::connections::Registration;
use super::head_memory::HeadMemory;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::MemoryBudget;
use crate::settings::Limit;

/// How much later than our deadline the kernel ends a connection whose peer acknowledges nothing.
const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(10);

/// Bytes that the kernel holds beyond those that the peer has room for. A reader may be as slow as half of
/// them within the deadline, and a line with less to send would have to wait for us.
const MAX_UNSENT: u32 = 128 * 1024;

/// How long a peer may be silent before the kernel asks whether it is there.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether the system tells of a line that has become readable, and not of one that is: one that gave less
/// than it was asked for has no more then, as tokio has it for its own streams.
const TELLS_WHEN_THERE_IS_MORE: bool = cfg!(any(target_os = "linux", target_os = "macos"));

/// What may be read for each unit of a task's budget: 128 KiB before others run.
const BYTES_PER_UNIT: usize = 1024;

/// Bytes that are read at once. A connection buffers them until its reader asks for them.
const MAX_READ: usize = 8 << 10;

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Line {
    stream: Arc<TcpStream>,
    state: Arc<State>,
    limits: Option<Arc<LimitMonitor>>,
    registration: Option<Registration>,
    /// Counts the heads of its requests.
    heads: Option<HeadMemory>,
    /// How long a write may get nowhere.
    patience: Duration,
    /// Ends when the write that is stuck now has got nowhere for that long.
    stuck: Option<Pin<Box<Sleep>>>,
}

/// What it takes to end a connection from elsewhere, and to know how far it is. It does not keep it open.
#[derive(Debug, Clone)]
pub(crate) struct Plug {
    stream: Weak<TcpStream>,
    state: Arc<State>,
}

/// The state of a connection that other tasks can read.
#[derive(Debug, Default)]
struct State {
    activity: Activity,
    /// The client of the last request, which may not be the peer.
    client: Mutex<Option<IpAddr>>,
    /// Bytes that the kernel has been given to send.
    written: AtomicU64,
    /// The kernel takes no more now.
    is_blocked: AtomicBool,
    /// The body that waits until it does.
    body: AtomicWaker,
    is_closed: AtomicBool,
    closing: Notify,
}

impl Line {
    /// A connection whose writes may get nowhere for as long as `patience`.
    pub(super) fn new(
        stream: TcpStream,
        patience: Duration,
        limits: Option<Arc<LimitMonitor>>,
    ) -> Self {
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 4);
        let options = [
            socket.set_tcp_nodelay(true),
            socket.set_tcp_keepalive(&keepalive),
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(patience.saturating_add(USER_TIMEOUT_MARGIN))),
            #[cfg(target_os = "linux")]
            socket.set_tcp_notsent_lowat(MAX_UNSENT),
        ];
        // The peer may be gone already; then reading says so.
        for error in options.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "cannot set up a connection");
        }
        let (stream, state) = (Arc::new(stream), Arc::default());
        Self { stream, state, limits, registration: None, heads: None, patience, stuck: None }
    }

    pub(super) fn plug(&self) -> Plug {
        Plug { stream: Arc::downgrade(&self.stream), state: Arc::clone(&self.state) }
    }

    /// Counts the connection as long as it is there.
    pub(super) fn register(&mut self, registration: Registration) {
        self.registration = Some(registration);
    }

    /// Counts the heads of its requests.
    pub(super) fn count_heads(&mut self, budget: &Arc<MemoryBudget>) {
        self.heads = Some(HeadMemory::new(Arc::clone(budget)));
    }

    /// Reads and forgets what the peer sends, until it closes the connection.
    pub(super) async fn read_to_end(mut self) -> io::Result<u64> {
        tokio::io::copy(&mut self, &mut tokio::io::sink()).await
    }
}

impl Plug {
    /// Ends the connection now, whatever is still queued for it.
    pub(crate) fn pull(&self) {
        if let Some(stream) = self.stream.upgrade() {
            // An error means that it had ended already.
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Both);
        }
    }

    /// Sends this if there is room for it, and nothing after it.
    pub(super) fn finish_with(&self, text: &str) {
        if let Some(stream) = self.stream.upgrade() {
            // Errors mean that the peer does not wait for it.
            let _ = stream.try_write(text.as_bytes());
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Write);
        }
    }

    /// What the connection waits for.
    pub(super) fn activity(&self) -> &Activity {
        &self.state.activity
    }

    /// Remembers the client of a request.
    pub(super) fn set_client(&self, address: IpAddr) {
        *self.state.client.lock() = Some(address);
    }

    /// The client of the last request, or else the address at the other end.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        let client = *self.state.client.lock();
        client.or_else(|| self.peer().map(network))
    }

    /// Bytes that the kernel has been given to send so far.
    pub(crate) fn written(&self) -> u64 {
        self.state.written.load(Ordering::Relaxed)
    }

    /// Ready when the kernel takes more. For one body at a time.
    pub(crate) fn poll_unblocked(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.state.body.register(cx.waker());
        match self.state.is_blocked.load(Ordering::SeqCst) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Whether the connection is still there, as far as the server knows.
    pub(crate) fn is_open(&self) -> bool {
        !self.state.is_closed.load(Ordering::SeqCst)
    }

    /// Resolves when the server has let go of the connection.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let plug = self.clone();
        async move {
            let mut closing = pin!(plug.state.closing.notified());
            // From here on no notification is missed.
            closing.as_mut().enable();
            if plug.is_open() {
                closing.await;
            }
        }
    }

    /// The address at the other end.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        Some(self.stream.upgrade()?.peer_addr().ok()?.ip())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
        self.state.closing.notify_waiters();
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (line, before) = (self.get_mut(), buffer.filled().len());
        let direction = line.state.activity.direction();
        ready!(line.poll_head_memory(cx, direction));
        loop {
            ready!(line.stream.poll_read_ready(cx))?;
            if let Some(outcome) = line.read_what_there_is(buffer) {
                let count = buffer.filled().len() - before;
                spend_budget(cx, count);
                if let Some(heads) = line.heads.as_mut().filter(|_| direction != Direction::Other) {
                    heads.received(count);
                }
                return Poll::Ready(outcome);
            }
        }
    }
}

/// Spends the budget that tokio gives a task before others may run. A read alone spends one of 128 units, however much
/// it has read, so a connection that sends as fast as it can would delay all others.
fn spend_budget(cx: &mut Context<'_>, bytes: usize) {
    for _ in 0..bytes / BYTES_PER_UNIT {
        match poll_proceed(cx) {
            Poll::Ready(unit) => unit.made_progress(),
            Poll::Pending => return,
        }
    }
}

impl Line {
    /// Ready when there is memory for more of a head.
    fn poll_head_memory(&mut self, cx: &mut Context<'_>, direction: Direction) -> Poll<()> {
        let (stream, state) = (&self.stream, &self.state);
        let plug = || Plug { stream: Arc::downgrade(stream), state: Arc::clone(state) };
        match &mut self.heads {
            Some(heads) => heads.poll_claim(cx, direction, || plug().client()),
            None => Poll::Ready(()),
        }
    }

    /// `None` if there was nothing after all, and the line has to be ready once more.
    fn read_what_there_is(&self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream.try_io(Interest::READABLE, || {
            // The buffer is not initialized for this: zeroing all of a large one would make all of it
            // resident, for the few bytes of a handshake.
            let part = &mut (&mut *buffer).limit(MAX_READ);
            self.stream.try_read_buf(part)?;
            let is_drained = TELLS_WHEN_THERE_IS_MORE
                && buffer.filled().len() > before
                && buffer.filled().len() - before < MAX_READ
                && buffer.remaining() > 0;
            // That there is no more need not be asked for.
            if is_drained { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        let has_read = buffer.filled().len() > before;
        if has_read {
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
                    self.stuck = None;
                    let count = outcome.as_ref().map_or(0, |count| *count as u64);
                    self.state.written.fetch_add(count, Ordering::Relaxed);
                    self.state.is_blocked.store(false, Ordering::SeqCst);
                    self.state.body.wake();
                    return Poll::Ready(outcome);
                }
            }
        }
        self.state.is_blocked.store(true, Ordering::SeqCst);
        ready!(self.stuck.get_or_insert_with(|| Box::pin(sleep(self.patience))).as_mut().poll(cx));
        self.give_up();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends the connection, both ways, and what the kernel still has for it.
    fn give_up(&self) {
        // Once, however often this is tried.
        if let Some(limits) = self.limits.as_ref().filter(|_| self.plug().is_open()) {
            limits.reached(Limit::WriteDeadline, self.plug().client());
        }
        // Errors mean that the connection has ended by itself.
        let _ = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
        self.plug().pull();
    }
}

impl AsyncWrite for Line {
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

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::advance;

    use super::*;

    async fn pair() -> (Line, TcpStream) {
        patient_pair(Duration::from_secs(20)).await
    }

    async fn patient_pair(patience: Duration) -> (Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Line::new(listener.accept().await.unwrap().0, patience, None), client)
    }

    #[tokio::test]
    async fn an_accepted_connection_does_not_delay_small_frames() {
        let (line, _client) = pair().await;
        assert!(line.stream.nodelay().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_accepted_connection_gives_up_on_a_peer_that_does_not_read() {
        let (line, _client) = pair().await;
        assert_eq!(
            SockRef::from(&*line.stream).tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(30))
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_peer_that_is_gone_without_a_word_is_found_out_also_if_nothing_is_written_to_it() {
        let (line, _client) = pair().await;
        let socket = SockRef::from(&*line.stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE);
    }

    #[tokio::test]
    async fn bytes_travel_both_ways() {
        let (mut line, mut client) = pair().await;
        client.write_all(b"there").await.unwrap();
        let mut there = [0; 5];
        line.read_exact(&mut there).await.unwrap();
        line.write_all(&there).await.unwrap();
        line.shutdown().await.unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"there");
    }

    #[tokio::test]
    async fn task_reads_128_kib_at_most_before_others_run() {
        let (mut line, mut client) = pair().await;
        client.write_all(&[0; 48 << 10]).await.unwrap();
        let mut buffer = vec![0; 64 << 10];
        while line.stream.peek(&mut buffer).await.unwrap() < 48 << 10 {}
        let mut count = 0;
        poll_fn(|cx| {
            // All but 16 KiB.
            spend_budget(cx, 112 << 10);
            loop {
                let mut part = ReadBuf::new(&mut buffer[..16 << 10]);
                match Pin::new(&mut line).poll_read(cx, &mut part) {
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
    async fn a_line_that_gave_all_it_had_is_ready_again_when_there_is_more() {
        let (mut line, mut client) = pair().await;
        let mut buffer = [0; 64];
        for n in 0..100 {
            client.write_all(&[n, n]).await.unwrap();
            let mut count = 0;
            while count < 2 {
                count += line.read(&mut buffer[count..]).await.unwrap();
            }
            assert_eq!(buffer[..2], [n, n]);
        }
        drop(client);
        assert_eq!(line.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_read_touches_no_more_of_a_buffer_than_it_fills() {
        let (mut line, mut client) = pair().await;
        client.write_all(b"there").await.unwrap();
        let mut memory = [MaybeUninit::uninit(); 16384];
        let mut buffer = ReadBuf::uninit(&mut memory);
        poll_fn(|cx| Pin::new(&mut line).poll_read(cx, &mut buffer)).await.unwrap();
        assert_eq!((buffer.filled(), buffer.initialized().len()), (&b"there"[..], 5));
    }

    #[tokio::test]
    async fn a_write_that_gets_nowhere_ends_the_connection() {
        let (mut line, mut client) = patient_pair(Duration::from_millis(50)).await;
        let stuck = loop {
            if let Err(error) = line.write_all(&[0; 65536]).await {
                break error;
            }
        };
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
        assert!(line.write_all(&[0]).await.is_err());
        assert_eq!(line.read(&mut [0]).await.unwrap_or_default(), 0);
        drop(line);
        // What had not been read is gone with the connection.
        assert!(client.read_to_end(&mut Vec::new()).await.is_err());
    }

    #[tokio::test]
    async fn a_slow_reader_that_reads_on_is_waited_for() {
        const ALL: usize = 32 << 20;
        let (mut line, mut client) = patient_pair(Duration::from_secs(5)).await;
        let writing = tokio::spawn(async move {
            line.write_all(&vec![0; ALL]).await.unwrap();
        });
        let mut buffer = vec![0; 1 << 20];
        let mut count = 0;
        while count < ALL {
            count += client.read(&mut buffer).await.unwrap();
        }
        writing.await.unwrap();
    }

    /// The clock goes on by a second for each 16 KB that the client reads.
    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn reader_of_16_kb_a_second_is_kept_and_one_that_reads_nothing_is_not() {
        const SECOND: Duration = Duration::from_secs(1);
        // While a thread is blocked, the clock goes on only where the test says so.
        let (test_ends, end) = std::sync::mpsc::channel::<()>();
        let blocked = tokio::task::spawn_blocking(move || end.recv());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(65536).unwrap();
        let mut client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = listener.accept().await.unwrap().0;
        let limits = Arc::new(LimitMonitor::default());
        let mut line = Line::new(stream, 20 * SECOND, Some(limits.clone()));
        let writing = tokio::spawn(async move {
            loop {
                if let Err(error) = line.write_all(&[0; 65536]).await {
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
    async fn closed_resolves_when_the_server_has_let_go_of_the_connection() {
        let (line, client) = pair().await;
        let plug = line.plug();
        let mut closed = pin!(plug.closed());
        assert!(closed.as_mut().now_or_never().is_none());
        assert!(plug.is_open());
        assert_eq!(plug.peer(), Some(client.local_addr().unwrap().ip()));
        drop(line);
        closed.await;
        plug.closed().await;
        assert!(!plug.is_open());
    }

    #[tokio::test]
    async fn pulling_the_plug_ends_a_write_that_was_stuck() {
        let (mut line, client) = pair().await;
        let plug = line.plug();
        // The client reads nothing, so this cannot end by itself.
        let stuck = tokio::spawn(async move { while line.write_all(&[0; 65536]).await.is_ok() {} });
        tokio::task::yield_now().await;
        plug.pull();
        stuck.await.unwrap();
        drop(client);
    }
}
