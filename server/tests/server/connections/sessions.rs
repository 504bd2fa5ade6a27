//! Polling sessions: limits for sessions without a CONNECT, and for unread answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::routing::get;
use backwire::settings::{Limit, Limits};
use backwire::{Context, Server};
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::client::{Socket, builder, start};
use crate::limits_reached::{CapturedLog, count};

async fn server(change: impl FnOnce(&mut Limits)) -> Server {
    let mut limits = Limits::default();
    change(&mut limits);
    start(builder().limits(limits)).await
}

async fn handshake(server: &Server, protocol: u8, client: &str) -> Response {
    let url = format!("http://{}/socket.io/?EIO={protocol}&transport=polling", server.addr());
    Client::new().get(url).header("x-forwarded-for", client).send().await.unwrap()
}

/// Opens a session by a handshake, and returns its url.
async fn session(server: &Server, client: &str) -> String {
    let opened = handshake(server, 4, client).await;
    let url = opened.url().to_string();
    let opened: Value = serde_json::from_str(&opened.text().await.unwrap()[1..]).unwrap();
    format!("{url}&sid={}", opened["sid"].as_str().unwrap())
}

async fn post(url: &str, packets: String) {
    assert_eq!(Client::new().post(url).body(packets).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn unconnected_polling_sessions_of_one_address_are_limited() {
    let log = CapturedLog::start();
    let server = server(|_| {}).await;
    let first = session(&server, "1.2.3.4").await;
    for protocol in [4, 4, 4, 4, 4, 3, 3, 3, 3] {
        assert_eq!(handshake(&server, protocol, "1.2.3.4").await.status(), 200);
    }
    for protocol in [3, 4] {
        let refused = handshake(&server, protocol, "1.2.3.4").await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (429, &"1".parse().unwrap())
        );
        let refused: Value = refused.json().await.unwrap();
        assert_eq!(refused["limit"], 10);
        assert!(refused["message"].as_str().unwrap().contains("unconnected_sessions_per_address"));
    }
    assert_eq!(handshake(&server, 4, "5.6.7.8").await.status(), 200);
    assert_eq!(count(&server, Limit::UnconnectedSessionsPerAddress).await, 2);
    let lines = log.lines_of(Limit::UnconnectedSessionsPerAddress);
    assert!(lines.len() == 1 && lines[0].contains("client=1.2.3.4"), "{lines:?}");
    // A session that connects makes room for a new one.
    post(&first, "40".to_owned()).await;
    while handshake(&server, 4, "1.2.3.4").await.status() != 200 {}
    server.shutdown().await;
}

#[tokio::test]
async fn unconnected_polling_sessions_are_limited_in_total() {
    let server = server(|limits| limits.unconnected_sessions = 2).await;
    for client in ["1.2.3.4", "1.2.3.5"] {
        assert_eq!(handshake(&server, 4, client).await.status(), 200);
    }
    let refused = handshake(&server, 4, "1.2.3.6").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.text().await.unwrap().contains("(unconnected_sessions)"));
    assert_eq!(count(&server, Limit::UnconnectedSessions).await, 1);
    server.shutdown().await;
}

#[tokio::test]
async fn unconnected_session_ends_at_its_deadline() {
    let server = server(|limits| limits.connect_deadline = Duration::from_millis(200)).await;
    let mut connected = Socket::runtime(&server).await;
    let mut websocket = Socket::open(&server, &[]).await.unwrap();
    let polling = session(&server, "1.2.3.4").await;
    while reqwest::get(&polling).await.unwrap().status() == 200 {}
    assert_eq!(reqwest::get(&polling).await.unwrap().status(), 400);
    assert_eq!(websocket.frame().await, None);
    assert_eq!(count(&server, Limit::ConnectDeadline).await, 2);
    assert_eq!(connected.get("/todo").await["body"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn websocket_that_ends_before_its_connect_has_not_missed_the_deadline() {
    let server = server(|limits| limits.connect_deadline = Duration::from_millis(200)).await;
    drop(Socket::open(&server, &[]).await.unwrap());
    // This session is opened later, so the deadline of the first one is before its own.
    let polling = session(&server, "1.2.3.4").await;
    while reqwest::get(&polling).await.unwrap().status() == 200 {}
    assert_eq!(count(&server, Limit::ConnectDeadline).await, 1);
    server.shutdown().await;
}

#[tokio::test]
async fn unread_answers_of_a_polling_client_are_limited() {
    const ANSWER: usize = 300_000;
    let begun = Arc::new(AtomicUsize::new(0));
    let counter = begun.clone();
    let big = get(async move |_: Context| {
        counter.fetch_add(1, Ordering::SeqCst);
        "x".repeat(ANSWER)
    });
    let mut limits = Limits::default();
    limits.unread_bytes = 1_600_000;
    let server = start(builder().limits(limits.clone()).route("/big", big)).await;
    let url = session(&server, "1.2.3.4").await;
    post(&url, "40".to_owned()).await;
    assert!(reqwest::get(&url).await.unwrap().text().await.unwrap().contains("40{"));
    let event = |number| format!(r#"42{number}["get",{{"url":"/big"}}]"#);
    post(&url, (0..20).map(event).collect::<Vec<_>>().join("\x1e")).await;
    let mut innocent = Socket::runtime(&server).await;
    for _ in 0..50 {
        assert_eq!(innocent.get("/todo").await["statusCode"], 200);
    }
    // This is the limit plus the answer that reaches it.
    assert!(begun.load(Ordering::SeqCst) <= limits.unread_bytes / ANSWER + 1);
    let mut taken = 0;
    while taken < 20 {
        let polled = reqwest::get(&url).await.unwrap().text().await.unwrap();
        taken += polled.split('\x1e').filter(|packet| packet.starts_with("43")).count();
    }
    assert_eq!(begun.load(Ordering::SeqCst), 20);
    server.shutdown().await;
}
