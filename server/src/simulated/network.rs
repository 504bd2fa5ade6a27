//! Connections of Socket.IO on a simulated network: each packet takes a random time, and those of
//! one connection arrive in their order.

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

/// The longest time that a packet takes, in milliseconds.
const MAX_LATENCY: u64 = 50;

#[derive(Clone)]
pub(super) struct Network(Arc<State>);

struct State {
    environment: Environment,
    namespaces: Mutex<BTreeMap<String, Arc<dyn Namespace>>>,
    connected: Mutex<BTreeMap<String, Arc<Connection>>>,
    trace: Mutex<String>,
    begin: u64,
}

/// The server's end of a connection.
struct Connection {
    id: String,
    network: Network,
    namespace: String,
    handshake: Parts,
    rooms: Mutex<BTreeSet<String>>,
    handler: OnceLock<Arc<dyn ConnectionHandler>>,
    is_open: AtomicBool,
    ended: SetOnce<()>,
    sent: mpsc::UnboundedSender<String>,
    acks: Mutex<Acks>,
}

#[derive(Default)]
struct Acks {
    last: u64,
    expected: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The client's end of a connection.
pub(super) struct Peer {
    connection: Arc<Connection>,
    to_server: mpsc::UnboundedSender<FromClient>,
    received: mpsc::UnboundedReceiver<String>,
    last_ack: i64,
}

enum FromClient {
    Event(String, i64),
    Ack(u64),
}

impl Network {
    pub(super) fn new(environment: Environment) -> Self {
        let begin = environment.unix_millis();
        let (namespaces, connected, trace) = Default::default();
        Self(Arc::new(State { environment, namespaces, connected, trace, begin }))
    }

    /// Returns all packets that clients have received so far, with their times.
    pub(super) fn trace(&self) -> String {
        self.0.trace.lock().clone()
    }

    /// Adds a line to the trace.
    pub(super) fn log(&self, line: &str) {
        let time = self.0.environment.unix_millis() - self.0.begin;
        self.0.trace.lock().push_str(&format!("{time} {line}\n"));
    }

    pub(super) async fn latency(&self) {
        let millis = self.0.environment.random_u64() % MAX_LATENCY;
        self.0.environment.sleep(Duration::from_millis(millis)).await;
    }

    /// Connects a client to a namespace. An error is the message of the refusal.
    pub(super) async fn connect(
        &self,
        name: &str,
        namespace: &str,
        url: &str,
        auth: Option<&str>,
    ) -> Result<Peer, String> {
        self.latency().await;
        let (sent, from_server) = mpsc::unbounded_channel();
        let (handshake, ()) = Request::get(url).body(()).unwrap().into_parts();
        let connection = Arc::new(Connection {
            id: format!("{name}-{:016x}", self.0.environment.random_u64()),
            network: self.clone(),
            namespace: namespace.to_owned(),
            handshake,
            rooms: Mutex::default(),
            handler: OnceLock::new(),
            is_open: AtomicBool::new(true),
            ended: SetOnce::new(),
            sent,
            acks: Mutex::default(),
        });
        let socket = Arc::clone(&connection) as Arc<dyn Socket>;
        let namespace = self.0.namespaces.lock().get(namespace).cloned();
        let handler = namespace.ok_or("there is no such namespace")?.begin(&socket, auth)?;
        let _ = connection.handler.set(Arc::clone(&handler));
        handler.admit(Arc::clone(&socket)).await?;
        self.0.connected.lock().insert(connection.id.clone(), Arc::clone(&connection));
        handler.connected(socket);
        let (to_server, from_client) = mpsc::unbounded_channel();
        let (to_client, received) = mpsc::unbounded_channel();
        let environment = &self.0.environment;
        environment.spawn(carry_to_client(self.clone(), name.into(), from_server, to_client));
        environment.spawn(carry_to_server(Arc::clone(&connection), from_client));
        Ok(Peer { connection, to_server, received, last_ack: 0 })
    }
}

async fn carry_to_client(
    network: Network,
    name: String,
    mut sent: mpsc::UnboundedReceiver<String>,
    to_client: mpsc::UnboundedSender<String>,
) {
    while let Some(packet) = sent.recv().await {
        network.latency().await;
        network.log(&format!("{name} {packet}"));
        let _ = to_client.send(packet);
    }
}

async fn carry_to_server(
    connection: Arc<Connection>,
    mut sent: mpsc::UnboundedReceiver<FromClient>,
) {
    while let Some(packet) = sent.recv().await {
        connection.network.latency().await;
        if !connection.is_open.load(Ordering::Relaxed) {
            return;
        }
        match packet {
            FromClient::Event(text, ack) => {
                let event = Event { text: text.into(), ack: Some(ack), is_binary: false };
                let handler = connection.handler.get().unwrap();
                handler.received(Arc::clone(&connection) as _, event);
            }
            FromClient::Ack(id) => {
                let expected = connection.acks.lock().expected.remove(&id);
                expected.map(|acked| acked.send(()));
            }
        }
    }
}

impl Peer {
    /// Sends an event, such as `["get",{"url":"/todo"}]`. Returns the beginning of its ack.
    pub(super) fn send(&mut self, event: &str) -> String {
        self.last_ack += 1;
        let _ = self.to_server.send(FromClient::Event(event.to_owned(), self.last_ack));
        format!("3{}[", self.last_ack)
    }

    /// Sends an event and returns the arguments of its ack. Other packets before it are dropped.
    pub(super) async fn ask(&mut self, event: &str) -> String {
        let start = self.send(event);
        loop {
            let packet = self.next().await;
            if let Some(arguments) = packet.strip_prefix(&start) {
                return arguments.strip_suffix(']').unwrap().to_owned();
            }
        }
    }

    /// Returns the next packet.
    pub(super) async fn next(&mut self) -> String {
        self.received.recv().await.expect("the connection is open")
    }

    /// Acks the event of this packet.
    pub(super) fn ack(&self, packet: &str) {
        let id: String = packet[1..].chars().take_while(char::is_ascii_digit).collect();
        let _ = self.to_server.send(FromClient::Ack(id.parse().unwrap()));
    }

    /// Ends the connection.
    pub(super) fn close(self) {
        self.connection.disconnect();
    }
}

impl Adapter for Network {
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
        let is_chosen = |it: &Connection| {
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

impl Connection {
    fn disconnect(self: &Arc<Self>) {
        if self.is_open.swap(false, Ordering::Relaxed) {
            self.network.0.connected.lock().remove(&self.id);
            self.acks.lock().expected.clear();
            if let Some(handler) = self.handler.get() {
                handler.disconnected(Arc::clone(self) as _, true);
            }
            let _ = self.ended.set(());
        }
    }

    fn push(&self, packet: String) -> Result<(), SendError> {
        match self.is_open.load(Ordering::Relaxed) {
            true => self.sent.send(packet).map_err(|_| SendError::Closed),
            false => Err(SendError::Closed),
        }
    }
}

impl Socket for Connection {
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
            Content::Arguments(arguments) => arguments.text().unwrap(),
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
        Arguments::Push(_) | Arguments::List(_) => utf8(&arguments.to_text(0).unwrap()),
        Arguments::Text(text) => utf8(text),
    };
    let comma = if json.is_empty() { "" } else { "," };
    format!("[{}{comma}{json}]", serde_json::to_string(event).unwrap())
}

fn utf8(text: &Bytes) -> String {
    String::from_utf8(text.to_vec()).unwrap()
}
