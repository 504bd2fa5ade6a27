//! Limits of the memory that all clients together use.

use std::sync::Arc;

use backwire::Server;
use backwire::settings::{Limit, Limits};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::client::{RUNTIME, Socket, builder, refusal, start};
use crate::limits_reached::{CapturedLog, count, limits};

pub fn todo(size: usize) -> Value {
    json!({ "title": "x".repeat(size) })
}

/// Sends a GET over HTTP, and returns status and body.
async fn get(server: &Server, path: &str) -> (u16, Value) {
    let reply = reqwest::get(format!("http://{}{path}", server.addr())).await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap())
}

#[tokio::test]
async fn request_bytes_of_a_connection_are_limited() {
    let log = CapturedLog::start();
    let gate = Arc::new(Notify::new());
    let wait = gate.clone();
    let slow = axum::routing::get(async move || wait.notified().await);
    let limits = limits(|limits| limits.request_bytes = 3_500);
    let server = start(builder().limits(limits).route("/slow", slow)).await;
    let mut socket = Socket::runtime(&server).await;
    socket.send(r#"421["get",{"url":"/slow"}]"#).await;
    for number in 2..=6 {
        let request = json!(["post", { "url": "/todo", "data": todo(1_000) }]);
        socket.send(format!("42{number}{request}")).await;
    }
    gate.notify_one();
    for number in 2..=4 {
        assert_eq!(socket.ack(number).await["statusCode"], 201, "{number}");
    }
    for number in 5..=6 {
        let refused = socket.ack(number).await;
        assert_eq!(refusal(&refused), json!([429, "E_TOO_MANY"]));
        assert_eq!(refused["body"]["limit"], 3_500);
    }
    assert_eq!(count(&server, Limit::RequestBytes).await, 2);
    assert!(log.lines_of(Limit::RequestBytes)[0].contains("client=127.0.0.1"));
    assert_eq!(socket.ack(1).await["statusCode"], 200);
    // A single request may be as large as the body limit.
    assert_eq!(socket.post("/todo", todo(500_000)).await["statusCode"], 201);
    server.shutdown().await;
}

/// Sends the head of a create with a body of this size, and half of the body.
pub async fn begin_create(server: &Server, size: usize) -> (TcpStream, String) {
    let body = todo(size).to_string();
    let mut upload = TcpStream::connect(server.addr()).await.unwrap();
    let (host, length) = (server.addr(), body.len());
    let head = format!(
        "POST /todo HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let (begin, rest) = body.split_at(length / 2);
    upload.write_all(format!("{head}{begin}").as_bytes()).await.unwrap();
    (upload, rest.to_owned())
}

/// Creates a record over HTTP, and returns status, `Retry-After` and body.
pub async fn create(server: &Server, size: usize) -> (u16, Option<String>, Value) {
    let url = format!("http://{}/todo", server.addr());
    let reply = reqwest::Client::new().post(url).json(&todo(size)).send().await.unwrap();
    let retry_after = reply.headers().get("retry-after");
    let retry_after = retry_after.map(|it| it.to_str().unwrap().to_owned());
    (reply.status().as_u16(), retry_after, reply.json().await.unwrap())
}

#[tokio::test]
async fn unfinished_bodies_use_the_request_budget_and_small_ones_need_none() {
    let log = CapturedLog::start();
    let set = |limits: &mut Limits| limits.total_request_bytes = 400_000;
    let server = start(builder().limits(limits(set))).await;
    let [mut waiting, mut other] = [Socket::runtime(&server).await, Socket::runtime(&server).await];
    let (mut upload, rest) = begin_create(&server, 90_000).await;
    // The claim is in force when the next request of the same client, which may use a quarter, is
    // refused.
    let (retry_after, refused) = loop {
        match create(&server, 200_000).await {
            (201, ..) => {}
            (status, retry_after, body) => {
                assert_eq!((status, &body["code"]), (503, &json!("E_BUSY")));
                break (retry_after, body);
            }
        }
    };
    assert_eq!(refused["limit"], 400_000);
    assert!(refused["message"].as_str().unwrap().contains("total_request_bytes"));
    assert_eq!(retry_after.as_deref(), Some("1"));
    let before = count(&server, Limit::TotalRequestBytes).await;
    // The server does not refuse a large WebSocket message. It does not read it before there is
    // memory for it.
    let waiting = tokio::spawn(async move {
        let reply = waiting.post("/todo", todo(200_000)).await;
        (waiting, reply)
    });
    while count(&server, Limit::TotalRequestBytes).await == before {
        assert_eq!(other.post("/todo", todo(10_000)).await["statusCode"], 201);
    }
    assert!(!waiting.is_finished());
    assert!(log.lines_of(Limit::TotalRequestBytes)[0].contains("client=127.0.0.1"));
    upload.write_all(rest.as_bytes()).await.unwrap();
    let mut reply = String::new();
    upload.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 201 "), "{reply}");
    let (mut socket, reply) = waiting.await.unwrap();
    assert_eq!(reply["statusCode"], 201);
    assert_eq!(socket.post("/todo", todo(200_000)).await["statusCode"], 201);
    server.shutdown().await;
}

/// Opens a WebSocket and sends the beginning of a message of this many bytes.
pub async fn begin_message(server: &Server, size: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let head = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.addr()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        answer.push(stream.read_u8().await.unwrap());
    }
    // A mask of zeros changes nothing.
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'4', b'0']).await.unwrap();
    stream.write_all(&[0x81, 0xff]).await.unwrap();
    stream.write_u64(size as u64).await.unwrap();
    stream.write_all(&[0; 4]).await.unwrap();
    stream.write_all(&vec![b'x'; size / 2]).await.unwrap();
    stream
}

