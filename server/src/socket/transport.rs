//! The transport below a Socket.IO connection, and how the server ends it.
//!
//! A Socket.IO client connects again by itself, with a growing delay, when its transport ends. It
//! stays away when its CONNECT is refused or its namespace is disconnected. socketioxide offers
//! only these two, so this module ends transports:
//!
//! - a connection that began as a WebSocket: by shutting down its TCP connection;
//! - a connection that began by polling and has become a WebSocket: in the same way. [`Transports`]
//!   remembers the TCP connection of each upgrade;
//! - a connection that polls: by closing its session with an Engine.IO `close` packet, as the
//!   client itself would. Then each later request of the session is answered with a 400, which ends
//!   the transport.
//!
//! A session in the middle of its upgrade is left alone until it has become a WebSocket. A client
//! whose upgrade fails after it has paused its polling would notice nothing until its ping is
//! overdue.
//!
//! [`Transports`] handles every request for Socket.IO. Each connection finds it among the
//! extensions of its handshake.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use backwire_environment::HashMap;
use futures_util::future::{BoxFuture, FutureExt};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Collected};
use parking_lot::Mutex;
use socketioxide::TransportType;
use socketioxide::socket::{Sid, Socket};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::engine_request::{EngineRequest, EngineVersion};
use super::legacy::session_in;
use super::polled_packets;
use super::session::{ConnectLimits, Session, Sessions};
use crate::error::Error;
use crate::http::address::client_address;
use crate::http::connection_handle::ConnectionHandle;
use crate::http::connections::LimitReached;
use crate::limit_monitor::LimitMonitor;
use crate::settings::Limit;

/// How long the answer to the last poll of a closed session may take. It would carry a packet that
/// is sent before then.
const LAST_POLL_GRACE: Duration = Duration::from_secs(1);

/// How long an upgrade may take. Engine.IO ends it after 10 seconds.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(11);

/// How often an upgrade is checked. Nothing reports that it is done.
const UPGRADE_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Handles a request for Socket.IO, and returns the status of the response.
pub(super) type Serve = Box<dyn Fn(Request) -> BoxFuture<'static, StatusCode> + Send + Sync>;

/// The transports of one server.
pub(super) struct Transports {
    serve: Serve,
    upgraded: Mutex<Upgraded>,
    sessions: Arc<Sessions>,
    limits_reached: Arc<LimitMonitor>,
}

/// How the response to a request of a session that polls is processed.
pub(super) enum PollingExchange {
    /// The response has the id of a new session.
    Handshake(Arc<Session>),
    /// The response has packets for the session, on this TCP connection.
    Poll(Arc<Session>, Option<ConnectionHandle>),
}

/// The TCP connections of sessions that become WebSockets, or have become one, by session.
#[derive(Default)]
struct Upgraded {
    by_session: HashMap<Sid, ConnectionHandle>,
    /// At this size, ended sessions are removed.
    purge_at: usize,
}

impl Transports {
    pub(super) fn new(
        serve: Serve,
        limits: ConnectLimits,
        limits_reached: Arc<LimitMonitor>,
    ) -> Arc<Self> {
        let sessions = Sessions::new(limits);
        Arc::new(Self { serve, upgraded: Mutex::default(), sessions, limits_reached })
    }

    /// Prepares a request. A handshake may be refused. The connection that it opens can find its
    /// transport.
    pub(super) fn begin(
        self: &Arc<Self>,
        request: &mut Request,
    ) -> Result<Option<PollingExchange>, Error> {
        let Some(engine) = request.extensions().get::<EngineRequest>().copied() else {
            return Ok(None);
        };
        if engine.is_handshake() {
            return match *request.method() {
                Method::GET => self.open(engine, request),
                // Engine.IO refuses it.
                _ => Ok(None),
            };
        }
        let polling = engine.session.filter(|_| !engine.is_websocket());
        let session = polling.and_then(|id| self.sessions.polling(id));
        if engine.is_v3() {
            session.iter().for_each(|session| session.mark_connected());
        }
        let handle = request
            .extensions()
            .get()
            .map(|ConnectInfo(handle): &ConnectInfo<ConnectionHandle>| handle.clone());
        let polled = session.filter(|_| request.method() == Method::GET);
        Ok(polled.map(|session| PollingExchange::Poll(session, handle)))
    }

