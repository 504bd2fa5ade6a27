//! Checks the WebSocket frames of clients. If a frame violates the protocol, the connection closes
//! with the close code of RFC 6455. Large messages wait for memory ([`IncomingMemory`]), large
//! frames are split ([`Splitter`]), and binary messages become empty (`attachments`).
//!
//! engineioxide drops the error of tungstenite, so the client would see a TCP connection that ends
//! without a close frame. [`CheckedStream`] wraps the stream of a WebSocket below both, and checks
//! the frames that are read:
//!
//! 1. `checker` finds the violation. Bytes before it are passed on; the frame with it never is.
//! 2. The reader gets the end of the stream. So engineioxide ends the session, sends what it still
//!    has to send, and drops the stream.
//! 3. A task takes over the stream. It sends the close frame, and reads until the client has closed
//!    the connection: if there were unread bytes, the system would reset the connection, and the
//!    client could lose the close frame.
//!
//! Invariant: a violation that tungstenite would find is found here first, and the frame with it is
//! not passed on. Otherwise the connection would end without a code.
//!
//! Invariant: a close frame is sent between two frames of the server, and not after another close
//! frame.

mod attachments;
mod checker;
mod header;
mod splitter;
mod utf8;
mod violation;

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::incoming_memory::IncomingMemory;
use crate::task_budget;
pub(super) use checker::Packets;
use checker::{FrameChecker, Rejection};
use header::{HeaderReader, Opcode};
use splitter::{MIN_ROOM, Splitter};
use violation::Violation;

/// How long a client may take to read a close frame and to close the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Frames shorter than this on average are tiny.
const TINY_FRAME: usize = 64;

/// Bytes per read while frames are tiny. The reader of the frames takes all that it is given
/// without a pause.
const TINY_READ: usize = 1 << 10;

/// The stream of a WebSocket that closes with a code if the client violates the protocol.
pub(super) struct CheckedStream<Io> {
    /// `None` after it was dropped.
    io: Option<Io>,
    received: FrameChecker,
    splitter: Splitter,
    incoming: IncomingMemory,
    /// The maximum number of bytes of the next read.
    max_read: usize,
    sent: SentFrames,
    /// The close after a violation.
    close: Option<Close<Io>>,
    /// Dropped with the stream.
    _dropped: oneshot::Sender<Infallible>,
}

/// The close that follows a violation.
struct Close<Io> {
    violation: Violation,
    /// Gives the stream to the task that closes it.
    task: oneshot::Sender<(Io, Option<Vec<u8>>)>,
}

/// The frames that the server sends.
#[derive(Debug, Default)]
pub(super) struct SentFrames {
    header: HeaderReader,
    /// Bytes of the current payload that have not been sent.
    missing: u64,
    has_close: bool,
}

impl<Io> CheckedStream<Io> {
    /// `max` is the maximum number of bytes in a message, and `max_attachments` in the attachments
    /// of one event. The receiver ends when the stream is dropped.
    pub(super) fn new(
        io: Io,
        (max, max_attachments): (usize, usize),
        incoming: IncomingMemory,
    ) -> (Self, oneshot::Receiver<Infallible>) {
        let (_dropped, receiver) = oneshot::channel();
        let stream = Self {
            io: Some(io),
            received: FrameChecker::new(max).with_attachments(max_attachments),
            splitter: Splitter::default(),
            incoming,
            max_read: usize::MAX,
            sent: SentFrames::default(),
            close: None,
            _dropped,
        };
        (stream, receiver)
    }
}

