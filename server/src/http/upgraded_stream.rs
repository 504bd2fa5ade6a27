//! The stream of a WebSocket whose connection another server has accepted.
//!
//! It does what a [`TcpConnection`](super::tcp_connection) does for the connections of this server:
//! it counts bytes, ends when another task aborts it, and ends when a write makes no progress for
//! too long. The streams of this server's own connections pass unchanged.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::connection_handle::{ConnectionHandle, Direction};
use crate::limit_monitor::LimitMonitor;
use crate::settings::Limit;

/// The stream of a WebSocket.
pub(crate) struct UpgradedStream<Io> {
    io: Io,
    /// Set if another server has accepted the connection.
    embedded: Option<Embedded>,
}

/// A connection that another server has accepted: its handle, and the state of its current write.
pub(crate) struct Embedded {
    handle: ConnectionHandle,
    limits: Arc<LimitMonitor>,
    /// How long a write may make no progress.
    write_timeout: Duration,
    /// Ends when the current write has made no progress for `write_timeout`.
    stuck_timer: Option<Pin<Box<Sleep>>>,
}

impl Embedded {
    /// Returns `None` for a connection that this server has accepted.
    pub(crate) fn of(
        handle: Option<&ConnectionHandle>,
        limits: &Arc<LimitMonitor>,
        write_timeout: Duration,
    ) -> Option<Self> {
        let handle = handle.filter(|handle| handle.is_embedded())?.clone();
        Some(Self { handle, limits: Arc::clone(limits), write_timeout, stuck_timer: None })
    }

    fn poll_aborted(&self, direction: Direction, cx: &mut Context<'_>) -> io::Result<()> {
        match self.handle.poll_aborted(direction, cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Called when the other server takes no more bytes. Fails if that lasts for too long.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let timer = self.stuck_timer.get_or_insert_with(|| Box::pin(sleep(self.write_timeout)));
        std::task::ready!(timer.as_mut().poll(cx));
        if !self.handle.is_aborted() {
            self.limits.reached(Limit::WriteDeadline, self.handle.client());
        }
        self.handle.abort();
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

/// The connection ends with its stream.
impl Drop for Embedded {
    fn drop(&mut self) {
        self.handle.mark_closed();
    }
}

impl<Io> UpgradedStream<Io> {
    pub(crate) fn new(io: Io, embedded: Option<Embedded>) -> Self {
        Self { io, embedded }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for UpgradedStream<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (stream, before) = (self.get_mut(), buffer.filled().len());
        if let Some(embedded) = &stream.embedded {
            embedded.poll_aborted(Direction::Read, cx)?;
        }
        std::task::ready!(Pin::new(&mut stream.io).poll_read(cx, buffer))?;
        if let Some(embedded) = &stream.embedded {
            embedded.handle.add_embedded_received(buffer.filled().len() - before);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for UpgradedStream<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        let Some(embedded) = &mut stream.embedded else {
            return Pin::new(&mut stream.io).poll_write(cx, bytes);
        };
        embedded.poll_aborted(Direction::Write, cx)?;
        match Pin::new(&mut stream.io).poll_write(cx, bytes) {
            Poll::Ready(written) => {
                embedded.stuck_timer = None;
                embedded.handle.add_embedded_written(*written.as_ref().unwrap_or(&0));
                Poll::Ready(written)
            }
            Poll::Pending => embedded.poll_stuck(cx).map(Err),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if let Some(embedded) = &stream.embedded {
            embedded.poll_aborted(Direction::Write, cx)?;
        }
        Pin::new(&mut stream.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if let Some(embedded) = &stream.embedded {
            embedded.poll_aborted(Direction::Write, cx)?;
        }
        Pin::new(&mut stream.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn stream(
        capacity: usize,
    ) -> (ConnectionHandle, UpgradedStream<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (server, client) = duplex(capacity);
        let handle = ConnectionHandle::embedded(None);
        let embedded = Embedded::of(Some(&handle), &Arc::default(), Duration::from_secs(20));
        (handle, UpgradedStream::new(server, embedded), client)
    }

    #[tokio::test]
    async fn bytes_of_both_directions_are_counted() {
        let (handle, mut server, mut client) = stream(100);
        server.write_all(b"hello").await.unwrap();
        client.write_all(b"hi").await.unwrap();
        server.read_exact(&mut [0; 2]).await.unwrap();
        assert_eq!((handle.written(), handle.bytes_received()), (5, 2));
    }

    #[tokio::test]
    async fn abort_ends_reads_and_writes_and_the_drop_marks_the_end() {
        let (handle, server, _client) = stream(1);
        let (mut read, mut write) = tokio::io::split(server);
        let reading = tokio::spawn(async move { read.read(&mut [0; 9]).await });
        let writing = tokio::spawn(async move { write.write_all(b"longer").await });
        tokio::task::yield_now().await;
        handle.abort();
        assert!(reading.await.unwrap().is_err() && writing.await.unwrap().is_err());
        assert!(!handle.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn write_without_progress_ends_the_connection_after_the_deadline() {
        let (_handle, mut server, _client) = stream(1);
        let begin = tokio::time::Instant::now();
        let ended = server.write_all(b"longer").await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed().as_secs(), 20);
    }
}
