//! Handshakes and the TCP connections on which they arrive.

use backwire::settings::Limit;
use serde_json::{Value, json};

use super::raw::Raw;
use crate::client::{builder, server, start};
use crate::limits_reached::count;

/// Returns the session id of an open packet.
fn session(opened: &str) -> String {
    let opened: Value = serde_json::from_str(opened.strip_prefix('0').unwrap()).unwrap();
    opened["sid"].as_str().unwrap().to_owned()
}

/// A proxy sends requests of many clients on one connection.
#[tokio::test]
async fn polling_session_ends_without_closing_its_tcp_connection() {
    let server = start(builder().unread(2)).await;
    let mut proxy = Raw::connect(server.addr()).await;
    let handshake = "/socket.io/?EIO=4&transport=polling";
    let opened = proxy.get(&format!("{handshake}&x=transport=websocket")).await.unwrap();
    let url = format!("http://{}{handshake}&sid={}", server.addr(), session(&opened.body));
    let http = reqwest::Client::new();
    for (packet, answer) in [("40", "40{"), (r#"420["get",{"url":"/todo"}]"#, "430[")] {
        assert!(http.post(&url).body(packet).send().await.unwrap().status().is_success());
        let polled = http.get(&url).send().await.unwrap().text().await.unwrap();
        assert!(polled.contains(answer), "{polled}");
    }
    // The client reads nothing until more pushes wait than the limit allows.
    for number in 0.. {
        if count(&server, Limit::UnreadPackets).await > 0 {
            break;
        }
        assert!(number < 1000, "the client is still connected");
        let todos = http.post(format!("http://{}/todo", server.addr()));
        assert_eq!(todos.json(&json!({})).send().await.unwrap().status(), 201);
    }
    while http.get(&url).send().await.unwrap().status() != 400 {}
    assert_eq!(proxy.get("/health/live").await.unwrap().status, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn ambiguous_handshake_is_400() {
    let server = server().await;
    let mut client = Raw::connect(server.addr()).await;
    for (query, field) in [
        ("EIO=4&transport=polling&transport=websocket", "transport"),
        ("EIO=4&%74ransport=websocket&transport=polling", "transport"),
        ("EIO=3&transport=polling=websocket", "transport"),
        ("EIO=4&EIO=3&transport=polling", "EIO"),
        ("EIO=4&transport=polling&sid=a&sid=b", "sid"),
    ] {
        let answer = client.get(&format!("/socket.io/?{query}")).await.unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &body["field"]), (400, &json!(field)), "{query}");
    }
    let other = "EIO=4&transport=polling&x=transport=websocket&y=sid=a";
    assert_eq!(client.get(&format!("/socket.io/?{other}")).await.unwrap().status, 200);
    server.shutdown().await;
}