impl<Io: Unpin> CheckedStream<Io> {
    fn io(&mut self) -> Pin<&mut Io> {
        Pin::new(self.io.as_mut().expect("only a drop takes it"))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for CheckedStream<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let begin = buf.filled().len();
        loop {
            // After a violation the reader gets nothing more.
            if buf.remaining() == 0 || stream.splitter.pass(buf) || stream.close.is_some() {
                return Poll::Ready(Ok(()));
            }
            if buf.remaining() < MIN_ROOM {
                let mut small = [0; MIN_ROOM];
                let mut small = ReadBuf::new(&mut small);
                let is_end = ready!(stream.poll_read_part(cx, &mut small))?;
                stream.splitter.prepare(small.filled());
                if is_end {
                    stream.splitter.pass(buf);
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let is_end = ready!(stream.poll_read_part(cx, buf))?;
            // A part of a header is held until all of it has arrived.
            if is_end || buf.filled().len() > begin {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> CheckedStream<Io> {
    /// Reads once. Returns `true` if that was the end for the reader.
    fn poll_read_part(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        ready!(self.incoming.poll_claim(cx, self.received.message_bytes()));
        let (begin, held) = (buf.filled().len(), self.splitter.held());
        buf.put_slice(held);
        let before = buf.filled().len();
        let max = self.splitter.max_read().min(self.max_read).min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(max));
        let read = self.io().poll_read(cx, &mut part).map_ok(|()| part.filled().len());
        let Poll::Ready(Ok(count)) = read else {
            buf.set_filled(begin);
            return read.map_ok(|_| true);
        };
        buf.advance(count);
        let (completed, packets) = (self.received.completed(), self.received.packets());
        let position = self.received.position();
        let frames = self.received.frames();
        let checked = self.received.check(&buf.filled()[before..]);
        self.count_frames(cx, count, self.received.frames() - frames);
        if self.received.completed() > completed {
            self.incoming.completed(packets, self.received.packets());
        }
        if let Err(Rejection { accepted, .. }) = &checked {
            buf.set_filled(before + accepted);
        }
        if self.received.has_binary_since(position) {
            let rest = attachments::remove(&mut buf.filled_mut()[begin..], position);
            buf.set_filled(begin + rest);
        }
        if let Err(Rejection { violation, .. }) = checked {
            self.begin_close(violation);
            return Poll::Ready(Ok(true));
        }
        if count == 0 {
            self.splitter.drop_header();
            return Poll::Ready(Ok(true));
        }
        let passed = self.splitter.split(&mut buf.filled_mut()[begin..], count, &self.received);
        buf.set_filled(begin + passed);
        Poll::Ready(Ok(false))
    }

    /// Spends the budget of the task for the frames that were read. A frame costs more than its
    /// bytes, so a client that sends tiny ones gets shorter turns.
    fn count_frames(&mut self, cx: &mut Context<'_>, bytes: usize, frames: u64) {
        let frames = usize::try_from(frames).unwrap_or(usize::MAX);
        task_budget::spend(cx, frames);
        let are_tiny = frames > 1 && bytes / frames < TINY_FRAME;
        self.max_read = if are_tiny { TINY_READ } else { usize::MAX };
    }

    fn begin_close(&mut self, violation: Violation) {
        tracing::debug!(reason = violation.reason(), "a client violates the WebSocket protocol");
        let (task, stream) = oneshot::channel();
        self.close = Some(Close { violation, task });
        tokio::spawn(async move {
            if let Ok((io, frame)) = stream.await {
                // An error or a timeout means that the client does not read the frame.
                let _ = timeout(CLOSE_TIMEOUT, close(io, frame)).await;
            }
        });
    }
}

/// Returns the close code for bytes of a client in parts of a size, if they violate the protocol.
pub(crate) fn close_code(bytes: &[u8], size: usize) -> Option<u16> {
    const MAX: usize = 1000;
    let mut checker = FrameChecker::new(MAX);
    let rejected = bytes.chunks(size).find_map(|part| checker.check(part).err());
    rejected.map(|rejected| rejected.violation.code())
}

/// Sends a close frame, and reads until the client closes the connection.
async fn close<Io: AsyncRead + AsyncWrite + Unpin>(
    mut io: Io,
    frame: Option<Vec<u8>>,
) -> io::Result<u64> {
    io.write_all(&frame.unwrap_or_default()).await?;
    io.shutdown().await?;
    copy(&mut io, &mut sink()).await
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for CheckedStream<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        let count = ready!(stream.io().poll_write(cx, bytes))?;
        stream.sent.advance(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().io().poll_shutdown(cx)
    }
}

impl<Io> Drop for CheckedStream<Io> {
    fn drop(&mut self) {
        if let (Some(Close { violation, task }), Some(io)) = (self.close.take(), self.io.take()) {
            let frame = self.sent.can_close().then(|| violation.close_frame());
            // The task is gone if the runtime stops.
            let _ = task.send((io, frame));
        }
    }
}

impl SentFrames {
    /// Reads the headers in bytes that the server has sent.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.len() - at;
            if self.missing > 0 {
                let count = usize::try_from(self.missing).map_or(rest, |missing| missing.min(rest));
                self.missing -= count as u64;
                at += count;
            } else {
                let (read, header) = self.header.read(&bytes[at..]);
                if let Some(header) = header {
                    self.missing = header.length;
                    self.has_close |= header.opcode == Some(Opcode::Close);
                }
                at += read;
            }
        }
    }

    /// Returns how many bytes are sent before the next frame begins. `None` in the middle of a
    /// header.
    pub(super) fn next_frame_start(&self) -> Option<usize> {
        usize::try_from(self.missing).ok().filter(|_| self.header.count() == 0)
    }

    /// Whether a close frame may come next.
    fn can_close(&self) -> bool {
        self.missing == 0 && self.header.count() == 0 && !self.has_close
    }
}

#[cfg(test)]
mod tests;
