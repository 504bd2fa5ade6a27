//! The cases of Socket.IO 5.

use backwire::settings::{Limit, Limits};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{ANSWER, Polling, REQUEST};
use crate::client::{Socket, refusal, server};
use crate::deliveries::PushService;
use crate::limits_reached::{count, limits};

/// Opens a transport without a CONNECT.
async fn open(server: &backwire::Server) -> Socket {
    Socket::open(server, &[]).await.unwrap()
}

fn is_connected(packet: &str, namespace: &str) {
    let sid = packet.strip_prefix(&format!("40{namespace}")).expect("it is a CONNECT");
    let sid: Value = serde_json::from_str(sid).unwrap();
    assert_eq!(sid.as_object().unwrap().keys().collect::<Vec<_>>(), ["sid"]);
}

#[tokio::test]
async fn client_connects_to_the_main_namespace_with_and_without_data() {
    let server = server().await;
    for connect in ["40", r#"40{"token":"123"}"#] {
        let mut socket = open(&server).await;
        socket.send(connect).await;
        is_connected(&socket.next_frame().await, "");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn client_connects_to_the_namespace_of_a_site_with_data() {
    let service = PushService::open().await;
    let mut socket = open(&service.server).await;
    socket.send(r#"40/shop,{"token":"user_1"}"#).await;
    is_connected(&socket.next_frame().await, "/shop,");
    service.server.shutdown().await;
}

/// A site authenticates its clients, so it refuses a CONNECT without data.
#[tokio::test]
async fn client_without_data_is_refused_by_the_namespace_of_a_site() {
    let service = PushService::open().await;
    let mut socket = open(&service.server).await;
    socket.send("40/shop,").await;
    assert!(socket.next_frame().await.starts_with(r#"44/shop,{"message":"#));
    service.server.shutdown().await;
}

#[tokio::test]
async fn unknown_namespace_is_refused() {
    let server = server().await;
    let mut socket = open(&server).await;
    socket.send("40/random").await;
    assert_eq!(socket.next_frame().await, r#"44/random,{"message":"Invalid namespace"}"#);
    server.shutdown().await;
}

#[tokio::test]
async fn invalid_connect_closes_the_connection() {
    let server = server().await;
    let mut socket = open(&server).await;
    socket.send("4abc").await;
    socket.wait_for_close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn client_that_leaves_the_main_namespace_receives_nothing_more() {
    let server = server().await;
    let mut socket = Socket::stock(&server).await;
    socket.send("41").await;
    // The connection stays open and can join a namespace.
    socket.send("40/random").await;
    assert!(socket.next_frame().await.starts_with("44/random,"));
    server.shutdown().await;
}

#[tokio::test]
async fn client_leaves_one_namespace_and_stays_in_the_other() {
    let service = PushService::open().await;
    let mut socket = Socket::stock(&service.server).await;
    socket.send(r#"40/shop,{"token":"user_1"}"#).await;
    is_connected(&socket.next_frame().await, "/shop,");
    socket.send("41/shop,").await;
    socket.send(REQUEST).await;
    assert!(socket.next_frame().await.starts_with("4310["));
    service.server.shutdown().await;
}

#[tokio::test]
async fn request_with_an_ack_id_is_answered_and_one_without_is_executed() {
    let server = server().await;
    let mut socket = Socket::stock(&server).await;
    socket.send(r#"42["post",{"url":"/todo","data":{"title":"Milk"}}]"#).await;
    socket.send(REQUEST).await;
    let answer = socket.next_frame().await;
    assert!(answer.starts_with(ANSWER) && answer.contains("Milk"), "{answer}");
    server.shutdown().await;
}

/// Sends an event with two attachments.
async fn send_binary(socket: &mut Socket, head: &str) {
    let photo = r#"["post",{"url":"/todo","data":{"photo":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}}]"#;
    socket.send(format!("{head}{photo}")).await;
    for attachment in [[1, 2, 3], [4, 5, 6]] {
        socket.send_raw(Message::binary(attachment.to_vec())).await;
    }
}

#[tokio::test]
async fn event_with_attachments_is_refused_and_the_connection_goes_on() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    // Without an ack id, the server cannot send the refusal.
    send_binary(&mut socket, "452-").await;
    send_binary(&mut socket, "452-789").await;
    let refused = socket.ack(789).await;
    assert_eq!(refusal(&refused), json!([400, "E_BINARY"]));
    assert!(refused["body"]["message"].as_str().unwrap().contains("Base64"));
    assert_eq!(socket.get("/todo").await["body"], json!([]));
    server.shutdown().await;
}

/// The server does not keep the contents of attachments until the last one has arrived.
#[tokio::test]
async fn large_attachments_are_refused_and_the_connection_goes_on() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    socket.send(r#"4510-7["post",{"url":"/todo","data":{"_placeholder":true,"num":0}}]"#).await;
    for _ in 0..10 {
        socket.send_raw(Message::binary(vec![7; 100_000])).await;
    }
    assert_eq!(refusal(&socket.ack(7).await), json!([400, "E_BINARY"]));
    assert_eq!(socket.get("/todo").await["body"], json!([]));
    server.shutdown().await;
}

/// The server keeps the text of an event until all of its attachments have arrived, and counts it
/// until then.
#[tokio::test]
async fn event_text_counts_as_unfinished_until_its_attachments_arrive() {
    let set = |limits: &mut Limits| limits.total_request_bytes = 400_000;
    let server = crate::client::start(crate::client::builder().limits(limits(set))).await;
    let [mut first, mut second] = [Socket::runtime(&server).await, Socket::runtime(&server).await];
    let text = "x".repeat(90_000);
    let event = json!(["post", { "url": "/todo", "data": { "text": text } }]);
    first.send(format!("452-7{event}")).await;
    first.send_raw(Message::binary(vec![7; 1000])).await;
    let waiting = tokio::spawn(async move { second.ask(event).await });
    while count(&server, Limit::TotalRequestBytes).await == 0 {
        // A pong is not a packet of Socket.IO.
        first.send("3").await;
        tokio::task::yield_now().await;
    }
    first.send_raw(Message::binary(vec![7; 1000])).await;
    assert_eq!(refusal(&first.ack(7).await), json!([400, "E_BINARY"]));
    assert_eq!(first.get("/todo?limit=1").await["statusCode"], 200);
    assert_eq!(waiting.await.unwrap()["statusCode"], 201);
    server.shutdown().await;
}

#[tokio::test]
async fn large_attachments_are_refused_over_polling() {
    let server = server().await;
    let client = Polling::connected(&server).await;
    let photo = "A".repeat(400_000);
    let text = "x".repeat(100_000);
    let data = json!({ "text": text, "photo": { "_placeholder": true, "num": 0 } });
    let event = json!(["post", { "url": "/todo", "data": data }]);
    client.post_packets(&format!("452-7{event}\x1eb{photo}")).await;
    client.post_packets(&format!("b{photo}\x1e{REQUEST}")).await;
    let packets = client.packets(2).await;
    assert!(packets[0].starts_with("437[{") && packets[0].contains("E_BINARY"), "{packets:?}");
    assert!(packets[1].starts_with(ANSWER), "{packets:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn event_with_attachments_is_refused_over_polling() {
    let server = server().await;
    let client = Polling::connected(&server).await;
    let event = r#"451-7["get",{"url":"/todo","data":{"_placeholder":true,"num":0}}]"#;
    client.post_packets(&format!("{event}\x1ebAQIDBA==\x1e{REQUEST}")).await;
    let packets = client.packets(2).await;
    assert!(packets[0].starts_with("437[{") && packets[0].contains("E_BINARY"), "{packets:?}");
    assert!(packets[1].starts_with(ANSWER), "{packets:?}");
    server.shutdown().await;
}

/// The attachments of one event are limited by number and by bytes.
#[tokio::test]
async fn more_attachments_than_the_limit_close_the_connection() {
    let server = crate::client::start(crate::client::builder().body_limit(1000)).await;
    let mut socket = Socket::runtime(&server).await;
    socket.send(r#"4511-1["get",{"url":"/todo"}]"#).await;
    socket.wait_for_close().await;
    let mut socket = Socket::runtime(&server).await;
    socket.send(r#"452-1["get",{"url":"/todo"}]"#).await;
    socket.send_raw(Message::binary(vec![0; 600])).await;
    socket.send_raw(Message::binary(vec![0; 600])).await;
    socket.wait_for_close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn packet_of_invalid_format_closes_the_connection() {
    let server = server().await;
    for packet in ["4abc", "42{}", r#"42abc["get",{"url":"/todo"}]"#] {
        let mut socket = Socket::stock(&server).await;
        socket.send(packet).await;
        socket.wait_for_close().await;
    }
    server.shutdown().await;
}
