//! Bodies of requests and responses that report to the activity of their connection.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::http::connection_handle::ConnectionHandle;

/// The body of a request. It fails if the client sends no part of it for too long.
pub(super) struct RequestBody {
    incoming: Incoming,
    handle: ConnectionHandle,
}

/// The client has not sent the rest of a body in time.
#[derive(Debug)]
struct BodyTimeout;

/// The body of a response. When it is dropped, the connection waits for the next request.
pub(super) struct ResponseBody {
    body: Body,
    handle: ConnectionHandle,
}

impl RequestBody {
    pub(super) fn attach(incoming: Incoming, handle: &ConnectionHandle) -> Body {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { incoming, handle: handle.clone() })
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.handle.activity().body_progresses();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let overdue = self.handle.activity().poll_body_overdue(cx);
        overdue.map(|()| Some(Err(BodyTimeout.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.handle.activity().body_progresses();
    }
}

impl fmt::Display for BodyTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the rest of the body did not arrive in time")
    }
}

impl std::error::Error for BodyTimeout {}

impl ResponseBody {
    pub(super) fn new(body: Body, handle: ConnectionHandle) -> Self {
        Self { body, handle }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.handle.activity().response_ends();
    }
}
