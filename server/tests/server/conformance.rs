//! The cases of the public test suites of Engine.IO 4 and Socket.IO 5.
//!
//! The suites expect a server that sends each message back. These tests send a request and expect
//! its answer instead. `docs/reference/wire-protocol.md` lists the cases and the tests. Each test
//! is named after its case.

mod engine_io;
mod socket_io;

use std::time::Duration;

use backwire::Server;
use backwire::settings::{Heartbeat, Settings, Store};
use serde_json::Value;

use crate::client::{builder, start};

/// A request with an ack id, and the beginning of its answer.
const REQUEST: &str = r#"4210["get",{"url":"/todo"}]"#;
const ANSWER: &str = "4310[{";

/// A time that is longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

/// A time that is short enough to wait for.
const SOON: Duration = Duration::from_millis(20);

async fn with_heartbeat(interval: Duration, timeout: Duration) -> Server {
    let heartbeat = Heartbeat { timeout, interval };
    let settings = Settings { port: 0, store: Store::Memory, heartbeat, ..Settings::default() };
    start(builder().settings(settings)).await
}

/// A polling client.
#[derive(Clone)]
struct Polling {
    http: reqwest::Client,
    url: String,
    session: String,
}

impl Polling {
    async fn open(server: &Server) -> Self {
        let http = reqwest::Client::new();
        let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.addr());
        let opened = http.get(&url).send().await.unwrap();
        assert_eq!(opened.status(), 200);
        let opened = opened_with(&opened.text().await.unwrap());
        let session = opened["sid"].as_str().unwrap().to_owned();
        Self { http, url: format!("{url}&sid={session}"), session }
    }

    /// Opens a polling client that has joined the main namespace.
    async fn connected(server: &Server) -> Self {
        let client = Self::open(server).await;
        client.post_packets("40").await;
        let (status, packet) = client.poll().await;
        assert!(status == 200 && packet.starts_with(r#"40{"sid":""#), "{packet}");
        client
    }

    async fn post(&self, packets: &str) -> (u16, String) {
        let request = self.http.post(&self.url).body(packets.to_owned());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn post_packets(&self, packets: &str) {
        assert_eq!(self.post(packets).await, (200, "ok".to_owned()));
    }

    async fn poll(&self) -> (u16, String) {
        let answer = self.http.get(&self.url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Polls until this many packets have arrived, and returns them.
    async fn packets(&self, count: usize) -> Vec<String> {
        let mut packets = Vec::new();
        while packets.len() < count {
            let (status, payload) = self.poll().await;
            assert_eq!(status, 200);
            packets.extend(payload.split('\x1e').map(str::to_owned));
        }
        packets
    }

    async fn is_closed(&self) {
        assert_eq!(self.poll().await.0, 400);
    }
}

/// Returns the data of an open packet.
fn opened_with(packet: &str) -> Value {
    serde_json::from_str(packet.strip_prefix('0').expect("it is an open packet")).unwrap()
}

async fn status(server: &Server, method: reqwest::Method, query: &str) -> u16 {
    let url = format!("http://{}/socket.io/{query}", server.addr());
    reqwest::Client::new().request(method, url).send().await.unwrap().status().as_u16()
}
