//! The transport below a Socket.IO connection, and how the server ends it.
//!
//! A Socket.IO client connects again by itself, with a growing delay, when its transport ends. It
//! stays away when its CONNECT is refused or its namespace is disconnected. socketioxide offers the
//! latter two only, so this module ends transports:
//!
//! - of a connection that began as a WebSocket, by shutting down its TCP connection;
//! - of one that began by polling and has become a WebSocket, in the same way. [`Transports`]
//!   remembers the TCP connection of each upgrade;
//! - of one that polls, by closing its session as the client itself would, with an Engine.IO
//!   `close` packet. Then each later request of the session is answered with a 400, which ends the
//!   transport.
//!
//! A session in the middle of its upgrade is left alone until it has become a WebSocket. A client
//! whose upgrade fails after it has paused its polling would notice nothing until its ping is
//! overdue.
//!
//! [`Transports`] sees every request for Socket.IO. Each connection finds it among the extensions
//! of its handshake.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
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
use crate::http::client_address::client_address;
use crate::http::connections::Full;
use crate::http::listener::Plug;
use crate::limit_monitor::LimitMonitor;
use crate::settings::Limit;

/// How long the last poll of a closed session may take to be answered. It would carry a packet that
/// is sent before then.
const LAST_POLL_GRACE: Duration = Duration::from_secs(1);

/// How long an upgrade may take. Engine.IO ends it after 10 seconds.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(11);

/// How often an upgrade is looked at. Nothing reports that it is done.
const UPGRADE_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Answers a request for Socket.IO with its status.
pub(super) type Serve = Box<dyn Fn(Request) -> BoxFuture<'static, StatusCode> + Send + Sync>;

/// The transports of one server.
pub(super) struct Transports {
    serve: Serve,
    upgraded: Mutex<Upgraded>,
    sessions: Arc<Sessions>,
    limits_reached: Arc<LimitMonitor>,
}

/// What is to be done with the answer to a request of a session that polls.
pub(super) enum PollingExchange {
    /// It has the id of a new session.
    Handshake(Arc<Session>),
    /// It has packets for the session, on this TCP connection.
    Poll(Arc<Session>, Option<Plug>),
}

/// The TCP connections of sessions that become WebSockets, or have, by session.
#[derive(Default)]
struct Upgraded {
    by_session: HashMap<Sid, Plug>,
    /// At this size, sessions that have ended are removed.
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

