//! Clients of Socket.IO 2 (Engine.IO 3) that say a query in the name of the namespace.
//!
//! `io(url + '/shop?token=x')` and `io(url + '/shop', {query})` send their CONNECT as
//! `40/shop?token=x,`. Node's Socket.IO 2 takes the query off that name; socketioxide looks for a
//! namespace of all of it. So what says who somebody is goes where later clients say it, into the auth
//! of the CONNECT, before socketioxide reads it: in reading order, in a `connect` packet, in the
//! `payload` of a request, in the `frames` of a WebSocket. What is sent to a client stays as it is, and
//! Engine.IO 4 is not looked at. Nor is a CONNECT in several frames or among bytes: no client of that time is
//! known to say one so. Its name is then that of no site, and so it is told.

mod connect;
mod frames;
mod payload;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::routing::Route;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either};
use futures_util::stream::{self, StreamExt};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use socketioxide::layer::SocketIoLayer;
use socketioxide::service::SocketIoService;
use socketioxide::socket::Sid;
use tower::{Layer, Service, ServiceExt};

use frames::Line;
pub(crate) use frames::passed;
pub(crate) use payload::rewritten;

use super::transport::{self, Transports};
use crate::http::listener::Plug;

/// The type of a payload that is not text.
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Serves Socket.IO to clients of any age.
#[derive(Clone)]
pub(crate) struct AllAges {
    socket_io: SocketIoLayer,
    /// Bytes in the body of a request.
    largest: usize,
}

/// Socket.IO, and behind it everything else.
#[derive(Clone)]
pub(crate) struct Served {
    inner: Inner,
    largest: usize,
    transports: Arc<Transports>,
}

type Inner = SocketIoService<Route>;
type Answer = <Inner as Service<Request>>::Response;

/// What an old client wants that may have to be put otherwise.
#[derive(Debug, PartialEq)]
enum Exchange {
    Packets,
    WebSocket,
}

impl AllAges {
    pub(super) fn new(socket_io: SocketIoLayer, largest: usize) -> Self {
        Self { socket_io, largest }
    }
}

impl Layer<Route> for AllAges {
    type Service = Served;

    fn layer(&self, rest: Route) -> Served {
        let inner = self.socket_io.layer(rest);
        let service = inner.clone();
        let transports = Transports::new(Box::new(move |request| {
            let answer = service.clone().oneshot(request);
            answer.map(|Ok(answer)| answer.status()).boxed()
        }));
        Served { inner, largest: self.largest, transports }
    }
}

impl Service<Request> for Served {
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<
        <Inner as Service<Request>>::Future,
        BoxFuture<'static, Result<Self::Response, Infallible>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        self.transports.attach(&mut request);
        let (inner, largest) = (self.inner.clone(), self.largest);
        let exchange = exchange(request.method(), request.uri());
        let upgrade = upgrade(&request);
        let session = upgrade.as_ref().map(|(session, _)| *session);
        if let Some((session, plug)) = upgrade {
            self.transports.begin_upgrade(session, plug);
        }
        let answer = match exchange {
            None if session.is_none() => return Either::Left(self.inner.call(request)),
            None => inner.oneshot(request).boxed(),
            Some(Exchange::Packets) => take_packets(inner, request, largest).boxed(),
            Some(Exchange::WebSocket) => open(inner, request).boxed(),
        };
        let Some(session) = session else { return Either::Right(answer) };
        let transports = Arc::clone(&self.transports);
        Either::Right(Box::pin(async move {
            let answer = answer.await?;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                transports.cancel_upgrade(session);
            }
            Ok(answer)
        }))
    }
}

/// The session that asks to become a WebSocket, and the TCP connection it asks on.
fn upgrade(request: &Request) -> Option<(Sid, Plug)> {
    let is_websocket = said(request.uri(), "transport=") == Some("websocket");
    let session = transport::session(request.uri()).filter(|_| is_websocket)?;
    let ConnectInfo(plug) = request.extensions().get::<ConnectInfo<Plug>>()?;
    Some((session, plug.clone()))
}

fn exchange(method: &Method, uri: &Uri) -> Option<Exchange> {
    let is_old = uri.path().starts_with("/socket.io") && said(uri, "EIO=") == Some("3");
    match (is_old.then_some(method)?, said(uri, "transport=")?) {
        (&Method::POST, "polling") => Some(Exchange::Packets),
        (&Method::GET, "websocket") => Some(Exchange::WebSocket),
        _ => None,
    }
}

