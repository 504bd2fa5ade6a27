//! How much a body may have.
//!
//! A body that says it is too large, or turns out to be, is still read (up to a point) before the
//! refusal is sent: a client that is cut off while it writes sees a broken connection, not a 413.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;
use http_body_util::{BodyExt, Limited};

use crate::error::Error;

/// How many times the limit is read to be able to answer; sockets allow frames of the same size.
pub(crate) const TOLERANCE: usize = 4;

/// Refuses bodies above the limit.
pub(crate) async fn check(State(limit): State<usize>, request: Request, next: Next) -> Response {
    let said = request.headers().get(header::CONTENT_LENGTH);
    let said = said.and_then(|size| size.to_str().ok()?.parse::<usize>().ok());
    match said {
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

async fn drain(body: Body, most: usize) {
    let mut body = Limited::new(body, most);
    // Past the end, past the tolerance or gone: in each case there is nothing more to read.
    while let Some(Ok(_)) = body.frame().await {}
}
