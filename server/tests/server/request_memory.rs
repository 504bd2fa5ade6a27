//! Limits of the memory for unfinished requests of one address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backwire::Server;
use backwire::settings::{Limit, Limits};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::client::{Socket, builder, start};
use crate::limits_reached::{count, limits};
use crate::memory::{begin_create, begin_message, create, todo};
use crate::polling::poll;

#[tokio::test]
async fn body_up_to_64_kib_waits_for_memory_and_is_not_refused() {
    let set = |limits: &mut Limits| limits.total_request_bytes = 400_000;
    let server = start(builder().limits(limits(set))).await;
    let mut socket = Socket::runtime(&server).await;
    let (mut upload, rest) = begin_create(&server, 90_000).await;
    while create(&server, 200_000).await.0 == 201 {}
    let url = format!("http://{}/todo", server.addr());
    let waiting = [20_000, 64_000].map(|size| {
        let request = reqwest::Client::new().post(&url).json(&todo(size));
        tokio::spawn(async move { request.send().await.unwrap().status() })
    });
    for _ in 0..20 {
        // Bodies of up to 8 KiB wait for nothing.
        assert_eq!(create(&server, 8_000).await.0, 201);
        assert_eq!(socket.post("/todo", todo(8_000)).await["statusCode"], 201);
    }
    assert!(waiting.iter().all(|it| !it.is_finished()));
    upload.write_all(rest.as_bytes()).await.unwrap();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), 201);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn body_that_waits_too_long_for_memory_is_refused() {
    let set = |limits: &mut Limits| {
        limits.total_request_bytes = 100_000;
        limits.body_deadline = Duration::from_millis(300);
    };
    let server = start(builder().limits(limits(set))).await;
    let _held = begin_message(&server, 90_000).await;
    let (status, retry_after, body) = loop {
        let answer = create(&server, 30_000).await;
        if answer.0 == 503 {
            break answer;
        }
    };
    assert_eq!((status, &body["code"], retry_after.as_deref()), (503, &json!("E_BUSY"), Some("1")));
    server.shutdown().await;
}

/// Each message holds 30 KB, of which 8 KiB do not count.
#[tokio::test]
async fn unfinished_messages_of_one_address_are_limited_to_its_share() {
    let set = |limits: &mut Limits| limits.total_request_bytes = 400_000;
    let server = start(builder().limits(limits(set))).await;
    let mut socket = Socket::runtime(&server).await;
    let mut held = Vec::new();
    while count(&server, Limit::TotalRequestBytes).await == 0 {
        held.push(begin_message(&server, 30_000).await);
        assert!(held.len() < 10, "{} connections hold a message of 30 KB", held.len());
    }
    assert!(held.len() > 3);
    // The server answers ordinary requests in the meantime.
    assert_eq!(socket.post("/todo", todo(5_000)).await["statusCode"], 201);
    assert_eq!(create(&server, 5_000).await.0, 201);
    let large = tokio::spawn(async move { socket.post("/todo", todo(60_000)).await });
    drop(held);
    assert_eq!(large.await.unwrap()["statusCode"], 201);
    server.shutdown().await;
}

/// The events of the burst are small, but together larger than what a connection may use without a
/// claim.
#[tokio::test]
async fn burst_of_small_events_waits_for_memory_without_refusals() {
    let gate = Arc::new(Notify::new());
    let wait = gate.clone();
    let slow = axum::routing::get(async move || wait.notified().await);
    let set = |limits: &mut Limits| limits.total_request_bytes = 100_000;
    let server = start(builder().limits(limits(set)).route("/slow", slow)).await;
    // This is the whole share of one client.
    let held = begin_message(&server, 60_000).await;
    let waiting = begin_message(&server, 60_000).await;
    while count(&server, Limit::TotalRequestBytes).await == 0 {
        tokio::task::yield_now().await;
    }
    let mut socket = Socket::runtime(&server).await;
    socket.send(r#"421["get",{"url":"/slow"}]"#).await;
    for number in 2..=100 {
        let request = json!(["post", { "url": "/todo", "data": todo(500) }]);
        socket.send(format!("42{number}{request}")).await;
    }
    gate.notify_one();
    for number in 2..=100 {
        assert_eq!(socket.ack(number).await["statusCode"], 201, "{number}");
    }
    drop((held, waiting));
    server.shutdown().await;
}

/// Begins uploads from an address, and sends a byte of them now and then.
async fn trickle(server: &Server, address: &str, size: usize) {
    let local = SocketAddr::new(address.parse().unwrap(), 0);
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(local).unwrap();
        let mut stream = socket.connect(server.addr()).await.unwrap();
        let head = format!(
            "POST /todo HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n{{",
            server.addr()
        );
        if stream.write_all(head.as_bytes()).await.is_err() {
            continue;
        }
        let (mut read, mut write) = stream.into_split();
        let mut answer = Vec::new();
        let trickle = async {
            while write.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::select! {
            _ = read.read_to_end(&mut answer) => {}
            () = trickle => {}
        }
    }
}

/// Clients of four addresses announce as much as there is memory, and send nearly nothing of it.
#[tokio::test]
async fn slow_uploads_of_a_few_addresses_do_not_keep_the_memory_from_others() {
    const SIZE: usize = 200_000;
    let set = |limits: &mut Limits| limits.total_request_bytes = 8 * SIZE;
    let server = Arc::new(start(builder().limits(limits(set))).await);
    let slow: Vec<_> = (0..16)
        .map(|number| {
            let server = Arc::clone(&server);
            let address = format!("127.0.0.{}", 11 + number % 4);
            tokio::spawn(async move { trickle(&server, &address, SIZE).await })
        })
        .collect();
    // All memory is claimed.
    while create(&server, SIZE).await.0 == 201 {}
    for _ in 0..5 {
        // The uploads have to be measured first.
        let create = async || (create(&server, SIZE).await.0 == 201).then_some(());
        poll("somebody makes room", Duration::from_secs(60), create).await;
    }
    assert!(count(&server, Limit::UploadSpeed).await > 0);
    slow.iter().for_each(|task| task.abort());
    for task in slow {
        let _ = task.await;
    }
    Arc::into_inner(server).unwrap().shutdown().await;
}

/// Opens a connection and sends the beginning of a request head. Returns the connection and the
/// rest of the head.
async fn begin_head(server: &Server, size: usize) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let (host, text) = (server.addr(), "x".repeat(size));
    let head = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX: {text}");
    stream.write_all(head.as_bytes()).await.unwrap();
    (stream, "\r\n\r\n".to_owned())
}

#[tokio::test]
async fn large_heads_of_one_address_wait_for_memory() {
    // There is room for one large head of an address.
    let set = |limits: &mut Limits| limits.total_request_bytes = 4 * (128 << 10);
    let server = start(builder().limits(limits(set))).await;
    let answer = async |(mut stream, rest): (TcpStream, String)| {
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (mut first, rest) = begin_head(&server, 20_000).await;
    let second = begin_head(&server, 40_000).await;
    let second = tokio::spawn(answer(second));
    for _ in 0..20 {
        let small = begin_head(&server, 7_000).await;
        assert!(answer(small).await.starts_with("HTTP/1.1 200 "));
    }
    let is_waiting = !second.is_finished();
    first.write_all(rest.as_bytes()).await.unwrap();
    let mut text = String::new();
    first.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 ") && is_waiting, "{text}");
    assert!(second.await.unwrap().starts_with("HTTP/1.1 200 "));
    server.shutdown().await;
}
