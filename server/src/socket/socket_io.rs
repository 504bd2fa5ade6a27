//! The implementation of the adapter with socketioxide: connections over the network.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::request::Parts;
use serde::Serialize;
use serde_json::Value as Json;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::{self, FromMessageParts, Value};
use socketioxide::operators::BroadcastOperators;
use socketioxide::socket::{DisconnectReason, Sid, Socket as IoSocket};
use socketioxide::{AckError, ParserConfig, ProtocolVersion, SocketError, SocketIo, TransportType};
use tokio::time::timeout;

use super::adapter::socket::{AckFuture, Arguments, SendError, Socket};
use super::adapter::{Adapter, ConnectionHandler, Event, Namespace, Recipients};
use super::connection::{Client, Connection};
use super::input::Input;
use super::legacy::CompatLayer;
use super::limits::Limits;
use super::output::{Output, OutputBudget};
use super::session::{self, Session};
use super::{emit, transport};
use crate::answer::{Answer, Content};
use crate::http::connection_handle::ConnectionHandle;
use crate::http::uploads::UploadMemory;
use crate::limit_monitor::LimitMonitor;
use crate::settings::{Settings, Transports};

/// How long the server waits for an ack of a client. A delivery without an ack is sent again at the
/// next connect.
const ACK_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How many attachments an event may announce. The event is refused. A higher number ends the
/// connection.
const MAX_ATTACHMENTS: usize = 10;

/// The path of the main namespace.
const MAIN: &str = "/";

/// The connections of socketioxide.
pub(crate) struct SocketIoAdapter {
    io: SocketIo,
    shutdown: ShutdownFlag,
}

/// Whether the server is shutting down and accepts no more connections.
///
/// Invariant: a connection that is accepted is found by the caller of `set`, because it is in its
/// namespace before `accept` is called.
#[derive(Clone, Default)]
struct ShutdownFlag(Arc<AtomicBool>);

impl SocketIoAdapter {
    /// Creates the adapter, and the layer that serves its connections.
    pub(crate) fn new(
        settings: &Settings,
        limits_reached: Arc<LimitMonitor>,
        (requests, output): (Arc<UploadMemory>, Arc<OutputBudget>),
    ) -> (Self, CompatLayer) {
        let limits = Limits::of(settings);
        let largest = limits.message;
        let builder = match limits.transports {
            Transports::All => SocketIo::builder(),
            Transports::Polling => SocketIo::builder().transports([TransportType::Polling]),
            Transports::WebSocket => SocketIo::builder().transports([TransportType::Websocket]),
        };
        let (layer, io) = builder
            .ack_timeout(ACK_TIMEOUT)
            .ping_interval(limits.heartbeat.interval)
            .ping_timeout(limits.heartbeat.timeout)
            .max_buffer_size(limits.unread_packets)
            .max_payload(largest as u64)
            .ws_max_message_size(largest)
            .ws_max_frame_size(largest)
            // No event here carries attachments. A few are accepted, so that the answer can say so.
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(MAX_ATTACHMENTS)
                    .max_incoming_binary_buf_size(settings.body_limit),
            )
            .build_layer();
        let compat_layer = CompatLayer::new(
            layer,
            (largest, settings.body_limit),
            (limits.connect, settings.limits.write_deadline),
            (requests, output),
            limits_reached,
        );
        (Self { io, shutdown: ShutdownFlag::default() }, compat_layer)
    }

    /// Returns `None` when the server is closing, because the namespace does not exist any more.
    fn select(&self, of: Recipients<'_>) -> Option<BroadcastOperators> {
        let Recipients { rooms, except, origin } = of;
        let origin = origin.and_then(|id| Sid::from_str(id).ok());
        let namespace = self.io.of(MAIN)?;
        let audience = match origin.and_then(|id| namespace.get_socket(id)) {
            Some(socket) => socket.to(rooms),
            None => namespace.within(rooms),
        };
        Some(if except.is_empty() { audience } else { audience.except(except) })
    }
}

impl Adapter for SocketIoAdapter {
    fn open(&self, namespace: String, handler: Arc<dyn Namespace>) {
        let (shutdown, is_main) = (self.shutdown.clone(), namespace == MAIN);
        self.io.ns(namespace, ConnectHandler { namespace: handler, is_main, shutdown });
    }

    fn sockets(&self, namespace: &str) -> Vec<Arc<dyn Socket>> {
        self.io.of(namespace).map(decided_sockets).unwrap_or_default()
    }

    fn all_sockets(&self) -> Vec<Arc<dyn Socket>> {
        self.io.nsps().into_iter().flat_map(decided_sockets).collect()
    }

    /// A socket whose CONNECT has not been decided on is in no room.
    fn clients(&self, among: Option<Recipients<'_>>) -> Vec<Client> {
        let sockets = match among {
            Some(recipients) => self.select(recipients).map(BroadcastOperators::sockets),
            None => self.io.of(MAIN).map(BroadcastOperators::sockets),
        };
        sockets.iter().flatten().filter_map(|socket| client_of(socket)).collect()
    }

