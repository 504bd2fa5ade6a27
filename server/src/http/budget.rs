//! Counts the memory of bodies over HTTP: those of requests until they are answered, and those of
//! answers until they are sent.
//!
//! Requests of up to [`UNCOUNTED_INPUT`] and answers of up to [`UNCOUNTED_BYTES`] are not counted.
//! Larger requests of up to [`UNCOUNTED_BYTES`] are not refused at once if no memory is free: the
//! server reads their bodies when memory is free. The same applies to requests without a
//! `Content-Length`. If memory is short, slow uploads end ([`UploadMemory`]).

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use http_body::{Frame, SizeHint};
use tokio::time::timeout;

use super::address::client_address;
use super::connection_handle::ConnectionHandle;
use super::uploads::UploadMemory;
use crate::answer_claim::{AnswerClaim, is_read};
use crate::error::Error;
use crate::memory_budget::{Claim, UNCOUNTED_BYTES, UNCOUNTED_INPUT};
use crate::settings::Limit;
use crate::socket::{OutputBudget, UNCLAIMED_BYTES};

/// How long a large body waits for the memory of uploads that are being ended.
const ENDING_TIME: Duration = Duration::from_secs(1);

/// The memory of requests, and the limits of one body.
#[derive(Debug, Clone)]
pub(crate) struct RequestBudget {
    pub(crate) memory: Arc<UploadMemory>,
    pub(crate) max_body_bytes: usize,
    /// How long a body may wait for memory.
    pub(crate) timeout: Duration,
}

/// Claims memory for the body of a request until the request is answered, or refuses the request.
pub(crate) async fn claim_request(
    State(limits): State<RequestBudget>,
    request: Request,
    next: Next,
) -> Response {
    // Another layer refuses bodies above the limit. It does not keep them in memory.
    let size = size(&request);
    if size.is_some_and(|size| size <= UNCOUNTED_INPUT) {
        return next.run(request).await;
    }
    let client = client_address(request.extensions());
    let Some(claim) = limits.claim(client, size).await else {
        let (limit, bytes) = (Limit::TotalRequestBytes, limits.memory.budget().limit());
        return Error::Busy { limit, bytes }.into_response();
    };
    let connection = request.extensions().get::<ConnectInfo<ConnectionHandle>>();
    let begin = |ConnectInfo(connection): &ConnectInfo<ConnectionHandle>| {
        limits.memory.begin(connection.clone(), client, claim.bytes())
    };
    let _upload = connection.map(begin);
    next.run(request).await
}

impl RequestBudget {
    /// Claims memory for a body, whose size may be unknown.
    async fn claim(&self, client: Option<IpAddr>, size: Option<usize>) -> Option<Claim> {
        let bytes = size.unwrap_or(usize::MAX).min(self.max_body_bytes);
        if self.memory.excludes(client) {
            return None;
        }
        let mut claim = self.memory.budget().empty_claim(client);
        if claim.resize(bytes) {
            return Some(claim);
        }
        let is_room_made = self.memory.make_room(bytes);
        let is_large = size.is_some_and(|size| size > UNCOUNTED_BYTES);
        let wait_time = match is_large {
            true if is_room_made => ENDING_TIME,
            true => return None,
            false => self.timeout,
        };
        let wait = async {
            while let Err(released) = claim.resize_or_wait(bytes) {
                released.await;
            }
        };
        timeout(wait_time, wait).await.ok()?;
        Some(claim)
    }
}

