//! The connections of a simulated server: an [`Adapter`] whose packets the caller carries.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backwire_engine::Environment;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Request;
use http::request::Parts;
use parking_lot::Mutex;
use tokio::sync::{SetOnce, mpsc, oneshot};

use crate::answer::{Answer, Content};
use crate::socket::adapter::socket::{AckFuture, Arguments, SendError, Socket};
use crate::socket::adapter::{Adapter, ConnectionHandler, Event, Namespace, Recipients};
use crate::socket::connection::Client;
use crate::socket::input::Input;
use crate::socket::output::Output;

/// Receives the packets of Socket.IO that a server sends to one client, without the namespace. It
/// is dropped when the connection ends. A full channel is a client that does not read.
pub type Outgoing = mpsc::Sender<String>;

/// All connections of a server.
#[derive(Clone)]
pub(super) struct SimulatedAdapter(Arc<State>);

struct State {
    environment: Environment,
    namespaces: Mutex<BTreeMap<String, Arc<dyn Namespace>>>,
    connected: Mutex<BTreeMap<String, Arc<ServerSocket>>>,
}

/// The server's end of a connection.
struct ServerSocket {
    id: String,
    adapter: SimulatedAdapter,
    namespace: String,
    handshake: Parts,
    rooms: Mutex<BTreeSet<String>>,
    handler: OnceLock<Arc<dyn ConnectionHandler>>,
    is_open: AtomicBool,
    ended: SetOnce<()>,
    outgoing: Mutex<Option<Outgoing>>,
    acks: Mutex<Acks>,
}

#[derive(Default)]
struct Acks {
    last: u64,
    expected: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A connection of a client, as the network sees it.
#[derive(Clone)]
pub struct Connection(Arc<ServerSocket>);

impl SimulatedAdapter {
    pub(super) fn new(environment: Environment) -> Self {
        let (namespaces, connected) = Default::default();
        Self(Arc::new(State { environment, namespaces, connected }))
    }

    /// Forgets all connections and namespaces.
    pub(super) fn clear(&self) {
        let (namespaces, connected) = (
            std::mem::take(&mut *self.0.namespaces.lock()),
            std::mem::take(&mut *self.0.connected.lock()),
        );
        drop((namespaces, connected));
    }

    /// Connects a client. An error is the message of the refusal.
    pub(super) async fn connect(
        &self,
        handshake: Request<()>,
        namespace: &str,
        auth: Option<&str>,
        outgoing: Outgoing,
    ) -> Result<Connection, String> {
        let (handshake, ()) = handshake.into_parts();
        let socket = Arc::new(ServerSocket {
            id: format!("{:016x}", self.0.environment.random_u64()),
            adapter: self.clone(),
            namespace: namespace.to_owned(),
            handshake,
            rooms: Mutex::default(),
            handler: OnceLock::new(),
            is_open: AtomicBool::new(true),
            ended: SetOnce::new(),
            outgoing: Mutex::new(Some(outgoing)),
            acks: Mutex::default(),
        });
        let namespace = self.0.namespaces.lock().get(namespace).cloned();
        let as_dyn = Arc::clone(&socket) as Arc<dyn Socket>;
        let handler = namespace.ok_or("there is no such namespace")?.begin(&as_dyn, auth)?;
        let _ = socket.handler.set(Arc::clone(&handler));
        handler.admit(Arc::clone(&as_dyn)).await?;
        self.0.connected.lock().insert(socket.id.clone(), Arc::clone(&socket));
        handler.connected(as_dyn);
        Ok(Connection(socket))
    }
}

impl Connection {
    /// Returns the id of the connection.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Passes an event of the client to the server: its text is an array, such as
    /// `["get",{"url":"/todo"}]`.
    pub fn event(&self, text: String, ack: Option<i64>) {
        if let Some(handler) = self.0.handler.get().filter(|_| self.is_open()) {
            let event = Event { text: text.into(), ack, is_binary: false };
            handler.received(Arc::clone(&self.0) as _, event);
        }
    }

    /// Passes an ack of the client to the server.
    pub fn ack(&self, id: u64) {
        let expected = self.0.acks.lock().expected.remove(&id);
        // The server may have stopped waiting.
        let _ = expected.map(|acked| acked.send(()));
    }

    /// Whether neither end has closed the connection.
    pub fn is_open(&self) -> bool {
        self.0.is_open.load(Ordering::Relaxed)
    }

    /// Closes the connection.
    pub fn close(&self) {
        self.0.disconnect();
    }
}

impl Adapter for SimulatedAdapter {
    fn open(&self, namespace: String, handler: Arc<dyn Namespace>) {
        self.0.namespaces.lock().insert(namespace, handler);
    }

    fn sockets(&self, namespace: &str) -> Vec<Arc<dyn Socket>> {
        let connected = self.0.connected.lock();
        let sockets = connected.values().filter(|it| it.namespace == namespace);
        sockets.map(|it| Arc::clone(it) as _).collect()
    }

    fn all_sockets(&self) -> Vec<Arc<dyn Socket>> {
        self.0.connected.lock().values().map(|it| Arc::clone(it) as _).collect()
    }