    fn broadcast<'a>(
        &'a self,
        to: Recipients<'_>,
        event: &'a str,
        arguments: Arguments<'a>,
    ) -> BoxFuture<'a, bool> {
        let audience = self.select(to);
        Box::pin(async move {
            match audience {
                Some(audience) => audience.emit(event, &arguments).await.is_ok(),
                None => true,
            }
        })
    }

    fn remove(&self, from: Recipients<'_>, room: String) -> BoxFuture<'_, ()> {
        let audience = self.select(from);
        Box::pin(async move {
            if let Some(audience) = audience {
                let Ok(()) = audience.leave(room).await;
            }
        })
    }

    /// If the connections have not ended after half of `grace`, their TCP connections are aborted.
    fn close(&self, grace: Duration) -> BoxFuture<'_, ()> {
        self.shutdown.set();
        Box::pin(close(&self.io, grace))
    }
}

/// Returns the sockets of a namespace whose CONNECT has been decided on.
fn decided_sockets(namespace: BroadcastOperators) -> Vec<Arc<dyn Socket>> {
    let sockets = namespace.sockets();
    let sockets = sockets.iter().filter_map(|it| it.extensions.get::<HandlerExtension>());
    sockets.filter_map(|it| Some(it.socket.upgrade()? as _)).collect()
}

async fn close(io: &SocketIo, grace: Duration) {
    let sockets: Vec<_> = io.nsps().into_iter().flat_map(BroadcastOperators::sockets).collect();
    let mut closing = std::pin::pin!(io.close());
    if timeout(grace / 2, &mut closing).await.is_err() {
        // A disconnect packet for a client that does not read would have to wait for it.
        sockets
            .iter()
            .filter_map(|socket| transport::tcp_handle(socket))
            .for_each(ConnectionHandle::abort);
        if timeout(grace / 2, closing).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
    // Closing the transports leaves sockets and namespace holding each other, and with them the
    // engine. A socket that is disconnected releases its namespace. An error means that the client
    // is gone already.
    for socket in sockets {
        let _ = socket.disconnect();
    }
}

impl ShutdownFlag {
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a connection may go on. If the server is shutting down, the connection is ended: it
    /// and its namespace would keep each other alive for ever.
    fn accept(&self, socket: &Arc<IoSocket>) -> bool {
        let is_open = !self.0.load(Ordering::SeqCst);
        if !is_open {
            transport::tcp_handle(socket).inspect(|handle| handle.abort());
            // An error means that the client is gone already.
            let _ = socket.clone().disconnect();
        }
        is_open
    }
}

// One connection
// --------------

impl Socket for IoSocket {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn handshake(&self) -> &Parts {
        self.req_parts()
    }

    fn buffers(&self) -> (Arc<Input>, Arc<Output>) {
        match Session::of(self) {
            Some(session) => (Arc::clone(&session.input), Arc::clone(&session.output)),
            None => (Arc::default(), Output::uncounted()),
        }
    }

    fn can_send(&self) -> bool {
        self.connected()
    }

    fn is_websocket(&self) -> bool {
        self.transport_type() == TransportType::Websocket
    }

    fn is_legacy(&self) -> bool {
        matches!(self.protocol(), ProtocolVersion::V4)
    }

    fn rooms(&self) -> Vec<Cow<'static, str>> {
        Self::rooms(self)
    }

    fn join(&self, room: String) {
        Self::join(self, room);
    }

    fn join_all(&self, rooms: Vec<String>) {
        Self::join(self, rooms);
    }

    fn leave(&self, room: String) {
        Self::leave(self, room);
    }

    fn leave_all(&self) {
        Self::leave_all(self);
    }

    fn send(&self, event: &str, arguments: Arguments<'_>) -> Result<(), SendError> {
        Ok(match arguments {
            Arguments::Text(text) => emit::emit(self, text, |token| self.emit(event, token)),
            arguments => self.emit(event, &arguments),
        }?)
    }

    fn send_for_ack(&self, event: &str, arguments: Arguments<'_>) -> Result<AckFuture, SendError> {
        let acked = match arguments {
            Arguments::Text(text) => {
                emit::emit(self, text, |token| self.emit_with_ack::<_, Json>(event, token))
            }
            arguments => self.emit_with_ack::<_, Json>(event, &arguments),
        }?;
        let value = |ack| match ack {
            Ok(value) => Some(value),
            // An ack without a value is an ack.
            Err(AckError::Decode(_)) => Some(Json::Null),
            Err(_) => None,
        };
        Ok(acked.map(value).boxed())
    }

    fn answer(
        self: Arc<Self>,
        ack: Option<i64>,
        answer: &mut Answer,
        is_large: bool,
    ) -> Result<(), SendError> {
        if is_large && Session::of(&self).is_some() {
            answer.write_text().map_err(|_| SendError::Closed)?;
        }
        Ok(match answer.content() {
            Content::Arguments(arguments) => send_ack(&self, ack, arguments),
            Content::Text(text) => {
                emit::emit(&self, text.clone(), |token| send_ack(&self, ack, token))
            }
        }?)
    }

    fn end(self: Arc<Self>) -> BoxFuture<'static, ()> {
        transport::begin_end(&self).boxed()
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        transport::ended(self).boxed()
    }
}

