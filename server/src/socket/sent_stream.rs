//! The stream of a WebSocket on which placeholders are replaced by [large
//! packets](super::large_packets).
//!
//! Below tungstenite, [`SentStream`] reads the headers of the frames that are written. The frame of
//! a placeholder is replaced by a frame with the text of the packet, which is written without being
//! copied. All other bytes pass and are not copied.
//!
//! The buffer of tungstenite becomes as large as the bytes that had to wait in it, and keeps that
//! size. It mostly holds small pushes: each connection has a copy of the pushes that its client
//! does not read. Beyond [`UNCLAIMED_BYTES`] it needs a claim, which lasts as long as the
//! connection ([`BufferMemory`]). A blocked connection is ended if no memory is left for its claim.
//!
//! tungstenite writes everything in its buffer, and the bytes of a frame together: so if a write
//! begins with a frame, all of the frame is there.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame_check::SentFrames;
use super::large_packets::LargePacket;
use super::output::{OutputBudget, UNCLAIMED_BYTES};
use super::session::Session;
use crate::http::connection_handle::ConnectionHandle;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::Claim;
use crate::settings::Limit;

/// The first byte of a message in one frame of text.
const TEXT: u8 = 0x81;

/// The longest header of a frame that the server sends.
const MAX_HEADER: usize = 10;

/// A stream that writes large packets.
pub(super) struct SentStream<Io> {
    io: Io,
    session: Option<Arc<Session>>,
    buffer: BufferMemory,
    frames: SentFrames,
    /// Bytes of the placeholder whose packet is being written, or 0.
    replaced: usize,
    /// The rest of that packet.
    rest: VecDeque<Bytes>,
}

/// The memory of the buffer above a stream.
pub(super) struct BufferMemory {
    budget: Arc<OutputBudget>,
    limits_reached: Arc<LimitMonitor>,
    claim: Option<Claim>,
}

impl BufferMemory {
    pub(super) fn new(budget: Arc<OutputBudget>, limits_reached: Arc<LimitMonitor>) -> Self {
        Self { budget, limits_reached, claim: None }
    }

    /// Claims a buffer of this many bytes, or ends the session that it belongs to.
    fn claim(&mut self, bytes: usize, session: Option<&Arc<Session>>) -> io::Result<()> {
        let needed = bytes.saturating_sub(UNCLAIMED_BYTES);
        let Some(session) = session.filter(|_| needed > 0) else { return Ok(()) };
        let client = session.address();
        let claim = self.claim.get_or_insert_with(|| self.budget.claim_of_buffer(client));
        if needed <= claim.bytes() || claim.resize(needed.next_multiple_of(UNCLAIMED_BYTES)) {
            return Ok(());
        }
        self.limits_reached.reached(Limit::TotalUnreadBytes, client);
        session.taken.websocket().iter().for_each(ConnectionHandle::abort);
        Err(io::ErrorKind::OutOfMemory.into())
    }
}

impl<Io> Drop for SentStream<Io> {
    fn drop(&mut self) {
        self.session.iter().for_each(|session| session.end());
    }
}

impl<Io> SentStream<Io> {
    /// Creates a stream that writes the large packets of the session.
    pub(super) fn new(io: Io, session: Option<Arc<Session>>, buffer: BufferMemory) -> Self {
        Self {
            io,
            session,
            buffer,
            frames: SentFrames::default(),
            replaced: 0,
            rest: VecDeque::new(),
        }
    }

    /// Decides how the first of these bytes are written.
    fn next_step(&self, bytes: &[u8]) -> WriteStep {
        let all = WriteStep::Pass(bytes.len());
        let Some(session) = self.session.as_ref().filter(|it| !it.large_packets.is_empty()) else {
            return all;
        };
        // In the middle of a header it is not known yet where the next frame begins.
        let Some(mut at) = self.frames.next_frame_start() else {
            return WriteStep::Pass(bytes.len().min(1));
        };
        while let Some(frame) = bytes.get(at..).and_then(Frame::read) {
            match frame.text {
                Some(text) if at > 0 && session.large_packets.contains(text) => {
                    return WriteStep::Pass(at);
                }
                Some(text)
                    if at == 0
                        && let Some(packet) = session.large_packets.take(text) =>
                {
                    return WriteStep::Replace(frame.length, packet);
                }
                _ => at = at.saturating_add(frame.length),
            }
        }
        all
    }
}

