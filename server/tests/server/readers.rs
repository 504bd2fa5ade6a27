//! Clients that do not read what is sent to them.

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

/// Enough, a few hundred times, for the buffers of any kernel. Each is different: an update that
/// changes nothing is small.
fn large(number: u64) -> Value {
    json!({ "title": format!("{number}{}", "x".repeat(1 << 16)) })
}

/// A server that tells its idea of each client that asks for it.
async fn with_clients(builder: Builder) -> (Server, mpsc::Receiver<Client>) {
    let (tell, told) = mpsc::channel(1);
    let me = get(async move |cx: Context| tell.send(socket_of(&cx)).await.unwrap());
    // What nobody will ask for need not be kept.
    let window = Window { count: 10, ..Window::default() };
    (start(builder.window(window).route("/me", me)).await, told)
}

/// A server, a client of it that listens and then reads nothing any more, and the server's idea of it.
async fn with_a_client_that_stops_reading(builder: Builder) -> (Server, Socket, Client) {
    let (server, mut told) = with_clients(builder.unread(8)).await;
    let mut stuck = Socket::small(&server, RUNTIME).await;
    stuck.get("/todo").await;
    stuck.get("/me").await;
    (server, stuck, told.recv().await.unwrap())
}

/// The same with one of Socket.IO 2.
async fn with_an_old_client_that_stops_reading(builder: Builder) -> (Server, Socket, Client) {
    let (server, mut told) = with_clients(builder).await;
    let mut stuck = Socket::old(&server).await;
    for url in ["/todo", "/me"] {
        let number = stuck.emit(&json!(["get", { "url": url }])).await;
        stuck.ack(number).await;
    }
    (server, stuck, told.recv().await.unwrap())
}

/// Writes what a client that does not read is sent, until it is gone, and returns how long that took.
async fn writes_until_gone(server: &Server, client: &Client) -> Duration {
    let mut writer = Socket::runtime(server).await;
    writer.post("/todo", json!({})).await;
    assert!(client.is_connected() && !client.rooms().is_empty());
    let started = Instant::now();
    // Others are answered all the while.
    for number in 0.. {
        assert_eq!(writer.put("/todo/1", large(number)).await["statusCode"], 200);
        if !client.is_connected() {
            break;
        }
    }
    started.elapsed()
}

#[tokio::test]
async fn a_client_that_stops_reading_is_gone_within_the_deadline_and_its_rooms_with_it() {
    let impatient = builder().write_deadline(Duration::from_millis(300));
    let (server, stuck, client) = with_a_client_that_stops_reading(impatient).await;
    // Neither the heartbeat nor the kernel would have been that quick.
    assert!(writes_until_gone(&server, &client).await < Duration::from_secs(15));
    assert!(client.rooms().is_empty());
    drop((client, stuck));
    server.shutdown().await;
}

#[tokio::test]
async fn an_old_client_that_stops_reading_is_gone_within_the_deadline_too() {
    // Only the deadline: so much may wait that nothing else ends it.
    let impatient = builder().write_deadline(Duration::from_millis(300)).unread(100_000);
    let (server, stuck, client) = with_an_old_client_that_stops_reading(impatient).await;
    assert!(writes_until_gone(&server, &client).await < Duration::from_secs(15));
    drop((client, stuck));
    server.shutdown().await;
}

