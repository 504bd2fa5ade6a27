//! The dialect of the runtime, frame by frame.

use serde_json::{Value, json};

use crate::client::{Socket, position, server};

#[tokio::test]
async fn socket_requests_have_the_same_answers_as_http() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let created = socket.post("/todo", json!({ "title": "Milk" })).await;
    let (epoch, offset) = position(&created);
    assert_eq!(offset, 1);
    assert_eq!(created["statusCode"], 201);
    assert_eq!(created["headers"]["backwire-record"], "todo/1");
    let record = &created["body"];
    assert_eq!(record["title"], "Milk");

    let read = socket.get("/todo").await;
    let headers = json!({
        "backwire-position": format!("{epoch}:1"),
        "backwire-query": "whole;undeclared",
        "backwire-room": "todo",
        "content-type": "application/json",
    });
    assert_eq!(read, json!({ "body": [record], "statusCode": 200, "headers": headers }));
    let one = socket.get("/Todo/1").await;
    assert_eq!(one["headers"]["backwire-room"], "todo/1");

    let changed = socket.put("/todo/1", json!({ "done": true })).await;
    assert_eq!((position(&changed).1, &changed["statusCode"]), (2, &json!(200)));
    let destroyed = socket.delete("/todo/1").await;
    assert_eq!((position(&destroyed).1, &destroyed["body"]), (3, &changed["body"]));

    let over_http = reqwest::get(format!("http://{}/todo", server.addr())).await.unwrap();
    assert_eq!(over_http.json::<Value>().await.unwrap(), json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn ack_has_the_documented_format() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let head = r#"["post",{"url":"/todo","headers":{"idempotency-key":"5f0c-1"},"#;
    socket.send(format!(r#"421{head}"data":{{"title":"Milk"}}}}]"#)).await;
    let frame = socket.next_frame().await;
    assert!(frame.starts_with(r#"431[{"body":{"title":"Milk","createdAt":"#), "{frame}");
    assert!(frame.contains(r#","id":1},"statusCode":201,"headers":{"backwire-position":""#));
    let rest = r#":1","backwire-record":"todo/1","content-type":"application/json"}}]"#;
    assert!(frame.ends_with(rest), "{frame}");
    server.shutdown().await;
}

#[tokio::test]
async fn push_of_a_resource_has_room_position_and_changed_attributes() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let (epoch, _) = position(&b.get("/todo").await);
    let key = "5f0c-1";
    let post = json!(["post", { "url": "/todo", "headers": { "idempotency-key": key },
                                "data": { "title": "Milk", "done": false } }]);
    let created = a.ask(post).await["body"].clone();
    let mark = backwire_protocol::mark(key);
    assert_eq!(b.event().await, json!(["push", "todo", epoch, 0, [[1, 1, 1, created, mark]]]));

    let changed = a.put("/todo/1", json!({ "title": "Milk", "done": true, "id": 1 })).await;
    let differences = json!({ "done": true, "updatedAt": changed["body"]["updatedAt"] });
    assert_eq!(b.event().await, json!(["push", "todo", epoch, 1, [[2, 2, 1, differences, 0]]]));

    a.delete("/todo/1").await;
    assert_eq!(b.event().await, json!(["push", "todo", epoch, 2, [[3, 3, 1, null, 0]]]));
    assert!(a.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn push_of_one_record_has_the_previous_offset_of_that_record() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    a.post("/todo", json!({ "id": 7 })).await;
    a.post("/todo", json!({ "id": 8 })).await;
    let (epoch, offset) = position(&b.get("/todo/7").await);
    assert_eq!(offset, 2);
    a.put("/todo/8", json!({ "done": true })).await;
    a.put("/todo/7", json!({ "done": true })).await;
    let push = b.event().await;
    assert_eq!(json!([push[1], push[2], push[3], push[4][0][0]]), json!(["todo/7", epoch, 1, 4]));
    a.put("/todo/7", json!({ "done": false })).await;
    let push = b.event().await;
    assert_eq!(json!([push[3], push[4][0][0]]), json!([4, 5]));
    server.shutdown().await;
}

#[tokio::test]
async fn client_in_both_rooms_receives_a_change_once_in_the_class_room() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    a.post("/todo", json!({ "id": 7 })).await;
    b.get("/todo/7").await;
    b.get("/todo").await;
    a.put("/todo/7", json!({ "done": true })).await;
    assert_eq!(b.event().await[1], "todo");
    assert!(b.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn own_change_is_pushed_with_its_mark() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    socket.get("/todo").await;
    let headers = json!({ "idempotency-key": "k" });
    let post = json!(["post", { "url": "/todo", "headers": headers, "data": {} }]);
    socket.ask(post.clone()).await;
    assert_eq!(socket.event().await[4][0][4], backwire_protocol::mark("k"));
    // A repeated write is answered but not pushed.
    assert_eq!(socket.ask(post).await["statusCode"], 201);
    assert!(socket.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn rapid_changes_share_frames_and_stay_complete_and_ordered() {
    let server = server().await;
    let mut reader = Socket::runtime(&server).await;
    let (epoch, _) = position(&reader.get("/todo").await);
    let mut writers = Vec::new();
    for _ in 0..20 {
        let mut writer = Socket::runtime(&server).await;
        writers.push(tokio::spawn(async move {
            for _ in 0..50 {
                writer.post("/todo", json!({ "title": "Milk" })).await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let (mut count, mut frames) = (0, 0);
    while count < 1000 {
        let push = reader.event().await;
        frames += 1;
        assert_eq!(json!([push[2], push[3]]), json!([epoch, count]));
        for change in push[4].as_array().unwrap() {
            count += 1;
            assert_eq!(change[0], count);
        }
    }
    assert!(frames <= 1000);
    server.shutdown().await;
}

#[tokio::test]
async fn recreated_record_is_still_followed() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    a.post("/todo", json!({ "id": 7 })).await;
    b.get("/todo/7").await;
    a.delete("/todo/7").await;
    a.post("/todo", json!({ "id": 7 })).await;
    assert_eq!(b.event().await[4][0][1], 3);
    assert_eq!(b.event().await[4][0][1], 1);
    server.shutdown().await;
}

#[tokio::test]
async fn unsubscribed_client_receives_no_pushes() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    b.get("/todo").await;
    b.ask(json!(["unsubscribe", "todo"])).await;
    a.post("/todo", json!({})).await;
    assert!(b.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn read_of_a_missing_record_does_not_subscribe() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    assert_eq!(b.get("/todo/7").await["statusCode"], 404);
    a.post("/todo", json!({ "id": 7 })).await;
    assert!(b.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn unsupported_protocol_version_is_refused() {
    let server = server().await;
    for version in ["2", "\"1\"", "null"] {
        let mut socket = Socket::open(&server, &[]).await.unwrap();
        socket.send(format!(r#"40{{"backwire":{version}}}"#)).await;
        let frame = socket.next_frame().await;
        let refusal: Value = serde_json::from_str(frame.strip_prefix("44").unwrap()).unwrap();
        let message = format!(
            "E_VERSION: this server speaks version 1 of Backwire's protocol and the page {version}: \
             load backwire.js from this server"
        );
        assert_eq!(refusal, json!({ "message": message }));
    }
    server.shutdown().await;
}