/// How bytes are written.
enum WriteStep {
    /// This many bytes pass.
    Pass(usize),
    /// A packet replaces this many bytes.
    Replace(usize, LargePacket),
}

/// A frame that the server sends.
struct Frame<'a> {
    /// Bytes of the frame, with its header.
    length: usize,
    /// The text of the message, which may be a placeholder.
    text: Option<&'a [u8]>,
}

impl<'a> Frame<'a> {
    /// Reads the frame that these bytes begin with.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (header, payload) = match second & 0x7f {
            126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            127 => (MAX_HEADER, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
            short => (2, u64::from(short)),
        };
        let payload = usize::try_from(payload).unwrap_or(usize::MAX);
        let length = payload.saturating_add(header);
        let is_text = first == TEXT;
        Some(Self { length, text: bytes.get(header..length).filter(|_| is_text) })
    }
}

/// Returns the header of a message in one frame of text.
fn header(length: usize) -> Bytes {
    let mut header = vec![TEXT];
    match u16::try_from(length) {
        Ok(short) if short < 126 => header.push(short as u8),
        Ok(medium) => {
            header.push(126);
            header.extend(medium.to_be_bytes());
        }
        Err(_) => {
            header.push(127);
            header.extend((length as u64).to_be_bytes());
        }
    }
    header.into()
}

impl<Io: AsyncWrite + Unpin> SentStream<Io> {
    fn io(&mut self) -> Pin<&mut Io> {
        Pin::new(&mut self.io)
    }

