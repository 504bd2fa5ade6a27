//! Makes the first ping of a session come after `pingInterval`, as Engine.IO specifies.
//!
//! engineioxide sends it with the handshake instead, and waits for the pong. Here the server
//! answers that ping in place of the client, before the client can send anything or receives the id
//! of its session:
//!
//! - on a WebSocket, [`FirstPingStream`] removes the ping from the stream, and gives the pong to
//!   the reader;
//! - for a session that polls, [`answer`] polls for the ping, and posts the pong.
//!
//! Clients of Engine.IO 3 send the pings themselves.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http::Method;
use socketioxide::socket::Sid;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tower::{Service, ServiceExt};

/// The frame of the ping: text, one byte long, not masked.
const PING: [u8; 3] = [0x81, 1, b'2'];

/// The frame of the pong: text, one byte long, with an empty mask.
const PONG: [u8; 7] = [0x81, 0x81, 0, 0, 0, 0, b'3'];

/// How long the server waits for the ping, which is sent at once. If an engineioxide sends none,
/// clients must not wait.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The stream of a new WebSocket. The server answers its first ping.
pub(super) struct FirstPingStream<Io> {
    io: Io,
    state: State,
}

enum State {
    /// The ping has not been written yet, and nothing is read. So only the handshake can be written
    /// before the ping.
    Before(Option<Waker>),
    /// The reader gets the pong next.
    Pong,
    After,
}

impl<Io> FirstPingStream<Io> {
    pub(super) fn new(io: Io) -> Self {
        Self { io, state: State::Before(None) }
    }

    /// Takes the first ping. Returns `true` if these bytes are the ping; then the reader is woken
    /// for the pong.
    fn take_ping(&mut self, bytes: &[u8]) -> bool {
        let State::Before(reader) = &mut self.state else { return false };
        let is_ping = bytes.starts_with(&PING);
        if is_ping {
            let reader = reader.take();
            self.state = State::Pong;
            reader.into_iter().for_each(Waker::wake);
        }
        is_ping
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for FirstPingStream<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        match &mut stream.state {
            State::Before(reader) => {
                *reader = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Pong if buf.remaining() >= PONG.len() => {
                stream.state = State::After;
                buf.put_slice(&PONG);
                Poll::Ready(Ok(()))
            }
            State::Pong => Poll::Ready(Err(io::ErrorKind::InvalidInput.into())),
            State::After => Pin::new(&mut stream.io).poll_read(cx, buf),
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for FirstPingStream<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        match stream.take_ping(bytes) {
            true => Poll::Ready(Ok(PING.len())),
            false => Pin::new(&mut stream.io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// Answers the first ping of a new session that polls.
pub(super) async fn answer<S>(socket_io: S, session: Sid)
where
    S: Service<Request, Error = Infallible> + Clone,
{
    let uri = format!("/socket.io/?EIO=4&transport=polling&sid={session}");
    let send = async |method, body| {
        let request = Request::builder().method(method).uri(&uri).body(body);
        let request = request.expect("a session id can be in a url");
        let Ok(_) = socket_io.clone().oneshot(request).await;
    };
    if timeout(PING_TIMEOUT, send(Method::GET, Body::empty())).await.is_ok() {
        send(Method::POST, Body::from("3")).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const OPEN: &[u8] = b"\x81\x050{\"a\"";

    #[tokio::test]
    async fn first_ping_is_answered_and_all_other_bytes_pass() {
        let (mut client, stream) = duplex(100);
        let mut stream = FirstPingStream::new(stream);
        client.write_all(b"hello").await.unwrap();
        stream.write_all(OPEN).await.unwrap();
        let mut received = [0; 5];
        assert_eq!(stream.read(&mut received).now_or_never().map(Result::ok), None);
        stream.write_all(&[&PING[..], b"more", &PING].concat()).await.unwrap();
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, PONG);
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"hello");
        drop(stream);
        let mut sent = Vec::new();
        client.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, [OPEN, b"more", &PING].concat());
    }

    #[tokio::test]
    async fn reader_that_waits_is_woken_for_the_pong() {
        let (reader, mut writer) = tokio::io::split(FirstPingStream::new(duplex(100).0));
        let mut reader = reader;
        let reading = tokio::spawn(async move {
            let mut pong = [0; 7];
            reader.read_exact(&mut pong).await.unwrap();
            pong
        });
        tokio::task::yield_now().await;
        writer.write_all(&PING).await.unwrap();
        assert_eq!(reading.await.unwrap(), PONG);
    }
}
