//! The frames on a WebSocket, in both directions.
//!
//! [`RewritingStream`] wraps the TCP stream, so timeouts, limits, pings and closes still work on it. It
//! forwards all bytes unchanged except those of two frames: a received CONNECT with a query, and a sent
//! refusal. It buffers at most one such frame, and of any other a header and a few bytes. Sent bytes that are
//! forwarded are not copied.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use super::{connect, refusal};

/// A stream on which a CONNECT has its auth where socketioxide expects it, and a refusal is as the client expects it.
pub(super) struct RewritingStream<Io> {
    io: Io,
    received: Frames,
    /// Received bytes that can be read.
    ready: Bytes,
    sent: Frames,
    /// Written bytes that are not sent yet.
    pending: Bytes,
}

/// Frames of one direction as they come, in parts.
struct Frames {
    decide: fn(&[u8]) -> Decision,
    /// The bytes that are still to come of a forwarded frame.
    passing: usize,
    /// The beginning of a frame that is not decided on.
    held: BytesMut,
}

/// What is done with a frame.
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
        let [received, sent] = [Frames::new(decide_received), Frames::new(decide_sent)];
        let (ready, pending) = (Bytes::new(), Bytes::new());
        Self { io, received, ready, sent, pending }
    }
}

impl Frames {
    fn new(decide: fn(&[u8]) -> Decision) -> Self {
        Self { decide, passing: 0, held: BytesMut::new() }
    }

    /// How many of these bytes pass before the first frame that has to be held. Those that really went on
    /// are to be reported to [`advance`](Self::advance).
    fn unchanged(&self, bytes: &[u8]) -> usize {
        if self.held.is_empty() {
            self.end_of_passing(bytes, bytes.len()).min(bytes.len())
        } else {
            0
        }
    }

    /// So many of these bytes, all of which pass, went on.
    fn advance(&mut self, bytes: &[u8], count: usize) {
        self.passing = self.end_of_passing(bytes, count) - count;
    }

    /// Where the last frame ends that passes and begins before a place.
    fn end_of_passing(&self, bytes: &[u8], place: usize) -> usize {
        let mut end = self.passing;
        while end < place
            && let Decision::Forward(length) = (self.decide)(&bytes[end..])
        {
            end = end.saturating_add(length);
        }
        end
    }

    /// What all that has been read until now adds to what passes.
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
        // Most of the time there is nothing to hold, nor memory for it.
        self.held = BytesMut::new();
        passed.freeze()
    }
}

/// What passes of bytes that come in parts of a size.
pub(crate) fn passed(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut frames = Frames::new(decide_received);
    bytes.chunks(size).flat_map(|part| frames.take(part)).collect()
}

/// Packets that are replaced.
struct Replaced {
    begin: &'static str,
    longest: usize,
    is_masked: bool,
    rewritten: fn(&str) -> Option<String>,
}

fn decide_received(bytes: &[u8]) -> Decision {
    Replaced {
        begin: connect::BEGIN,
        longest: connect::LONGEST,
        is_masked: true,
        rewritten: connect::rewritten,
    }
    .decide(bytes)
}

fn decide_sent(bytes: &[u8]) -> Decision {
    Replaced {
        begin: refusal::BEGIN,
        longest: refusal::LONGEST,
        is_masked: false,
        rewritten: refusal::rewritten,
    }
    .decide(bytes)
}

