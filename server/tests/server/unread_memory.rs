//! Limits of the memory for small unread answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::{get, post};
use backwire::change::{Attributes, Resource};
use backwire::settings::Limit;
use backwire::write::Action;
use backwire::{Context, Server};
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::answer_memory::{claimed, nothing_is_claimed};
use crate::client::{RUNTIME, Socket, builder, start};
use crate::large_packets::Polling;
use crate::limits_reached::{count, limits};

/// The bytes of an answer, which needs no claim.
const SIZE: usize = 60_000;

/// Sends requests until the count is stable. Each request lets other tasks run.
async fn settle(server: &Server, count: &AtomicUsize) -> usize {
    let mut other = Socket::runtime(server).await;
    let mut before = usize::MAX;
    loop {
        for _ in 0..300 {
            assert_eq!(other.get("/todo").await["statusCode"], 200);
        }
        match count.load(Ordering::SeqCst) {
            now if now == before => return now,
            now => before = now,
        }
    }
}

#[tokio::test]
async fn sockets_of_one_client_share_its_unread_limit() {
    const SOCKETS: usize = 5;
    const REQUESTS: u64 = 60;
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let big = get(async move || {
        count.fetch_add(1, Ordering::SeqCst);
        "x".repeat(SIZE)
    });
    let limits = limits(|limits| limits.total_unread_bytes = 2 << 20);
    let server = start(builder().limits(limits).route("/big", big)).await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let mut socket = Socket::with_small_buffer(&server, RUNTIME).await;
        for number in 0..REQUESTS {
            socket.send(format!(r#"42{number}["get",{{"url":"/big"}}]"#)).await;
        }
        sockets.push(socket);
    }
    // The limit is half a megabyte for all sockets, plus an answer for each, plus the buffers of
    // the kernel. Without the limit, each socket could have all its answers.
    let made = settle(&server, &made).await;
    assert!(made < SOCKETS * 20, "{made} are made");
    assert!(claimed(&server).await > 0);
    join_all(sockets.iter_mut().map(async |socket| {
        for number in 0..REQUESTS {
            assert_eq!(socket.ack(number).await["statusCode"], 200);
        }
    }))
    .await;
    nothing_is_claimed(&server).await;
    server.shutdown().await;
}

/// Opens sessions that poll, and that follow one list each, all with the same records.
async fn followers_that_poll(server: &Server, count: u64) -> Vec<Polling> {
    let mut all = Vec::new();
    for number in 0..count {
        let polling = Polling::open_as(server, 4, RUNTIME).await;
        let criteria = format!(r#"{{"where":{{"n":[1,{}]}}}}"#, number + 2);
        polling.post(&format!(r#"420["get",{{"url":"/todo","data":{criteria}}}]"#)).await;
        while !polling.poll().await.iter().any(|packet| packet.starts_with("430[")) {}
        all.push(polling);
    }
    all
}

/// Polls until a push with the title has arrived. Returns how many pushes there were.
async fn pushes_until(polling: &Polling, last: &str) -> usize {
    let mut pushes = 0;
    loop {
        let packets = polling.poll().await;
        pushes += packets.iter().filter(|packet| packet.starts_with("42[")).count();
        if packets.iter().any(|packet| packet.contains(last)) {
            return pushes;
        }
    }
}

#[tokio::test]
async fn small_pushes_that_wait_for_polls_are_bounded() {
    const LIMIT: usize = 1 << 20;
    const WRITES: usize = 100;
    let server = start(builder().limits(limits(|it| it.total_unread_bytes = LIMIT))).await;
    let mut writer = Socket::runtime(&server).await;
    let (reader, _idle) =
        (followers_that_poll(&server, 1).await.remove(0), followers_that_poll(&server, 20).await);
    // Without the limit, the idle sessions have 6 MB of pushes.
    let title = "x".repeat(3_000);
    for number in 0..WRITES {
        let title = format!("{title}{number}.");
        writer.post("/todo", json!({ "n": 1, "title": title })).await;
        // A session that polls is not ended because others do not.
        assert_eq!(pushes_until(&reader, &title).await, 1);
        assert!(claimed(&server).await <= LIMIT);
    }
    assert!(count(&server, Limit::TotalUnreadBytes).await > 0);
    server.shutdown().await;
}

#[tokio::test]
async fn unread_bytes_are_kept_when_a_client_rejoins_the_namespace() {
    const LARGE: usize = 12 << 20;
    let large = get(async || "x".repeat(LARGE));
    let limits = limits(|limits| limits.total_unread_bytes = 4 * LARGE);
    let server = start(builder().limits(limits).route("/large", large)).await;
    let mut socket = Socket::with_small_buffer(&server, RUNTIME).await;
    socket.send(r#"421["get",{"url":"/large"}]"#).await;
    while claimed(&server).await < LARGE {}
    socket.send("41").await;
    socket.send(format!("40{RUNTIME}")).await;
    settle(&server, &AtomicUsize::default()).await;
    assert!(claimed(&server).await >= LARGE);
    assert_eq!(socket.ack(1).await["statusCode"], 200);
    assert!(socket.next_frame().await.starts_with("40{"));
    assert_eq!(socket.get("/todo").await["statusCode"], 200);
    nothing_is_claimed(&server).await;
    server.shutdown().await;
}

#[tokio::test]
async fn stock_clients_that_do_not_read_small_pushes_are_disconnected_when_their_share_is_used_up()
{
    let limits = limits(|limits| limits.total_unread_bytes = 400_000);
    let server = start(builder().limits(limits)).await;
    // One client alone may use more than its share.
    let mut slow = [
        Socket::with_small_buffer(&server, "").await,
        Socket::with_small_buffer(&server, "").await,
    ];
    for socket in &mut slow {
        socket.emit(&json!(["get", { "url": "/todo" }])).await;
    }
    let mut writer = Socket::runtime(&server).await;
    let mut written = 0;
    while count(&server, Limit::TotalUnreadBytes).await == 0 {
        let todo = json!({ "title": "x".repeat(3_000) });
        assert_eq!(writer.post("/todo", todo).await["statusCode"], 201);
        written += 1;
        // Without a claim, the server disconnects the client after 512 packets.
        assert!(written < 400, "everything was sent to a client that does not read");
    }
    let [first, second] = &mut slow;
    tokio::select! {
        () = first.wait_for_close() => {}
        () = second.wait_for_close() => {}
    }
    assert_eq!(writer.get("/todo?limit=1").await["statusCode"], 200);
    server.shutdown().await;
}

/// The default limits have memory for 1,000 of them.
#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_of_one_address_get_a_burst_of_changes() {
    const LISTENERS: usize = 70;
    const CHANGES: i64 = 500;
    let burst = post(async |cx: Context| {
        for id in 1..=CHANGES {
            let record = Attributes::from_iter([("id".to_owned(), json!(id))]);
            cx.commit(Resource::parse("todo").unwrap(), Action::Create(record)).await?;
        }
        Ok::<_, backwire::Error>(())
    });
    let limits = limits(|limits| limits.total_unread_bytes = LISTENERS * 64 * 1024);
    let server = start(builder().limits(limits).route("/burst", burst)).await;
    let mut listeners = JoinSet::new();
    for _ in 0..LISTENERS {
        let mut listener = Socket::stock(&server).await;
        assert_eq!(listener.get("/todo").await["statusCode"], 200);
        listeners.spawn(async move {
            for id in 1..=CHANGES {
                assert_eq!(listener.event().await[1]["id"], id);
            }
        });
    }
    let mut publisher = Socket::runtime(&server).await;
    assert_eq!(publisher.post("/burst", json!({})).await["statusCode"], 200);
    listeners.join_all().await;
    server.shutdown().await;
}

/// Opens a connection that requests many answers of a handler and reads none.
async fn pipelined(server: &Server, requests: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.addr()).await.unwrap();
    let request = "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(requests);
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn unread_small_answers_over_http_count_for_their_client_only() {
    const CONNECTIONS: usize = 24;
    const REQUESTS: usize = 200;
    let big = get(async || "x".repeat(SIZE));
    let limits = limits(|limits| limits.total_unread_bytes = 2 << 20);
    let server = start(builder().limits(limits).route("/big", big)).await;
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.push(pipelined(&server, REQUESTS).await);
    }
    let mut looks = 0;
    while count(&server, Limit::TotalUnreadBytes).await == 0 {
        looks += 1;
        assert!(looks < 5000, "the answers of {CONNECTIONS} connections have no limit");
    }
    assert!(claimed(&server).await <= 512 << 10);
    let other = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2]));
    let url = format!("http://{}/big", server.addr());
    let answer = other.build().unwrap().get(url).send().await.unwrap();
    assert_eq!((answer.status(), answer.bytes().await.unwrap().len()), (StatusCode::OK, SIZE));
    let mut stream = streams.swap_remove(0);
    drop(streams);
    // The answers that were sent are complete.
    for _ in 0..REQUESTS {
        let head = read_head(&mut stream).await;
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        match head.starts_with("HTTP/1.1 200") {
            true => assert!(body.len() == SIZE && body.iter().all(|byte| *byte == b'x')),
            false => assert!(String::from_utf8(body).unwrap().contains("E_BUSY"), "{head}"),
        }
    }
    nothing_is_claimed(&server).await;
    server.shutdown().await;
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase().replace("http/1.1", "HTTP/1.1")
}
