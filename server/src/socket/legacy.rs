//! Clients of Socket.IO 1 and 2 (Engine.IO 3), where they differ from what socketioxide does for them.
//!
//! - **A query in the name of the namespace.** `io(url + '/shop?token=x')` and `io(url + '/shop', {query})`
//!   send their CONNECT as `40/shop?token=x,`. Node's Socket.IO takes the query off that name; socketioxide
//!   looks for a namespace of all of it. So what says who somebody is goes where later clients say it, into
//!   the auth of the CONNECT, before socketioxide reads it: `connect`.
//! - **The data of a refusal** is a string to these clients and an object to socketioxide: `refusal`.
//! - **Text over polling.** Socket.IO 1 encodes all but ASCII in its own ways, and socketioxide reads and
//!   writes the way of Socket.IO 2: `payload`, and `sessions` remembers which client has which way.
//!
//! Packets are rewritten in the body of a request or an answer (`payload`), and in the frames of a WebSocket
//! (`frames`). Packets of Engine.IO 4 are not looked at, but for the first ping of a session (see `first_ping`) and
//! `attachments`. Nor is a CONNECT in several frames or beside binary packets: no
//! client of that time is known to send one so. Its name is then that of no site, and it is refused.
//!
//! The frames of every WebSocket are checked first (see `frame_check`).

mod attachments;
mod connect;
mod frames;
mod payload;
mod refusal;
mod sessions;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::IntoResponse;
use axum::routing::Route;
use bytes::{Bytes, BytesMut};
use futures_util::future::{self, BoxFuture, Either, MapOk};
use futures_util::stream::{self, StreamExt};
use futures_util::{FutureExt, TryFutureExt};
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Collected};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use socketioxide::layer::SocketIoLayer;
use socketioxide::service::SocketIoService;
use socketioxide::socket::Sid;
use tokio::task::coop::poll_proceed;
use tower::{Layer, Service, ServiceExt};

use frames::RewritingStream;
pub(crate) use frames::passed;
pub(crate) use payload::rewritten;
use payload::{Encoding, Received};
use sessions::Sessions;
pub(super) use sessions::session_in;

use super::engine_request::{EngineRequest, Transport};
use super::first_ping::{self, Answered};
use super::frame_check::CheckedStream;
use super::incoming_memory::IncomingMemory;
use super::output::OutputBudget;
use super::sent_stream::{BufferMemory, SentStream};
use super::session::{ConnectLimits, Session};
use super::transport::{Serve, Transports};
use crate::http::client_address::client_address;
use crate::http::listener::Plug;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::MemoryBudget;

/// The type of a payload that is not text.
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The type of a payload that is.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain;charset=UTF-8");

/// Serves Socket.IO to clients of any age.
#[derive(Clone)]
pub(crate) struct AllAges {
    socket_io: SocketIoLayer,
    /// Bytes in the body of a request.
    largest: usize,
    /// Bytes in the attachments of an event.
    max_attachments: usize,
    connect: ConnectLimits,
    /// The budget of all that clients send.
    requests: Arc<MemoryBudget>,
    /// The budget of all that they are sent.
    output: Arc<OutputBudget>,
    limits_reached: Arc<LimitMonitor>,
}

/// Socket.IO, and behind it everything else.
#[derive(Clone)]
pub(crate) struct Served {
    inner: Inner,
    largest: usize,
    max_attachments: usize,
    transports: Arc<Transports>,
    sessions: Arc<Sessions>,
    requests: Arc<MemoryBudget>,
    output: Arc<OutputBudget>,
    limits_reached: Arc<LimitMonitor>,
}

type Inner = SocketIoService<Route>;
type Unboxed = <Inner as Service<Request>>::Response;
type Answer = http::Response<Body>;

/// What a client wants that may have to be put otherwise.
#[derive(Debug, PartialEq)]
enum Exchange {
    /// A WebSocket.
    WebSocket,
    /// A new session of Engine.IO 4 that polls.
    NewPolling,
    /// A new session that polls. This and all below are of Engine.IO 3.
    Handshake,
    /// Packets for the client.
    Poll,
    /// Packets of the client.
    Packets,
    /// Packets of a client of Engine.IO 4.
    NewPackets,
}

impl AllAges {
    pub(super) fn new(
        socket_io: SocketIoLayer,
        (largest, max_attachments): (usize, usize),
        connect: ConnectLimits,
        (requests, output): (Arc<MemoryBudget>, Arc<OutputBudget>),
        limits_reached: Arc<LimitMonitor>,
    ) -> Self {
        Self { socket_io, largest, max_attachments, connect, requests, output, limits_reached }
    }
}

impl Layer<Route> for AllAges {
    type Service = Served;

