//! Support for clients of Socket.IO 1 and 2 (Engine.IO 3), where socketioxide does not handle them
//! as they expect.
//!
//! - **A query in the name of the namespace.** The call `io(url + '/shop?token=x')` sends its
//!   CONNECT as `40/shop?token=x,`, and so does a `{query}` among the options of `io`. Socket.IO
//!   for Node.js takes the query off that name; socketioxide looks for a namespace with the whole
//!   name. So the values that identify a user are moved to where later clients put them, into the
//!   auth of the CONNECT, before socketioxide reads it: `connect`.
//! - **The data of a refusal** is a string to these clients and an object to socketioxide:
//!   `refusal`.
//! - **Text over polling.** Socket.IO 1 encodes all but ASCII in its own ways, and socketioxide
//!   reads and writes text as Socket.IO 2 does: `payload`. `sessions` remembers how each client
//!   encodes text.
//!
//! Packets are rewritten in the body of a request or a response (`payload`), and in the frames of a
//! WebSocket (`frames`). Packets of Engine.IO 4 are not read, except for the first ping of a
//! session (see `first_ping`) and `attachments`. A CONNECT in several frames or beside binary
//! packets is not read either: no client of that time is known to send one so. Its name is then not
//! the name of a site, and it is refused.
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
use std::time::Duration;

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
pub(crate) use frames::rewrite_received;
pub(crate) use payload::rewrite_payload;
use payload::{DecodedPayload, Encoding};
use sessions::Sessions;
pub(super) use sessions::session_in;

use super::engine_request::{EngineRequest, Transport};
use super::first_ping::{self, FirstPingStream};
use super::frame_check::CheckedStream;
use super::incoming_memory::IncomingMemory;
use super::output::OutputBudget;
use super::sent_stream::{BufferMemory, SentStream};
use super::session::{ConnectLimits, Session};
use super::transport::{Serve, Transports};
use crate::http::address::client_address;
use crate::http::connection_handle::ConnectionHandle;
use crate::http::upgraded_stream::{Embedded, UpgradedStream};
use crate::http::uploads::UploadMemory;
use crate::limit_monitor::LimitMonitor;

/// The content type of a binary payload.
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The content type of a payload of text.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain;charset=UTF-8");

/// The layer that serves Socket.IO to clients of all versions.
#[derive(Clone)]
pub(crate) struct CompatLayer {
    socket_io: SocketIoLayer,
    /// Bytes in the body of a request.
    largest: usize,
    /// Bytes in the attachments of an event.
    max_attachments: usize,
    connect: ConnectLimits,
    /// How long a client may read nothing of its output.
    write_deadline: Duration,
    /// The memory of everything that clients send.
    requests: Arc<UploadMemory>,
    /// The memory budget of everything that is sent to clients.
    output: Arc<OutputBudget>,
    limits_reached: Arc<LimitMonitor>,
}

/// The service of [`CompatLayer`]: Socket.IO, and behind it everything else.
#[derive(Clone)]
pub(crate) struct CompatService {
    inner: Inner,
    largest: usize,
    max_attachments: usize,
    write_deadline: Duration,
    transports: Arc<Transports>,
    sessions: Arc<Sessions>,
    requests: Arc<UploadMemory>,
    output: Arc<OutputBudget>,
    limits_reached: Arc<LimitMonitor>,
}

type Inner = SocketIoService<Route>;
type InnerResponse = <Inner as Service<Request>>::Response;
type Answer = http::Response<Body>;

/// The requests that may have to be rewritten.
#[derive(Debug, PartialEq)]
enum RequestKind {
    /// A WebSocket.
    WebSocket,
    /// A new polling session of Engine.IO 4.
    HandshakeV4,
    /// A new polling session of Engine.IO 3.
    HandshakeV3,
    /// A client of Engine.IO 3 receives packets.
    PollV3,
    /// A client of Engine.IO 3 sends packets.
    PostV3,
    /// A client of Engine.IO 4 sends packets.
    PostV4,
}

impl CompatLayer {
    pub(super) fn new(
        socket_io: SocketIoLayer,
        (largest, max_attachments): (usize, usize),
        (connect, write_deadline): (ConnectLimits, Duration),
        (requests, output): (Arc<UploadMemory>, Arc<OutputBudget>),
        limits_reached: Arc<LimitMonitor>,
    ) -> Self {
        Self {
            socket_io,
            largest,
            max_attachments,
            connect,
            write_deadline,
            requests,
            output,
            limits_reached,
        }
    }
}

impl Layer<Route> for CompatLayer {
    type Service = CompatService;

    fn layer(&self, rest: Route) -> CompatService {
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
        let (max_attachments, write_deadline) = (self.max_attachments, self.write_deadline);
        CompatService {
            inner,
            largest,
            max_attachments,
            write_deadline,
            transports,
            sessions,
            requests,
            output,
            limits_reached,
        }
    }
}