#[tokio::test]
async fn an_old_client_for_whom_too_much_waits_has_its_plug_pulled() {
    let patient = builder().write_deadline(Duration::from_secs(3600)).unread(8);
    let (server, mut stuck, client) = with_an_old_client_that_stops_reading(patient).await;
    assert!(writes_until_gone(&server, &client).await < Duration::from_secs(15));
    stuck.is_ended().await;
    drop(client);
    server.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_client_that_does_not_read() {
    let patient = builder().write_deadline(Duration::from_secs(3600));
    shuts_down(with_a_client_that_stops_reading(patient).await).await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_an_old_client_that_does_not_read() {
    let limits = limits(|limits| {
        limits.write_deadline = Duration::from_secs(3600);
        limits.unread_packets = 100_000;
        limits.unread_bytes = 1 << 30;
        limits.total_unread_bytes = 1 << 32;
    });
    let patient = builder().limits(limits);
    shuts_down(with_an_old_client_that_stops_reading(patient).await).await;
}

async fn shuts_down((server, mut stuck, client): (Server, Socket, Client)) {
    let mut writer = Socket::runtime(&server).await;
    writer.post("/todo", json!({})).await;
    for number in 0..150 {
        writer.put("/todo/1", large(number)).await;
    }
    assert!(client.is_connected());
    drop(client);
    let started = Instant::now();
    server.shutdown().await;
    // No step of it had to be given up.
    assert!(started.elapsed() < Duration::from_secs(6));
    stuck.is_ended().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_disconnected() {
    let big = get(async || "x".repeat(1 << 16));
    let server = start(builder().unread(8).route("/big", big)).await;
    let mut socket = Socket::small(&server, RUNTIME).await;
    // Nothing is read, so the answers fill the kernel's buffers, then the connection's, then it ends.
    for number in 1.. {
        let request = format!(r#"42{number}["get",{{"url":"/big"}}]"#);
        if socket.try_send(request).await.is_err() {
            break;
        }
    }
    socket.is_ended().await;
    server.shutdown().await;
}

#[tokio::test]
async fn what_a_client_asks_for_and_does_not_read_does_not_fill_the_memory() {
    const MANY: usize = 60;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let big = get(async move || {
        count.fetch_add(1, Ordering::SeqCst);
        "x".repeat(1 << 20)
    });
    let server = start(builder().body_limit(1000).route("/big", big)).await;
    let mut socket = Socket::small(&server, RUNTIME).await;
    for number in 0..MANY {
        socket.send(format!(r#"42{number}["get",{{"url":"/big"}}]"#)).await;
    }
    let mut other = Socket::runtime(&server).await;
    for _ in 0..300 {
        other.get("/todo").await;
    }
    // The kernel takes some of them.
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked < MANY / 2, "{asked} are done");
    for number in 0..MANY as u64 {
        assert_eq!(socket.ack(number).await["statusCode"], 200);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_slow_reader_finds_out_that_it_missed_something_also_if_nothing_follows() {
    finds_out("/todo").await;
}

#[tokio::test]
async fn a_slow_reader_of_a_filter_finds_out_as_well() {
    finds_out("/todo?open=true").await;
}

async fn finds_out(url: &str) {
    const MANY: u64 = 120;
    let server = start(builder().unread(8)).await;
    let (mut slow, mut writer) =
        (Socket::small(&server, RUNTIME).await, Socket::runtime(&server).await);
    let (_, mut place) = position(&slow.get(url).await);
    let title = "x".repeat(1 << 16);
    for _ in 0..MANY {
        writer.post("/todo", json!({ "title": title, "open": true })).await;
    }
    // It reads on: what had been kept for it, up to the gap, and where the room stands now.
    let mut missed = 0;
    while missed == 0 {
        let push = slow.event().await;
        missed = push[3].as_u64().unwrap() - place;
        place += push[4].as_array().unwrap().len() as u64;
    }
    assert_eq!(place + missed, MANY);
    server.shutdown().await;
}

/// It has no positions to find out by. When it is back, it reads again.
#[tokio::test]
async fn a_stock_client_that_can_not_take_a_push_is_disconnected() {
    const MANY: usize = 120;
    let server = start(builder().unread(8)).await;
    let (mut slow, mut writer) = (Socket::small(&server, "").await, Socket::runtime(&server).await);
    let mut quick = Socket::stock(&server).await;
    quick.get("/todo").await;
    slow.get("/todo").await;
    let title = "x".repeat(1 << 16);
    for _ in 0..MANY {
        writer.post("/todo", json!({ "title": title })).await;
        assert_eq!(quick.event().await[1]["verb"], "created");
    }
    let mut heard = 0;
    while slow.frame().await.is_some() {
        heard += 1;
    }
    assert!(heard < MANY);
    server.shutdown().await;
}
