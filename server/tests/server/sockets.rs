//! What Socket.IO would get wrong by itself.

use std::sync::Arc;

use axum::routing::get;
use backwire::change::Room;
use backwire::{Context, Server};
use serde_json::json;
use tokio::sync::Notify;

use crate::client::{Socket, builder, server, socket_of, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_of_one_connection_are_taken_in_the_order_they_were_sent() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    // Two thousand, in volleys as large as may be in flight.
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
async fn events_right_behind_the_connect_are_answered() {
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
async fn a_connection_that_is_gone_joins_nothing() {
    let (arrived, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (has_arrived, is_gone) = (arrived.clone(), gone.clone());
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
    let late = get(async move |cx: Context| {
        has_arrived.notify_one();
        is_gone.notified().await;
        let client = socket_of(&cx);
        // The server learns of the end when it learns of it; until then a join is in order.
        while client.is_connected() {
            tokio::task::yield_now().await;
        }
        let joined = client.join([Room::parse("todo").unwrap()]);
        let tell = tell.lock().unwrap().take().unwrap();
        tell.send((joined, client.rooms())).unwrap();
    });
    let server = start(builder().route("/late", late)).await;
    let mut socket = Socket::runtime(&server).await;
    socket.get("/todo/1").await;
    socket.emit(&json!(["get", { "url": "/late" }])).await;
    arrived.notified().await;
    drop(socket);
    gone.notify_one();
    assert_eq!(told.await.unwrap(), (false, Vec::<String>::new()));
    server.shutdown().await;
}

/// The answer to a handshake with this header.
async fn refused(server: &Server, name: &'static str, value: &str) -> (u16, String) {
    let refused = Socket::open(server, &[(name, value)]).await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(refused)) = refused.map(drop) else {
        panic!("it is an http answer");
    };
    let body = String::from_utf8_lossy(refused.body().as_ref().unwrap()).into_owned();
    (refused.status().as_u16(), body)
}

#[tokio::test]
async fn a_handshake_for_another_host_is_refused_though_the_page_is_of_that_host() {
    let server = server().await;
    let evil = format!("evil.example:{}", server.addr().port());
    let (status, told) = refused(&server, "host", &evil).await;
    assert!(status == 421 && told.contains("E_HOST"), "{status} {told}");
    assert!(Socket::open(&server, &[("host", "push.example")]).await.is_ok());
    server.shutdown().await;
}

#[tokio::test]
async fn a_handshake_for_a_page_of_another_origin_is_refused() {
    let server = server().await;
    // The longest name of a host has 253 characters.
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
