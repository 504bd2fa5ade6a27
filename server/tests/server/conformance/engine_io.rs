//! The cases of Engine.IO 4. The suite of Socket.IO 5 repeats those of the handshake, the
//! heartbeat, closing and the upgrade.

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::{ANSWER, NEVER, Polling, REQUEST, SOON, opened_with, status, with_heartbeat};
use crate::client::{Socket, Stream, builder, refusal, server, start};

/// Opens a WebSocket that does not answer pings. Returns it with its first message.
async fn web_socket(server: &backwire::Server, query: &str) -> Option<(Stream, String)> {
    let url = format!("ws://{}/socket.io/{query}", server.addr());
    let (mut stream, _) = connect_async(url).await.ok()?;
    let first = text(&mut stream).await?;
    Some((stream, first))
}

async fn text(stream: &mut Stream) -> Option<String> {
    match stream.next().await? {
        Ok(Message::Text(text)) => Some(text.to_string()),
        _ => None,
    }
}

/// Returns the settings of an open packet without the session id.
fn settings(opened: &Value) -> Value {
    let mut opened = opened.as_object().unwrap().clone();
    assert!(opened.remove("sid").unwrap().as_str().is_some_and(|sid| !sid.is_empty()));
    opened.into()
}

#[tokio::test]
async fn session_opens_over_polling() {
    let server = start(builder().body_limit(250_000)).await;
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.addr());
    let opened = opened_with(&reqwest::get(url).await.unwrap().text().await.unwrap());
    let expected = json!({ "upgrades": ["websocket"], "pingInterval": 25_000, "pingTimeout": 20_000,
                           "maxPayload": 1_000_000 });
    assert_eq!(settings(&opened), expected);
    server.shutdown().await;
}

#[tokio::test]
async fn session_opens_over_websocket() {
    let server = start(builder().body_limit(250_000)).await;
    let (_, opened) = web_socket(&server, "?EIO=4&transport=websocket").await.unwrap();
    let expected = json!({ "upgrades": [], "pingInterval": 25_000, "pingTimeout": 20_000,
                           "maxPayload": 1_000_000 });
    assert_eq!(settings(&opened_with(&opened)), expected);
    server.shutdown().await;
}

