//! The bodies of requests and responses, which report to the activity of their connection.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::http::listener::Plug;

/// The body of a request. It fails if its client sends nothing of it for too long.
pub(super) struct RequestBody {
    incoming: Incoming,
    plug: Plug,
}

/// The client has not sent the rest of a body in time.
#[derive(Debug)]
struct Overdue;

/// The body of a response. The connection waits for the next request when it is dropped.
pub(super) struct ResponseBody {
    body: Body,
    plug: Plug,
}

impl RequestBody {
    pub(super) fn attach(incoming: Incoming, plug: &Plug) -> Body {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { incoming, plug: plug.clone() })
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
            self.plug.activity().body_progresses();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let overdue = self.plug.activity().poll_body_overdue(cx);
        overdue.map(|()| Some(Err(Overdue.into())))
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
        self.plug.activity().body_progresses();
    }
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the rest of the body did not arrive in time")
    }
}

impl std::error::Error for Overdue {}

impl ResponseBody {
    pub(super) fn new(body: Body, plug: Plug) -> Self {
        Self { body, plug }
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
        self.plug.activity().response_ends();
    }
}
