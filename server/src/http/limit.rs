//! The size limit of request bodies.
//!
//! The server reads a body that is too large up to [`TOLERANCE`] times the limit before it sends
//! the refusal: if the server closed the connection while the client writes, the client would see a
//! broken connection, not a 413.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use backwire_protocol::wire;
use http::header;
use http_body_util::{BodyExt, Limited};

use crate::error::Error;

/// How many times the limit the server reads so that it can answer. Sockets allow frames of the
/// same size.
pub(crate) const TOLERANCE: usize = wire::BODY_TOLERANCE;

/// Refuses bodies above the limit.
pub(crate) async fn check(State(limit): State<usize>, request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|size| size.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(size) if size > limit => {
            drain(request.into_body(), limit * TOLERANCE).await;
            Error::too_large(size, limit).into_response()
        }
        Some(_) => next.run(request).await,
        None => {
            let bounded = |body| Body::new(Limited::new(body, limit));
            next.run(request.map(bounded)).await
        }
    }
}

async fn drain(body: Body, max_bytes: usize) {
    let mut body = Limited::new(body, max_bytes);
    // At the end, beyond the tolerance, or after an error, there is nothing more to read.
    while let Some(Ok(_)) = body.frame().await {}
}
