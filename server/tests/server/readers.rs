//! Clients that do not read their answers and pushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::routing::get;
use backwire::engine::Window;
use backwire::server::Builder;
use backwire::{Client, Context, Server};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::{RUNTIME, Socket, builder, position, socket_of, start};
use crate::limits_reached::limits;

/// Returns a large record. A few hundred of them fill the buffers of any kernel. Each is different,
/// because an update without changes is small.
fn large(number: u64) -> Value {
    json!({ "title": format!("{number}{}", "x".repeat(1 << 16)) })
}

/// Starts a server with a route that returns the server's handle of its client.
async fn with_clients(builder: Builder) -> (Server, mpsc::Receiver<Client>) {
    let (sender, clients) = mpsc::channel(1);
    let me = get(async move |cx: Context| sender.send(socket_of(&cx)).await.unwrap());
    // The log is short, because no client resumes.
    let window = Window { count: 10, ..Window::default() };
    (start(builder.window(window).route("/me", me)).await, clients)
}

/// Starts a server, and a client that subscribes and then stops reading. Returns both, and the
/// server's handle of the client.
async fn with_a_client_that_stops_reading(builder: Builder) -> (Server, Socket, Client) {
    let (server, mut clients) = with_clients(builder.unread(8)).await;
    let mut stuck = Socket::with_small_buffer(&server, RUNTIME).await;
    stuck.get("/todo").await;
    stuck.get("/me").await;
    (server, stuck, clients.recv().await.unwrap())
}

/// Does the same with a client of Socket.IO 2.
async fn with_an_old_client_that_stops_reading(builder: Builder) -> (Server, Socket, Client) {
    let (server, mut clients) = with_clients(builder).await;
    let mut stuck = Socket::socket_io_2(&server).await;
    for url in ["/todo", "/me"] {
        let number = stuck.emit(&json!(["get", { "url": url }])).await;
        stuck.ack(number).await;
    }
    (server, stuck, clients.recv().await.unwrap())
}

/// Writes changes until the server has disconnected a client that does not read them. Returns the
/// elapsed time.
async fn writes_until_gone(server: &Server, client: &Client) -> Duration {
    let mut writer = Socket::runtime(server).await;
    writer.post("/todo", json!({})).await;
    assert!(client.is_connected() && !client.rooms().is_empty());
    let started = Instant::now();
    // The server answers other clients during that time.
    for number in 0.. {
        assert_eq!(writer.put("/todo/1", large(number)).await["statusCode"], 200);
        if !client.is_connected() {
            break;
        }
    }
    started.elapsed()
}

#[tokio::test]
async fn client_that_stops_reading_is_disconnected_within_the_deadline() {
    let with_short_deadline = builder().write_deadline(Duration::from_millis(300));
    let (server, stuck, client) = with_a_client_that_stops_reading(with_short_deadline).await;
    // Neither the heartbeat nor the kernel would end the connection that quickly.
    assert!(writes_until_gone(&server, &client).await < Duration::from_secs(15));
    assert!(client.rooms().is_empty());
    drop((client, stuck));
    server.shutdown().await;
}

#[tokio::test]
async fn old_client_that_stops_reading_is_disconnected_within_the_deadline() {
    // Only the deadline ends the connection, because the unread limit is high.
    let with_short_deadline = builder().write_deadline(Duration::from_millis(300)).unread(100_000);
    let (server, stuck, client) = with_an_old_client_that_stops_reading(with_short_deadline).await;
    assert!(writes_until_gone(&server, &client).await < Duration::from_secs(15));
    drop((client, stuck));
    server.shutdown().await;
}

