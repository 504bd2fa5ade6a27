//! Malformed input, item by item as `docs/reference/wire-protocol.md` lists it. After each test the
//! server still answers another client, and none of its tasks has panicked.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Once;

use backwire::Server;
use backwire::model::{Attribute, Model};
use backwire::server::Builder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::client::{Socket, builder, refusal, start};

thread_local! {
    /// The number of panics. The tasks of a server run on the thread of its test.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Starts a server whose panics are counted.
async fn watched(builder: Builder) -> Server {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            usual(panic);
        }));
    });
    start(builder).await
}

/// Checks that the server answers another client, and that no task has panicked.
async fn others_are_served(server: Server) {
    assert_eq!(Socket::runtime(&server).await.get("/todo").await["statusCode"], 200);
    server.shutdown().await;
    assert_eq!(PANICS.get(), 0);
}

/// Sends these bytes over HTTP, and returns the answer.
async fn over_http(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    // The server may have refused the request and closed the connection already.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /todo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Returns a text frame with any payload.
fn text(payload: &[u8], is_last: bool) -> Message {
    Message::Frame(Frame::message(payload.to_vec(), OpCode::Data(Data::Text), is_last))
}

fn more(payload: &[u8], is_last: bool) -> Message {
    Message::Frame(Frame::message(payload.to_vec(), OpCode::Data(Data::Continue), is_last))
}

#[tokio::test]
async fn deeply_nested_json_is_400() {
    let server = watched(builder()).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut socket = Socket::runtime(&server).await;
    for (number, (place, code)) in [
        (format!(r#"{{"url":"/todo","data":{{"a":{deep}}}}}"#), "E_BAD_JSON"),
        (format!(r#"{{"url":{deep}}}"#), "E_BAD_URL"),
        (deep.clone(), "E_BAD_URL"),
    ]
    .into_iter()
    .enumerate()
    {
        socket.send(format!(r#"42{number}["post",{place}]"#)).await;
        let ack = socket.ack(number as u64).await;
        assert_eq!(refusal(&ack), json!([400, code]));
    }
    // The server does not inspect nested JSON where it is only data.
    let header = format!(r#"429["get",{{"url":"/todo","headers":{{"x":{deep}}}}}]"#);
    socket.send(header).await;
    assert_eq!(socket.ack(9).await["statusCode"], 200);
    let mut stranger = Socket::open(&server, &[]).await.unwrap();
    let deep_auth = format!("{}{}", "[".repeat(4_000), "]".repeat(4_000));
    stranger.send(format!(r#"40{{"backwire":{deep_auth}}}"#)).await;
    assert!(stranger.next_frame().await.starts_with(r#"40{"sid""#));

    let answer = over_http(&server, &post(format!(r#"{{"a":{deep}}}"#).as_bytes())).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("E_BAD_JSON"), "{answer}");
    others_are_served(server).await;
}

#[tokio::test]
async fn invalid_url_is_refused() {
    let server = watched(builder()).await;
    let mut socket = Socket::runtime(&server).await;
    let endless = format!("/todo/{}", "x".repeat(70_000));
    let too_long_an_id = format!("/todo/{}", "x".repeat(256));
    let table = [
        (&*endless, 400, "E_BAD_URL"),
        (&*too_long_an_id, 404, "E_NOT_FOUND"),
        ("http://localhost/todo", 400, "E_BAD_URL"),
        ("", 400, "E_BAD_URL"),
        ("/\u{0}", 400, "E_BAD_URL"),
        ("/to do", 404, "E_NOT_FOUND"),
        ("/todo/%ff", 400, "E_BAD_URL"),
        ("/todo?title=%ff", 400, "E_BAD_URL"),
        ("/todo?%c0%80=1", 400, "E_BAD_URL"),
        ("/todo/%00", 404, "E_NOT_FOUND"),
        ("//", 404, "E_NOT_FOUND"),
        ("/../../etc/passwd", 404, "E_NOT_FOUND"),
        ("/todo/../todo", 404, "E_NOT_FOUND"),
    ];
    for (url, status, code) in table {
        let ack = socket.get(url).await;
        assert_eq!(refusal(&ack), json!([status, code]), "{url:.40}");
    }
    let get = |url: &str| format!("GET {url} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = over_http(&server, get(&endless).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414 "), "{answer}");
    let answer = over_http(&server, get("todo").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let answer = over_http(&server, get("/to\u{0}do").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    others_are_served(server).await;
}

#[tokio::test]
async fn invalid_utf_8_is_400_in_a_body_and_closes_the_connection_in_a_frame() {
    let server = watched(builder()).await;
    let answer = over_http(&server, &post(b"{\"title\":\"\xff\xfe\"}")).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("E_BAD_JSON"), "{answer}");
    let mut socket = Socket::runtime(&server).await;
    socket.send_raw(text(b"421[\"get\",{\"url\":\"/\xff\"}]", true)).await;
    socket.wait_for_close().await;
    others_are_served(server).await;
}

#[tokio::test]
async fn fragmented_request_is_reassembled_up_to_the_limit() {
    let server = watched(builder().body_limit(1000)).await;
    let mut socket = Socket::runtime(&server).await;
    socket.send_raw(text(br#"421["get",{"#, false)).await;
    socket.send_raw(Message::Ping("still here".into())).await;
    socket.send_raw(more(br#""url":"/todo"}"#, false)).await;
    socket.send_raw(more(b"]", true)).await;
    assert_eq!(socket.ack(1).await["body"], json!([]));
    socket.send_raw(text(br#"422["get",{"#, false)).await;
    for _ in 0..40 {
        // The server may close the connection before everything is sent.
        if socket.try_send_raw(more(&[b' '; 100], false)).await.is_err() {
            break;
        }
    }
    socket.wait_for_close().await;
    others_are_served(server).await;
}

#[tokio::test]
async fn malformed_packet_closes_the_connection() {
    let server = watched(builder()).await;
    let table = [
        "",
        "9",
        "hello",
        "48",
        "4é",
        "42",
        "42{}",
        r#"42[7]"#,
        r#"42["g\u0065t",{}]"#,
        r#"421["get",{"url":"/todo"}"#,
        r#"44{"message":"no"}"#,
    ];
    for frame in table {
        let mut socket = Socket::runtime(&server).await;
        socket.send(frame).await;
        socket.wait_for_close().await;
    }
    let mut socket = Socket::runtime(&server).await;
    socket.send_raw(Message::binary(vec![4, 2, 0, 255])).await;
    socket.wait_for_close().await;
    // An event before the CONNECT.
    let mut socket = Socket::open(&server, &[]).await.unwrap();
    socket.send(r#"421["get",{"url":"/todo"}]"#).await;
    socket.wait_for_close().await;
    others_are_served(server).await;
}

#[tokio::test]
async fn unexpected_acks_and_packets_are_ignored() {
    let server = watched(builder()).await;
    let mut socket = Socket::runtime(&server).await;
    for number in 0..1000 {
        socket.feed(format!(r#"43{number}["yes"]"#)).await;
    }
    socket.flush().await;
    // Packets of an unknown namespace are ignored.
    socket.send(r#"42/nowhere,1["get",{"url":"/todo"}]"#).await;
    assert_eq!(socket.get("/todo").await["statusCode"], 200);
    others_are_served(server).await;
}

#[tokio::test]
async fn repeated_connects_make_one_connection() {
    let server = watched(builder()).await;
    let mut socket = Socket::runtime(&server).await;
    for _ in 0..10_000 {
        socket.feed(r#"40{"backwire":1}"#).await;
    }
    socket.flush().await;
    socket.get("/todo").await;
    let mut writer = Socket::runtime(&server).await;
    writer.post("/todo", json!({})).await;
    let pushes = socket.pushes().await;
    assert_eq!(pushes.len(), 1, "one push and no second CONNECT: {pushes:?}");
    others_are_served(server).await;
}

#[tokio::test]
async fn connects_to_unknown_namespaces_are_refused_one_by_one() {
    let server = watched(builder()).await;
    let mut socket = Socket::runtime(&server).await;
    for number in 0..10_000 {
        socket.feed(format!("40/nowhere{number},")).await;
    }
    socket.flush().await;
    assert_eq!(Socket::runtime(&server).await.get("/todo").await["statusCode"], 200);
    // The connection stays open, although some refusals were dropped for lack of room.
    assert_eq!(socket.next_frame().await, r#"44/nowhere0,{"message":"Invalid namespace"}"#);
    assert_eq!(socket.get("/todo").await["statusCode"], 200);
    others_are_served(server).await;
}

#[tokio::test]
async fn ten_thousand_unread_requests_are_answered_once_each() {
    const REQUESTS: u64 = 10_000;
    let server = watched(builder()).await;
    let mut socket = Socket::runtime(&server).await;
    for number in 0..REQUESTS {
        socket.feed(format!(r#"42{number}["get",{{"url":"/todo/1"}}]"#)).await;
    }
    socket.flush().await;
    assert_eq!(Socket::runtime(&server).await.get("/todo").await["statusCode"], 200);
    let mut answered = BTreeSet::new();
    while answered.len() < REQUESTS as usize {
        let frame = socket.next_frame().await;
        let (number, ack) = frame.strip_prefix("43").unwrap().split_once('[').unwrap();
        let ack: Value = serde_json::from_str(ack.strip_suffix(']').unwrap()).unwrap();
        assert!([404, 429].map(Value::from).contains(&ack["statusCode"]), "{ack}");
        assert!(answered.insert(number.parse::<u64>().unwrap()), "a second answer to {number}");
    }
    assert_eq!(answered.last(), Some(&(REQUESTS - 1)));
    others_are_served(server).await;
}

/// Tests each place where a client can name an attribute.
#[tokio::test]
async fn attribute_name_with_control_characters_is_400_and_is_named() {
    let server = watched(builder().api_key("secret".parse().unwrap())).await;
    let http = reqwest::Client::new();
    let url = |path: &str| format!("http://{}{path}", server.addr());
    http.post(url("/todo")).json(&json!({ "id": 1 })).send().await.unwrap();
    let named = json!({ "email\u{0}x": "ann@example.org" });
    let published = json!({ "model": "todo", "verb": "update", "id": 1, "data": named });
    let form = "application/x-www-form-urlencoded";
    let mut answers = Vec::new();
    for request in [
        http.post(url("/todo")).json(&named),
        http.post(url("/todo")).json(&json!([{ "title": "Milk" }, named])),
        http.post(url("/todo")).header("content-type", form).body("email%00x=1"),
        http.patch(url("/todo/1")).json(&named),
        http.put(url("/todo/1")).json(&named),
        http.get(url("/todo?email%00x=1")),
        http.get(url("/todo?where=%7B%22not%22:%7B%22email%5Cu0000x%22:1%7D%7D")),
        http.get(url("/todo?sort=a,email%00x%20DESC")),
        http.get(url("/todo?sort=email%00x")),
        http.get(url("/todo?select=a,email%00x")),
        http.get(url("/todo/1?omit=email%00x")),
        http.post(url("/publish?apiKey=secret")).json(&published),
    ] {
        let response = request.send().await.unwrap();
        answers.push((response.status().as_u16(), response.json::<Value>().await.unwrap()));
    }
    let mut socket = Socket::runtime(&server).await;
    let asked = json!(["get", { "url": "/todo", "data": { "where": { "a": 1, "or": [named] } } }]);
    for ack in [
        socket.post("/todo", named.clone()).await,
        socket.put("/todo/1", named.clone()).await,
        socket.ask(asked).await,
    ] {
        let status = ack["statusCode"].as_u64().unwrap();
        answers.push((u16::try_from(status).unwrap(), ack["body"].clone()));
    }
    for (number, (status, refusal)) in answers.iter().enumerate() {
        assert_eq!(
            (*status, &refusal["field"]),
            (400, &json!("email\\u0000x")),
            "{number}: {refusal}"
        );
        let message = refusal["message"].as_str().unwrap();
        assert!(message.contains("control characters"), "{number}: {message}");
    }
    // The server refuses all control characters and no others. A name inside of a value is part of
    // the value.
    for (name, status) in [("\u{1f}", 400), ("\n", 400), ("\u{7f}", 400), ("\u{80}\"\\.[0]$", 201)]
    {
        let response = http.post(url("/todo")).json(&json!({ name: 1 })).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{name:?}");
    }
    let inside = json!({ "map": named });
    assert_eq!(http.post(url("/todo")).json(&inside).send().await.unwrap().status(), 201);
    assert_eq!(socket.get("/todo").await["body"].as_array().unwrap().len(), 4);
    others_are_served(server).await;
}

/// Tests each place where a client can name a record.
#[tokio::test]
async fn id_with_control_characters_is_400_and_its_field_is_named() {
    let user = Model::default().attribute("pets", Attribute::collection("pet", "owner"));
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    let builder = builder().api_key("secret".parse().unwrap());
    let builder = builder.resource("user", user).unwrap().resource("pet", pet).unwrap();
    let server = watched(builder).await;
    let http = reqwest::Client::new();
    let url = |path: &str| format!("http://{}{path}", server.addr());
    http.post(url("/user")).json(&json!({ "id": 1 })).send().await.unwrap();
    let id = "a\u{1}b";
    let named = json!({ "id": id });
    let published = json!({ "model": "todo", "verb": "update", "id": id, "data": {} });
    let form = "application/x-www-form-urlencoded";
    let mut answers = Vec::new();
    for (field, request) in [
        ("id", http.post(url("/todo")).json(&named)),
        ("id", http.post(url("/todo")).json(&json!([{ "title": "Milk" }, named]))),
        ("id", http.post(url("/todo")).header("content-type", form).body("id=a%01b")),
        ("id", http.patch(url("/todo")).json(&named)),
        ("id", http.delete(url("/todo")).json(&named)),
        ("id", http.get(url("/todo/a%01b"))),
        ("id", http.put(url("/todo/a%01b")).json(&json!({}))),
        ("id", http.patch(url("/todo/a%01b")).json(&json!({}))),
        ("id", http.delete(url("/todo/a%01b"))),
        ("id", http.get(url("/todo/find/a%01b"))),
        ("id", http.get(url("/todo?id=a%01b"))),
        ("id", http.get(url("/todo?where=%7B%22id%22:%5B1,%22a%5Cu0001b%22%5D%7D"))),
        ("id", http.get(url("/user/a%01b/pets"))),
        ("id", http.get(url("/user/1/pets/a%01b"))),
        ("id", http.put(url("/user/1/pets/a%01b"))),
        ("id", http.post(url("/user/1/pets")).json(&named)),
        ("id", http.put(url("/user/1/pets")).json(&json!([id]))),
        ("pets", http.patch(url("/user/1")).json(&json!({ "pets": [id] }))),
        ("owner", http.post(url("/pet")).json(&json!({ "owner": id }))),
        ("id", http.post(url("/pet")).json(&json!({ "owner": named }))),
        ("id", http.post(url("/publish?apiKey=secret")).json(&published)),
    ] {
        let response = request.send().await.unwrap();
        answers.push((field, response.status().as_u16(), response.json::<Value>().await.unwrap()));
    }
    let mut socket = Socket::stock(&server).await;
    for ack in [
        socket.post("/todo", named.clone()).await,
        socket.get("/todo/a%01b").await,
        socket.put("/todo/a%01b", json!({})).await,
    ] {
        let status = u16::try_from(ack["statusCode"].as_u64().unwrap()).unwrap();
        answers.push(("id", status, ack["body"].clone()));
    }
    for (number, (field, status, refusal)) in answers.iter().enumerate() {
        assert_eq!((*status, &refusal["field"]), (400, &json!(field)), "{number}: {refusal}");
        let message = refusal["message"].as_str().unwrap();
        let is_named = *field != "id" || message.contains("control characters");
        assert!(is_named, "{number}: {message}");
    }
    // Another server behind the same address may have such a url, so our runtime asks over HTTP.
    let ack = Socket::runtime(&server).await.get("/todo/a%01b").await;
    assert_eq!(
        (&ack["statusCode"], &ack["headers"]["backwire-transport"]),
        (&json!(404), &json!("http"))
    );
    for (id, status) in [("\u{1f}", 400), ("\n", 400), ("\u{7f}", 400), ("\u{80}\"\\.[0]$", 201)] {
        let response = http.post(url("/todo")).json(&json!({ "id": id })).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{id:?}");
    }
    others_are_served(server).await;
}
