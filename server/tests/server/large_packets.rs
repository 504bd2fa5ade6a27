//! Large answers and pushes over each transport.

use axum::extract::Path;
use axum::routing::get;
use backwire::Server;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Client;
use serde_json::{Value, json};

use crate::client::{RUNTIME, Socket, ask, builder, start};
use crate::limits_reached::limits;

/// Returns the text of an answer. Each text is different, and has characters that JSON and payloads
/// escape or count.
fn text(number: u64, size: usize) -> String {
    let begin = format!("{number}: \"]\" \u{1e} 🦀 ");
    begin.chars().chain("abc\"\\é€".chars().cycle()).take(size).collect()
}

async fn server() -> Server {
    let big = async |Path((number, size)): Path<(u64, usize)>| {
        axum::Json(json!({ "text": text(number, size) }))
    };
    let limits = limits(|limits| limits.unread_bytes = 64 << 20);
    start(builder().limits(limits).route("/big/{number}/{size}", get(big))).await
}

/// Returns requests with answers of any size.
fn requests(random: &mut StdRng) -> Vec<(u64, usize)> {
    let size = |random: &mut StdRng| match random.random_range(0..3) {
        0 => random.random_range(0..300),
        1 => random.random_range(0..10_000),
        _ => random.random_range(0..700_000),
    };
    (0..30).map(|number| (number, size(random))).collect()
}

fn packet((number, size): (u64, usize)) -> String {
    format!(r#"42{number}["get",{{"url":"/big/{number}/{size}"}}]"#)
}

fn is_answer(ack: &Value, (number, size): (u64, usize)) -> bool {
    ack["body"]["text"].as_str() == Some(&text(number, size))
}

fn random() -> StdRng {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

#[tokio::test]
async fn answers_of_any_size_arrive_over_websockets() {
    let server = server().await;
    let mut random = random();
    let (runtime, stock) = (Socket::runtime(&server).await, Socket::stock(&server).await);
    let (slow, old) =
        (Socket::with_small_buffer(&server, RUNTIME).await, Socket::socket_io_2(&server).await);
    for mut socket in [runtime, stock, slow, old] {
        let requests = requests(&mut random);
        for request in &requests {
            socket.send(packet(*request)).await;
        }
        for request in requests {
            let ack = socket.ack(request.0).await;
            assert!(is_answer(&ack, request), "{request:?}");
        }
    }
    server.shutdown().await;
}

/// A polling session.
pub(crate) struct Polling {
    http: Client,
    url: String,
    session: String,
    is_old: bool,
}

impl Polling {
    async fn open(server: &Server, protocol: u8) -> Self {
        Self::open_as(server, protocol, "").await
    }

    /// Opens a session whose CONNECT has this `auth`.
    pub(crate) async fn open_as(server: &Server, protocol: u8, auth: &str) -> Self {
        let http = Client::new();
        let url = format!("http://{}/socket.io/?EIO={protocol}&transport=polling", server.addr());
        let opened = http.get(&url).send().await.unwrap().text().await.unwrap();
        let opened = &opened[opened.find('{').unwrap()..];
        let mut opened = serde_json::Deserializer::from_str(opened).into_iter::<Value>();
        let session = opened.next().unwrap().unwrap()["sid"].as_str().unwrap().to_owned();
        let polling =
            Self { http, url: format!("{url}&sid={session}"), session, is_old: protocol == 3 };
        if !polling.is_old {
            polling.post(&format!("40{auth}")).await;
        }
        polling
    }

    pub(crate) async fn post(&self, packet: &str) {
        let length = packet.encode_utf16().count();
        let payload = if self.is_old { format!("{length}:{packet}") } else { packet.to_owned() };
        let posted = self.http.post(&self.url).body(payload).send().await.unwrap();
        assert_eq!(posted.status(), 200);
    }

    /// Polls once, and returns the packets.
    pub(crate) async fn poll(&self) -> Vec<String> {
        let answer = self.http.get(&self.url).send().await.unwrap().text().await.unwrap();
        if !self.is_old {
            return answer.split('\u{1e}').map(str::to_owned).collect();
        }
        let (mut packets, mut rest) = (Vec::new(), answer.encode_utf16().collect::<Vec<_>>());
        while let Some(colon) = rest.iter().position(|unit| *unit == u16::from(b':')) {
            let length: usize = String::from_utf16(&rest[..colon]).unwrap().parse().unwrap();
            packets.push(String::from_utf16(&rest[colon + 1..colon + 1 + length]).unwrap());
            rest.drain(..colon + 1 + length);
        }
        packets
    }
}

fn ack(packet: &str, number: u64) -> Option<Value> {
    let ack = packet.strip_prefix(&format!("43{number}["))?.strip_suffix(']')?;
    Some(serde_json::from_str(ack).unwrap())
}

#[tokio::test]
async fn answers_of_any_size_arrive_by_polling() {
    let server = server().await;
    let mut random = random();
    for protocol in [4, 3] {
        let polling = Polling::open(&server, protocol).await;
        let mut requests = requests(&mut random);
        for request in &requests {
            polling.post(&packet(*request)).await;
        }
        while !requests.is_empty() {
            for packet in polling.poll().await {
                let (number, _) = requests[0];
                if let Some(ack) = ack(&packet, number) {
                    assert!(is_answer(&ack, requests.remove(0)), "{number}");
                }
                assert!(packet.starts_with('4'), "{packet}");
            }
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn answers_that_wait_during_an_upgrade_arrive_over_the_websocket() {
    let server = server().await;
    let polling = Polling::open(&server, 4).await;
    let requests = requests(&mut random());
    assert!(polling.poll().await[0].starts_with("40"));
    for request in &requests {
        polling.post(&packet(*request)).await;
    }
    let mut socket = Socket::upgraded(&server, &polling.session).await;
    for request in requests {
        assert!(is_answer(&socket.ack(request.0).await, request), "{request:?}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn large_pushes_reach_all_subscribers() {
    let server = server().await;
    let mut runtime = Socket::runtime(&server).await;
    let (mut stock, mut quiet) =
        (Socket::stock(&server).await, Socket::with_small_buffer(&server, "").await);
    for socket in [&mut runtime, &mut stock, &mut quiet] {
        assert_eq!(socket.get("/todo").await["statusCode"], 200);
    }
    for size in [5_000, 100, 300_000, 4_096] {
        let title = text(size as u64, size);
        let (status, _) = ask(&server, "POST", "/todo", json!({ "title": title })).await;
        assert_eq!(status, 201);
        let push = runtime.event().await.to_string();
        assert!(push.contains(&json!(title).to_string()), "{size}");
        for socket in [&mut stock, &mut quiet] {
            assert_eq!(socket.event().await[1]["data"]["title"], title);
        }
    }
    server.shutdown().await;
}