    fn layer(&self, rest: Route) -> Served {
        let inner = self.socket_io.layer(rest);
        let service = inner.clone();
        let serve: Serve = Box::new(move |request| {
            let answer = service.clone().oneshot(request);
            answer.map(|Ok(answer)| answer.status()).boxed()
        });
        let limits_reached = Arc::clone(&self.limits_reached);
        let transports = Transports::new(serve, self.connect, Arc::clone(&limits_reached));
        let (largest, requests) = (self.largest, Arc::clone(&self.requests));
        let (sessions, output) = (Arc::default(), Arc::clone(&self.output));
        let max_attachments = self.max_attachments;
        Served {
            inner,
            largest,
            max_attachments,
            transports,
            sessions,
            requests,
            output,
            limits_reached,
        }
    }
}

impl Service<Request> for Served {
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<
        MapOk<<Inner as Service<Request>>::Future, fn(Unboxed) -> Answer>,
        BoxFuture<'static, Result<Self::Response, Infallible>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let opened = match self.transports.begin(&mut request) {
            Ok(opened) => opened,
            Err(error) => return Either::Right(future::ready(Ok(error.into_response())).boxed()),
        };
        let (inner, largest) = (self.inner.clone(), self.largest);
        let sessions = Arc::clone(&self.sessions);
        let exchange = exchange(&request);
        let upgrade = upgrade(&request);
        let session = upgrade.as_ref().map(|(session, _)| *session);
        if let Some((session, plug)) = upgrade {
            self.transports.begin_upgrade(session, plug);
        }
        let answer = match exchange {
            None if session.is_none() && opened.is_none() => {
                return Either::Left(self.inner.call(request).map_ok(boxed));
            }
            None => inner.oneshot(request).map_ok(boxed).boxed(),
            Some(Exchange::NewPolling) => begin_polling(inner, request).boxed(),
            Some(Exchange::Handshake) => begin(inner, request, sessions).boxed(),
            Some(Exchange::Poll) => {
                let polling = session_of(&request).and_then(|id| self.transports.polling(id));
                give_packets(inner, request, sessions, polling).boxed()
            }
            Some(Exchange::Packets) => take_packets(inner, request, sessions, largest).boxed(),
            Some(Exchange::NewPackets) => take_new_packets(inner, request, largest).boxed(),
            Some(Exchange::WebSocket) => {
                let connection = self.connection(&request, session);
                open(inner, request, (largest, self.max_attachments), connection).boxed()
            }
        };
        let transports = Arc::clone(&self.transports);
        match (session, opened) {
            (Some(session), _) => Either::Right(Box::pin(async move {
                let answer = answer.await?;
                if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                    transports.cancel_upgrade(session);
                }
                Ok(answer)
            })),
            (None, Some(exchange)) => Either::Right(
                answer.then(move |answer| exchange.finish(transports, answer)).boxed(),
            ),
            (None, None) => Either::Right(answer),
        }
    }
}

impl Served {
    /// The memory and the session of a WebSocket. `upgraded` is the session that polled before.
    fn connection(&self, request: &Request, upgraded: Option<Sid>) -> Connection {
        let session = match upgraded {
            Some(id) => self.transports.polling(id),
            None => request.extensions().get().cloned(),
        };
        let client = client_address(request.extensions());
        let limits_reached = Arc::clone(&self.limits_reached);
        let requests = Arc::clone(&self.requests);
        let outgoing = BufferMemory::new(Arc::clone(&self.output), Arc::clone(&limits_reached));
        let incoming = IncomingMemory::new(requests, client, session.clone(), limits_reached);
        Connection { incoming, outgoing, session }
    }
}

/// The memory and the session of a WebSocket.
struct Connection {
    /// The memory of what it sends.
    incoming: IncomingMemory,
    outgoing: BufferMemory,
    /// Knows what it is sent.
    session: Option<Arc<Session>>,
}

fn boxed(answer: Unboxed) -> Answer {
    answer.map(Body::new)
}

/// The session that asks to become a WebSocket, and the TCP connection it asks on.
fn upgrade(request: &Request) -> Option<(Sid, Plug)> {
    let engine = request.extensions().get::<EngineRequest>()?;
    let session = engine.session.filter(|_| engine.is_websocket())?;
    let ConnectInfo(plug) = request.extensions().get::<ConnectInfo<Plug>>()?;
    Some((session, plug.clone()))
}

fn exchange(request: &Request) -> Option<Exchange> {
    let engine = request.extensions().get::<EngineRequest>()?;
    let (is_new, is_old) = (engine.is_handshake(), engine.is_old());
    match (request.method(), engine.transport) {
        (&Method::GET, Transport::WebSocket) => Some(Exchange::WebSocket),
        (&Method::GET, Transport::Polling) if is_new && is_old => Some(Exchange::Handshake),
        (&Method::GET, Transport::Polling) if is_new => Some(Exchange::NewPolling),
        (&Method::GET, Transport::Polling) if is_old => Some(Exchange::Poll),
        (&Method::POST, Transport::Polling) if is_old => Some(Exchange::Packets),
        (&Method::POST, Transport::Polling) if !is_new => Some(Exchange::NewPackets),
        _ => None,
    }
}

