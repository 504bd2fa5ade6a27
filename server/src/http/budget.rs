//! The memory that bodies over HTTP take: those of requests until they are answered, and those of answers until they have been
//! sent.
//!
//! Requests of up to [`UNCOUNTED_INPUT`] and answers of up to [`UNCOUNTED_BYTES`] are not counted. Requests above that, of up to
//! [`UNCOUNTED_BYTES`], are not refused at once if there is no room for them: their bodies are not read before there is. So are
//! those that do not say their size.

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

use super::client_address::client_address;
use super::listener::Plug;
use crate::answer_claim::{AnswerClaim, is_read};
use crate::error::Error;
use crate::memory_budget::{Claim, MemoryBudget, UNCOUNTED_BYTES, UNCOUNTED_INPUT};
use crate::settings::Limit;
use crate::socket::{OutputBudget, UNCLAIMED_BYTES};

/// The budget of requests, and the bytes that a body may have.
#[derive(Debug, Clone)]
pub(crate) struct RequestBudget {
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) largest: usize,
    /// How long a body may wait for memory.
    pub(crate) patience: Duration,
}

/// Claims the body of a request until the request is answered, or refuses it.
pub(crate) async fn claim_request(
    State(limits): State<RequestBudget>,
    request: Request,
    next: Next,
) -> Response {
    // Larger bodies are refused by another layer, which does not keep them in memory.
    let size = size(&request);
    if size.is_some_and(|size| size <= UNCOUNTED_INPUT) {
        return next.run(request).await;
    }
    let client = client_address(request.extensions());
    match limits.claim(client, size).await {
        Some(_claim) => next.run(request).await,
        None => {
            let limit = Limit::TotalRequestBytes;
            Error::Busy { limit, bytes: limits.budget.limit() }.into_response()
        }
    }
}

impl RequestBudget {
    /// Claims a body, which may not say its size.
    async fn claim(&self, client: Option<IpAddr>, size: Option<usize>) -> Option<Claim> {
        let bytes = size.unwrap_or(usize::MAX).min(self.largest);
        if size.is_some_and(|size| size > UNCOUNTED_BYTES) {
            return self.budget.claim(client, bytes);
        }
        let mut claim = self.budget.empty_claim(client);
        let wait = async {
            while let Err(released) = claim.resize_or_wait(bytes) {
                released.await;
            }
        };
        timeout(self.patience, wait).await.ok()?;
        Some(claim)
    }
}

/// The size of the body, if the request says it.
fn size(request: &Request) -> Option<usize> {
    if request.body().is_end_stream() {
        return Some(0);
    }
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Claims the body of an answer while it is made, and until it has been sent. A read that finds no room is refused; the answer
/// to a write is not, because the write is done.
pub(crate) async fn claim_answer(
    State(budget): State<Arc<OutputBudget>>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = client_address(request.extensions());
    let connection = request.extensions().get::<ConnectInfo<Plug>>().map(|info| info.0.clone());
    let answer = AnswerClaim::new(budget, client, !is_read(request.method()));
    request.extensions_mut().insert(answer.clone());
    let response = next.run(request).await;
    // Files and streams are made piece by piece, and do not say their size here.
    let Some(size) = response.body().size_hint().exact() else {
        return response.map(|body| Body::new(InPieces::new(body, None, connection)));
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    match answer.finish_over_http(size) {
        Ok(Some(claim)) => {
            response.map(|body| Body::new(InPieces::new(body, Some(claim), connection)))
        }
        Ok(None) => response,
        Err(error) => Error::from(error).into_response(),
    }
}

/// A body that ends when most of it has been sent. As one piece it would end as soon as that waits to be sent. So it is
/// given in small pieces, each when those before have left for the kernel.
struct InPieces {
    body: Body,
    rest: Bytes,
    /// A piece has been given since the connection was last able to send.
    has_given: bool,
    connection: Option<Plug>,
    _claim: Option<Claim>,
}

/// The bytes of a piece.
const PIECE: usize = UNCLAIMED_BYTES;

impl InPieces {
    fn new(body: Body, claim: Option<Claim>, connection: Option<Plug>) -> Self {
        Self { body, rest: Bytes::new(), has_given: false, connection, _claim: claim }
    }

    /// The last piece is a copy, because it may wait for long and would keep all of the body.
    fn piece(&mut self) -> Bytes {
        self.has_given = true;
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        if self.rest.is_empty() { Bytes::copy_from_slice(&piece) } else { piece }
    }

    /// Ready when the pieces that were given have been sent, as far as that can be known.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.has_given) {
            // The connection sends when its body has nothing to give.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.connection.as_ref().map_or(Poll::Ready(()), |connection| connection.poll_unblocked(cx))
    }
}

impl HttpBody for InPieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        ready!(self.poll_sent(cx));
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(self.piece()))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                self.rest = data;
                Some(Ok(Frame::data(self.piece())))
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

    #[tokio::test]
    async fn claimed_body_is_sent_in_pieces_and_whole() {
        let text: Vec<u8> = (0..200_000).map(|number| (number % 251) as u8).collect();
        let budget = MemoryBudget::new(1 << 20);
        let claim = budget.claim(None, text.len()).unwrap();
        let mut body = InPieces::new(Body::from(text.clone()), Some(claim), None);
        let mut sent = Vec::new();
        while !body.is_end_stream() {
            assert_eq!(body.size_hint().exact(), Some((text.len() - sent.len()) as u64));
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            sent.extend_from_slice(&piece);
        }
        assert!(sent == text && body.frame().await.is_none());
    }

    /// Files and streams do not say their size.
    #[tokio::test]
    async fn body_of_unknown_size_is_sent_in_pieces() {
        let stream = futures_util::stream::iter([Ok::<_, axum::Error>(vec![b'x'; 100_000])]);
        let mut body = InPieces::new(Body::from_stream(stream), None, None);
        assert_eq!(body.size_hint().exact(), None);
        let mut sent = 0;
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            sent += piece.len();
        }
        assert_eq!(sent, 100_000);
    }
}