impl Replaced {
    /// What becomes of the frame that these bytes begin with.
    fn decide(&self, bytes: &[u8]) -> Decision {
        let mut cursor = Cursor::new(bytes);
        let (header, length) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Decision::NeedMore,
            // No frame is found behind such a one; the connection will be closed for it.
            Err(_) => return Decision::Forward(usize::MAX),
        };
        let (head, payload) = bytes.split_at(header.len(length).min(bytes.len()));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let whole = head.len().saturating_add(length);
        let Some(mask) = self.mask(&header, length) else { return Decision::Forward(whole) };
        let begin = self.begin.as_bytes();
        match unmasked(&payload[..payload.len().min(begin.len())], mask) {
            // It is longer than that, so more of it is to come.
            came if came.len() < begin.len() && begin.starts_with(&came) => Decision::NeedMore,
            came if came != begin => Decision::Forward(whole),
            _ if payload.len() < length => Decision::NeedMore,
            _ => match self.frame(header, &unmasked(&payload[..length], mask)) {
                Some(frame) => Decision::Replace(whole, frame),
                None => Decision::Forward(whole),
            },
        }
    }

    /// That of a frame that is a message by itself, long enough and not too long. Without one, it is zero.
    fn mask(&self, header: &FrameHeader, length: usize) -> Option<[u8; 4]> {
        let is_plain = header.is_final && !(header.rsv1 || header.rsv2 || header.rsv3);
        let is_text = is_plain && header.opcode == OpCode::Data(Data::Text);
        let is_expected = is_text
            && (self.begin.len()..=self.longest).contains(&length)
            && header.mask.is_some() == self.is_masked;
        is_expected.then(|| header.mask.unwrap_or_default())
    }

    fn frame(&self, header: FrameHeader, payload: &[u8]) -> Option<Vec<u8>> {
        let packet = (self.rewritten)(std::str::from_utf8(payload).ok()?)?;
        let mut frame = Vec::new();
        Frame::from_payload(header, packet.into()).format(&mut frame).ok()?;
        Some(frame)
    }
}