/// What follows, as Engine.IO finds it.
pub(super) fn said<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name))
}

/// Packets by POST.
async fn take_packets(
    inner: Inner,
    mut request: Request,
    largest: usize,
) -> Result<Answer, Infallible> {
    // Bytes are sent for the sake of attachments, and nothing here takes one.
    let is_text = request.headers().get(header::CONTENT_TYPE) != Some(&BYTES);
    if is_text {
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = match read(body, largest).await {
            Ok(packets) => payload::rewritten(&packets).map_or_else(|| packets.into(), Body::from),
            Err(body) => body,
        };
        request.headers_mut().remove(header::CONTENT_LENGTH);
    }
    inner.oneshot(request).await
}

/// All of a body. One that is too large or breaks off is as it was, to be refused by whom it is for.
async fn read(mut body: Body, largest: usize) -> Result<Bytes, Body> {
    let mut all = BytesMut::new();
    while all.len() <= largest {
        match body.frame().await {
            None => return Ok(all.freeze()),
            Some(Ok(frame)) => all.extend(frame.into_data()),
            Some(Err(error)) => {
                return Err(Body::from_stream(stream::iter([Ok(all.freeze()), Err(error)])));
            }
        }
    }
    let begin = stream::iter([Ok(all.freeze())]);
    Err(Body::from_stream(begin.chain(body.into_data_stream())))
}

/// The WebSocket of a connection. Whether there may be one, and how that is said, Socket.IO knows; it
/// is only not given the line that the request came on.
async fn open(inner: Inner, mut request: Request) -> Result<Answer, Infallible> {
    let line = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let handshake = http::Request::from_parts(head.clone(), ());
    let answer = inner.clone().oneshot(Request::from_parts(head, body)).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        tokio::spawn(serve(inner, line, handshake));
    }
    Ok(answer)
}

/// Gives Socket.IO the line as it is to see it.
async fn serve(inner: Inner, line: OnUpgrade, handshake: http::Request<()>) {
    // Who is gone already needs nothing.
    let Ok(line) = line.await else { return };
    let (line, gone) = Line::new(TokioIo::new(line));
    let farewell = said(handshake.uri(), "sid=").and_then(farewell);
    if inner.clone().oneshot((line, handshake)).await.is_err() {
        return;
    }
    if let Some(farewell) = farewell {
        // Nobody answers; it fails because all who held it have let go.
        let _ = gone.await;
        let Ok(_) = inner.oneshot(farewell).await;
    }
}

/// What ends a session that polls. One whose WebSocket came to nothing would have every poll answered
/// at once, and with nothing, for ever; to one that is on its WebSocket, or over, this does nothing.
fn farewell(session: &str) -> Option<Request> {
    let uri = format!("/socket.io/?EIO=3&transport=polling&sid={session}");
    Request::post(uri).body(Body::from("1:1")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchanged(method: Method, uri: &'static str) -> Option<Exchange> {
        exchange(&method, &Uri::from_static(uri))
    }

    #[test]
    fn only_what_an_old_client_sends_is_looked_at() {
        let polls = "/socket.io/?EIO=3&transport=polling&sid=x";
        let opens = "/socket.io/?token=x&EIO=3&transport=websocket";
        assert_eq!(exchanged(Method::POST, polls), Some(Exchange::Packets));
        assert_eq!(exchanged(Method::GET, opens), Some(Exchange::WebSocket));
        assert_eq!(exchanged(Method::GET, polls), None);
        assert_eq!(exchanged(Method::GET, "/socket.io/?EIO=4&transport=websocket"), None);
        assert_eq!(exchanged(Method::POST, "/socket.io/?EIO=4&transport=polling&sid=x"), None);
        assert_eq!(exchanged(Method::GET, "/todo?EIO=3&transport=websocket"), None);
        assert_eq!(exchanged(Method::GET, "/socket.io/socket.io.js"), None);
    }

    #[tokio::test]
    async fn a_body_of_the_largest_size_is_read() {
        assert_eq!(read(Body::from("12345"), 5).await.unwrap(), "12345");
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_as_it_was() {
        let parts = ["123", "456", "789"].map(Ok::<_, axum::Error>);
        let body = read(Body::from_stream(stream::iter(parts)), 5).await.unwrap_err();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "123456789");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_still_does() {
        let parts = [Ok("123"), Err(axum::Error::new("gone"))];
        let mut body = read(Body::from_stream(stream::iter(parts)), 5).await.unwrap_err();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "123");
        assert!(body.frame().await.unwrap().is_err());
    }
}
