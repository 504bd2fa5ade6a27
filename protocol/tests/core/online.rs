//! A client that is online, with a server that the test plays.

use backwire_protocol::packet::{Kind, Packet};
use backwire_protocol::{Client, Delivery, Instant, Output, Request, Token, Verb};
use serde_json::{Value, json};

use crate::json::Json;

pub const NOW: Instant = Instant::from_millis(0);

/// A client that is online, and what it has sent and given to the app.
pub struct Online {
    pub client: Client<Json>,
    pub sent: Vec<String>,
    pub delivered: Vec<Delivery<Json>>,
    pub finished: Vec<Value>,
    pub refreshed: Vec<String>,
    pub requests: u32,
}

impl Online {
    pub fn new() -> Self {
        let (sent, delivered, finished, refreshed) = Default::default();
        let client = Client::new(Some(""), "s".into(), 1);
        let mut online = Self { client, sent, delivered, finished, refreshed, requests: 0 };
        online.client.connect(NOW);
        online.open();
        assert_eq!(online.sent, [r#"40{"backwire":1}"#]);
        online
    }

    /// Opens the connection, as a server does.
    pub fn open(&mut self) {
        self.receive(r#"0{"sid":"e","pingInterval":25000,"pingTimeout":20000,"maxPayload":4000}"#);
        self.receive(r#"40{"sid":"x"}"#);
    }

    pub fn reopen(&mut self) {
        self.client.closed(NOW);
        self.client.wake(NOW);
        self.open();
    }

    pub fn receive(&mut self, frame: &str) {
        let packet = Packet::decode(frame).expect("a packet");
        let packet = packet.try_map(|at| serde_json::from_str(&frame[at..]).map(Json));
        self.client.received(NOW, packet.expect("JSON"));
        self.drain();
    }

    pub fn request(&mut self, request: Request<Json>) {
        self.requests += 1;
        self.client.request(NOW, Token(self.requests), request);
        self.drain();
    }

    /// Makes a request that the server answers with these headers.
    pub fn answered(&mut self, verb: Verb, url: &str, headers: &Value) {
        self.request(Request::new(verb, url));
        let reply = json!([{ "statusCode": 200, "body": [], "headers": headers }]).to_string();
        let ack = Some(u64::from(self.requests));
        self.receive(&Packet::new(Kind::Ack, ack, Some(&*reply)).encode());
    }

    /// Joins a room at a position.
    pub fn join(&mut self, room: &str, epoch: &Value, offset: u64) {
        let position = format!("{epoch}:{offset}");
        let headers = json!({ "backwire-room": room, "backwire-position": position });
        self.answered(Verb::Get, &format!("/{room}"), &headers);
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Send(frame) => {
                    let body = frame.body.map_or(String::new(), |Json(body)| body.to_string());
                    self.sent.push(frame.head + &body + frame.tail);
                }
                Output::Deliver(delivery) => self.delivered.push(delivery),
                Output::Finish { result, .. } => {
                    let reply = result.expect("a reply");
                    let [body, headers] = [reply.body, reply.headers].map(|it| it.map(|it| it.0));
                    self.finished
                        .push(json!({ "status": reply.status, "body": body, "headers": headers }));
                }
                Output::Refresh(room) => self.refreshed.push(room),
                _ => {}
            }
        }
    }
}
