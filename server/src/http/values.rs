//! Measures the JSON of requests over HTTP before it is parsed.
//!
//! Handlers parse bodies, also the handlers of the embedding application. So the body is measured
//! while a handler reads it, and it ends when there is [memory](ParseClaim) for its values. If the
//! body is refused, its reader gets an error, and the refusal replaces the response.
//!
//! A body may arrive in frames of one byte, and a frame takes many times that. So small frames are
//! joined before a handler gets them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use backwire_records::json_size::JsonSize;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::address::client_address;
use crate::error::{Error, Result};
use crate::parse_claim::{ParseClaim, ParseLimits};

/// Why a body was refused.
type Refusal = Arc<Mutex<Option<Error>>>;

/// Claims memory for the values in the url and in the body of a request until it is answered.
pub(crate) async fn check(
    State(limits): State<Arc<ParseLimits>>,
    mut request: Request,
    next: Next,
) -> Response {
    let query = request.uri().query().map(JsonSize::of_query).unwrap_or_default();
    let claim = ParseClaim::new(&limits, client_address(request.extensions()));
    let is_without_body = request.body().is_end_stream();
    // The values of both are claimed at the end of a body: no memory is held while it arrives.
    let allowed = if is_without_body { claim.claim(query).await } else { claim.check(query) };
    if let Err(error) = allowed {
        return error.into_response();
    }
    if is_without_body {
        return next.run(request).await;
    }
    request.extensions_mut().insert(claim.clone());
    let refusal = Refusal::default();
    let measured = |body| MeasuredBody::new(body, (claim.clone(), query), Arc::clone(&refusal));
    let response = next.run(request.map(|body| Body::new(measured(body)))).await;
    // The request is dropped long before its values are.
    drop(claim);
    match refusal.lock().take() {
        Some(error) => error.into_response(),
        None => response,
    }
}

/// A body that ends when there is memory for its values.
struct MeasuredBody {
    body: Body,
    claim: ParseClaim,
    query: JsonSize,
    size: JsonSize,
    /// The claim, which waits for memory at the end of the body.
    waiting: Option<BoxFuture<'static, Result<()>>>,
    is_claimed: bool,
    refusal: Refusal,
    small: SmallFrames,
}

/// Small frames that are joined before the handler gets them.
#[derive(Debug, Default)]
struct SmallFrames {
    data: BytesMut,
    /// The trailers or the error that follow the data.
    next: Option<std::result::Result<Frame<Bytes>, axum::Error>>,
    /// Whether the body has ended.
    has_ended: bool,
    /// How many small frames were passed on because the client had sent no more.
    passed: usize,
}

/// Frames with fewer bytes than this are joined.
const SMALL_FRAME: usize = 512;

/// How many small frames of a body are passed on as they arrive, for handlers that read it piece by
/// piece.
const MAX_SMALL_FRAMES: usize = 1_000;

impl SmallFrames {
    fn take(&mut self) -> Option<Frame<Bytes>> {
        (!self.data.is_empty()).then(|| Frame::data(self.data.split().freeze()))
    }

    /// Takes the data so far, which is passed on while the client sends no more.
    fn take_early(&mut self) -> Option<Frame<Bytes>> {
        let may_pass = self.passed < MAX_SMALL_FRAMES;
        let frame = may_pass.then(|| self.take()).flatten();
        self.passed += usize::from(frame.is_some());
        frame
    }

    /// Adds data. Returns a frame once there is enough data to pass on.
    fn add(&mut self, data: Bytes) -> Option<Frame<Bytes>> {
        if self.data.is_empty() && data.len() >= SMALL_FRAME {
            return Some(Frame::data(data));
        }
        self.data.extend_from_slice(&data);
        if self.data.len() < SMALL_FRAME { None } else { self.take() }
    }
}

impl MeasuredBody {
    fn new(body: Body, (claim, query): (ParseClaim, JsonSize), refusal: Refusal) -> Self {
        let (size, waiting) = (JsonSize::default(), None);
        let small = SmallFrames::default();
        Self { body, claim, query, size, waiting, is_claimed: false, refusal, small }
    }

