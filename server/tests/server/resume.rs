//! Resumes, which return missed changes.

use std::time::Duration;

use backwire::engine::Window;
use serde_json::json;

use crate::client::{Socket, builder, position, server, start};

#[tokio::test]
async fn resume_returns_missed_changes_of_each_room_and_subscribes() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    a.post("/todo", json!({ "id": 7 })).await;
    let (epoch, _) = position(&a.post("/todo", json!({ "id": 8 })).await);
    let created = a.post("/todo", json!({ "id": 9 })).await["body"].clone();
    let updated = a.put("/todo/7", json!({ "done": true })).await["body"]["updatedAt"].clone();
    let update = json!([4, 2, 7, { "done": true, "updatedAt": updated }, 0]);

    let rooms = json!([["todo", epoch, 2], ["todo/7", epoch, 1], ["todo/8", epoch, 2]]);
    let missed = b.ask(json!(["resume", rooms])).await;
    assert_eq!(
        missed,
        json!([
            ["todo", epoch, 4, [[3, 1, 9, created, 0], update]],
            ["todo/7", epoch, 4, [update]],
            ["todo/8", epoch, 4, []],
        ])
    );
    a.post("/todo", json!({})).await;
    assert_eq!(b.event().await[3], 4);
    server.shutdown().await;
}

#[tokio::test]
async fn resume_beyond_the_log_requires_a_new_read() {
    let window = Window { count: 3, age: Duration::from_secs(3600), ..Window::default() };
    let server = start(builder().window(window)).await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let (epoch, _) = position(&a.get("/todo").await);
    for _ in 0..10 {
        a.post("/todo", json!({})).await;
    }
    let missed = b.ask(json!(["resume", [["todo", epoch, 1], ["todo", epoch, 9]]])).await;
    assert_eq!(missed[0], json!(["todo", null]));
    assert_eq!(json!([missed[1][2], missed[1][3][0][0]]), json!([10, 10]));
    server.shutdown().await;
}

#[tokio::test]
async fn resume_of_another_log_or_an_invalid_room_requires_a_new_read() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let (epoch, _) = position(&a.post("/todo", json!({})).await);
    let rooms = json!([["todo", epoch + 1, 1], ["no room", epoch, 1]]);
    let missed = b.ask(json!(["resume", rooms])).await;
    assert_eq!(missed, json!([["todo", null], ["no room", null]]));
    // The connection has joined the room nevertheless.
    a.post("/todo", json!({})).await;
    assert_eq!(b.event().await[1], "todo");
    server.shutdown().await;
}

#[tokio::test]
async fn size_of_a_resume_answer_is_limited() {
    let server = start(builder().body_limit(1000)).await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let (epoch, _) = position(&a.get("/todo").await);
    for _ in 0..3 {
        a.post("/todo", json!({ "title": "x".repeat(800) })).await;
    }
    let mut rooms = vec![json!(["todo", epoch, 0]); 100];
    rooms.push(json!(["cart", epoch, 0]));
    let missed = b.ask(json!(["resume", rooms])).await;
    // The second room begins while the answer is smaller than four bodies.
    let has_changes = |index: usize| missed[index].as_array().unwrap().len() == 4;
    assert_eq!([0, 1, 2, 99, 100].map(has_changes), [true, true, false, false, false]);
    assert_eq!(missed[100], json!(["cart", null]));
    // The connection has joined the room nevertheless.
    a.post("/cart", json!({})).await;
    assert_eq!(b.event().await[1], "cart");
    server.shutdown().await;
}

#[tokio::test]
async fn connection_joins_at_most_ten_thousand_rooms() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let rooms = Vec::from_iter((1..=10_000).map(|id| json!([format!("todo/{id}"), 0, 0])));
    b.ask(json!(["resume", rooms])).await;
    let more = b.ask(json!(["resume", [["todo/10001", 0, 0]]])).await;
    assert_eq!(more, json!([["todo/10001", null]]));
    for id in [10_001, 10_000] {
        a.post("/todo", json!({ "id": id })).await;
    }
    assert_eq!(b.event().await[1], "todo/10000");
    let followed = |ack: serde_json::Value| ack["headers"]["backwire-room"].clone();
    assert_eq!(followed(b.get("/todo/10001").await), json!(null));
    b.ask(json!(["unsubscribe", "todo/1"])).await;
    assert_eq!(followed(b.get("/todo/10001").await), "todo/10001");
    server.shutdown().await;
}
