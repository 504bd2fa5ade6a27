//! The first ping of a session comes after `pingInterval`, as Engine.IO has it.
//!
//! engineioxide sends it with the handshake instead, and waits for the pong. Here the server answers that
//! ping in place of the client, before the client can send anything or learns the id of its session:
//!
//! - on a WebSocket, [`Answered`] takes the ping off the stream, and gives the pong to the reader;
//! - of a session that polls, [`answer`] polls for the ping, and posts the pong.
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

/// The ping is sent at once. An engineioxide that sends none must not make clients wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// The stream of a new WebSocket whose first ping is answered by the server.
pub(super) struct Answered<Io> {
    io: Io,
    state: State,
}

enum State {
    /// The ping was not written yet, and nothing is read: so nothing can be written before it but the
    /// handshake.
    Before(Option<Waker>),
    /// The reader gets the pong next.
    Pong,
    After,
}

impl<Io> Answered<Io> {
    pub(super) fn new(io: Io) -> Self {
        Self { io, state: State::Before(None) }
    }

    /// `true` if these bytes are the first ping. The reader is woken for the pong.
    fn takes(&mut self, bytes: &[u8]) -> bool {
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

impl<Io: AsyncRead + Unpin> AsyncRead for Answered<Io> {
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

impl<Io: AsyncWrite + Unpin> AsyncWrite for Answered<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        match stream.takes(bytes) {
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
    if timeout(PATIENCE, send(Method::GET, Body::empty())).await.is_ok() {
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
        let (mut client, line) = duplex(100);
        let mut line = Answered::new(line);
        client.write_all(b"hello").await.unwrap();
        line.write_all(OPEN).await.unwrap();
        let mut received = [0; 5];
        assert_eq!(line.read(&mut received).now_or_never().map(Result::ok), None);
        line.write_all(&[&PING[..], b"more", &PING].concat()).await.unwrap();
        let mut pong = [0; 7];
        line.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, PONG);
        line.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"hello");
        drop(line);
        let mut sent = Vec::new();
        client.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, [OPEN, b"more", &PING].concat());
    }

    #[tokio::test]
    async fn reader_that_waits_is_woken_for_the_pong() {
        let (reader, mut writer) = tokio::io::split(Answered::new(duplex(100).0));
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
