//! Rewrites the frames on a WebSocket, in both directions.
//!
//! [`RewritingStream`] wraps the TCP stream, so timeouts, limits, pings and closes still work on
//! it. It forwards all bytes unchanged except two frames: a received CONNECT with a query, and a
//! sent refusal. It buffers at most one such frame, and of any other frame a header and a few
//! bytes. Sent bytes that are forwarded are not copied.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use super::{connect, refusal};

/// A stream that rewrites a received CONNECT for socketioxide, and a sent refusal for the client.
pub(super) struct RewritingStream<Io> {
    io: Io,
    received: FrameRewriter,
    /// Received bytes that can be read.
    ready: Bytes,
    sent: FrameRewriter,
    /// Written bytes that are not sent yet.
    pending: Bytes,
}

/// Rewrites the frames of one direction, which arrive in parts.
struct FrameRewriter {
    decide: fn(&[u8]) -> Decision,
    /// Bytes of a forwarded frame that have not arrived.
    passing: usize,
    /// The beginning of a frame that has not been decided on.
    held: BytesMut,
}

/// The handling of a frame.
enum Decision {
    /// Wait for more of it.
    NeedMore,
    /// Forward this many bytes unchanged.
    Forward(usize),
    /// Replace this many bytes.
    Replace(usize, Vec<u8>),
}

impl<Io> RewritingStream<Io> {
    pub(super) fn new(io: Io) -> Self {
        let [received, sent] =
            [FrameRewriter::new(decide_received), FrameRewriter::new(decide_sent)];
        let (ready, pending) = (Bytes::new(), Bytes::new());
        Self { io, received, ready, sent, pending }
    }
}

impl FrameRewriter {
    fn new(decide: fn(&[u8]) -> Decision) -> Self {
        Self { decide, passing: 0, held: BytesMut::new() }
    }

    /// Returns how many of these bytes pass before the first frame that has to be held. The bytes
    /// that were written have to be reported to [`advance`](Self::advance).
    fn unchanged(&self, bytes: &[u8]) -> usize {
        if self.held.is_empty() {
            self.end_of_passing(bytes, bytes.len()).min(bytes.len())
        } else {
            0
        }
    }

    /// Reports that `count` of these bytes, all of which pass, were written.
    fn advance(&mut self, bytes: &[u8], count: usize) {
        self.passing = self.end_of_passing(bytes, count) - count;
    }

    /// Returns the end of the last frame that passes and begins before `place`.
    fn end_of_passing(&self, bytes: &[u8], place: usize) -> usize {
        let mut end = self.passing;
        while end < place
            && let Decision::Forward(length) = (self.decide)(&bytes[end..])
        {
            end = end.saturating_add(length);
        }
        end
    }

    /// Adds bytes that were read. Returns the bytes that pass now.
    fn take(&mut self, read: &[u8]) -> Bytes {
        self.held.extend_from_slice(read);
        let mut passed = BytesMut::new();
        while !self.held.is_empty() {
            if self.passing == 0 {
                match (self.decide)(&self.held) {
                    Decision::NeedMore => return passed.freeze(),
                    Decision::Forward(length) => self.passing = length,
                    Decision::Replace(length, frame) => {
                        self.held.advance(length);
                        passed.extend_from_slice(&frame);
                    }
                }
            }
            let part = self.held.split_to(self.passing.min(self.held.len()));
            self.passing -= part.len();
            passed.extend_from_slice(&part);
        }
        // Most of the time there is nothing to hold, and no memory is needed for it.
        self.held = BytesMut::new();
        passed.freeze()
    }
}

/// Rewrites received bytes that arrive in parts of a size.
pub(crate) fn rewrite_received(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut frames = FrameRewriter::new(decide_received);
    bytes.chunks(size).flat_map(|part| frames.take(part)).collect()
}

/// A rule that replaces packets.
struct RewriteRule {
    prefix: &'static str,
    max_length: usize,
    is_masked: bool,
    rewrite: fn(&str) -> Option<String>,
}

fn decide_received(bytes: &[u8]) -> Decision {
    RewriteRule {
        prefix: connect::PREFIX,
        max_length: connect::MAX_LENGTH,
        is_masked: true,
        rewrite: connect::rewrite,
    }
    .decide(bytes)
}

fn decide_sent(bytes: &[u8]) -> Decision {
    RewriteRule {
        prefix: refusal::PREFIX,
        max_length: refusal::MAX_LENGTH,
        is_masked: false,
        rewrite: refusal::rewrite,
    }
    .decide(bytes)
}

