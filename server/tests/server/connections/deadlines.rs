//! Deadlines for slow clients.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use backwire::Context;
use backwire::server::Builder;
use backwire::settings::{ApiKey, Limit, Limits};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::raw::Raw;
use crate::client::{Socket, builder, start};
use crate::limits_reached::{CapturedLog, count};

const SOON: Duration = Duration::from_millis(200);

fn with_limits(change: impl FnOnce(&mut Limits)) -> Builder {
    let mut limits = Limits::default();
    change(&mut limits);
    builder().limits(limits)
}

#[tokio::test]
async fn incomplete_head_is_408_at_its_deadline() {
    let log = CapturedLog::start();
    let server = start(with_limits(|limits| limits.header_deadline = SOON)).await;
    let mut client = Raw::connect(server.addr()).await;
    client.write("GET /todo HTTP/1.1\r\nhost: local").await.unwrap();
    let sent = client.is_closed().await;
    assert!(sent.starts_with("HTTP/1.1 408 "), "{sent}");
    assert!(sent.contains("header_deadline") && sent.contains(r#""limit":0.2"#), "{sent}");
    // The second request on a connection has the same deadline.
    let mut client = Raw::connect(server.addr()).await;
    client.get("/health/live").await.unwrap();
    client.write("GET").await.unwrap();
    assert!(client.is_closed().await.starts_with("HTTP/1.1 408 "));
    assert_eq!(count(&server, Limit::HeaderDeadline).await, 2);
    let lines = log.lines_of(Limit::HeaderDeadline);
    assert!(lines.len() == 1 && lines[0].contains("client=127.0.0.1"), "{lines:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn incomplete_body_is_408_at_its_deadline() {
    let log = CapturedLog::start();
    let server = start(with_limits(|limits| limits.body_deadline = SOON)).await;
    for kind in ["application/json", "application/x-www-form-urlencoded"] {
        let mut client = Raw::connect(server.addr()).await;
        let head = format!("POST /todo HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n");
        client.write(&format!("{head}content-length: 20\r\n\r\n{{\"title\"")).await.unwrap();
        let answer = client.answer().await.unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &body["code"]), (408, &json!("E_TIMEOUT")), "{answer:?}");
        assert!(body["message"].as_str().unwrap().contains("body_deadline"), "{answer:?}");
        assert!(answer.head.contains("connection: close"), "{answer:?}");
        client.is_closed().await;
    }
    assert_eq!(count(&server, Limit::BodyDeadline).await, 2);
    assert_eq!(log.lines_of(Limit::BodyDeadline).len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn idle_connection_is_closed_without_an_error() {
    let log = CapturedLog::start();
    let server = start(with_limits(|limits| limits.idle_deadline = SOON)).await;
    let mut silent = Raw::connect(server.addr()).await;
    let mut kept = Raw::connect(server.addr()).await;
    assert_eq!(kept.get("/health/live").await.unwrap().status, 200);
    assert_eq!((silent.is_closed().await, kept.is_closed().await), (String::new(), String::new()));
    assert_eq!(count(&server, Limit::IdleDeadline).await, 0);
    assert_eq!(log.lines_of(Limit::IdleDeadline).len(), 0);
    server.shutdown().await;
}

#[tokio::test]
async fn running_request_and_websocket_have_no_deadline() {
    let gate = Arc::new(Notify::new());
    let open = gate.clone();
    let slow = get(async move |_: Context| gate.notified().await);
    let short = with_limits(|limits| {
        limits.header_deadline = SOON;
        limits.body_deadline = SOON;
        limits.idle_deadline = SOON;
    });
    let server = start(short.route("/slow", slow)).await;
    let mut socket = Socket::runtime(&server).await;
    let mut client = Raw::connect(server.addr()).await;
    client.write("GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    // When the server has closed these, the deadlines of the others have passed too.
    for _ in 0..2 {
        Raw::connect(server.addr()).await.is_closed().await;
    }
    open.notify_one();
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert_eq!(socket.get("/todo").await["body"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn request_without_the_api_key_is_refused_before_its_body_arrives() {
    let key: ApiKey = "secret".parse().unwrap();
    let server = start(builder().api_key(key)).await;
    for (path, kind) in [
        ("/send?site=shop&apiKey=wrong", "application/json"),
        ("/send?site=shop&apiKey=wrong", "application/x-www-form-urlencoded"),
        ("/publish?apiKey=wrong", "application/json"),
        ("/publish", "application/x-www-form-urlencoded"),
        ("/revoke?site=shop&apiKey=wrong", "application/json"),
    ] {
        for length in [900_000, 9_000_000] {
            let mut client = Raw::connect(server.addr()).await;
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n");
            client.write(&format!("{head}content-length: {length}\r\n\r\n")).await.unwrap();
            assert_eq!(client.answer().await.unwrap().status, 401, "{path} {kind} {length}");
        }
    }
    server.shutdown().await;
}
