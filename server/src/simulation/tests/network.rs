//! A network with clients: each packet takes a random time, and those of one connection arrive in
//! their order.

use std::sync::Arc;
use std::time::Duration;

use backwire_engine::Environment;
use http::Request;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::simulation::{Connection, SimulatedServer};

/// The longest time that a packet takes, in milliseconds.
const MAX_LATENCY: u64 = 50;

/// The packets of a connection that may wait.
const CAPACITY: usize = 1_000;

#[derive(Clone)]
pub(super) struct Network(Arc<State>);

struct State {
    environment: Environment,
    trace: Mutex<String>,
    begin: u64,
}

/// The client's end of a connection.
pub(super) struct Peer {
    connection: Connection,
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
        Self(Arc::new(State { environment, trace: Mutex::default(), begin }))
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
        server: &SimulatedServer,
        name: &str,
        namespace: &str,
        url: &str,
        auth: Option<&str>,
    ) -> Result<Peer, String> {
        self.latency().await;
        let (sent, from_server) = mpsc::channel(CAPACITY);
        let handshake = Request::get(url).body(()).unwrap();
        let connection = server.connect(handshake, namespace, auth, sent).await?;
        let (to_server, from_client) = mpsc::unbounded_channel();
        let (to_client, received) = mpsc::unbounded_channel();
        let environment = &self.0.environment;
        environment.spawn(carry_to_client(self.clone(), name.into(), from_server, to_client));
        environment.spawn(carry_to_server(self.clone(), connection.clone(), from_client));
        Ok(Peer { connection, to_server, received, last_ack: 0 })
    }
}

async fn carry_to_client(
    network: Network,
    name: String,
    mut sent: mpsc::Receiver<String>,
    to_client: mpsc::UnboundedSender<String>,
) {
    while let Some(packet) = sent.recv().await {
        network.latency().await;
        network.log(&format!("{name} {packet}"));
        let _ = to_client.send(packet);
    }
}

async fn carry_to_server(
    network: Network,
    connection: Connection,
    mut sent: mpsc::UnboundedReceiver<FromClient>,
) {
    while let Some(packet) = sent.recv().await {
        network.latency().await;
        if !connection.is_open() {
            return;
        }
        match packet {
            FromClient::Event(text, ack) => connection.event(text, Some(ack)),
            FromClient::Ack(id) => connection.ack(id),
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
        self.connection.close();
    }
}
