//! Accepted connections, and how to be rid of one.
//!
//! Without `TCP_NODELAY` a small frame waits for the ack of the one before it.
//!
//! A client that stops reading would keep its connection for ever: the heartbeat gives it up, but
//! the task that writes to it is stuck and holds what closing it needs. So a write that gets nowhere
//! for some time ends the line. The kernel has the same rule (`TCP_USER_TIMEOUT`) for a peer that is
//! gone without a word; ours also holds behind a proxy that takes in whatever it is given, up to the
//! moment when it takes no more. A line whose plug has been pulled fails every read and write at
//! once, so nothing stays stuck on it.
//!
//! A peer that is gone without a word while nothing is written to it, between two requests or in the middle of one,
//! is found out by the kernel, too (`SO_KEEPALIVE`).

use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

/// How long what we sent may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a peer may be silent before the kernel asks whether it is there.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether the system tells of a line that has become readable, and not of one that is: one that gave less
/// than it was asked for has no more then, as tokio has it for its own streams.
const TELLS_WHEN_THERE_IS_MORE: bool = cfg!(any(target_os = "linux", target_os = "macos"));

/// Accepts lines.
#[derive(Debug)]
pub(crate) struct Lines {
    listener: TcpListener,
    patience: Duration,
}

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Line {
    stream: Arc<TcpStream>,
    state: Arc<State>,
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
    /// Bytes that the kernel has been given to send.
    written: AtomicU64,
    is_closed: AtomicBool,
    closing: Notify,
}

impl Lines {
    /// Lines whose writes may get nowhere for as long as `patience`.
    pub(crate) fn new(listener: TcpListener, patience: Duration) -> Self {
        Self { listener, patience }
    }
}

impl Line {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 4);
        let options = [
            socket.set_tcp_nodelay(true),
            socket.set_tcp_keepalive(&keepalive),
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(USER_TIMEOUT)),
        ];
        // The peer may be gone already; then reading says so.
        for error in options.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "can not set up a connection");
        }
        Self { stream: Arc::new(stream), state: Arc::default(), patience, stuck: None }
    }

    fn plug(&self) -> Plug {
        Plug { stream: Arc::downgrade(&self.stream), state: Arc::clone(&self.state) }
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

    /// Bytes that the kernel has been given to send so far.
    pub(crate) fn written(&self) -> u64 {
        self.state.written.load(Ordering::Relaxed)
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

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Line::new(stream, self.patience), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Lines>> for Plug {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().plug()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            if let Some(outcome) = self.read_what_there_is(buffer) {
                return Poll::Ready(outcome);
            }
        }
    }
}

impl Line {
    /// `None` if there was nothing after all, and the line has to be ready once more.
    fn read_what_there_is(&self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream.try_io(Interest::READABLE, || {
            // The buffer is not initialized for this: zeroing all of a large one would make all of it
            // resident, for the few bytes of a handshake.
            self.stream.try_read_buf(buffer)?;
            let is_drained = TELLS_WHEN_THERE_IS_MORE
                && buffer.filled().len() > before
                && buffer.remaining() > 0;
            // That there is no more need not be asked for.
            if is_drained { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        let has_read = buffer.filled().len() > before;
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
                    return Poll::Ready(outcome);
                }
            }
        }
        ready!(self.stuck.get_or_insert_with(|| Box::pin(sleep(self.patience))).as_mut().poll(cx));
        self.give_up();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends the connection, both ways, and what the kernel still has for it.
    fn give_up(&self) {
        tracing::debug!("a client does not read, its connection is ended");
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

    use super::*;

    async fn pair() -> (Line, TcpStream) {
        patient_pair(Duration::from_secs(20)).await
    }

    async fn patient_pair(patience: Duration) -> (Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut lines = Lines::new(listener, patience);
        let client = TcpStream::connect(lines.local_addr().unwrap()).await.unwrap();
        (Listener::accept(&mut lines).await.0, client)
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
        assert_eq!(SockRef::from(&*line.stream).tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
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
        // The client reads nothing, so this can not end by itself.
        let stuck = tokio::spawn(async move { while line.write_all(&[0; 65536]).await.is_ok() {} });
        tokio::task::yield_now().await;
        plug.pull();
        stuck.await.unwrap();
        drop(client);
    }
}
