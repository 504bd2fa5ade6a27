//! Bodies of requests and responses that report to the activity of their connection.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::connection_handle::{ConnectionHandle, Direction};

/// The body of a request. It fails if the client sends no part of it for too long.
pub(super) struct RequestBody<B> {
    incoming: B,
    handle: ConnectionHandle,
}

/// The client has not sent the rest of a body in time.
#[derive(Debug)]
struct BodyTimeout;

/// The server has ended the request, because the memory for requests is short.
#[derive(Debug)]
struct BodyAborted;

/// The body of a response. When it is dropped, the connection waits for the next request.
pub(super) struct ResponseBody<G = ()> {
    body: Body,
    handle: ConnectionHandle,
    /// Dropped with the body.
    _guard: G,
}

impl<B> RequestBody<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    pub(super) fn attach(incoming: B, handle: &ConnectionHandle) -> Body {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { incoming, handle: handle.clone() })
    }
}

impl<B> HttpBody for RequestBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.handle.activity().body_progresses();
            if let Some(Ok(frame)) = &frame {
                self.handle.add_embedded_received(frame.data_ref().map_or(0, Bytes::len));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.handle.poll_aborted(Direction::Read, cx).is_ready() {
            return Poll::Ready(Some(Err(BodyAborted.into())));
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

impl<B> Drop for RequestBody<B> {
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

impl fmt::Display for BodyAborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the memory for requests is short, and the body arrived slowly")
    }
}

impl std::error::Error for BodyAborted {}

impl<G> ResponseBody<G> {
    pub(super) fn new(body: Body, handle: ConnectionHandle, guard: G) -> Self {
        Self { body, handle, _guard: guard }
    }
}

impl<G: Unpin> HttpBody for ResponseBody<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.handle.add_embedded_written(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<G> Drop for ResponseBody<G> {
    fn drop(&mut self) {
        self.handle.activity().response_ends();
        if self.handle.is_embedded() && !self.handle.is_upgraded() {
            self.handle.mark_closed();
        }
    }
}