#[tokio::test]
async fn old_client_over_the_unread_limit_is_disconnected() {
    let patient = builder().write_deadline(Duration::from_secs(3600)).unread(8);
    let (server, mut stuck, client) = with_an_old_client_that_stops_reading(patient).await;
    assert!(writes_until_gone(&server, &client).await < Duration::from_secs(15));
    stuck.wait_for_close().await;
    drop(client);
    server.shutdown().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_client_that_does_not_read() {
    let patient = builder().write_deadline(Duration::from_secs(3600));
    check_shutdown(with_a_client_that_stops_reading(patient).await).await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_an_old_client_that_does_not_read() {
    let limits = limits(|limits| {
        limits.write_deadline = Duration::from_secs(3600);
        limits.unread_packets = 100_000;
        limits.unread_bytes = 1 << 30;
        limits.total_unread_bytes = 1 << 32;
    });
    let patient = builder().limits(limits);
    check_shutdown(with_an_old_client_that_stops_reading(patient).await).await;
}

async fn check_shutdown((server, mut stuck, client): (Server, Socket, Client)) {
    let mut writer = Socket::runtime(&server).await;
    writer.post("/todo", json!({})).await;
    for number in 0..150 {
        writer.put("/todo/1", large(number)).await;
    }
    assert!(client.is_connected());
    drop(client);
    let started = Instant::now();
    server.shutdown().await;
    // No step of the shutdown reached its timeout.
    assert!(started.elapsed() < Duration::from_secs(6));
    stuck.wait_for_close().await;
}

#[tokio::test]
async fn client_that_does_not_read_its_answers_is_disconnected() {
    let big = get(async || "x".repeat(1 << 16));
    let builder = builder().unread(8).write_deadline(Duration::from_secs(2));
    let server = start(builder.route("/big", big)).await;
    let mut socket = Socket::with_small_buffer(&server, RUNTIME).await;
    // The client reads nothing. The answers fill the buffers of the kernel, then those of the
    // connection, and then the server closes it.
    for number in 1.. {
        let request = format!(r#"42{number}["get",{{"url":"/big"}}]"#);
        if socket.try_send(request).await.is_err() {
            break;
        }
    }
    socket.wait_for_close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn unread_answers_of_a_client_use_bounded_memory() {
    const COUNT: usize = 60;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let big = get(async move || {
        count.fetch_add(1, Ordering::SeqCst);
        "x".repeat(1 << 20)
    });
    let server = start(builder().body_limit(1000).route("/big", big)).await;
    let mut socket = Socket::with_small_buffer(&server, RUNTIME).await;
    for number in 0..COUNT {
        socket.send(format!(r#"42{number}["get",{{"url":"/big"}}]"#)).await;
    }
    let mut other = Socket::runtime(&server).await;
    for _ in 0..300 {
        other.get("/todo").await;
    }
    // The buffers of the kernel hold some of the answers.
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked < COUNT / 2, "{asked} are done");
    for number in 0..COUNT as u64 {
        assert_eq!(socket.ack(number).await["statusCode"], 200);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn slow_reader_detects_missed_pushes_without_a_later_change() {
    detects_missed_pushes("/todo").await;
}

#[tokio::test]
async fn slow_reader_of_a_filter_detects_missed_pushes() {
    detects_missed_pushes("/todo?open=true").await;
}

async fn detects_missed_pushes(url: &str) {
    const COUNT: u64 = 120;
    let server = start(builder().unread(8)).await;
    let (mut slow, mut writer) =
        (Socket::with_small_buffer(&server, RUNTIME).await, Socket::runtime(&server).await);
    let (_, mut place) = position(&slow.get(url).await);
    let title = "x".repeat(1 << 16);
    for _ in 0..COUNT {
        writer.post("/todo", json!({ "title": title, "open": true })).await;
    }
    // The client reads again: the queued pushes up to the gap, and then the position of the room.
    let mut missed = 0;
    while missed == 0 {
        let push = slow.event().await;
        missed = push[3].as_u64().unwrap() - place;
        place += push[4].as_array().unwrap().len() as u64;
    }
    assert_eq!(place + missed, COUNT);
    server.shutdown().await;
}

/// A stock client has no positions, so it cannot detect missed pushes. It reads again after it
/// reconnects.
#[tokio::test]
async fn stock_client_that_cannot_receive_a_push_is_disconnected() {
    const COUNT: usize = 120;
    let server = start(builder().unread(8)).await;
    let (mut slow, mut writer) =
        (Socket::with_small_buffer(&server, "").await, Socket::runtime(&server).await);
    let mut quick = Socket::stock(&server).await;
    quick.get("/todo").await;
    slow.get("/todo").await;
    let title = "x".repeat(1 << 16);
    for _ in 0..COUNT {
        writer.post("/todo", json!({ "title": title })).await;
        assert_eq!(quick.event().await[1]["verb"], "created");
    }
    let mut pushes = 0;
    while slow.frame().await.is_some() {
        pushes += 1;
    }
    assert!(pushes < COUNT);
    server.shutdown().await;
}
