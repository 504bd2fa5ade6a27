//! The addresses of clients, and the limits that need them or the TCP connection.

use std::future::IntoFuture;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get as get_route;
use backwire::settings::{Limit, Settings, Store};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{WAIT, build, builder, get, listen, serve, serve_without_addresses};
use crate::client::Socket;
use crate::limits_reached::CapturedLog;
use crate::polling::poll;

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings =
        Settings { store: Store::Memory, trusted_proxies: Vec::new(), ..Settings::default() };
    change(&mut settings);
    settings
}

#[tokio::test]
async fn sockets_of_an_address_are_limited_if_the_app_tells_addresses() {
    let settings = settings(|it| it.limits.connections_per_address = 2);
    let (router, handle) = build(builder().settings(settings)).await;
    let addr = serve(router).await;
    let _first = Socket::runtime_at(addr).await;
    let second = Socket::runtime_at(addr).await;
    assert_eq!(get(addr, "/todo").await.0, 429);
    drop(second);
    poll("the address has room", WAIT, async || (get(addr, "/todo").await.0 == 200).then_some(()))
        .await;
    handle.shutdown().await;
}

#[tokio::test]
async fn forwarded_address_counts_behind_a_trusted_proxy() {
    let settings = settings(|it| {
        it.limits.unconnected_sessions_per_address = 1;
        it.trusted_proxies = vec!["loopback".parse().unwrap()];
    });
    let log = CapturedLog::start();
    let (router, handle) = build(builder().settings(settings)).await;
    let addr = serve(router).await;
    let open = async |client: &str| {
        let url = format!("http://{addr}/socket.io/?EIO=4&transport=polling");
        let request = reqwest::Client::new().get(url).header("x-forwarded-for", client);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!([open("192.0.2.7").await, open("192.0.2.7").await], [200, 429]);
    assert_eq!(open("192.0.2.8").await, 200);
    assert!(!log.text().contains("without the address"), "{}", log.text());
    handle.shutdown().await;
}

#[tokio::test]
async fn server_works_without_addresses_and_says_once_what_is_missing() {
    let log = CapturedLog::start();
    let settings = settings(|it| it.limits.connections_per_address = 1);
    let (router, handle) = build(builder().settings(settings)).await;
    let addr = serve_without_addresses(router).await;
    let (mut one, mut two) = (Socket::runtime_at(addr).await, Socket::runtime_at(addr).await);
    // Nobody knows that this machine asks.
    assert_eq!(get(addr, "/metrics").await.0, 401);
    one.get("/todo").await;
    assert_eq!(two.post("/todo", json!({ "a": "x".repeat(50_000) })).await["statusCode"], 201);
    assert_eq!(one.event().await[1], "todo");
    let lines = log.text();
    let warnings = lines.lines().filter(|line| line.contains("without the address"));
    assert_eq!(warnings.count(), 1, "{lines}");
    handle.shutdown().await;
}

/// The server knows how much a client has read, also below another server. Otherwise its connection
/// would end when it has been sent more than it may have unread.
#[tokio::test]
async fn client_that_reads_is_sent_more_than_it_may_have_unread() {
    let settings = settings(|it| it.limits.unread_bytes = 100_000);
    let (router, handle) = build(builder().settings(settings)).await;
    let addr = serve(router).await;
    let mut socket = Socket::runtime_at(addr).await;
    socket.get("/todo").await;
    let todos = handle.publisher().pubsub("todo").unwrap();
    for id in 1..=40 {
        todos.publish_create(json!({ "id": id, "text": "x".repeat(10_000) }), None).await.unwrap();
        assert_eq!(
            socket.event().await[4][0][2],
            id,
            "the change itself, and not only its position"
        );
    }
    assert_eq!(socket.get("/todo").await["statusCode"], 200);
    handle.shutdown().await;
}

#[tokio::test]
async fn own_listener_limits_connections_and_tells_the_routes_of_the_app_the_address() {
    let log = CapturedLog::start();
    let settings = settings(|it| it.limits.connections_per_address = 2);
    let (router, handle) = build(builder().settings(settings)).await;
    let peer = get_route(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string());
    let app = Router::new().route("/peer", peer).nest("/api", router);
    let (listener, addr) = listen().await;
    let serving = tokio::spawn(handle.serve(listener, app).into_future());
    let open = async || Socket::runtime_below(addr, "/api/socket.io/").await;
    let (socket, _other) = (open().await, open().await);
    // The connection is refused before it sends a request.
    let mut refusal = String::new();
    let mut refused = TcpStream::connect(addr).await.unwrap();
    refused.read_to_string(&mut refusal).await.unwrap();
    assert!(refusal.starts_with("HTTP/1.1 429 "), "{refusal}");
    assert_eq!(log.lines_of(Limit::ConnectionsPerAddress).len(), 1);
    drop(socket);
    let peer = async || {
        let answer = reqwest::get(format!("http://{addr}/peer")).await.ok();
        answer.filter(|answer| answer.status() == 200)
    };
    let answer = poll("the address has room", WAIT, peer).await;
    assert_eq!(answer.text().await.unwrap(), "127.0.0.1");
    handle.shutdown().await;
    serving.await.unwrap().unwrap();
}