    fn open(
        self: &Arc<Self>,
        engine: EngineRequest,
        request: &mut Request,
    ) -> Result<Option<PollingExchange>, Error> {
        let address = client_address(request.extensions());
        let opened = self.sessions.open(engine, address);
        let (session, removed) =
            opened.map_err(|LimitReached(limit, max)| Error::TooManyConnections { limit, max })?;
        if let Some(removed) = removed {
            self.limits_reached.reached(Limit::UnconnectedSessionsPerAddress, removed.address());
            self.clone().drop_session(removed);
        }
        request.extensions_mut().insert(Arc::downgrade(self));
        request.extensions_mut().insert(Arc::clone(&session));
        if engine.is_websocket() {
            let handle = request.extensions().get();
            session.taken.set_websocket(
                handle.map(|ConnectInfo(handle): &ConnectInfo<ConnectionHandle>| handle.clone()),
            );
            if engine.is_v3() {
                session.mark_connected();
            }
        }
        if self.sessions.begin_watch() {
            tokio::spawn(Self::watch(Arc::downgrade(self)));
        }
        Ok((!engine.is_websocket()).then_some(PollingExchange::Handshake(session)))
    }

    /// Drops sessions that miss their deadline.
    async fn watch(transports: Weak<Self>) {
        while let Some(this) = transports.upgrade() {
            let (overdue, next) = this.sessions.overdue();
            for session in overdue {
                this.limits_reached.reached(Limit::ConnectDeadline, session.address());
                this.clone().drop_session(session);
            }
            let Some(next) = next else { return };
            drop(this);
            sleep_until(next).await;
        }
    }

    /// Ends a session without a CONNECT.
    fn drop_session(self: Arc<Self>, session: Arc<Session>) {
        if let Some(handle) = session.taken.websocket() {
            handle.abort();
        }
        if let Some(id) = session.id() {
            let protocol = session.handshake.protocol;
            tokio::spawn(async move { self.close(id, protocol).await });
        }
    }

    /// Returns a session that polls, or has polled.
    pub(super) fn polling(&self, id: Sid) -> Option<Arc<Session>> {
        self.sessions.polling(id)
    }

    /// Records the TCP connection on which a session asks to become a WebSocket.
    pub(super) fn begin_upgrade(&self, session: Sid, handle: ConnectionHandle) {
        const MIN_PURGE_SIZE: usize = 64;
        let mut upgraded = self.upgraded.lock();
        if upgraded.by_session.len() >= upgraded.purge_at {
            upgraded.by_session.retain(|_, handle| handle.is_open());
            upgraded.purge_at = MIN_PURGE_SIZE.max(upgraded.by_session.len() * 2);
        }
        upgraded.by_session.insert(session, handle.clone());
        drop(upgraded);
        if let Some(session) = self.sessions.polling(session) {
            session.taken.set_websocket(Some(handle));
        }
    }

    /// Removes the upgrade of a session that may not become a WebSocket.
    pub(super) fn cancel_upgrade(&self, session: Sid) {
        self.upgraded.lock().by_session.remove(&session);
        if let Some(session) = self.sessions.polling(session) {
            session.taken.set_websocket(None);
        }
    }

    fn upgrade_of(&self, session: Sid) -> Option<ConnectionHandle> {
        let upgraded = self.upgraded.lock();
        upgraded.by_session.get(&session).filter(|handle| handle.is_open()).cloned()
    }