impl RewriteRule {
    /// Decides on the frame that these bytes begin with.
    fn decide(&self, bytes: &[u8]) -> Decision {
        let mut cursor = Cursor::new(bytes);
        let (header, length) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Decision::NeedMore,
            // No frame can be found behind an invalid header. The connection will be closed because
            // of it.
            Err(_) => return Decision::Forward(usize::MAX),
        };
        let (head, payload) = bytes.split_at(header.len(length).min(bytes.len()));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let whole = head.len().saturating_add(length);
        let Some(mask) = self.mask(&header, length) else { return Decision::Forward(whole) };
        let expected = self.prefix.as_bytes();
        match unmask(&payload[..payload.len().min(expected.len())], mask) {
            // The frame is longer than this prefix, so more of it will arrive.
            prefix if prefix.len() < expected.len() && expected.starts_with(&prefix) => {
                Decision::NeedMore
            }
            prefix if prefix != expected => Decision::Forward(whole),
            _ if payload.len() < length => Decision::NeedMore,
            _ => match self.frame(header, &unmask(&payload[..length], mask)) {
                Some(frame) => Decision::Replace(whole, frame),
                None => Decision::Forward(whole),
            },
        }
    }

    /// Returns the mask of a frame that is a whole message of text with a length in the expected
    /// range. A frame without a mask has the mask zero.
    fn mask(&self, header: &FrameHeader, length: usize) -> Option<[u8; 4]> {
        let is_plain = header.is_final && !(header.rsv1 || header.rsv2 || header.rsv3);
        let is_text = is_plain && header.opcode == OpCode::Data(Data::Text);
        let is_expected = is_text
            && (self.prefix.len()..=self.max_length).contains(&length)
            && header.mask.is_some() == self.is_masked;
        is_expected.then(|| header.mask.unwrap_or_default())
    }

    fn frame(&self, header: FrameHeader, payload: &[u8]) -> Option<Vec<u8>> {
        let packet = (self.rewrite)(std::str::from_utf8(payload).ok()?)?;
        let mut frame = Vec::new();
        Frame::from_payload(header, packet.into()).format(&mut frame).ok()?;
        Some(frame)
    }
}

