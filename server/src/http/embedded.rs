//! Requests that another server has accepted, such as `axum::serve` or a server with TLS.
//!
//! The TCP connection of such a request is not known. So a [handle](ConnectionHandle) of the
//! request stands for it: the body of the request has a deadline and can be ended, and the bytes
//! are counted that the other server takes. The limits that need the TCP connection itself do not
//! apply: those of the number of connections, and the deadlines of heads, of idle connections and
//! of responses.
//!
//! The address of the client is that of a `ConnectInfo<SocketAddr>`. Without one, all clients count
//! as one for the limits of an address.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};
use axum::response::{IntoResponse, Response};
use futures_util::future::poll_fn;
use http::{Extensions, HeaderValue, StatusCode, header};
use tokio::time::sleep;
use tower::ServiceExt;

use super::activity::Deadlines;
use super::body::{RequestBody, ResponseBody};
use super::connection_handle::ConnectionHandle;
use super::uploads::UploadMemory;
use crate::error::Error;
use crate::limit_monitor::LimitMonitor;
use crate::settings::Limit;

/// Whether another server has accepted a request.
pub(crate) fn is_embedded(request: &Request) -> bool {
    request.extensions().get::<ConnectInfo<ConnectionHandle>>().is_none()
}

/// Passes requests of other servers on.
#[derive(Debug)]
pub(crate) struct Embedding {
    deadlines: Deadlines,
    requests: Arc<UploadMemory>,
    limits: Arc<LimitMonitor>,
    has_warned: AtomicBool,
}

impl Embedding {
    pub(crate) fn new(
        deadlines: Deadlines,
        requests: Arc<UploadMemory>,
        limits: Arc<LimitMonitor>,
    ) -> Self {
        Self { deadlines, requests, limits, has_warned: AtomicBool::default() }
    }

    /// Answers a request that another server has accepted. `guard` is dropped when the answer has
    /// been taken.
    pub(crate) async fn answer<G: Send + Unpin + 'static>(
        &self,
        mut request: Request,
        app: Router,
        guard: G,
    ) -> Response {
        let handle = ConnectionHandle::embedded(self.peer(request.extensions()));
        let unanswered = CloseOnDrop(Some(handle.clone()));
        handle.activity().request_begins();
        let has_body = !request.body().is_end_stream();
        request = request.map(|body| RequestBody::attach(body, &handle));
        request.extensions_mut().insert(ConnectInfo(handle.clone()));
        let response = match has_body {
            true => self.within_deadline(request, app, &handle).await,
            false => {
                let Ok(response) = app.oneshot(request).await;
                response
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            handle.activity().upgraded();
        }
        unanswered.disarm();
        response.map(|body| Body::new(ResponseBody::new(body, handle, guard)))
    }

    /// Answers a request whose body must arrive in time.
    async fn within_deadline(
        &self,
        request: Request,
        app: Router,
        handle: &ConnectionHandle,
    ) -> Response {
        let mut answer = pin!(app.oneshot(request));
        let mut timer = pin!(sleep(self.deadlines.body));
        let Ok(response) = poll_fn(|cx| {
            loop {
                if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                    return Poll::Ready(answer);
                }
                let overdue = handle.activity().poll_overdue(&self.deadlines, timer.as_mut(), cx);
                std::task::ready!(overdue);
                // The reader of the body gets an error and answers.
                handle.activity().body_is_overdue();
            }
        })
        .await;
        if handle.activity().has_overdue_body() {
            return body_overdue(&self.limits, handle, &self.deadlines);
        }
        if handle.is_aborted() {
            let (limit, bytes) = (Limit::TotalRequestBytes, self.requests.budget().limit());
            return Error::Busy { limit, bytes }.into_response();
        }
        response
    }

    /// Returns the address that the other server tells.
    fn peer(&self, request: &Extensions) -> Option<IpAddr> {
        let known = request.get().map(|ConnectInfo(addr): &ConnectInfo<SocketAddr>| addr);
        let mocked = || request.get().map(|MockConnectInfo(addr)| addr);
        let peer: Option<&SocketAddr> = known.or_else(mocked);
        if peer.is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "requests come without the address of their client, so all clients count as one for the limits \
                 of an address: serve the app with into_make_service_with_connect_info::<SocketAddr>(), or with \
                 Handle::serve"
            );
        }
        peer.map(SocketAddr::ip)
    }
}

/// Marks a request as ended if nobody waits for its answer any more.
struct CloseOnDrop(Option<ConnectionHandle>);

impl CloseOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.iter().for_each(ConnectionHandle::mark_closed);
    }
}

/// Returns the response to a request whose body has not arrived in time, and counts the limit.
pub(super) fn body_overdue(
    limits: &LimitMonitor,
    handle: &ConnectionHandle,
    deadlines: &Deadlines,
) -> Response {
    let limit = Limit::BodyDeadline;
    limits.reached(limit, handle.client());
    let error = Error::RequestTimeout { limit, deadline: deadlines.body };
    let mut response = error.into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}
