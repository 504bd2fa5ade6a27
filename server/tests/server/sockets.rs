//! Cases that Socket.IO alone does not handle.

use std::sync::Arc;

use axum::routing::get;
use backwire::change::Room;
use backwire::{Context, Server};
use serde_json::json;
use tokio::sync::Notify;

use crate::client::{Socket, builder, server, socket_of, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_of_one_connection_are_handled_in_send_order() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    // Two thousand events, in groups as large as the limit of events in flight.
    for volley in 0..8 {
        let numbers = (volley * 250 + 1)..=(volley * 250 + 250);
        for number in numbers.clone() {
            let data = json!({ "number": number });
            socket.feed(format!(r#"42{number}["post",{{"url":"/todo","data":{data}}}]"#)).await;
        }
        socket.flush().await;
        for number in numbers {
            let created = socket.ack(number).await;
            assert_eq!(
                json!([created["body"]["number"], created["body"]["id"]]),
                json!([number, number])
            );
        }
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_sent_directly_after_the_connect_are_answered() {
    let server = server().await;
    let mut sockets = Vec::new();
    for _ in 0..300 {
        let mut socket = Socket::open(&server, &[]).await.unwrap();
        sockets.push(tokio::spawn(async move {
            socket.send(r#"40{"backwire":1}"#).await;
            assert!(socket.next_frame().await.starts_with("40{"));
            for number in 1..=3 {
                socket.send(format!(r#"42{number}["get",{{"url":"/todo"}}]"#)).await;
            }
            for number in 1..=3 {
                assert_eq!(socket.ack(number).await["statusCode"], 200);
            }
        }));
    }
    for socket in sockets {
        socket.await.unwrap();
    }
    server.shutdown().await;
}

#[tokio::test]
async fn closed_connection_cannot_join_a_room() {
    let (arrived, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (has_arrived, is_gone) = (arrived.clone(), gone.clone());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = Arc::new(std::sync::Mutex::new(Some(sender)));
    let late = get(async move |cx: Context| {
        has_arrived.notify_one();
        is_gone.notified().await;
        let client = socket_of(&cx);
        // The server notices the end of the connection at some time. Before that, a join is valid.
        while client.is_connected() {
            tokio::task::yield_now().await;
        }
        let joined = client.join([Room::parse("todo").unwrap()]);
        let sender = sender.lock().unwrap().take().unwrap();
        sender.send((joined, client.rooms())).unwrap();
    });
    let server = start(builder().route("/late", late)).await;
    let mut socket = Socket::runtime(&server).await;
    socket.get("/todo/1").await;
    socket.emit(&json!(["get", { "url": "/late" }])).await;
    arrived.notified().await;
    drop(socket);
    gone.notify_one();
    assert_eq!(receiver.await.unwrap(), (false, Vec::<String>::new()));
    server.shutdown().await;
}

/// Sends a handshake with this header that is refused. Returns status and body.
async fn refused(server: &Server, name: &'static str, value: &str) -> (u16, String) {
    let refused = Socket::open(server, &[(name, value)]).await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(refused)) = refused.map(drop) else {
        panic!("it is an http answer");
    };
    let body = String::from_utf8_lossy(refused.body().as_ref().unwrap()).into_owned();
    (refused.status().as_u16(), body)
}

#[tokio::test]
async fn handshake_for_a_foreign_host_is_refused() {
    let server = server().await;
    let evil = format!("evil.example:{}", server.addr().port());
    let (status, body) = refused(&server, "host", &evil).await;
    assert!(status == 421 && body.contains("E_HOST"), "{status} {body}");
    assert!(Socket::open(&server, &[("host", "push.example")]).await.is_ok());
    server.shutdown().await;
}

#[tokio::test]
async fn handshake_of_a_foreign_origin_is_refused() {
    let server = server().await;
    // A host name has at most 253 characters.
    let long = format!("https://{}example", "evil.".repeat(49));
    for origin in ["https://evil.example", &long] {
        let (status, body) = refused(&server, "origin", origin).await;
        assert!(status == 403 && body.contains("E_ORIGIN"), "{status} {body}");
        assert!(body.contains(&format!("--origin {origin}")), "{body}");
    }
    assert!(Socket::open(&server, &[("origin", "http://localhost:8000")]).await.is_ok());
    server.shutdown().await;
}

#[tokio::test]
async fn refused_page_can_read_the_reason() {
    let server = server().await;
    let url = format!("http://{}/socket.io/?EIO=4&transport=websocket", server.addr());
    let polling = url.replace("websocket", "polling");
    for url in [&url, &polling] {
        let request = reqwest::Client::new().get(url).header("origin", "https://evil.example");
        let refused = request.send().await.unwrap();
        assert_eq!(refused.status(), 403);
        let headers = refused.headers();
        assert_eq!(headers["access-control-allow-origin"], "https://evil.example");
        assert!(!headers.contains_key("access-control-allow-credentials"));
        let body: serde_json::Value = refused.json().await.unwrap();
        assert_eq!((&body["code"], &body["field"]), (&json!("E_ORIGIN"), &json!("origin")));
    }
    // An allowed page gets 400, because this is not a handshake, and the server opens no session.
    let asked = reqwest::Client::new().get(&url).header("origin", "http://localhost:8000");
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(!answer.text().await.unwrap().contains("sid"));
    server.shutdown().await;
}