    fn clients(&self, among: Option<Recipients<'_>>) -> Vec<Client> {
        let connected = self.0.connected.lock();
        let is_chosen = |it: &ServerSocket| {
            among.as_ref().is_none_or(|among| {
                let rooms = it.rooms.lock();
                among.rooms.iter().any(|room| rooms.contains(room))
                    && !among.except.iter().any(|room| rooms.contains(room))
                    && among.origin != Some(&it.id)
            })
        };
        let chosen = connected.values().filter(|it| is_chosen(it));
        let clients = chosen.filter_map(|it| {
            let state = it.handler.get()?.connection()?;
            Some(Client::new(Arc::clone(it) as _, Arc::clone(state)))
        });
        clients.collect()
    }

    fn broadcast<'a>(
        &'a self,
        to: Recipients<'_>,
        event: &'a str,
        arguments: Arguments<'a>,
    ) -> BoxFuture<'a, bool> {
        let clients = self.clients(Some(to));
        let sent = clients.iter().map(|it| it.socket().send(event, arguments.clone()).is_ok());
        let is_complete = sent.fold(true, |all, is_sent| all & is_sent);
        Box::pin(async move { is_complete })
    }

    fn remove(&self, from: Recipients<'_>, room: String) -> BoxFuture<'_, ()> {
        self.clients(Some(from)).iter().for_each(|client| client.socket().leave(room.clone()));
        Box::pin(async {})
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        let connected = self.0.connected.lock().clone();
        connected.into_values().for_each(|connection| connection.disconnect());
        self.0.namespaces.lock().clear();
        Box::pin(async {})
    }
}

impl ServerSocket {
    fn disconnect(self: &Arc<Self>) {
        if self.is_open.swap(false, Ordering::Relaxed) {
            self.adapter.0.connected.lock().remove(&self.id);
            self.acks.lock().expected.clear();
            if let Some(handler) = self.handler.get() {
                handler.disconnected(Arc::clone(self) as _, true);
            }
            // Only the first call sets it.
            let _ = self.ended.set(());
            self.outgoing.lock().take();
        }
    }

    fn push(&self, packet: String) -> Result<(), SendError> {
        let outgoing = self.outgoing.lock();
        let outgoing = outgoing.as_ref().ok_or(SendError::Closed)?;
        outgoing.try_send(packet).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::NoRoom,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }
}

impl Socket for ServerSocket {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn handshake(&self) -> &Parts {
        &self.handshake
    }

    fn buffers(&self) -> (Arc<Input>, Arc<Output>) {
        (Arc::default(), Output::uncounted())
    }

    fn can_send(&self) -> bool {
        true
    }

    fn is_websocket(&self) -> bool {
        true
    }

    fn is_legacy(&self) -> bool {
        false
    }

    fn rooms(&self) -> Vec<Cow<'static, str>> {
        self.rooms.lock().iter().cloned().map(Cow::Owned).collect()
    }

    fn join(&self, room: String) {
        self.rooms.lock().insert(room);
    }

    fn join_all(&self, rooms: Vec<String>) {
        self.rooms.lock().extend(rooms);
    }

    fn leave(&self, room: String) {
        self.rooms.lock().remove(&room);
    }

    fn leave_all(&self) {
        self.rooms.lock().clear();
    }

    fn send(&self, event: &str, arguments: Arguments<'_>) -> Result<(), SendError> {
        self.push(format!("2{}", event_text(event, arguments)))
    }

    fn send_for_ack(&self, event: &str, arguments: Arguments<'_>) -> Result<AckFuture, SendError> {
        let (sender, acked) = oneshot::channel();
        let mut acks = self.acks.lock();
        acks.last += 1;
        let id = acks.last;
        acks.expected.insert(id, sender);
        drop(acks);
        self.push(format!("2{id}{}", event_text(event, arguments)))?;
        Ok(acked.map(|acked| acked.ok().map(|()| serde_json::Value::Null)).boxed())
    }

    fn answer(
        self: Arc<Self>,
        ack: Option<i64>,
        answer: &mut Answer,
        _: bool,
    ) -> Result<(), SendError> {
        let text = match answer.content() {
            Content::Arguments(arguments) => arguments.text().expect("it is made of JSON"),
            Content::Text(text) => text.clone(),
        };
        ack.map_or(Ok(()), |ack| self.push(format!("3{ack}[{}]", utf8(&text))))
    }

    fn end(self: Arc<Self>) -> BoxFuture<'static, ()> {
        self.disconnect();
        Box::pin(async {})
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        // A connection here does not end before it is admitted.
        Box::pin(std::future::pending())
    }
}

fn event_text(event: &str, arguments: Arguments<'_>) -> String {
    let json = match &arguments {
        Arguments::One(argument) => argument.get().to_owned(),
        Arguments::Push(_) | Arguments::List(_) => {
            utf8(&arguments.to_text(0).expect("it is made of JSON"))
        }
        Arguments::Text(text) => utf8(text),
    };
    let comma = if json.is_empty() { "" } else { "," };
    format!("[{}{comma}{json}]", serde_json::to_string(event).expect("a text is JSON"))
}

fn utf8(text: &Bytes) -> String {
    String::from_utf8(text.to_vec()).expect("JSON is UTF-8")
}