    /// Writes the rest of a packet.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(part) = self.rest.front_mut() {
            if part.is_empty() {
                self.rest.pop_front();
                continue;
            }
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, part))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            part.advance(written);
        }
        // Release the memory that the packet needed.
        self.rest = VecDeque::new();
        Poll::Ready(Ok(()))
    }

    /// Writes the first of these bytes, or the packet that replaces them.
    fn poll_next(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaced == 0 {
            match self.next_step(bytes) {
                WriteStep::Pass(count) => {
                    let count = ready!(self.io().poll_write(cx, &bytes[..count]))?;
                    self.frames.advance(&bytes[..count]);
                    return Poll::Ready(Ok(count));
                }
                WriteStep::Replace(count, packet) => {
                    self.replaced = count;
                    self.rest.push_back(header(packet.len()));
                    self.rest.extend(packet.into_parts());
                }
            }
        }
        // tungstenite does not flush what it has written before it closes. So the placeholder
        // counts as written only when all of its packet is written, and is in these bytes until
        // then.
        ready!(self.poll_rest(cx))?;
        let count = std::mem::take(&mut self.replaced);
        self.frames.advance(&bytes[..count]);
        Poll::Ready(Ok(count))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for SentStream<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        let written = stream.poll_next(cx, bytes);
        if written.is_pending() {
            stream.buffer.claim(bytes.len(), stream.session.as_ref())?;
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().io().poll_shutdown(cx)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for SentStream<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use tokio::io::duplex;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::super::session::tests::session;
    use super::*;

    /// Messages in any order, some of which replace placeholders, over a stream that takes any part
    /// of a write.
    #[tokio::test]
    async fn messages_arrive_unchanged_and_in_order() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..12 {
            let session = session();
            let (server, client) = duplex(random.random_range(100..200_000));
            let server = SentStream::new(server, Some(Arc::clone(&session)), buffer());
            let mut server = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
            let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
            let expected: Vec<_> = (0..40).map(|_| message(&mut random)).collect();
            let sent = expected.clone();
            let mut random = StdRng::seed_from_u64(random.random());
            tokio::spawn(async move {
                for message in sent {
                    server.feed(queued(&session, message, &mut random)).await.unwrap();
                    if random.random_bool(0.3) {
                        server.flush().await.unwrap();
                    }
                }
                server.close(None).await.unwrap();
                assert!(session.large_packets.is_empty());
                // The client answers pings.
                while let Some(Ok(_)) = server.next().await {}
            });
            let received: Vec<_> = client.map(Result::unwrap).collect().await;
            let (close, received) = received.split_last().unwrap();
            assert!(close.is_close() && received == expected);
        }
    }

    /// Takes one byte at a time.
    struct Slow(Vec<u8>);

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.extend(bytes.first());
            Poll::Ready(Ok(bytes.len().min(1)))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn placeholder_is_replaced_if_a_write_ends_within_a_header() {
        let session = session();
        let frame = |text: &str| [&header(text.len())[..], text.as_bytes()].concat();
        let packet = "7".repeat(70_000);
        let mut placeholder = String::new();
        let arguments = Bytes::from(packet.clone());
        let sent = session.large_packets.send(arguments, |token| {
            placeholder = format!(r#"431["{token}"]"#);
            Ok::<_, io::Error>(())
        });
        sent.unwrap();
        let small = [frame("42[1]"), frame(&"x".repeat(200)), frame("2")].concat();
        let bytes = [small.clone(), frame(&placeholder), frame("3")].concat();
        let mut stream = SentStream::new(Slow(Vec::new()), Some(session), buffer());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Poll::Ready(Ok(count)) = Pin::new(&mut stream).poll_write(&mut cx, rest) else {
                panic!("it takes a byte");
            };
            rest = &rest[count..];
        }
        let expected = [small, frame(&format!("431[{packet}]")), frame("3")].concat();
        assert!(stream.io.0 == expected);
    }

    #[tokio::test]
    async fn blocked_stream_has_a_small_buffer_or_a_claim() {
        let limits = Arc::new(LimitMonitor::default());
        let budget = OutputBudget::new(400_000);
        let blocked = || {
            let (server, client) = duplex(1);
            let memory = BufferMemory::new(Arc::clone(&budget), Arc::clone(&limits));
            (SentStream::new(server, Some(session()), memory), client)
        };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut write = |stream: &mut SentStream<_>, bytes: usize| {
            let text = vec![0; bytes];
            // The stream takes a byte.
            let _ = Pin::new(&mut *stream).poll_write(&mut cx, &text);
            Pin::new(stream).poll_write(&mut cx, &text)
        };
        let ((mut first, _client), (mut second, _other)) = (blocked(), blocked());
        assert!(write(&mut first, 90_000).is_pending());
        assert!(write(&mut second, UNCLAIMED_BYTES).is_pending());
        assert!(matches!(write(&mut second, 90_000), Poll::Ready(Err(_))));
        assert!(limits.counts().any(|(limit, n)| limit == Limit::TotalUnreadBytes && n > 0));
        // The buffer of the first stays as it is, and so does its claim.
        assert!(budget.claimed() >= 90_000 - UNCLAIMED_BYTES);
        drop(first);
        assert!(write(&mut second, 90_000).is_pending());
    }

    fn buffer() -> BufferMemory {
        BufferMemory::new(OutputBudget::new(1 << 20), Arc::default())
    }

    fn message(random: &mut StdRng) -> Message {
        let size = match random.random_range(0..4) {
            0 => random.random_range(0..10),
            1 => random.random_range(0..1000),
            2 => random.random_range(60_000..70_000),
            _ => random.random_range(0..150_000),
        };
        let text = |random: &mut StdRng| -> String {
            (0..size).map(|_| char::from(random.random_range(b' '..=b'~'))).collect()
        };
        match random.random_range(0..8) {
            0 => Message::binary(text(random)),
            1 => Message::Ping(text(random).into_bytes()[..size.min(125)].to_vec().into()),
            2 => Message::text(text(random)),
            3 => Message::text(format!("431[\"{:032x}\"]", random.random::<u128>())),
            _ => Message::text(format!("43{size}[{}]", text(random))),
        }
    }

    /// Queues a message. Returns it, or its placeholder.
    fn queued(session: &Session, message: Message, random: &mut StdRng) -> Message {
        let Message::Text(text) = &message else { return message };
        let place = text.find('[').filter(|_| text.starts_with("43") && text.ends_with(']'));
        let Some((head, arguments)) = place.map(|place| text.split_at(place)) else {
            return message;
        };
        if random.random_bool(0.2) {
            return message;
        }
        let arguments = Bytes::copy_from_slice(&arguments.as_bytes()[1..arguments.len() - 1]);
        let token = |token: &str| Ok::<_, ()>(Message::text(format!("{head}[\"{token}\"]")));
        session.large_packets.send(arguments, token).unwrap()
    }
}
