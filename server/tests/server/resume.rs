//! What was missed.

use std::time::Duration;

use backwire::engine::Window;
use serde_json::json;

use crate::client::{Socket, builder, position, server, start};

#[tokio::test]
async fn a_resume_tells_what_was_missed_in_each_room_and_subscribes() {
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
async fn who_was_away_longer_than_the_log_reaches_is_told_to_read_again() {
    let window = Window { count: 3, age: Duration::from_secs(3600) };
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
async fn another_log_and_no_room_at_all_are_told_to_read_again() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let (epoch, _) = position(&a.post("/todo", json!({})).await);
    let rooms = json!([["todo", epoch + 1, 1], ["no room", epoch, 1]]);
    let missed = b.ask(json!(["resume", rooms])).await;
    assert_eq!(missed, json!([["todo", null], ["no room", null]]));
    // The room has been joined all the same.
    a.post("/todo", json!({})).await;
    assert_eq!(b.event().await[1], "todo");
    server.shutdown().await;
}