impl Service<Request> for CompatService {
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<
        MapOk<<Inner as Service<Request>>::Future, fn(InnerResponse) -> Answer>,
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
        let kind = kind(&request);
        let upgrade = upgrade(&request);
        let session = upgrade.as_ref().map(|(session, _)| *session);
        if let Some((session, handle)) = upgrade {
            self.transports.begin_upgrade(session, handle);
        }
        let answer = match kind {
            None if session.is_none() && opened.is_none() => {
                return Either::Left(self.inner.call(request).map_ok(boxed));
            }
            None => inner.oneshot(request).map_ok(boxed).boxed(),
            Some(RequestKind::HandshakeV4) => handshake_v4(inner, request).boxed(),
            Some(RequestKind::HandshakeV3) => handshake_v3(inner, request, sessions).boxed(),
            Some(RequestKind::PollV3) => {
                let polling = session_of(&request).and_then(|id| self.transports.polling(id));
                poll_v3(inner, request, sessions, polling).boxed()
            }
            Some(RequestKind::PostV3) => post_v3(inner, request, sessions, largest).boxed(),
            Some(RequestKind::PostV4) => post_v4(inner, request, largest).boxed(),
            Some(RequestKind::WebSocket) => {
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

impl CompatService {
    /// Returns the memory and the session of a WebSocket. `upgraded` is the session that polled
    /// before.
    fn connection(&self, request: &Request, upgraded: Option<Sid>) -> Connection {
        let session = match upgraded {
            Some(id) => self.transports.polling(id),
            None => request.extensions().get().cloned(),
        };
        let client = client_address(request.extensions());
        let limits_reached = Arc::clone(&self.limits_reached);
        let requests = Arc::clone(&self.requests);
        let outgoing = BufferMemory::new(Arc::clone(&self.output), Arc::clone(&limits_reached));
        let handle = request.extensions().get::<ConnectInfo<ConnectionHandle>>();
        let handle = handle.map(|ConnectInfo(handle)| handle);
        let embedded = Embedded::of(handle, &limits_reached, self.write_deadline);
        let incoming = IncomingMemory::new(requests, client, session.clone(), limits_reached);
        Connection { embedded, incoming, outgoing, session }
    }
}

/// The memory and the session of a WebSocket.
struct Connection {
    /// Set if another server has accepted the connection.
    embedded: Option<Embedded>,
    /// The memory of messages that the client sends.
    incoming: IncomingMemory,
    outgoing: BufferMemory,
    /// Knows which packets are sent.
    session: Option<Arc<Session>>,
}

fn boxed(answer: InnerResponse) -> Answer {
    answer.map(Body::new)
}

/// Returns the session that asks to become a WebSocket, and the TCP connection of the request.
fn upgrade(request: &Request) -> Option<(Sid, ConnectionHandle)> {
    let engine = request.extensions().get::<EngineRequest>()?;
    let session = engine.session.filter(|_| engine.is_websocket())?;
    let ConnectInfo(handle) = request.extensions().get::<ConnectInfo<ConnectionHandle>>()?;
    Some((session, handle.clone()))
}

fn kind(request: &Request) -> Option<RequestKind> {
    let engine = request.extensions().get::<EngineRequest>()?;
    let (is_new, is_v3) = (engine.is_handshake(), engine.is_v3());
    match (request.method(), engine.transport) {
        (&Method::GET, Transport::WebSocket) => Some(RequestKind::WebSocket),
        (&Method::GET, Transport::Polling) if is_new && is_v3 => Some(RequestKind::HandshakeV3),
        (&Method::GET, Transport::Polling) if is_new => Some(RequestKind::HandshakeV4),
        (&Method::GET, Transport::Polling) if is_v3 => Some(RequestKind::PollV3),
        (&Method::POST, Transport::Polling) if is_v3 => Some(RequestKind::PostV3),
        (&Method::POST, Transport::Polling) if !is_new => Some(RequestKind::PostV4),
        _ => None,
    }
}

/// Returns the session that a request belongs to.
fn session_of(request: &Request) -> Option<Sid> {
    request.extensions().get::<EngineRequest>()?.session
}

/// Opens a polling session of Engine.IO 4.
async fn handshake_v4(inner: Inner, request: Request) -> Result<Answer, Infallible> {
    let (head, body) = inner.clone().oneshot(request).await?.into_parts();
    // The body is in memory, so this does not wait.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    if let Some(session) = sessions::session_in(&body) {
        first_ping::answer(inner, session).await;
    }
    Ok(Answer::from_parts(head, body.into()))
}

/// Opens a polling session of Engine.IO 3. The version of its client is not known yet.
async fn handshake_v3(
    inner: Inner,
    mut request: Request,
    sessions: Arc<Sessions>,
) -> Result<Answer, Infallible> {
    let client = sessions::attach(&mut request);
    let (head, body) = inner.oneshot(request).await?.into_parts();
    // The body is in memory, so this does not wait.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    if let Some(session) = sessions::session_in(&body) {
        sessions.begin(session, &client);
    }
    Ok(Answer::from_parts(head, body.into()))
}

/// Sends packets to a client of Engine.IO 3, which requests them by GET.
async fn poll_v3(
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
    // The body is in memory, so this does not wait.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let filled =
        polling.and_then(|session| payload::fill_placeholders(&body, &session.large_packets));
    let body = filled.map_or(body, Bytes::from);
    head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let encoding = session.map_or(Encoding::Text, |session| sessions.encoding(session));
    let Some(body) = payload::encode(&body, encoding) else {
        return Ok(Answer::from_parts(head, body.into()));
    };
    if encoding == Encoding::Bytes {
        head.headers.insert(header::CONTENT_TYPE, BYTES);
    }
    head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    Ok(Answer::from_parts(head, body.into()))
}

/// Receives packets of a client of Engine.IO 3, which sends them by POST.
async fn post_v3(
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
    *request.body_mut() = match read_body(body, largest).await {
        Ok(body) => match payload::decode(&body, is_binary, is_known) {
            Some(DecodedPayload { packets, is_of_socket_io_1 }) => {
                if let Some(session) = session.filter(|_| is_of_socket_io_1) {
                    sessions.mark_socket_io_1(session);
                }
                request.headers_mut().insert(header::CONTENT_TYPE, TEXT);
                packet_stream(packets.into())
            }
            None if is_binary => MALFORMED.into(),
            None => packet_stream(body),
        },
        Err(body) => body,
    };
    request.headers_mut().remove(header::CONTENT_LENGTH);
    inner.oneshot(request).map_ok(boxed).await
}

/// A binary payload that socketioxide refuses. It replaces a malformed one, which socketioxide
/// might not refuse.
const MALFORMED: &[u8] = &[2, 255];

/// Returns a body that arrives one packet at a time. For each packet, socketioxide copies
/// everything that has arrived.
fn packet_stream(payload: Bytes) -> Body {
    let mut rest = payload;
    let next = move |cx: &mut Context<'_>| {
        let progress = ready!(poll_proceed(cx));
        progress.made_progress();
        let first = (!rest.is_empty()).then(|| rest.split_to(payload::length_of_first(&rest)));
        Poll::Ready(first.map(Ok::<_, Infallible>))
    };
    Body::from_stream(stream::poll_fn(next))
}

