//! Clients of Socket.IO 1 and 2, which send their auth in the name of the site.

use std::time::Duration;

use backwire::settings::Store;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::push_service::PushService;
use crate::client::Socket;

/// A polling session of Engine.IO 3.
struct Polling {
    url: String,
    http: Client,
}

impl Polling {
    async fn open(service: &PushService) -> Self {
        Self::open_with(service, "").await
    }

    async fn open_with(service: &PushService, query: &str) -> Self {
        let url =
            format!("http://{}/socket.io/?EIO=3&transport=polling{query}", service.server.addr());
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

    /// Polls until the payloads contain a text, and returns all payloads.
    async fn receive_until(&self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let response = timeout(Duration::from_secs(20), self.poll()).await.unwrap();
            assert_eq!(response.status(), 200, "{all}");
            all += &String::from_utf8_lossy(&response.bytes().await.unwrap());
        }
        all
    }

    /// Waits until the server no longer knows the session.
    async fn is_over(&self) {
        let over = async { while self.poll().await.status() != 400 {} };
        timeout(Duration::from_secs(20), over).await.unwrap();
    }
}

#[tokio::test]
async fn malformed_payload_of_an_old_client_is_400_and_ends_its_session() {
    const BYTES: &str = "application/octet-stream";
    let service = PushService::open().await;
    // A truncated packet, a packet of an unknown kind, and a packet before a truncated one.
    let binary = [&[0, 5, 255, b'4'][..], &[7, 1, 255, b'2'], &[0, 1, 255, b'3', 0, 9]];
    for payload in binary {
        let polling = Polling::open(&service).await;
        assert_eq!(polling.post_as(BYTES, payload).await, 400, "{payload:?}");
        polling.is_over().await;
    }
    for payload in ["9:4", "x:4", "1:32:4", "4"] {
        let polling = Polling::open(&service).await;
        assert_eq!(polling.post(payload).await, 400, "{payload}");
        polling.is_over().await;
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn old_client_sends_its_auth_in_the_namespace() {
    let service = PushService::open().await;
    let auth = "token=user_1%2Bstaff&deviceId=desk+%26+chair";
    let mut ann = service.connect_old_client_to("shop", auth).await.unwrap();
    service.send(json!(["user_1"]), "news", 1).await;
    assert_eq!(ann.take().await, json!(["news", 1]));
    service.server.shutdown().await;
    ann.socket.wait_for_close().await;
}

#[tokio::test]
async fn old_client_is_refused_with_a_string() {
    let service = PushService::open().await;
    for (token, why) in [("stranger", "Authentication error"), ("broken", "Auth 500 error")] {
        let refusal = service.connect_old_client_to("shop", &format!("token={token}")).await.err();
        assert_eq!(refusal, Some(json!(why)));
    }
    let refusal = service.connect_old_client_to("nowhere", "token=user_1").await.err();
    assert_eq!(refusal, Some(json!("Invalid namespace")));
    service.server.shutdown().await;
}

#[tokio::test]
async fn old_client_may_reconnect_to_the_main_namespace() {
    let service = PushService::open().await;
    let mut socket = Socket::socket_io_2(&service.server).await;
    socket.send("40/?token=user_1,").await;
    let number = socket.emit(&json!(["get", { "url": "/nothing/1" }])).await;
    assert_eq!(socket.ack(number).await["statusCode"], 404);
    service.server.shutdown().await;
}

#[tokio::test]
async fn old_client_may_connect_to_a_site_over_polling() {
    let service = PushService::open().await;
    let ann = Polling::open(&service).await;
    assert_eq!(
        ann.post("16:42[\"hello\",\"ä?\"]41:40/shop?token=user_1%2Bstaff&deviceId=äö,").await,
        200
    );
    ann.receive_until("40/shop").await;
    service.send(json!(["staff"]), "news", 1).await;
    ann.receive_until("[\"news\",1]").await;
    service.server.shutdown().await;
}

/// Encodes packets as clients do that post bytes: each text follows its length in single digits.
fn in_bytes(packets: &[&str]) -> Vec<u8> {
    let put = |packet: &&str| {
        let digits = packet.len().to_string();
        let digits = digits.bytes().map(|digit| digit - b'0').collect();
        [vec![0], digits, vec![0xff], packet.as_bytes().to_vec()].concat()
    };
    packets.iter().flat_map(put).collect()
}

#[tokio::test]
async fn socket_io_1_client_in_a_browser_receives_binary_payloads() {
    let service = PushService::open().await;
    let connect = "40/shop?token=user_1%2Bstaff&deviceId=bÃ¼ro";
    let text = format!("7:40/blog{}:{connect}", connect.chars().count());
    let bytes = in_bytes(&["40/blog", "40/shop?token=user_1%2Bstaff&deviceId=büro"]);
    // Early versions post bytes too.
    for (kind, posted) in [("text/plain", text.into_bytes()), ("application/octet-stream", bytes)] {
        let ann = Polling::open(&service).await;
        assert_eq!(ann.post_as(kind, posted).await, 200);
        let received = ann.receive_until("40/shop").await;
        assert!(received.contains(r#"44/blog,"Authentication error""#), "{received}");
        service.send(json!("staff"), "größe", 1).await;
        let answer = timeout(Duration::from_secs(20), ann.poll()).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/octet-stream");
        let event = in_bytes(&["42/shop,[\"größe\",1]"]);
        assert_eq!(answer.bytes().await.unwrap(), event);
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn socket_io_1_client_without_binary_support_gets_doubly_encoded_text() {
    let service = PushService::open().await;
    let ann = Polling::open_with(&service, "&b64=1").await;
    let connect = "40/shop?token=user_1%2Bstaff&deviceId=bÃ¼ro";
    assert_eq!(ann.post(format!("{}:{connect}", connect.chars().count())).await, 200);
    ann.receive_until("40/shop").await;
    assert_eq!(ann.post("15:43/shop,1[\"Ã¤\"]").await, 200);
    service.send(json!("staff"), "größe", 1).await;
    ann.receive_until("21:42/shop,[\"grÃ¶Ã\u{9f}e\",1]").await;
    service.server.shutdown().await;
}

#[tokio::test]
async fn fragmented_connect_of_an_old_client_has_no_auth() {
    let service = PushService::open().await;
    let mut ann = Socket::socket_io_2(&service.server).await;
    let parts = ["40/shop", "?token=", "user_1,"];
    for (number, part) in parts.into_iter().enumerate() {
        let data = if number == 0 { Data::Text } else { Data::Continue };
        let frame = Frame::message(part, OpCode::Data(data), number + 1 == parts.len());
        ann.send_raw(Message::Frame(frame)).await;
    }
    let received = ann.next_frame().await;
    assert!(
        received.starts_with("44/shop") && received.contains("Invalid namespace"),
        "{received}"
    );
    // The server accepted no person, and the connection stays open.
    service.send(json!("user_1"), "news", 1).await;
    ann.send("40/shop?token=user_1,").await;
    assert!(ann.next_frame().await.starts_with("40/shop"));
    assert!(ann.next_frame().await.contains(r#"[["news",1]]"#), "it waited");
    service.server.shutdown().await;
}

#[tokio::test]
async fn payload_of_an_old_client_has_the_same_limit() {
    let service =
        PushService::build(|_| {}, |builder| builder.store(Store::Memory).body_limit(1000)).await;
    let ann = Polling::open(&service).await;
    let payload = |length: usize| format!("{length}:42[\"{}\"]", "x".repeat(length - 6));
    assert_eq!(ann.post(payload(3995)).await, 200);
    assert_eq!(ann.post(payload(3996)).await, 413);
    ann.is_over().await;
    service.server.shutdown().await;
}

#[tokio::test]
async fn polling_session_of_an_old_client_ends_after_a_failed_upgrade() {
    let service = PushService::open().await;
    let ann = Polling::open(&service).await;
    let url = ann.url.replace("http://", "ws://").replace("polling", "websocket");
    let (web_socket, _) = connect_async(url).await.unwrap();
    drop(web_socket);
    ann.is_over().await;
    service.server.shutdown().await;
}
