//! Accepted connections, and how to be rid of one.
//!
//! Without `TCP_NODELAY` a small frame waits for the ack of the one before it. Without
//! `TCP_USER_TIMEOUT` a client that stops reading keeps its connection for ever: the heartbeat
//! gives it up, but the task that writes to it is stuck and holds what closing it needs. A line
//! whose plug has been pulled fails every read and write at once, so nothing stays stuck on it.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How long what we sent may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Accepts lines.
#[derive(Debug)]
pub(crate) struct Lines(TcpListener);

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Line(Arc<TcpStream>);

/// What it takes to end a connection from elsewhere. It does not keep it open.
#[derive(Debug, Clone)]
pub(crate) struct Plug(Weak<TcpStream>);

impl Lines {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self(listener)
    }
}

impl Line {
    fn new(stream: TcpStream) -> Self {
        let socket = SockRef::from(&stream);
        let options = [
            socket.set_tcp_nodelay(true),
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(USER_TIMEOUT)),
        ];
        // The peer may be gone already; then reading says so.
        for error in options.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "can not set up a connection");
        }
        Self(Arc::new(stream))
    }

    fn plug(&self) -> Plug {
        Plug(Arc::downgrade(&self.0))
    }
}

impl Plug {
    /// Ends the connection now, whatever is still queued for it.
    pub(crate) fn pull(&self) {
        if let Some(stream) = self.0.upgrade() {
            // An error means that it had ended already.
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Both);
        }
    }
}

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (Line::new(stream), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
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
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Line {
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
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
        let outcome = SockRef::from(&*self.0).shutdown(Shutdown::Write);
        Poll::Ready(match outcome {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn pair() -> (Line, TcpStream) {
        let mut lines = Lines::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let client = TcpStream::connect(lines.local_addr().unwrap()).await.unwrap();
        (Listener::accept(&mut lines).await.0, client)
    }

    #[tokio::test]
    async fn an_accepted_connection_does_not_delay_small_frames() {
        let (line, _client) = pair().await;
        assert!(line.0.nodelay().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_accepted_connection_gives_up_on_a_peer_that_does_not_read() {
        let (line, _client) = pair().await;
        assert_eq!(SockRef::from(&*line.0).tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
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
