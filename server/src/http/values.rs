//! Measures the JSON of requests over HTTP before it is parsed.
//!
//! Handlers parse bodies, also those of the embedding application. So the body is measured while it is read, and its end
//! comes when there is [memory](ParseClaim) for its values. A body that is refused fails for its reader, and the response is
//! replaced by the refusal.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use backwire_records::json_size::JsonSize;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body::Frame;
use parking_lot::Mutex;

use super::client_address::client_address;
use crate::error::{Error, Result};
use crate::parse_claim::{ParseClaim, ParseLimits};

/// Why a body was not passed on.
type Refusal = Arc<Mutex<Option<Error>>>;

/// Claims the memory of the values in the url and in the body of a request, until it is answered.
pub(crate) async fn check(
    State(limits): State<Arc<ParseLimits>>,
    mut request: Request,
    next: Next,
) -> Response {
    let query = request.uri().query().map(JsonSize::of_query).unwrap_or_default();
    let claim = ParseClaim::new(&limits, client_address(request.extensions()));
    let is_without_body = request.body().is_end_stream();
    // The values of both are claimed at the end of a body: none are held while it arrives.
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
    // The request is gone long before its values are.
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
    /// At the end of the body.
    waiting: Option<BoxFuture<'static, Result<()>>>,
    is_claimed: bool,
    refusal: Refusal,
}

impl MeasuredBody {
    fn new(body: Body, (claim, query): (ParseClaim, JsonSize), refusal: Refusal) -> Self {
        let (size, waiting) = (JsonSize::default(), None);
        Self { body, claim, query, size, waiting, is_claimed: false, refusal }
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
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
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

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