/// The session that a request belongs to.
fn session_of(request: &Request) -> Option<Sid> {
    request.extensions().get::<EngineRequest>()?.session
}

/// A session of Engine.IO 4 that polls.
async fn begin_polling(inner: Inner, request: Request) -> Result<Answer, Infallible> {
    let (head, body) = inner.clone().oneshot(request).await?.into_parts();
    // It is made of bytes that are there.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    if let Some(session) = sessions::session_in(&body) {
        first_ping::answer(inner, session).await;
    }
    Ok(Answer::from_parts(head, body.into()))
}

/// A session. Which generation its client is of is not known yet.
async fn begin(
    inner: Inner,
    mut request: Request,
    sessions: Arc<Sessions>,
) -> Result<Answer, Infallible> {
    let client = sessions::attach(&mut request);
    let (head, body) = inner.oneshot(request).await?.into_parts();
    // It is made of bytes that are there.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    if let Some(session) = sessions::session_in(&body) {
        sessions.begin(session, &client);
    }
    Ok(Answer::from_parts(head, body.into()))
}

/// Packets by GET.
async fn give_packets(
    inner: Inner,
    request: Request,
    sessions: Arc<Sessions>,
    polling: Option<Arc<Session>>,
) -> Result<Answer, Infallible> {
    let session = session_of(&request);
    let (mut head, body) = inner.oneshot(request).await?.into_parts();
    if head.status != StatusCode::OK || head.headers.get(header::CONTENT_TYPE) == Some(&BYTES) {
        return Ok(Answer::from_parts(head, Body::new(body)));
    }
    // It is made of bytes that are there.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let filled = polling.and_then(|session| payload::filled(&body, &session.large_packets));
    let body = filled.map_or(body, Bytes::from);
    head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let encoding = session.map_or(Encoding::Text, |session| sessions.encoding(session));
    let Some(body) = payload::answered(&body, encoding) else {
        return Ok(Answer::from_parts(head, body.into()));
    };
    if encoding == Encoding::Bytes {
        head.headers.insert(header::CONTENT_TYPE, BYTES);
    }
    head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    Ok(Answer::from_parts(head, body.into()))
}

/// Packets by POST.
async fn take_packets(
    inner: Inner,
    mut request: Request,
    sessions: Arc<Sessions>,
    largest: usize,
) -> Result<Answer, Infallible> {
    let session = session_of(&request);
    let encoding = session.map_or(Encoding::Text, |session| sessions.encoding(session));
    let is_known = encoding != Encoding::Text;
    let is_binary = request.headers().get(header::CONTENT_TYPE) == Some(&BYTES);
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = match read(body, largest).await {
        Ok(body) => match payload::received(&body, is_binary, is_known) {
            Some(Received { packets, is_of_socket_io_1 }) => {
                if let Some(session) = session.filter(|_| is_of_socket_io_1) {
                    sessions.learn(session);
                }
                request.headers_mut().insert(header::CONTENT_TYPE, TEXT);
                in_packets(packets.into())
            }
            None if is_binary => MALFORMED.into(),
            None => in_packets(body),
        },
        Err(body) => body,
    };
    request.headers_mut().remove(header::CONTENT_LENGTH);
    inner.oneshot(request).map_ok(boxed).await
}

/// A binary payload that socketioxide refuses, whatever it would do with the malformed one that this replaces.
const MALFORMED: &[u8] = &[2, 255];

/// A body that arrives one packet at a time. For each packet, socketioxide copies all that has arrived.
fn in_packets(payload: Bytes) -> Body {
    let mut rest = payload;
    let next = move |cx: &mut Context<'_>| {
        let progress = ready!(poll_proceed(cx));
        progress.made_progress();
        let first = (!rest.is_empty()).then(|| rest.split_to(payload::length_of_first(&rest)));
        Poll::Ready(first.map(Ok::<_, Infallible>))
    };
    Body::from_stream(stream::poll_fn(next))
}