fn unmask(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

impl<Io: AsyncRead + Unpin> AsyncRead for RewritingStream<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        while stream.ready.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut stream.io).poll_read(cx, buffer))?;
            let read = &buffer.filled()[before..];
            if read.is_empty() {
                // This is the end, or the buffer has no room.
                return Poll::Ready(Ok(()));
            }
            stream.ready = stream.received.take(read);
            buffer.set_filled(before);
        }
        let count = buffer.remaining().min(stream.ready.len());
        buffer.put_slice(&stream.ready.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> RewritingStream<Io> {
    /// Writes the pending bytes of frames that were held.
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.pending))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.pending.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for RewritingStream<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        ready!(stream.poll_pending(cx))?;
        match stream.sent.unchanged(bytes) {
            0 => {
                stream.pending = stream.sent.take(bytes);
                // An error is returned again by the next call.
                let _ = stream.poll_pending(cx);
                Poll::Ready(Ok(bytes.len()))
            }
            count => {
                let written = ready!(Pin::new(&mut stream.io).poll_write(cx, &bytes[..count]))?;
                stream.sent.advance(bytes, written);
                Poll::Ready(Ok(written))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.poll_pending(cx))?;
        Pin::new(&mut stream.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.poll_pending(cx))?;
        Pin::new(&mut stream.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

    use super::*;

    const CONNECT: &str = "40/shop?token=a%2Cb,";
    const REWRITTEN: &str = r#"40/shop,{"token":"a,b"}"#;

    fn frame(opcode: OpCode, is_final: bool, payload: &str) -> Vec<u8> {
        let mask = Some([7, 77, 177, 200]);
        let header = FrameHeader { is_final, opcode, mask, ..FrameHeader::default() };
        let mut bytes = Vec::new();
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        Frame::from_payload(header, payload).format(&mut bytes).unwrap();
        bytes
    }

    fn text(payload: &str) -> Vec<u8> {
        frame(OpCode::Data(Data::Text), true, payload)
    }

    #[test]
    fn connect_is_rewritten_among_other_frames_in_parts_of_any_size() {
        let event = format!(r#"42["hello","{}?"]"#, "x".repeat(70_000));
        let around = |connect: &str| {
            let ping = frame(OpCode::Control(Control::Ping), true, CONNECT);
            [text("2"), text(connect), ping, text(""), text("40"), text(&event), text(connect)]
                .concat()
        };
        let (sent, expected) = (around(CONNECT), around(REWRITTEN));
        for size in [1, 2, 3, 7, 64, 4096, sent.len()] {
            assert!(rewrite_received(&sent, size) == expected, "in parts of {size}");
        }
    }

    #[test]
    fn frame_that_is_not_a_whole_text_message_is_unchanged() {
        let bytes = frame(OpCode::Data(Data::Binary), true, CONNECT);
        assert_eq!(rewrite_received(&bytes, 5), bytes);
        let first = frame(OpCode::Data(Data::Text), false, "40/shop");
        let last = frame(OpCode::Data(Data::Continue), true, "?token=x");
        let halves = [first, last].concat();
        assert_eq!(rewrite_received(&halves, 5), halves);
        let mut compressed = text(CONNECT);
        compressed[0] |= 0x40;
        assert_eq!(rewrite_received(&compressed, 5), compressed);
    }

    #[test]
    fn invalid_frame_and_all_bytes_after_it_pass() {
        let wrong = [&[0x83, 0x80, 0, 0, 0, 0][..], &text(CONNECT)].concat();
        assert_eq!(rewrite_received(&wrong, 5), wrong);
        let not_masked = [&[0x81, CONNECT.len() as u8], CONNECT.as_bytes()].concat();
        assert_eq!(rewrite_received(&not_masked, 5), not_masked);
        let mut no_text = text("40/shop?token=x");
        *no_text.last_mut().unwrap() ^= 0x80;
        assert_eq!(rewrite_received(&no_text, 5), no_text);
    }

    #[test]
    fn frame_longer_than_a_connect_is_not_held() {
        let long = text(&format!("40/shop?token={}", "x".repeat(connect::MAX_LENGTH)));
        assert_eq!(rewrite_received(&long[..100], 10), long[..100]);
        let huge = [&[0x81, 0xff], &[0xff; 8][..], &[1; 4], b"more"].concat();
        assert_eq!(rewrite_received(&huge, 5), huge);
    }

    #[test]
    fn nothing_is_held_between_frames() {
        let mut frames = FrameRewriter::new(decide_received);
        frames.take(&[text("2"), text(CONNECT)].concat());
        assert_eq!((frames.passing, frames.held.capacity()), (0, 0));
    }

    #[tokio::test]
    async fn reader_with_little_room_gets_all_bytes_and_the_end() {
        let (mut client, stream) = duplex(10);
        let mut stream = RewritingStream::new(stream);
        let sending = tokio::spawn(async move {
            client.write_all(&text(CONNECT)).await.unwrap();
        });
        let (mut all, mut part) = (Vec::new(), [0; 3]);
        while let read @ 1.. = stream.read(&mut part).await.unwrap() {
            all.extend_from_slice(&part[..read]);
        }
        assert_eq!(all, text(REWRITTEN));
        sending.await.unwrap();
    }

    const REFUSAL: &str = r#"44/shop,{"message":"Auth 500 error"}"#;
    const REWRITTEN_REFUSAL: &str = r#"44/shop,"Auth 500 error""#;

    fn of_server(payload: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        Frame::message(payload, OpCode::Data(Data::Text), true).format(&mut bytes).unwrap();
        bytes
    }

    /// Returns everything that reaches the client if bytes are written in parts of a size, to a
    /// stream with little room.
    async fn arrived(written: &[u8], size: usize) -> Vec<u8> {
        let (client, server) = duplex(10);
        let mut stream = RewritingStream::new(server);
        let (mut client, mut all) = (client, Vec::new());
        let parts: Vec<_> = written.chunks(size).map(<[u8]>::to_vec).collect();
        let writing = tokio::spawn(async move {
            for part in parts {
                stream.write_all(&part).await.unwrap();
            }
            stream.flush().await.unwrap();
        });
        client.read_to_end(&mut all).await.unwrap();
        writing.await.unwrap();
        all
    }

    #[tokio::test]
    async fn sent_refusal_is_rewritten_among_other_frames_in_parts_of_any_size() {
        let event = format!(r#"42/shop,["hello","{}"]"#, "x".repeat(70_000));
        let around = |refusal: &str| {
            let others = [of_server("3"), of_server(&event), of_server(refusal), of_server("")];
            [others.concat(), of_server("44"), of_server(refusal), of_server("40")].concat()
        };
        let (sent, expected) = (around(REFUSAL), around(REWRITTEN_REFUSAL));
        for size in [1, 2, 3, 64, 4096, sent.len()] {
            assert!(arrived(&sent, size).await == expected, "in parts of {size}");
        }
    }

    #[tokio::test]
    async fn sent_event_with_any_content_is_unchanged() {
        for packet in [r#"42/shop,["44/shop,{\"message\":1}"]"#, r#"44/shop,"text""#, "4"] {
            assert_eq!(arrived(&of_server(packet), 3).await, of_server(packet));
        }
        let masked = text(REFUSAL);
        assert_eq!(arrived(&masked, 5).await, masked);
    }

    proptest! {
        #[test]
        fn result_does_not_depend_on_the_parts_in_which_bytes_arrive(
            sent in vec(prop_oneof![
                "4?0?/?[a?,=%]{0,150}".prop_map(|packet| text(&packet)),
                vec(any::<u8>(), 0..20),
            ], 0..6),
            size in 1..40usize,
        ) {
            let sent = sent.concat();
            let mut frames = FrameRewriter::new(decide_received);
            let at_once = frames.take(&sent);
            prop_assert_eq!(at_once, rewrite_received(&sent, size));
        }
    }
}
