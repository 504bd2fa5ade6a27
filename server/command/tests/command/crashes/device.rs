//! A device, which survives its server.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite};

use super::ServerRun;

pub(crate) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The token of the device. It stands for two persons, so that a message may be for both of them.
const TOKEN: &str = "user_1+user_a";

/// A page with the runtime, which survives its server.
pub(super) struct Device {
    /// Its `deviceId`.
    name: String,
    random: StdRng,
    /// The number of messages that its handlers have received, in order.
    pub(super) handled: usize,
    seen: HashSet<u64>,
    /// The acked messages, and those that the server has certainly removed.
    acked: HashSet<u64>,
    removed: HashSet<u64>,
    /// The messages that were delivered on this connection.
    delivered_here: HashSet<u64>,
    /// Whether a delivered message is not acked yet.
    pub(super) has_unacked: bool,
    /// Whether an acked message was delivered again in this run.
    pub(super) is_acked_again: bool,
    /// The number of the last message.
    pub(super) last: Option<usize>,
}

impl Device {
    pub(super) fn new(name: String, random: StdRng) -> Self {
        Self {
            name,
            random,
            handled: 0,
            seen: HashSet::new(),
            acked: HashSet::new(),
            removed: HashSet::new(),
            delivered_here: HashSet::new(),
            has_unacked: false,
            is_acked_again: false,
            last: None,
        }
    }

    /// Connects once, so that its queues begin.
    pub(super) async fn begin(&self, addr: SocketAddr) {
        connect(addr, &self.auth()).await.expect("the server runs");
    }

    fn auth(&self) -> Value {
        json!({ "backwire": 1, "site": "shop", "token": TOKEN, "deviceId": self.name })
    }

    /// Receives messages until the server stops, or until the last message has arrived.
    pub(super) async fn listen(&mut self, addr: SocketAddr, run: &ServerRun) {
        (self.has_unacked, self.is_acked_again) = (false, false);
        // The server may be killed at any time.
        let _ = self.try_listen(addr, run).await;
    }

    async fn try_listen(&mut self, addr: SocketAddr, run: &ServerRun) -> Option<()> {
        let mut stream = connect(addr, &self.auth()).await?;
        self.delivered_here.clear();
        // The messages acked in this run. The server has removed them when it sends the next batch.
        let mut before = Vec::new();
        while self.last.is_none_or(|last| self.handled < last) {
            let deliveries = next(&mut stream).await?;
            self.removed.extend(before.drain(..));
            before = self.handle(&deliveries);
            self.has_unacked = true;
            run.count(|events| events.delivered += 1);
            if self.random.random() {
                // The handlers of the page may be slow.
                sleep(Duration::from_millis(self.random.random_range(0..4))).await;
            }
            let last = before.last().expect("something is delivered");
            stream.send(format!(r#"42["delivered","{last}"]"#).into()).await.ok()?;
            if run.is_over.get() {
                return None;
            }
            self.has_unacked = false;
            self.acked.extend(&before);
            if before.len() == 1 {
                // The server waits for acks only before a batch, so this removal is not certain.
                before.clear();
            }
            run.count(|events| events.acked += 1);
        }
        Some(())
    }

    /// Passes new messages to the handlers. Returns all ids.
    fn handle(&mut self, deliveries: &[Value]) -> Vec<u64> {
        let mut ids = Vec::new();
        for delivery in deliveries {
            let id = delivery[2].as_str().unwrap().parse().unwrap();
            assert!(!self.removed.contains(&id), "{delivery} was acked and removed");
            assert!(
                self.delivered_here.insert(id),
                "{delivery} is delivered twice on one connection"
            );
            self.is_acked_again |= self.acked.contains(&id);
            if self.seen.insert(id) {
                self.handled += 1;
                assert_eq!(delivery[3][1], self.handled, "each once and in its order");
            }
            ids.push(id);
        }
        ids
    }
}

/// Connects a runtime with this auth. Returns `None` if the server is down.
pub(crate) async fn connect(addr: SocketAddr, auth: &Value) -> Option<Stream> {
    let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket");
    let (mut stream, _) = connect_async(url).await.ok()?;
    frame(&mut stream).await.filter(|open| open.starts_with('0'))?;
    stream.send(format!("40{auth}").into()).await.ok()?;
    let answer = frame(&mut stream).await?;
    assert!(answer.starts_with("40{"), "{answer}");
    Some(stream)
}

/// Receives the next frame, or returns `None` if the server is down.
async fn frame(stream: &mut Stream) -> Option<String> {
    loop {
        match stream.next().await?.ok()? {
            tungstenite::Message::Text(text) if text.as_str() == "2" => {
                stream.send("3".into()).await.ok()?;
            }
            tungstenite::Message::Text(text) => return Some(text.to_string()),
            _ => {}
        }
    }
}

/// Receives the next deliveries.
pub(crate) async fn next(stream: &mut Stream) -> Option<Vec<Value>> {
    let frame = frame(stream).await?;
    let event_text = frame.strip_prefix("42").expect("it is an event");
    let (event, room, _, _, deliveries): (String, String, u8, u8, Vec<Value>) =
        serde_json::from_str(event_text).unwrap();
    assert_eq!((&*event, &*room), ("push", ""));
    Some(deliveries)
}