    async fn end(&self, socket: &Socket) {
        let deadline = Instant::now() + UPGRADE_TIMEOUT;
        while let Some(handle) = self.upgrade_of(socket.id) {
            if matches!(socket.transport_type(), TransportType::Websocket)
                || Instant::now() >= deadline
            {
                return handle.abort();
            }
            let _ = timeout(UPGRADE_POLL_INTERVAL, handle.closed()).await;
        }
        let handshake = socket.req_parts().extensions.get::<EngineRequest>();
        let protocol = handshake.map_or(EngineVersion::V4, |handshake| handshake.protocol);
        if self.close(socket.id, protocol).await {
            sleep(LAST_POLL_GRACE).await;
        }
    }

    /// Closes a session that polls. Returns `false` if it does not poll, or has ended.
    async fn close(&self, session: Sid, protocol: EngineVersion) -> bool {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/socket.io/?EIO={protocol}&transport=polling&sid={session}"))
            .body(Body::from(protocol.close_packet()))
            .expect("a session id can be in a url");
        (self.serve)(request).await == StatusCode::OK
    }
}

impl PollingExchange {
    /// Processes the response: stores the id of a new session, or fills in and counts its packets.
    pub(super) async fn finish(
        self,
        transports: Arc<Transports>,
        answer: Result<Response, Infallible>,
    ) -> Result<Response, Infallible> {
        let answer = answer?;
        match self {
            Self::Handshake(session) => {
                let (head, body) = answer.into_parts();
                // The body is in memory, so this does not wait.
                let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
                if let Some(id) = session_in(&body) {
                    transports.sessions.set_id(&session, id);
                }
                Ok(Response::from_parts(head, body.into()))
            }
            Self::Poll(session, handle) => {
                // Packets of Engine.IO 3 have been filled in already.
                let answer = match session.handshake.is_v3() {
                    true => answer,
                    false => polled_packets::fill(answer, &session.large_packets).await,
                };
                if let Some(handle) = handle {
                    session.taken.record_poll(handle, answer.size_hint().lower());
                }
                Ok(answer)
            }
        }
    }
}

/// Ends the transport of a connection. When this resolves, nothing reaches the client any more.
pub(super) fn end<S>(socket: &S) -> impl Future<Output = ()> + Send + 'static + use<S>
where
    S: Deref<Target = Socket> + Clone + Send + Sync + 'static,
{
    let is_ended = tcp_handle(socket).inspect(|handle| handle.abort()).is_some();
    let transports = socket.req_parts().extensions.get::<Weak<Transports>>();
    let transports = transports.filter(|_| !is_ended).and_then(Weak::upgrade);
    let socket = socket.clone();
    async move {
        if let Some(transports) = transports {
            transports.end(&socket).await;
        }
    }
}

/// Ends the transport of a connection in the background. The caller may await the returned future,
/// and need not.
pub(super) fn begin_end<S>(socket: &S) -> impl Future<Output = ()> + Send + 'static + use<S>
where
    S: Deref<Target = Socket> + Clone + Send + Sync + 'static,
{
    // An error is a panic of the task, which has been logged.
    tokio::spawn(end(socket)).map(drop)
}

/// Resolves when the TCP connection of a WebSocket has ended. For a connection that polls it never
/// resolves.
pub(super) fn ended(socket: &Socket) -> impl Future<Output = ()> + Send + 'static + use<> {
    match tcp_handle(socket) {
        Some(handle) => handle.closed().left_future(),
        None => std::future::pending().right_future(),
    }
}

/// Returns the handle of the TCP connection, unless this connection began by polling: then its
/// current TCP connection is not known.
pub(super) fn tcp_handle(socket: &Socket) -> Option<&ConnectionHandle> {
    let handshake = &socket.req_parts().extensions;
    let ConnectInfo(handle) = handshake.get::<ConnectInfo<ConnectionHandle>>()?;
    let is_websocket = handshake.get().is_some_and(EngineRequest::is_websocket);
    is_websocket.then_some(handle)
}