    /// Prepares a request. A handshake may be refused; the connection that it opens can find its transport.
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
        if engine.is_old() {
            session.iter().for_each(|session| session.needs_no_connect());
        }
        let plug =
            request.extensions().get().map(|ConnectInfo(plug): &ConnectInfo<Plug>| plug.clone());
        let polled = session.filter(|_| request.method() == Method::GET);
        Ok(polled.map(|session| PollingExchange::Poll(session, plug)))
    }

    fn open(
        self: &Arc<Self>,
        engine: EngineRequest,
        request: &mut Request,
    ) -> Result<Option<PollingExchange>, Error> {
        let address = client_address(request.extensions());
        let opened = self.sessions.open(engine, address);
        let (session, removed) = opened.map_err(|Full(limit, max)| Error::NoRoom { limit, max })?;
        if let Some(removed) = removed {
            self.limits_reached.reached(Limit::UnconnectedSessionsPerAddress, removed.address());
            self.clone().drop_session(removed);
        }
        request.extensions_mut().insert(Arc::downgrade(self));
        request.extensions_mut().insert(Arc::clone(&session));
        if engine.is_websocket() {
            let plug = request.extensions().get();
            session.set_websocket(plug.map(|ConnectInfo(plug): &ConnectInfo<Plug>| plug.clone()));
            if engine.is_old() {
                session.needs_no_connect();
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

    /// Ends a session that has no CONNECT.
    fn drop_session(self: Arc<Self>, session: Arc<Session>) {
        if let Some(plug) = session.websocket() {
            plug.pull();
        }
        if let Some(id) = session.id() {
            let protocol = session.handshake.protocol;
            tokio::spawn(async move { self.close(id, protocol).await });
        }
    }

    /// A session that polls, or has done so.
    pub(super) fn polling(&self, id: Sid) -> Option<Arc<Session>> {
        self.sessions.polling(id)
    }

    /// A session asks on this TCP connection to become a WebSocket.
    pub(super) fn begin_upgrade(&self, session: Sid, plug: Plug) {
        const FEW: usize = 64;
        let mut upgraded = self.upgraded.lock();
        if upgraded.by_session.len() >= upgraded.purge_at {
            upgraded.by_session.retain(|_, plug| plug.is_open());
            upgraded.purge_at = FEW.max(upgraded.by_session.len() * 2);
        }
        upgraded.by_session.insert(session, plug.clone());
        drop(upgraded);
        if let Some(session) = self.sessions.polling(session) {
            session.set_websocket(Some(plug));
        }
    }

    /// The session may not become a WebSocket.
    pub(super) fn cancel_upgrade(&self, session: Sid) {
        self.upgraded.lock().by_session.remove(&session);
        if let Some(session) = self.sessions.polling(session) {
            session.set_websocket(None);
        }
    }

    fn upgrade_of(&self, session: Sid) -> Option<Plug> {
        let upgraded = self.upgraded.lock();
        upgraded.by_session.get(&session).filter(|plug| plug.is_open()).cloned()
    }

    async fn end(&self, socket: &Socket) {
        let given_up = Instant::now() + UPGRADE_TIMEOUT;
        while let Some(plug) = self.upgrade_of(socket.id) {
            if matches!(socket.transport_type(), TransportType::Websocket)
                || Instant::now() >= given_up
            {
                return plug.pull();
            }
            let _ = timeout(UPGRADE_POLL_INTERVAL, plug.closed()).await;
        }
        let handshake = socket.req_parts().extensions.get::<EngineRequest>();
        let protocol = handshake.map_or(EngineVersion::V4, |handshake| handshake.protocol);
        if self.close(socket.id, protocol).await {
            sleep(LAST_POLL_GRACE).await;
        }
    }

    /// Closes a session that polls. `false` if it does not, or has ended.
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
    /// Remembers what the answer shows.
    pub(super) async fn finish(
        self,
        transports: Arc<Transports>,
        answer: Result<Response, Infallible>,
    ) -> Result<Response, Infallible> {
        let answer = answer?;
        match self {
            Self::Handshake(session) => {
                let (head, body) = answer.into_parts();
                // It is made of bytes that are there.
                let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
                if let Some(id) = session_in(&body) {
                    transports.sessions.learn_id(&session, id);
                }
                Ok(Response::from_parts(head, body.into()))
            }
            Self::Poll(session, plug) => {
                // Those of Engine.IO 3 have been filled.
                let answer = match session.handshake.is_old() {
                    true => answer,
                    false => polled_packets::fill(answer, &session.large_packets).await,
                };
                if let Some(plug) = plug {
                    session.polls(plug, answer.size_hint().lower());
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
    let is_ended = super::connection::plug(socket).inspect(|plug| plug.pull()).is_some();
    let transports = socket.req_parts().extensions.get::<Weak<Transports>>();
    let transports = transports.filter(|_| !is_ended).and_then(Weak::upgrade);
    let socket = socket.clone();
    async move {
        if let Some(transports) = transports {
            transports.end(&socket).await;
        }
    }
}

/// Resolves when the TCP connection of a WebSocket has ended. For one that polls it never does.
pub(super) fn ended(socket: &Socket) -> impl Future<Output = ()> + Send + 'static + use<> {
    match super::connection::plug(socket) {
        Some(plug) => plug.closed().left_future(),
        None => std::future::pending().right_future(),
    }
}

/// The address of the client, for fairness among clients.
pub(super) fn address(socket: &Socket) -> Option<IpAddr> {
    client_address(&socket.req_parts().extensions)
}
