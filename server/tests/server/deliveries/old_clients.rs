//! Clients of Socket.IO 1 and 2, which say who they are in the name of the site.

use std::time::Duration;

use backwire::settings::Store;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::house::House;
use crate::client::Socket;

/// A session of Engine.IO 3 that polls.
struct Polling {
    url: String,
    http: Client,
}

impl Polling {
    async fn open(house: &House) -> Self {
        Self::open_with(house, "").await
    }

    async fn open_with(house: &House, query: &str) -> Self {
        let url =
            format!("http://{}/socket.io/?EIO=3&transport=polling{query}", house.server.addr());
        let http = Client::new();
        let opened = http.get(&url).send().await.unwrap().text().await.unwrap();
        let (_, opened) = opened.split_once(":0").unwrap();
        let opened: Value =
            serde_json::Deserializer::from_str(opened).into_iter().next().unwrap().unwrap();
        let url = format!("{url}&sid={}", opened["sid"].as_str().unwrap());
        Self { url, http }
    }

    async fn poll(&self) -> Response {
        self.http.get(&self.url).send().await.unwrap()
    }

    async fn post(&self, payload: impl Into<reqwest::Body>) -> u16 {
        self.post_as("text/plain;charset=UTF-8", payload).await
    }

    async fn post_as(&self, kind: &str, payload: impl Into<reqwest::Body>) -> u16 {
        let post = self.http.post(&self.url).header("content-type", kind);
        post.body(payload).send().await.unwrap().status().as_u16()
    }

    /// Polls until something is said, and returns all that was.
    async fn hears(&self, said: &str) -> String {
        let mut all = String::new();
        while !all.contains(said) {
            let heard = timeout(Duration::from_secs(20), self.poll()).await.unwrap();
            assert_eq!(heard.status(), 200, "{all}");
            all += &String::from_utf8_lossy(&heard.bytes().await.unwrap());
        }
        all
    }

    /// That the server knows of it no more.
    async fn is_over(&self) {
        let over = async { while self.poll().await.status() != 400 {} };
        timeout(Duration::from_secs(20), over).await.unwrap();
    }
}

#[tokio::test]
async fn malformed_payload_of_an_old_client_is_a_400_and_ends_its_session() {
    const BYTES: &str = "application/octet-stream";
    let house = House::open().await;
    // Cut, of an unknown kind, and a packet before one that is cut.
    let binary = [&[0, 5, 255, b'4'][..], &[7, 1, 255, b'2'], &[0, 1, 255, b'3', 0, 9]];
    for payload in binary {
        let polling = Polling::open(&house).await;
        assert_eq!(polling.post_as(BYTES, payload).await, 400, "{payload:?}");
        polling.is_over().await;
    }
    for payload in ["9:4", "x:4", "1:32:4", "4"] {
        let polling = Polling::open(&house).await;
        assert_eq!(polling.post(payload).await, 400, "{payload}");
        polling.is_over().await;
    }
    house.server.shutdown().await;
}

#[tokio::test]
async fn an_old_client_says_who_it_is_in_the_name_of_the_site() {
    let house = House::open().await;
    let said = "token=user_1%2Bstaff&deviceId=desk+%26+chair";
    let mut ann = house.old_phone_at("shop", said).await.unwrap();
    house.send(json!(["user_1"]), "news", 1).await;
    assert_eq!(ann.take().await, json!(["news", 1]));
    house.server.shutdown().await;
    ann.socket.is_ended().await;
}

#[tokio::test]
async fn an_old_client_that_is_not_let_in_is_told_why_by_a_string() {
    let house = House::open().await;
    for (token, why) in [("stranger", "Authentication error"), ("broken", "Auth 500 error")] {
        let refusal = house.old_phone_at("shop", &format!("token={token}")).await.err();
        assert_eq!(refusal, Some(json!(why)));
    }
    let refusal = house.old_phone_at("nowhere", "token=user_1").await.err();
    assert_eq!(refusal, Some(json!("Invalid namespace")));
    house.server.shutdown().await;
}

#[tokio::test]
async fn an_old_client_that_connects_to_no_site_once_more_goes_on() {
    let house = House::open().await;
    let mut socket = Socket::old(&house.server).await;
    socket.send("40/?token=user_1,").await;
    let number = socket.emit(&json!(["get", { "url": "/nothing/1" }])).await;
    assert_eq!(socket.ack(number).await["statusCode"], 404);
    house.server.shutdown().await;
}

