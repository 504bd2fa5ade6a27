//! The memory that bodies over HTTP take: those of requests until they are answered, and those of answers until they have been
//! sent.
//!
//! Bodies of up to [`UNCOUNTED_BYTES`] are not counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use http_body::{Frame, SizeHint};

use super::client_address::client_address;
use crate::answer_claim::{AnswerClaim, is_read};
use crate::error::Error;
use crate::memory_budget::{Claim, MemoryBudget, UNCOUNTED_BYTES};
use crate::settings::Limit;
use crate::socket::OutputBudget;

/// The budget of requests, and the bytes that a body may have.
#[derive(Debug, Clone)]
pub(crate) struct RequestBudget {
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) largest: usize,
}

/// Claims the body of a request until the request is answered, or refuses it.
pub(crate) async fn claim_request(
    State(RequestBudget { budget, largest }): State<RequestBudget>,
    request: Request,
    next: Next,
) -> Response {
    // What is larger is refused by others, and never in memory.
    let size = size(&request).min(largest);
    if size <= UNCOUNTED_BYTES {
        return next.run(request).await;
    }
    match budget.claim(client_address(request.extensions()), size) {
        Some(_claim) => next.run(request).await,
        None => {
            let limit = Limit::TotalRequestBytes;
            Error::Busy { limit, bytes: budget.limit() }.into_response()
        }
    }
}

/// The size of the body; the largest there is if the request does not say it.
fn size(request: &Request) -> usize {
    if request.body().is_end_stream() {
        return 0;
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(usize::MAX)
}

/// Claims the body of an answer while it is made, and until it has been sent. A read that finds no room is refused; the answer
/// to a write is not, because the write is done.
pub(crate) async fn claim_answer(
    State(budget): State<Arc<OutputBudget>>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = client_address(request.extensions());
    let answer = AnswerClaim::new(budget, client, !is_read(request.method()));
    request.extensions_mut().insert(answer.clone());
    let response = next.run(request).await;
    // Files are sent piece by piece, and do not say their size here.
    let size = response.body().size_hint().exact().unwrap_or_default();
    match answer.finish(usize::try_from(size).unwrap_or(usize::MAX)) {
        Ok(Some(claim)) => response.map(|body| Body::new(Claimed::new(body, claim))),
        Ok(None) => response,
        Err(error) => Error::from(error).into_response(),
    }
}

/// A body in pieces, so that it ends when most of it has been sent. It would end as soon as its only piece waits to be sent.
struct Claimed {
    body: Body,
    rest: Bytes,
    _claim: Claim,
}

impl Claimed {
    fn new(body: Body, claim: Claim) -> Self {
        Self { body, rest: Bytes::new(), _claim: claim }
    }

    fn piece(&mut self) -> Bytes {
        self.rest.split_to(self.rest.len().min(UNCOUNTED_BYTES))
    }
}

impl HttpBody for Claimed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
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
        let mut body = Claimed::new(Body::from(text.clone()), claim);
        let mut sent = Vec::new();
        while !body.is_end_stream() {
            assert_eq!(body.size_hint().exact(), Some((text.len() - sent.len()) as u64));
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(piece.len() <= UNCOUNTED_BYTES);
            sent.extend_from_slice(&piece);
        }
        assert!(sent == text && body.frame().await.is_none());
    }
}