fn send_ack(
    socket: &Arc<IoSocket>,
    ack: Option<i64>,
    argument: &(impl Serialize + ?Sized),
) -> Result<(), socketioxide::SendError> {
    let mut nothing = Value::Bytes(Bytes::new());
    let Ok(ack) = AckSender::from_message_parts(socket, &mut nothing, &ack);
    ack.send(argument)
}

impl From<socketioxide::SendError> for SendError {
    fn from(error: socketioxide::SendError) -> Self {
        match error {
            socketioxide::SendError::Socket(SocketError::InternalChannelFull) => Self::NoRoom,
            _ => Self::Closed,
        }
    }
}

// The handlers that socketioxide calls
// ------------------------------------

/// The entry among the extensions of a socket by which [`client_of`] finds the connection. The
/// socket is weak, because it holds this value.
#[derive(Clone)]
struct ClientExtension {
    socket: Weak<IoSocket>,
    connection: Arc<Connection>,
}

/// Returns the client of a socket. `None` before its CONNECT has been decided on.
fn client_of(socket: &IoSocket) -> Option<Client> {
    let ClientExtension { socket, connection } = socket.extensions.get()?;
    Some(Client::new(socket.upgrade()?, connection))
}

/// The same for the handler of a connection.
#[derive(Clone)]
struct HandlerExtension {
    socket: Weak<IoSocket>,
    handler: Arc<dyn ConnectionHandler>,
}

/// Accepts the connections to one namespace.
#[derive(Clone)]
struct ConnectHandler {
    namespace: Arc<dyn Namespace>,
    is_main: bool,
    shutdown: ShutdownFlag,
}

impl ConnectHandler {
    /// Decides on a CONNECT. It runs before the CONNECT is answered, so the other handlers are
    /// registered before the first event arrives.
    async fn accept(&self, socket: &Arc<IoSocket>, auth: Option<&Value>) -> Result<(), String> {
        let auth = auth.and_then(Value::as_str).map(|auth| auth.as_str());
        let handle = Arc::clone(socket) as Arc<dyn Socket>;
        let handler = self.namespace.begin(&handle, auth)?;
        if let Some(connection) = handler.connection().cloned() {
            socket
                .extensions
                .insert(ClientExtension { socket: Arc::downgrade(socket), connection });
            socket.on_fallback(MessageHandler(Arc::clone(&handler)));
        }
        socket.extensions.insert(HandlerExtension {
            socket: Arc::downgrade(socket),
            handler: Arc::clone(&handler),
        });
        socket.on_disconnect(DisconnectHandler(Arc::clone(&handler)));
        handler.admit(handle).await
    }
}

impl handler::ConnectHandler<LocalAdapter, Self> for ConnectHandler {
    /// Runs when the CONNECT has been answered.
    fn call(&self, socket: Arc<IoSocket>, _: Option<Value>) {
        if self.shutdown.accept(&socket)
            && let Some(HandlerExtension { handler, .. }) = socket.extensions.get()
        {
            handler.connected(socket);
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<IoSocket>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        Box::pin(async move {
            let outcome = self.accept(&socket, auth.as_ref());
            // A client of Engine.IO 3 is connected to the main namespace without a CONNECT.
            let outcome = match self.is_main && socket.is_legacy() {
                true => outcome.await,
                false => session::connect(&socket, outcome).await,
            };
            outcome.map_err(|refusal| Box::new(refusal) as _)
        })
    }
}

/// Receives the events of one connection, in arrival order.
struct MessageHandler(Arc<dyn ConnectionHandler>);

impl handler::MessageHandler<LocalAdapter, ConnectHandler> for MessageHandler {
    /// Called by the reader of the connection, one event after the other.
    fn call(&self, socket: Arc<IoSocket>, text: Value, ack: Option<i64>) {
        let (text, is_binary) = match text {
            Value::Str(text, attachments) => {
                (text.into(), attachments.is_some_and(|attachments| !attachments.is_empty()))
            }
            Value::Bytes(bytes) => (bytes, false),
        };
        self.0.received(socket, Event { text, ack, is_binary });
    }
}

/// Called when a connection has ended.
struct DisconnectHandler(Arc<dyn ConnectionHandler>);

impl handler::DisconnectHandler<LocalAdapter, ConnectHandler> for DisconnectHandler {
    fn call_with_defer(
        &self,
        socket: Arc<IoSocket>,
        reason: DisconnectReason,
        defer: fn(Arc<IoSocket>),
    ) {
        use DisconnectReason::{ClientNSDisconnect, ServerNSDisconnect};
        let ends_session = !matches!(reason, ClientNSDisconnect | ServerNSDisconnect);
        self.0.disconnected(Arc::clone(&socket) as _, ends_session);
        defer(socket);
    }
}
