//! Refusals over sockets, and limits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::routing::get;
use backwire::Context;
use backwire::settings::{Heartbeat, Settings, SocketIo, Store, Transports};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::client::{Socket, builder, refusal, server, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

fn keyed(key: Value) -> Value {
    json!(["post", { "url": "/todo", "headers": { "Idempotency-Key": key }, "data": {} }])
}

#[tokio::test]
async fn every_refusal_over_a_socket_is_sent_as_the_ack() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    socket.post("/todo", json!({ "id": 1 })).await;
    let table = [
        (json!(["post", { "url": "/todo", "data": [1] }]), 400, "E_BAD_BODY"),
        (json!(["post", { "url": "/todo", "data": 7 }]), 400, "E_BAD_BODY"),
        (json!(["post", "{oops"]), 400, "E_BAD_JSON"),
        (json!(["get", {}]), 400, "E_BAD_URL"),
        (json!(["get"]), 400, "E_BAD_URL"),
        (json!(["get", { "url": 7 }]), 400, "E_BAD_URL"),
        (json!(["get", { "url": "todo" }]), 400, "E_BAD_URL"),
        (json!(["get", { "url": "http://localhost/todo" }]), 400, "E_BAD_URL"),
        (json!(["fly", { "url": "/todo" }]), 405, "E_UNKNOWN_VERB"),
        (json!(["trace", { "url": "/todo" }]), 405, "E_UNKNOWN_VERB"),
        (json!(["put", { "url": "/todo", "data": {} }]), 400, "E_NO_ID"),
        (json!(["delete", { "url": "/todo" }]), 400, "E_NO_ID"),
        (json!(["put", { "url": "/todo/1", "data": { "id": 2 } }]), 400, "E_BAD_ID"),
        (json!(["post", { "url": "/todo", "data": { "id": 1 } }]), 409, "E_EXISTS"),
        (json!(["get", { "url": "/todo/9" }]), 404, "E_NOT_FOUND"),
        (json!(["get", { "url": "/socket.io" }]), 404, "E_NOT_FOUND"),
        (json!(["get", { "url": "/todo?where=1" }]), 400, "E_BAD_CRITERIA"),
        (json!(["get", { "url": "/todo", "data": { "where": 1 } }]), 400, "E_BAD_CRITERIA"),
        (
            json!(["post", { "url": "/todo", "headers": { "idempotency-key": "" }, "data": {} }]),
            400,
            "E_BAD_KEY",
        ),
        (keyed(json!(7)), 400, "E_BAD_KEY"),
        (keyed(json!("\u{e9}")), 400, "E_BAD_KEY"),
        (keyed(json!("a\nb")), 400, "E_BAD_KEY"),
        (json!(["resume", "todo"]), 400, "E_BAD_BODY"),
        (json!(["unsubscribe", 7]), 400, "E_BAD_BODY"),
    ];
    for (event, status, code) in table {
        let ack = socket.ask(event.clone()).await;
        assert_eq!(refusal(&ack), json!([status, code]), "{event}");
        assert!(ack["body"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn refused_event_without_an_ack_id_is_dropped() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    socket.send(r#"42["fly",{"url":"/todo"}]"#).await;
    socket.send(r#"42["post",{"url":"/todo","data":{"title":"Milk"}}]"#).await;
    assert_eq!(socket.get("/todo/1").await["body"]["title"], "Milk");
    server.shutdown().await;
}

fn two_megabytes() -> Value {
    json!({ "title": "x".repeat(2 << 20) })
}

#[tokio::test]
async fn body_of_2_mb_is_413_over_http_and_sockets() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let over_socket = socket.post("/todo", two_megabytes()).await;
    assert_eq!(refusal(&over_socket), json!([413, "E_TOO_LARGE"]));
    assert_eq!(over_socket["body"]["limit"], 1 << 20);
    assert_eq!(socket.get("/todo").await["body"], json!([]));

    let url = format!("http://{}/todo", server.addr());
    let over_http = reqwest::Client::new().post(url).body(two_megabytes().to_string());
    let over_http = over_http.send().await.unwrap();
    assert_eq!(over_http.status(), 413);
    assert_eq!(over_http.json::<Value>().await.unwrap(), over_socket["body"]);
    server.shutdown().await;
}

#[tokio::test]
async fn body_without_a_content_length_is_limited_too() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = start(builder().body_limit(10)).await;
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for (kind, body) in [("", r#"{"title":"too long"}"#), (form, "title=a+text+of+20+b")] {
        let mut stream = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
        let request = format!(
            "POST /todo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{kind}\
             transfer-encoding: chunked\r\n\r\n14\r\n{body}\r\n0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains(r#""code":"E_TOO_LARGE""#), "{answer}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn frame_over_four_times_the_limit_closes_the_connection() {
    let server = start(builder().body_limit(1000)).await;
    let mut socket = Socket::runtime(&server).await;
    assert_eq!(refusal(&socket.post("/todo", json!({ "t": "x".repeat(3900) })).await)[0], 413);
    socket.send(format!(r#"421["post",{{"url":"/todo","data":"{}"}}]"#, "x".repeat(4000))).await;
    socket.wait_for_close().await;
    server.shutdown().await;
}

/// Socket.IO cannot parse the packet, so there is no event to answer.
#[tokio::test]
async fn packet_with_invalid_json_closes_the_connection() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    socket.send(r#"421["post",{"url":"/todo","data":{oops}]"#).await;
    socket.wait_for_close().await;
    server.shutdown().await;
}

#[tokio::test]
async fn requests_over_the_in_flight_limit_get_429() {
    let gate = Arc::new(Notify::new());
    let wait = gate.clone();
    let slow = get(async move |_: Context| wait.notified().await);
    let server = start(builder().in_flight(3).route("/slow", slow)).await;
    let mut socket = Socket::runtime(&server).await;
    for number in 1..=5 {
        socket.send(format!(r#"42{number}["get",{{"url":"/slow"}}]"#)).await;
    }
    let refused = socket.ack(4).await;
    assert_eq!(refusal(&refused), json!([429, "E_TOO_MANY"]));
    let headers = json!({ "content-type": "application/json", "retry-after": "1" });
    assert_eq!(refused["headers"], headers);
    assert_eq!(socket.ack(5).await["body"]["limit"], 3);
    for number in 1..=3 {
        gate.notify_one();
        assert_eq!(socket.ack(number).await["statusCode"], 200);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn panic_of_a_handler_is_500_and_the_connection_stays_open() {
    let broken = get(async |_: Context| -> String { panic!("a bug") });
    let server = start(builder().route("/broken", broken)).await;
    let mut socket = Socket::runtime(&server).await;
    assert_eq!(socket.get("/broken").await["statusCode"], 500);
    assert_eq!(socket.get("/todo").await["statusCode"], 200);
    server.shutdown().await;
}

/// Panics at each read of a list.
struct Broken;

#[async_trait]
impl Interceptor for Broken {
    async fn before(&self, call: Call<'_>) -> Result<(), backwire::engine::Error> {
        match call {
            Call::Find => panic!("a bug"),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn panic_in_a_resource_is_500_and_the_connection_stays_open() {
    let server = start(builder().engine(intercepted_by(&Arc::new(Broken)))).await;
    let mut socket = Socket::runtime(&server).await;
    let refused = socket.get("/todo").await;
    assert_eq!(refusal(&refused), json!([500, "E_INTERNAL_SERVER_ERROR"]));
    assert_eq!(socket.get("/todo/7").await["statusCode"], 404);
    assert_eq!(status(&server, "/todo").await, 500);
    server.shutdown().await;
}

/// Requests for resources pass a router only if the user has routes.
#[tokio::test]
async fn sockets_get_the_same_answers_with_and_without_routes_of_the_user() {
    let with_route = builder().body_limit(100).route("/own", get(async |_: Context| "own"));
    let servers = [start(with_route).await, start(builder().body_limit(100)).await];
    let mut sockets = [Socket::runtime(&servers[0]).await, Socket::runtime(&servers[1]).await];
    let long = json!({ "title": "x".repeat(100) });
    let urls = ["/todo", "/Todo/1/", "/todo/x", "/todo?where={", "/todo?limit=1", "/", "/a/b/c/d"];
    for verb in ["get", "post", "put", "patch", "delete", "head", "options", "trace"] {
        for url in urls {
            for data in [json!(null), json!({ "title": "Milk" }), json!("text"), long.clone()] {
                let mut answers = Vec::new();
                for socket in &mut sockets {
                    let request = json!([verb, { "url": url, "data": data }]);
                    let mut answer = socket.ask(request).await;
                    let records = match &mut answer["body"] {
                        Value::Array(records) => records,
                        body => std::slice::from_mut(body),
                    };
                    for record in records.iter_mut().filter_map(Value::as_object_mut) {
                        ["createdAt", "updatedAt"]
                            .iter()
                            .for_each(|time| drop(record.remove(*time)));
                    }
                    answer["headers"]["backwire-position"] = Value::Null;
                    answers.push(answer);
                }
                assert_eq!(answers[0], answers[1], "{verb} {url} {data}");
            }
        }
    }
    for server in servers {
        server.shutdown().await;
    }
}

#[tokio::test]
async fn configured_heartbeat_is_sent_to_clients() {
    let heartbeat =
        Heartbeat { timeout: Duration::from_secs(60), interval: Duration::from_secs(10) };
    let settings = Settings { port: 0, store: Store::Memory, heartbeat, ..Settings::default() };
    let server = start(builder().settings(settings)).await;
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.addr());
    let opened = reqwest::get(url).await.unwrap().text().await.unwrap();
    let opened: Value = serde_json::from_str(opened.trim_start_matches('0')).unwrap();
    assert_eq!((&opened["pingTimeout"], &opened["pingInterval"]), (&json!(60_000), &json!(10_000)));
    server.shutdown().await;
}

async fn with_socket_io(change: impl FnOnce(&mut SocketIo)) -> backwire::Server {
    let mut socket_io = SocketIo::default();
    change(&mut socket_io);
    let settings = Settings { port: 0, store: Store::Memory, socket_io, ..Settings::default() };
    start(builder().settings(settings)).await
}

async fn status(server: &backwire::Server, path: &str) -> u16 {
    reqwest::get(format!("http://{}{path}", server.addr())).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn socket_io_is_served_at_the_configured_and_the_default_path() {
    let server = with_socket_io(|it| it.path = "/push/io".parse().unwrap()).await;
    for path in ["/push/io/", "/socket.io/"] {
        assert_eq!(status(&server, &format!("{path}?EIO=4&transport=polling")).await, 200);
        // A server that was built without the script answers with an explanation, not with 404.
        assert_ne!(status(&server, &format!("{path}socket.io.js")).await, 404);
    }
    assert_eq!(status(&server, "/push/todo").await, 404);
    assert_eq!(status(&server, "/todo").await, 200);
    // Both paths check the origin.
    let url = format!("http://{}/push/io/?EIO=4&transport=polling", server.addr());
    let other = reqwest::Client::new().get(url).header("origin", "https://other.example");
    assert_eq!(other.send().await.unwrap().status(), 403);
    server.shutdown().await;
}

#[tokio::test]
async fn disabled_transport_is_refused() {
    let handshake = "/socket.io/?EIO=4&transport=polling";
    let server = with_socket_io(|it| it.transports = Transports::WebSocket).await;
    assert_eq!(status(&server, handshake).await, 400);
    let mut socket = Socket::runtime(&server).await;
    assert_eq!(socket.get("/todo").await["statusCode"], 200);
    server.shutdown().await;
    let server = with_socket_io(|it| it.transports = Transports::Polling).await;
    assert_eq!(status(&server, handshake).await, 200);
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", server.addr());
    assert!(tokio_tungstenite::connect_async(url).await.is_err());
    server.shutdown().await;
}

#[tokio::test]
async fn message_size_is_limited_by_the_setting() {
    let server = with_socket_io(|it| it.max_http_buffer_size = Some(2000)).await;
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.addr());
    let post = async |body: String| {
        let opened = reqwest::get(&url).await.unwrap().text().await.unwrap();
        let opened: Value = serde_json::from_str(opened.trim_start_matches('0')).unwrap();
        assert_eq!(opened["maxPayload"], 2000);
        let url = format!("{url}&sid={}", opened["sid"].as_str().unwrap());
        reqwest::Client::new().post(url).body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post(format!("40{}", " ".repeat(1990))).await, 200);
    assert_eq!(post(format!("40{}", " ".repeat(2000))).await, 413);
    server.shutdown().await;
}
