//! The answer to a poll, in which [large packets](super::large_packets) replace their placeholders.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::{StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Collected};

use super::large_packets::LargePackets;

/// The separator of two packets of Engine.IO 4.
const SEPARATOR: u8 = 0x1e;

/// Packets that are written without being copied.
struct Payload(VecDeque<Bytes>);

/// Replaces the placeholders in the answer to a poll of Engine.IO 4 by their large packets.
pub(super) async fn fill(answer: Response, packets: &LargePackets) -> Response {
    if packets.is_empty() || answer.status() != StatusCode::OK {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    // The body is in memory, so this does not wait.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let payload = Payload::new(&body, packets);
    head.headers.insert(header::CONTENT_LENGTH, payload.len().into());
    Response::from_parts(head, Body::new(payload))
}

impl Payload {
    fn new(body: &Bytes, packets: &LargePackets) -> Self {
        let mut parts = VecDeque::new();
        for packet in body.split(|byte| *byte == SEPARATOR) {
            if !parts.is_empty() {
                parts.push_back(Bytes::from_static(&[SEPARATOR]));
            }
            match packets.take(packet) {
                Some(packet) => parts.extend(packet.into_parts()),
                None => parts.push_back(body.slice_ref(packet)),
            }
        }
        Self(parts)
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|part| part.len() as u64).sum()
    }
}

impl HttpBody for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