#[tokio::test]
async fn an_old_client_may_say_it_by_polling_among_other_things() {
    let house = House::open().await;
    let ann = Polling::open(&house).await;
    assert_eq!(
        ann.post("16:42[\"hello\",\"ä?\"]41:40/shop?token=user_1%2Bstaff&deviceId=äö,").await,
        200
    );
    ann.hears("40/shop").await;
    house.send(json!(["staff"]), "news", 1).await;
    ann.hears("[\"news\",1]").await;
    house.server.shutdown().await;
}

/// As packets are put by clients that post bytes: each a text behind its length in single digits.
fn in_bytes(packets: &[&str]) -> Vec<u8> {
    let put = |packet: &&str| {
        let digits = packet.len().to_string();
        let digits = digits.bytes().map(|digit| digit - b'0').collect();
        [vec![0], digits, vec![0xff], packet.as_bytes().to_vec()].concat()
    };
    packets.iter().flat_map(put).collect()
}

#[tokio::test]
async fn a_client_of_socket_io_1_in_a_browser_reads_bytes() {
    let house = House::open().await;
    let connect = "40/shop?token=user_1%2Bstaff&deviceId=bÃ¼ro";
    let text = format!("7:40/blog{}:{connect}", connect.chars().count());
    let bytes = in_bytes(&["40/blog", "40/shop?token=user_1%2Bstaff&deviceId=büro"]);
    // Early versions post bytes, too.
    for (kind, posted) in [("text/plain", text.into_bytes()), ("application/octet-stream", bytes)] {
        let ann = Polling::open(&house).await;
        assert_eq!(ann.post_as(kind, posted).await, 200);
        let told = ann.hears("40/shop").await;
        assert!(told.contains(r#"44/blog,"Authentication error""#), "{told}");
        house.send(json!("staff"), "größe", 1).await;
        let answer = timeout(Duration::from_secs(20), ann.poll()).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/octet-stream");
        let event = in_bytes(&["42/shop,[\"größe\",1]"]);
        assert_eq!(answer.bytes().await.unwrap(), event);
    }
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_client_of_socket_io_1_without_bytes_has_its_text_encoded_twice() {
    let house = House::open().await;
    let ann = Polling::open_with(&house, "&b64=1").await;
    let connect = "40/shop?token=user_1%2Bstaff&deviceId=bÃ¼ro";
    assert_eq!(ann.post(format!("{}:{connect}", connect.chars().count())).await, 200);
    ann.hears("40/shop").await;
    assert_eq!(ann.post("15:43/shop,1[\"Ã¤\"]").await, 200);
    house.send(json!("staff"), "größe", 1).await;
    ann.hears("21:42/shop,[\"grÃ¶Ã\u{9f}e\",1]").await;
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_an_old_client_says_in_several_frames_is_not_looked_for_in_the_name() {
    let house = House::open().await;
    let mut ann = Socket::old(&house.server).await;
    let parts = ["40/shop", "?token=", "user_1,"];
    for (number, part) in parts.into_iter().enumerate() {
        let data = if number == 0 { Data::Text } else { Data::Continue };
        let frame = Frame::message(part, OpCode::Data(data), number + 1 == parts.len());
        ann.send_raw(Message::Frame(frame)).await;
    }
    let told = ann.next_frame().await;
    assert!(told.starts_with("44/shop") && told.contains("Invalid namespace"), "{told}");
    // Nobody was let in, and the connection goes on.
    house.send(json!("user_1"), "news", 1).await;
    ann.send("40/shop?token=user_1,").await;
    assert!(ann.next_frame().await.starts_with("40/shop"));
    assert!(ann.next_frame().await.contains(r#"[["news",1]]"#), "it waited");
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_an_old_client_posts_has_the_same_limit() {
    let house = House::built(|_| {}, |builder| builder.store(Store::Memory).body_limit(1000)).await;
    let ann = Polling::open(&house).await;
    let payload = |length: usize| format!("{length}:42[\"{}\"]", "x".repeat(length - 6));
    assert_eq!(ann.post(payload(3995)).await, 200);
    assert_eq!(ann.post(payload(3996)).await, 413);
    ann.is_over().await;
    house.server.shutdown().await;
}

#[tokio::test]
async fn an_old_client_whose_web_socket_comes_to_nothing_does_not_poll_for_ever() {
    let house = House::open().await;
    let ann = Polling::open(&house).await;
    let url = ann.url.replace("http://", "ws://").replace("polling", "websocket");
    let (web_socket, _) = connect_async(url).await.unwrap();
    drop(web_socket);
    ann.is_over().await;
    house.server.shutdown().await;
}