/// Returns the size of the body, if the request has a `Content-Length` or no body.
fn size(request: &Request) -> Option<usize> {
    if request.body().is_end_stream() {
        return Some(0);
    }
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Claims memory for the body of an answer from its creation until it is sent. A read is refused if
/// no memory is free. The answer to a write is not refused, because the write is done.
pub(crate) async fn claim_answer(
    State(budget): State<Arc<OutputBudget>>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = client_address(request.extensions());
    let connection = request.extensions().get::<ConnectInfo<ConnectionHandle>>();
    let connection = connection.map(|info| info.0.clone());
    let answer = AnswerClaim::new(budget, client, !is_read(request.method()));
    request.extensions_mut().insert(answer.clone());
    let response = next.run(request).await;
    // Files and streams are produced piece by piece, and have no exact size here.
    let Some(size) = response.body().size_hint().exact() else {
        return response.map(|body| Body::new(ChunkedBody::new(body, None, connection)));
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    match answer.finish_over_http(size) {
        Ok(Some(claim)) => {
            response.map(|body| Body::new(ChunkedBody::new(body, Some(claim), connection)))
        }
        Ok(None) => response,
        Err(error) => Error::from(error).into_response(),
    }
}

/// A body that ends when most of it has been sent. A body of one piece would end as soon as that
/// piece is queued. So the body is split into small chunks, and each is yielded when the kernel has
/// accepted those before it.
struct ChunkedBody {
    body: Body,
    rest: Bytes,
    /// A chunk has been yielded since the connection was last able to send.
    has_yielded: bool,
    connection: Option<ConnectionHandle>,
    _claim: Option<Claim>,
}

/// Bytes of a chunk.
const CHUNK_SIZE: usize = UNCLAIMED_BYTES;

impl ChunkedBody {
    fn new(body: Body, claim: Option<Claim>, connection: Option<ConnectionHandle>) -> Self {
        Self { body, rest: Bytes::new(), has_yielded: false, connection, _claim: claim }
    }

    /// Returns the next chunk. The last chunk is a copy, because it may wait for a long time and
    /// would keep all of the body in memory.
    fn next_chunk(&mut self) -> Bytes {
        self.has_yielded = true;
        let chunk = self.rest.split_to(self.rest.len().min(CHUNK_SIZE));
        if self.rest.is_empty() { Bytes::copy_from_slice(&chunk) } else { chunk }
    }

    /// Is ready when the yielded chunks have been sent, as far as the server can know.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.has_yielded) {
            // The connection sends when its body has nothing to yield.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.connection.as_ref().map_or(Poll::Ready(()), |connection| connection.poll_unblocked(cx))
    }
}

impl HttpBody for ChunkedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        ready!(self.poll_sent(cx));
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(self.next_chunk()))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                self.rest = data;
                Some(Ok(Frame::data(self.next_chunk())))
            }
            Some(Ok(Err(other))) => Some(Ok(other)),
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        match body.exact() {
            Some(exact) => SizeHint::with_exact(exact + rest),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::memory_budget::MemoryBudget;

    #[tokio::test]
    async fn claimed_body_is_sent_completely_in_chunks() {
        let text: Vec<u8> = (0..200_000).map(|number| (number % 251) as u8).collect();
        let budget = MemoryBudget::new(1 << 20);
        let claim = budget.claim(None, text.len()).unwrap();
        let mut body = ChunkedBody::new(Body::from(text.clone()), Some(claim), None);
        let mut sent = Vec::new();
        while !body.is_end_stream() {
            assert_eq!(body.size_hint().exact(), Some((text.len() - sent.len()) as u64));
            let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(chunk.len() <= CHUNK_SIZE);
            sent.extend_from_slice(&chunk);
        }
        assert!(sent == text && body.frame().await.is_none());
    }

    /// Files and streams have no exact size.
    #[tokio::test]
    async fn body_of_unknown_size_is_sent_in_chunks() {
        let stream = futures_util::stream::iter([Ok::<_, axum::Error>(vec![b'x'; 100_000])]);
        let mut body = ChunkedBody::new(Body::from_stream(stream), None, None);
        assert_eq!(body.size_hint().exact(), None);
        let mut sent = 0;
        while let Some(frame) = body.frame().await {
            let chunk = frame.unwrap().into_data().unwrap();
            assert!(chunk.len() <= CHUNK_SIZE);
            sent += chunk.len();
        }
        assert_eq!(sent, 100_000);
    }
}