/// Receives packets of a client of Engine.IO 4, which sends them by POST.
async fn post_v4(inner: Inner, mut request: Request, largest: usize) -> Result<Answer, Infallible> {
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = match read_body(body, largest).await {
        Ok(body) => attachments::strip(&body).map_or_else(|| body.into(), Body::from),
        Err(body) => body,
    };
    request.headers_mut().remove(header::CONTENT_LENGTH);
    inner.oneshot(request).map_ok(boxed).await
}

/// Reads a body. If it is too large or breaks off, returns it as it was, so that the inner service
/// refuses it.
async fn read_body(mut body: Body, largest: usize) -> Result<Bytes, Body> {
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

/// Opens a WebSocket. Socket.IO decides whether it may be opened, and answers the request. It is
/// only not given the stream of the request.
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

/// Serves a WebSocket: gives Socket.IO the checked and rewritten stream.
async fn serve(
    inner: Inner,
    (upgrade, Connection { embedded, incoming, outgoing, session }): (OnUpgrade, Connection),
    handshake: http::Request<()>,
    sizes: (usize, usize),
) {
    let engine = handshake.extensions().get().copied();
    // A client that is gone already needs nothing.
    let (Some::<EngineRequest>(engine), Ok(stream)) = (engine, upgrade.await) else { return };
    let stream = UpgradedStream::new(TokioIo::new(stream), embedded);
    let (stream, dropped) = CheckedStream::new(stream, sizes, incoming);
    let stream = SentStream::new(stream, session, outgoing);
    let service = inner.clone();
    let served = match engine {
        _ if engine.is_v3() => {
            service.oneshot((RewritingStream::new(stream), handshake)).await.is_ok()
        }
        _ if engine.is_handshake() => {
            service.oneshot((FirstPingStream::new(stream), handshake)).await.is_ok()
        }
        _ => service.oneshot((stream, handshake)).await.is_ok(),
    };
    if let Some(close_request) = close_request(engine).filter(|_| served) {
        // Nothing is sent. The receiver ends with the stream.
        let _ = dropped.await;
        let Ok(_) = inner.oneshot(close_request).await;
    }
}

/// Returns a request that ends a session that polls. If a WebSocket fails after the upgrade, every
/// poll of its session would be answered at once, and with nothing, for ever. For a session that
/// uses its WebSocket, or has ended, this request does nothing.
fn close_request(engine: EngineRequest) -> Option<Request> {
    let (session, protocol) = (engine.session?, engine.protocol);
    let uri = format!("/socket.io/?EIO={protocol}&transport=polling&sid={session}");
    Request::post(uri).body(Body::from(protocol.close_packet())).ok()
}

#[cfg(test)]
mod tests;