/// Packets of Engine.IO 4 by POST.
async fn take_new_packets(
    inner: Inner,
    mut request: Request,
    largest: usize,
) -> Result<Answer, Infallible> {
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = match read(body, largest).await {
        Ok(body) => attachments::without(&body).map_or_else(|| body.into(), Body::from),
        Err(body) => body,
    };
    request.headers_mut().remove(header::CONTENT_LENGTH);
    inner.oneshot(request).map_ok(boxed).await
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

/// A WebSocket. Whether there may be one, and how that is said, Socket.IO knows; it is only not given the stream
/// that the request came on.
async fn open(
    inner: Inner,
    mut request: Request,
    sizes: (usize, usize),
    connection: Connection,
) -> Result<Answer, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let handshake = http::Request::from_parts(head.clone(), ());
    let service = inner.clone();
    let answer = inner.oneshot(Request::from_parts(head, body)).map_ok(boxed).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        tokio::spawn(serve(service, (upgrade, connection), handshake, sizes));
    }
    Ok(answer)
}

/// Gives Socket.IO the stream as it is to see it.
async fn serve(
    inner: Inner,
    (upgrade, Connection { incoming, outgoing, session }): (OnUpgrade, Connection),
    handshake: http::Request<()>,
    sizes: (usize, usize),
) {
    let engine = handshake.extensions().get().copied();
    // Who is gone already needs nothing.
    let (Some::<EngineRequest>(engine), Ok(stream)) = (engine, upgrade.await) else { return };
    let (stream, dropped) = CheckedStream::new(TokioIo::new(stream), sizes, incoming);
    let stream = SentStream::new(stream, session, outgoing);
    let service = inner.clone();
    let served = match engine {
        _ if engine.is_old() => {
            service.oneshot((RewritingStream::new(stream), handshake)).await.is_ok()
        }
        _ if engine.is_handshake() => {
            service.oneshot((Answered::new(stream), handshake)).await.is_ok()
        }
        _ => service.oneshot((stream, handshake)).await.is_ok(),
    };
    if let Some(farewell) = farewell(engine).filter(|_| served) {
        // Nothing is sent: it ends with the stream.
        let _ = dropped.await;
        let Ok(_) = inner.oneshot(farewell).await;
    }
}

/// What ends a session that polls. One whose WebSocket came to nothing would have every poll answered
/// at once, and with nothing, for ever; to one that is on its WebSocket, or over, this does nothing.
fn farewell(engine: EngineRequest) -> Option<Request> {
    let (session, protocol) = (engine.session?, engine.protocol);
    let uri = format!("/socket.io/?EIO={protocol}&transport=polling&sid={session}");
    Request::post(uri).body(Body::from(protocol.close_packet())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchanged(method: Method, uri: &str) -> Option<Exchange> {
        let mut request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        if let Some(engine) = EngineRequest::read(request.uri()).unwrap() {
            request.extensions_mut().insert(engine);
        }
        exchange(&request)
    }

    /// socketioxide copies a chunk once for each packet that begins in it.
    #[tokio::test]
    async fn each_packet_of_a_payload_is_a_chunk_of_its_own() {
        let packets = ["4:421[", "7:4😀€xyz", "2:4a"];
        for rest in ["", "no packet", "19:4too short"] {
            let payload = packets.concat() + rest;
            let mut body = in_packets(payload.clone().into());
            let mut chunks = Vec::new();
            while let Some(frame) = body.frame().await {
                chunks.push(frame.unwrap().into_data().unwrap());
            }
            let expected = packets.into_iter().chain([rest]).filter(|chunk| !chunk.is_empty());
            assert_eq!(chunks, expected.map(str::as_bytes).collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_what_an_old_client_sends_is_looked_at_and_new_sessions_and_websockets() {
        let session = Sid::new();
        let polls = &*format!("/socket.io/?EIO=3&transport=polling&sid={session}");
        let polls_4 = &*format!("/socket.io/?EIO=4&transport=polling&sid={session}");
        let opens = "/socket.io/?token=x&EIO=3&transport=websocket";
        assert_eq!(exchanged(Method::POST, polls), Some(Exchange::Packets));
        assert_eq!(exchanged(Method::GET, opens), Some(Exchange::WebSocket));
        assert_eq!(exchanged(Method::GET, polls), Some(Exchange::Poll));
        let begins = "/socket.io/?EIO=3&transport=polling&b64=1";
        assert_eq!(exchanged(Method::GET, begins), Some(Exchange::Handshake));
        assert_eq!(exchanged(Method::GET, polls_4), None);
        assert_eq!(exchanged(Method::POST, polls_4), Some(Exchange::NewPackets));
        let upgrades = &*format!("/socket.io/?EIO=4&transport=websocket&sid={session}");
        assert_eq!(exchanged(Method::GET, upgrades), Some(Exchange::WebSocket));
        let polls = "/socket.io/?EIO=4&transport=polling";
        assert_eq!(exchanged(Method::GET, polls), Some(Exchange::NewPolling));
        let opens = "/socket.io/?EIO=4&transport=websocket";
        assert_eq!(exchanged(Method::GET, opens), Some(Exchange::WebSocket));
        assert_eq!(exchanged(Method::POST, polls), None);
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