#[tokio::test]
async fn handshake_with_invalid_version_transport_or_method_is_refused() {
    let server = server().await;
    for query in
        ["?transport=polling", "?EIO=abc&transport=polling", "?EIO=4", "?EIO=4&transport=abc"]
    {
        assert_eq!(status(&server, Method::GET, query).await, 400, "{query}");
        let query = query.replace("polling", "websocket");
        assert!(web_socket(&server, &query).await.is_none(), "{query}");
    }
    for method in [Method::POST, Method::PUT] {
        assert_eq!(status(&server, method, "?EIO=4&transport=polling").await, 400);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn text_packet_is_answered_over_polling() {
    let server = server().await;
    let client = Polling::connected(&server).await;
    client.post_packets(REQUEST).await;
    let (status, answer) = client.poll().await;
    assert!(status == 200 && answer.starts_with(ANSWER), "{answer}");
    server.shutdown().await;
}

#[tokio::test]
async fn several_packets_of_one_payload_are_answered_in_order() {
    let server = server().await;
    let client = Polling::connected(&server).await;
    let requests = [1, 2, 3].map(|number| format!(r#"42{number}["get",{{"url":"/todo"}}]"#));
    client.post_packets(&requests.join("\x1e")).await;
    for (answer, number) in client.packets(3).await.iter().zip(1..) {
        assert!(answer.starts_with(&format!("43{number}[{{")), "{answer}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn unannounced_binary_packet_closes_the_session() {
    let server = server().await;
    let client = Polling::connected(&server).await;
    client.post(&format!("{REQUEST}\x1ebAQIDBA==")).await;
    while client.poll().await.0 != 400 {}
    let mut socket = Socket::runtime(&server).await;
    socket.send_raw(Message::binary(vec![1, 2, 3, 4])).await;
    socket.wait_for_close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn invalid_packet_closes_the_polling_session() {
    let server = server().await;
    let client = Polling::open(&server).await;
    assert_eq!(client.post("abc").await.0, 400);
    client.is_closed().await;
    server.shutdown().await;
}

#[tokio::test]
async fn concurrent_second_poll_closes_the_session() {
    let server = server().await;
    let client = Polling::open(&server).await;
    // Either poll may be the second one.
    let mut answers = tokio::join!(client.poll(), client.poll());
    if answers.0.0 != 200 {
        std::mem::swap(&mut answers.0, &mut answers.1);
    }
    assert_eq!(answers.0, (200, "1".to_owned()));
    assert_eq!(answers.1.0, 400);
    client.is_closed().await;
    server.shutdown().await;
}

#[tokio::test]
async fn text_packet_is_answered_over_websocket() {
    let server = server().await;
    let mut socket = Socket::stock(&server).await;
    socket.send(REQUEST).await;
    assert!(socket.next_frame().await.starts_with(ANSWER));
    server.shutdown().await;
}

#[tokio::test]
async fn invalid_packet_closes_the_websocket() {
    let server = server().await;
    let mut socket = Socket::stock(&server).await;
    socket.send("abc").await;
    socket.wait_for_close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn server_sends_pings_over_polling_and_accepts_pongs() {
    let server = with_heartbeat(SOON, NEVER).await;
    let client = Polling::open(&server).await;
    for _ in 0..3 {
        assert_eq!(client.poll().await, (200, "2".to_owned()));
        client.post_packets("3").await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn server_sends_pings_over_websocket_and_accepts_pongs() {
    let server = with_heartbeat(SOON, NEVER).await;
    let mut stream = web_socket(&server, "?EIO=4&transport=websocket").await.unwrap().0;
    for _ in 0..3 {
        assert_eq!(text(&mut stream).await.as_deref(), Some("2"));
        futures_util::SinkExt::send(&mut stream, Message::text("3")).await.unwrap();
    }
    server.shutdown().await;
}

/// Node.js sends the first ping at that time. A client that waits for an answer must not receive a
/// ping instead.
#[tokio::test]
async fn first_ping_is_sent_after_the_interval() {
    let server = with_heartbeat(NEVER, SOON).await;
    let client = Polling::open(&server).await;
    client.post_packets("40").await;
    assert!(client.poll().await.1.starts_with("40{"));
    let mut stream = web_socket(&server, "?EIO=4&transport=websocket").await.unwrap().0;
    futures_util::SinkExt::send(&mut stream, Message::text("40")).await.unwrap();
    assert!(text(&mut stream).await.unwrap().starts_with("40{"));
    for number in 0..100 {
        let request = format!(r#"42{number}["get",{{"url":"/todo"}}]"#);
        futures_util::SinkExt::send(&mut stream, Message::text(request)).await.unwrap();
        assert!(text(&mut stream).await.unwrap().starts_with(&format!("43{number}[")));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn unanswered_ping_closes_the_session() {
    let server = with_heartbeat(SOON, SOON).await;
    let client = Polling::open(&server).await;
    let mut stream = web_socket(&server, "?EIO=4&transport=websocket").await.unwrap().0;
    while text(&mut stream).await.is_some() {}
    while client.poll().await.0 != 400 {}
    server.shutdown().await;
}

#[tokio::test]
async fn client_closes_its_session() {
    let server = server().await;
    let client = Polling::open(&server).await;
    let (polled, ()) = tokio::join!(client.poll(), client.post_packets("1"));
    // The session may be closed before the poll arrives.
    assert!(polled == (200, "6".to_owned()) || polled.0 == 400, "{polled:?}");
    client.is_closed().await;
    let mut socket = Socket::stock(&server).await;
    socket.send("1").await;
    socket.wait_for_close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn polling_session_is_upgraded_to_websocket() {
    let server = server().await;
    let client = Polling::connected(&server).await;
    let mut socket = Socket::upgrading(&server, &client.session).await;
    assert_eq!(client.poll().await, (200, "6".to_owned()));
    socket.send("5").await;
    socket.send(REQUEST).await;
    assert!(socket.next_frame().await.starts_with(ANSWER));
    server.shutdown().await;
}

#[tokio::test]
async fn other_requests_with_the_session_of_a_websocket_have_no_effect() {
    let server = server().await;
    let client = Polling::connected(&server).await;
    let mut socket = Socket::upgraded(&server, &client.session).await;
    assert_eq!(socket.get("/todo/1").await["statusCode"], 404);
    client.is_closed().await;
    let query = format!("?EIO=4&transport=websocket&sid={}", client.session);
    assert!(web_socket(&server, &query).await.is_none());
    assert_eq!(refusal(&socket.get("/todo/1").await), json!([404, "E_NOT_FOUND"]));
    server.shutdown().await;
}