#[tokio::test]
async fn unfinished_message_holds_its_memory_until_its_connection_ends() {
    let set = |limits: &mut Limits| limits.total_request_bytes = 400_000;
    let server = start(builder().limits(limits(set))).await;
    let mut socket = Socket::runtime(&server).await;
    let begun = [begin_message(&server, 160_000).await, begin_message(&server, 160_000).await];
    // Each message alone is larger than the quarter of its client, so one waits for the other.
    while count(&server, Limit::TotalRequestBytes).await == 0 {
        tokio::task::yield_now().await;
    }
    let [first, second] = begun;
    let waiting = tokio::spawn(async move { socket.post("/todo", todo(200_000)).await });
    while count(&server, Limit::TotalRequestBytes).await == 1 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    drop((first, second));
    assert_eq!(waiting.await.unwrap()["statusCode"], 201);
    server.shutdown().await;
}

#[tokio::test]
async fn messages_that_wait_for_memory_are_all_answered() {
    let set = |limits: &mut Limits| limits.total_request_bytes = 1_000_000;
    let server = start(builder().limits(limits(set))).await;
    let server = &server;
    let writes = (0..20).map(async |_| {
        let mut socket = Socket::runtime(server).await;
        for size in [200_000, 70_000, 100, 240_000, 500_000, 66_000] {
            assert_eq!(socket.post("/todo", todo(size)).await["statusCode"], 201);
        }
    });
    join_all(writes).await;
    let (_, todos) = get(server, "/todo?select=id").await;
    assert_eq!(todos.as_array().unwrap().len(), 20 * 6);
}

/// Sends a GET and does not read its answer.
async fn begin_get(server: &Server, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.addr()).await.unwrap();
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.addr());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn unread_answers_use_the_answer_budget_and_small_ones_need_none() {
    // This is more than the buffers of the operating system hold.
    const LARGE: usize = 12 << 20;
    let set = |limits: &mut Limits| limits.total_unread_bytes = 4 * LARGE;
    let large = axum::routing::get(async || "x".repeat(LARGE));
    let server = start(builder().limits(limits(set)).route("/large", large)).await;
    let mut unread = begin_get(&server, "/large").await;
    let mut first = [0];
    unread.read_exact(&mut first).await.unwrap();
    let (status, refused) = get(&server, "/large").await;
    assert_eq!((status, &refused["code"]), (503, &json!("E_BUSY")));
    assert_eq!(refused["limit"], 4 * LARGE);
    assert_eq!(count(&server, Limit::TotalUnreadBytes).await, 1);
    let mut socket = Socket::runtime(&server).await;
    assert_eq!(refusal(&socket.get("/large").await), json!([503, "E_BUSY"]));
    assert_eq!(get(&server, "/todo").await, (200, json!([])));
    let mut rest = Vec::new();
    unread.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > LARGE);
    drop(unread);
    assert_eq!(socket.get("/large").await["statusCode"], 200);
    // Data that was sent to a socket counts until the client has read it. Then the memory is
    // available again.
    assert_eq!(socket.get("/large").await["statusCode"], 200);
    server.shutdown().await;
}

#[tokio::test]
async fn slow_reader_misses_pushes_and_can_resume() {
    let log = CapturedLog::start();
    let server = start(builder().limits(limits(|limits| limits.unread_bytes = 1 << 20))).await;
    let mut slow = Socket::with_small_buffer(&server, RUNTIME).await;
    slow.get("/todo").await;
    let mut writer = Socket::runtime(&server).await;
    let mut written = 0;
    while count(&server, Limit::UnreadBytes).await == 0 {
        assert_eq!(writer.post("/todo", todo(500_000)).await["statusCode"], 201);
        written += 1;
        assert!(written < 200, "everything was sent to a client that does not read");
    }
    assert!(log.lines_of(Limit::UnreadBytes)[0].contains("client=127.0.0.1"));
    // The client was not disconnected. It receives the sent pushes, and then the position of the
    // room.
    let (mut received, mut head) = (0, 0);
    while head < written {
        let push = slow.event().await;
        let changes = push[4].as_array().unwrap().len();
        received += changes;
        head = push[3].as_u64().unwrap() + changes as u64;
    }
    assert!(received < written as usize, "{received} of {written}");
    server.shutdown().await;
}

#[tokio::test]
async fn stock_client_with_large_unread_pushes_is_disconnected() {
    let server = start(builder().limits(limits(|limits| limits.unread_bytes = 1 << 20))).await;
    let mut slow = Socket::with_small_buffer(&server, "").await;
    slow.emit(&json!(["get", { "url": "/todo" }])).await;
    let mut writer = Socket::runtime(&server).await;
    let mut written = 0;
    while count(&server, Limit::UnreadBytes).await == 0 {
        assert_eq!(writer.post("/todo", todo(500_000)).await["statusCode"], 201);
        written += 1;
        assert!(written < 200, "everything was sent to a client that does not read");
    }
    slow.wait_for_close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn large_writes_over_many_connections_are_all_answered() {
    let server = start(builder()).await;
    let write = async |connection: usize| {
        let mut socket = Socket::runtime(&server).await;
        for number in 1..=16 {
            let request = json!(["post", { "url": "/todo", "data": todo(100_000 + connection) }]);
            socket.send(format!("42{number}{request}")).await;
        }
        let mut statuses = Vec::new();
        for number in 1..=16 {
            statuses.push(socket.ack(number).await["statusCode"].as_u64().unwrap());
        }
        statuses
    };
    let statuses = join_all((0..10).map(write)).await.concat();
    assert!(statuses.iter().all(|status| [201, 429, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&201));
    server.shutdown().await;
}