    /// Returns the next frame, after small frames are joined.
    fn poll_joined(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if self.small.next.is_some() || self.small.has_ended {
                return Poll::Ready(self.small.next.take());
            }
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(frame)) => frame.map(Frame::into_data),
                Poll::Ready(None) => {
                    self.small.has_ended = true;
                    return Poll::Ready(self.small.take().map(Ok));
                }
                Poll::Pending => {
                    let early = self.small.take_early();
                    return early.map_or(Poll::Pending, |frame| Poll::Ready(Some(Ok(frame))));
                }
            };
            let ready = match frame {
                Ok(Ok(data)) => self.small.add(data),
                Ok(Err(other)) => {
                    self.small.next = Some(Ok(other));
                    self.small.take()
                }
                Err(error) => {
                    self.small.next = Some(Err(error));
                    self.small.take()
                }
            };
            if let Some(frame) = ready {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
    }

    fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let waiting = self.waiting.get_or_insert_with(|| {
            let (claim, size) = (self.claim.clone(), self.size.with(self.query));
            async move { claim.claim(size).await }.boxed()
        });
        let claimed = ready!(waiting.poll_unpin(cx));
        (self.waiting, self.is_claimed) = (None, true);
        Poll::Ready(claimed)
    }

    fn refuse(&mut self, error: Error) -> axum::Error {
        let reason = error.to_string();
        self.refusal.lock().get_or_insert(error);
        axum::Error::new(reason)
    }
}

impl HttpBody for MeasuredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        let Some(frame) = ready!(self.poll_joined(cx)) else {
            if self.is_claimed {
                return Poll::Ready(None);
            }
            let claimed = ready!(self.poll_claim(cx));
            return Poll::Ready(claimed.err().map(|error| Err(self.refuse(error))));
        };
        if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
            self.size.add(data);
            if let Err(error) = self.claim.check(self.size) {
                return Poll::Ready(Some(Err(self.refuse(error))));
            }
        }
        Poll::Ready(Some(frame))
    }

    fn size_hint(&self) -> SizeHint {
        let (body, joined) = (self.body.size_hint(), self.small.data.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(joined));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(joined));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use tokio::task::yield_now;

    use super::*;
    use crate::settings::Limits;

    #[tokio::test]
    async fn size_hint_includes_joined_data() {
        let body = Body::from("x".repeat(100));
        let claim = ParseClaim::new(
            &ParseLimits::new(backwire_engine::Environment::tokio(), &Limits::default()),
            None,
        );
        let query = (claim, JsonSize::default());
        let mut body = MeasuredBody::new(body, query, Refusal::default());
        assert_eq!(body.size_hint().exact(), Some(100));
        assert!(body.small.add("x".repeat(30).into()).is_none());
        assert_eq!(body.size_hint().exact(), Some(130));
    }

    /// Creates a body in frames of these sizes, with trailers. It waits before some of them.
    fn body(sizes: Vec<usize>, seed: u64) -> MeasuredBody {
        let random = StdRng::seed_from_u64(seed);
        let trailers = Frame::trailers(HeaderMap::new());
        let frames = sizes.into_iter().map(|size| Frame::data(Bytes::from(vec![b' '; size])));
        let frames = frames.chain([trailers]).map(Ok::<_, axum::Error>);
        let frames = stream::unfold((frames, random), async |(mut frames, mut random)| {
            if random.random_bool(0.3) {
                yield_now().await;
            }
            frames.next().map(|frame| (frame, (frames, random)))
        });
        let claim = ParseClaim::new(
            &ParseLimits::new(backwire_engine::Environment::tokio(), &Limits::default()),
            None,
        );
        let body = Body::new(StreamBody::new(Box::pin(frames)));
        MeasuredBody::new(body, (claim, JsonSize::default()), Refusal::default())
    }

    async fn frames(mut body: MeasuredBody) -> Vec<Frame<Bytes>> {
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.push(frame.unwrap());
        }
        frames
    }

    #[tokio::test]
    async fn bytes_and_trailers_of_a_body_arrive_for_any_frame_sizes() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..100 {
            let largest = if random.random_bool(0.5) { 10 } else { 2_000 };
            let count = random.random_range(0..50);
            let sizes: Vec<_> = (0..count).map(|_| random.random_range(0..largest)).collect();
            let bytes: usize = sizes.iter().sum();
            let mut frames = frames(body(sizes, random.random())).await;
            assert!(frames.pop().unwrap().is_trailers());
            let sizes = frames.iter().map(|frame| frame.data_ref().unwrap().len());
            assert_eq!(sizes.sum::<usize>(), bytes);
        }
    }

    #[tokio::test]
    async fn body_in_frames_of_one_byte_is_joined() {
        let frames = frames(body(vec![1; 200_000], rand::random())).await;
        assert!(frames.len() <= MAX_SMALL_FRAMES + 200_000 / SMALL_FRAME + 2, "{}", frames.len());
    }
}