fn unmasked(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

impl<Io: AsyncRead + Unpin> AsyncRead for RewritingStream<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        while line.ready.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut line.io).poll_read(cx, buffer))?;
            let read = &buffer.filled()[before..];
            if read.is_empty() {
                // The end, or there was no room.
                return Poll::Ready(Ok(()));
            }
            line.ready = line.received.take(read);
            buffer.set_filled(before);
        }
        let most = buffer.remaining().min(line.ready.len());
        buffer.put_slice(&line.ready.split_to(most));
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> RewritingStream<Io> {
    /// Sends what is ready of the frames that were held.
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
        let line = self.get_mut();
        ready!(line.poll_pending(cx))?;
        match line.sent.unchanged(bytes) {
            0 => {
                line.pending = line.sent.take(bytes);
                // An error comes again with the next call.
                let _ = line.poll_pending(cx);
                Poll::Ready(Ok(bytes.len()))
            }
            count => {
                let written = ready!(Pin::new(&mut line.io).poll_write(cx, &bytes[..count]))?;
                line.sent.advance(bytes, written);
                Poll::Ready(Ok(written))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        ready!(line.poll_pending(cx))?;
        Pin::new(&mut line.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        ready!(line.poll_pending(cx))?;
        Pin::new(&mut line.io).poll_shutdown(cx)
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
    const INSTEAD: &str = r#"40/shop,{"token":"a,b"}"#;

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
    fn a_connect_is_rewritten_among_others_in_whatever_parts_they_come() {
        let event = format!(r#"42["hello","{}?"]"#, "x".repeat(70_000));
        let around = |connect: &str| {
            let ping = frame(OpCode::Control(Control::Ping), true, CONNECT);
            [text("2"), text(connect), ping, text(""), text("40"), text(&event), text(connect)]
                .concat()
        };
        let (sent, expected) = (around(CONNECT), around(INSTEAD));
        for size in [1, 2, 3, 7, 64, 4096, sent.len()] {
            assert!(passed(&sent, size) == expected, "in parts of {size}");
        }
    }

    #[test]
    fn what_is_no_whole_message_of_text_is_left() {
        let bytes = frame(OpCode::Data(Data::Binary), true, CONNECT);
        assert_eq!(passed(&bytes, 5), bytes);
        let first = frame(OpCode::Data(Data::Text), false, "40/shop");
        let last = frame(OpCode::Data(Data::Continue), true, "?token=x");
        let halves = [first, last].concat();
        assert_eq!(passed(&halves, 5), halves);
        let mut compressed = text(CONNECT);
        compressed[0] |= 0x40;
        assert_eq!(passed(&compressed, 5), compressed);
    }

    #[test]
    fn what_is_no_frame_passes_and_all_behind_it() {
        let wrong = [&[0x83, 0x80, 0, 0, 0, 0][..], &text(CONNECT)].concat();
        assert_eq!(passed(&wrong, 5), wrong);
        let not_masked = [&[0x81, CONNECT.len() as u8], CONNECT.as_bytes()].concat();
        assert_eq!(passed(&not_masked, 5), not_masked);
        let mut no_text = text("40/shop?token=x");
        *no_text.last_mut().unwrap() ^= 0x80;
        assert_eq!(passed(&no_text, 5), no_text);
    }

    #[test]
    fn no_more_is_held_than_a_connect_may_have() {
        let long = text(&format!("40/shop?token={}", "x".repeat(connect::LONGEST)));
        assert_eq!(passed(&long[..100], 10), long[..100]);
        let huge = [&[0x81, 0xff], &[0xff; 8][..], &[1; 4], b"more"].concat();
        assert_eq!(passed(&huge, 5), huge);
    }

    #[test]
    fn nothing_is_held_between_frames() {
        let mut frames = Frames::new(decide_received);
        frames.take(&[text("2"), text(CONNECT)].concat());
        assert_eq!((frames.passing, frames.held.capacity()), (0, 0));
    }

    #[tokio::test]
    async fn a_reader_with_little_room_gets_all_and_the_end() {
        let (mut client, line) = duplex(10);
        let mut line = RewritingStream::new(line);
        let sending = tokio::spawn(async move {
            client.write_all(&text(CONNECT)).await.unwrap();
        });
        let (mut all, mut part) = (Vec::new(), [0; 3]);
        while let read @ 1.. = line.read(&mut part).await.unwrap() {
            all.extend_from_slice(&part[..read]);
        }
        assert_eq!(all, text(INSTEAD));
        sending.await.unwrap();
    }

    const REFUSAL: &str = r#"44/shop,{"message":"Auth 500 error"}"#;
    const AS_STRING: &str = r#"44/shop,"Auth 500 error""#;

    fn of_server(payload: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        Frame::message(payload, OpCode::Data(Data::Text), true).format(&mut bytes).unwrap();
        bytes
    }

    /// Everything that reaches the client of what is written in parts of a size, on a line with little room.
    async fn arrived(written: &[u8], size: usize) -> Vec<u8> {
        let (client, server) = duplex(10);
        let mut line = RewritingStream::new(server);
        let (mut client, mut all) = (client, Vec::new());
        let parts: Vec<_> = written.chunks(size).map(<[u8]>::to_vec).collect();
        let writing = tokio::spawn(async move {
            for part in parts {
                line.write_all(&part).await.unwrap();
            }
            line.flush().await.unwrap();
        });
        client.read_to_end(&mut all).await.unwrap();
        writing.await.unwrap();
        all
    }

    #[tokio::test]
    async fn a_sent_refusal_is_rewritten_among_others_in_whatever_parts_it_is_written() {
        let event = format!(r#"42/shop,["hello","{}"]"#, "x".repeat(70_000));
        let around = |refusal: &str| {
            let others = [of_server("3"), of_server(&event), of_server(refusal), of_server("")];
            [others.concat(), of_server("44"), of_server(refusal), of_server("40")].concat()
        };
        let (sent, expected) = (around(REFUSAL), around(AS_STRING));
        for size in [1, 2, 3, 64, 4096, sent.len()] {
            assert!(arrived(&sent, size).await == expected, "in parts of {size}");
        }
    }

    #[tokio::test]
    async fn a_sent_event_is_left_whatever_is_in_it() {
        for packet in [r#"42/shop,["44/shop,{\"message\":1}"]"#, r#"44/shop,"text""#, "4"] {
            assert_eq!(arrived(&of_server(packet), 3).await, of_server(packet));
        }
        let masked = text(REFUSAL);
        assert_eq!(arrived(&masked, 5).await, masked);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_parts_whatever_is_sent_comes(
            sent in vec(prop_oneof![
                "4?0?/?[a?,=%]{0,150}".prop_map(|packet| text(&packet)),
                vec(any::<u8>(), 0..20),
            ], 0..6),
            size in 1..40usize,
        ) {
            let sent = sent.concat();
            let mut frames = Frames::new(decide_received);
            let at_once = frames.take(&sent);
            prop_assert_eq!(at_once, passed(&sent, size));
        }
    }
}
