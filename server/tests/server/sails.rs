//! The Sails 1.x dialect.

use serde_json::json;

use crate::client::{Socket, refusal, server};

#[tokio::test]
async fn create_is_200_and_subscribers_of_the_resource_receive_it() {
    let server = server().await;
    let (mut a, mut b) = (Socket::stock(&server).await, Socket::stock(&server).await);
    assert_eq!(b.get("/todo").await["body"], json!([]));
    let created = a.post("/todo", json!({ "title": "Milk" })).await;
    assert_eq!(created["statusCode"], 200);
    let news = json!({ "verb": "created", "id": 1, "data": created["body"] });
    assert_eq!(b.event().await, json!(["todo", news]));
    server.shutdown().await;
}

#[tokio::test]
async fn subscriber_of_a_resource_receives_changes_of_old_and_new_records() {
    let server = server().await;
    let (mut a, mut b) = (Socket::stock(&server).await, Socket::stock(&server).await);
    let old = a.post("/todo", json!({ "title": "Milk" })).await["body"].clone();
    b.get("/todo").await;
    let new = a.post("/todo", json!({ "title": "Eggs" })).await["body"].clone();
    assert_eq!(b.event().await[1]["verb"], "created");
    for (id, before) in [(1, old), (2, new)] {
        let after = a.put(&format!("/todo/{id}"), json!({ "done": true })).await;
        let data = json!({ "done": true, "updatedAt": after["body"]["updatedAt"], "id": id });
        let news = json!({ "verb": "updated", "id": id, "data": data, "previous": before });
        assert_eq!(b.event().await, json!(["todo", news]));
        a.delete(&format!("/todo/{id}")).await;
        let news = json!({ "verb": "destroyed", "id": id, "previous": after["body"] });
        assert_eq!(b.event().await, json!(["todo", news]));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn reader_of_one_record_receives_only_its_changes() {
    let server = server().await;
    let (mut a, mut b) = (Socket::stock(&server).await, Socket::stock(&server).await);
    a.post("/todo", json!({})).await;
    a.post("/todo", json!({})).await;
    b.get("/todo/2").await;
    a.put("/todo/1", json!({ "done": true })).await;
    a.post("/todo", json!({})).await;
    a.put("/todo/2", json!({ "done": true })).await;
    assert_eq!(b.event().await[1]["id"], 2);
    assert!(b.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn connection_does_not_receive_its_own_changes() {
    let server = server().await;
    let mut socket = Socket::stock(&server).await;
    socket.get("/todo").await;
    socket.post("/todo", json!({})).await;
    socket.put("/todo/1", json!({ "done": true })).await;
    socket.delete("/todo/1").await;
    assert!(socket.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn changes_are_pushed_across_http_runtime_and_stock_clients() {
    let server = server().await;
    let (mut stock, mut ours) = (Socket::stock(&server).await, Socket::runtime(&server).await);
    stock.get("/todo").await;
    ours.get("/todo").await;
    let url = format!("http://{}/todo", server.addr());
    reqwest::Client::new().post(url).body("{}").send().await.unwrap();
    assert_eq!(stock.event().await[0], "todo");
    assert_eq!(ours.event().await[0], "push");
    stock.put("/todo/1", json!({ "done": true })).await;
    assert_eq!(ours.event().await[4][0][1], 2);
    ours.delete("/todo/1").await;
    assert_eq!(stock.event().await[1]["verb"], "destroyed");
    server.shutdown().await;
}

#[tokio::test]
async fn stock_client_cannot_send_runtime_events() {
    let server = server().await;
    let mut socket = Socket::stock(&server).await;
    let ack = socket.ask(json!(["resume", [["todo", 1, 1]]])).await;
    assert_eq!(refusal(&ack), json!([405, "E_UNKNOWN_VERB"]));
    server.shutdown().await;
}

#[tokio::test]
async fn author_of_a_record_receives_later_changes_of_it() {
    let server = server().await;
    let (mut a, mut b) = (Socket::stock(&server).await, Socket::stock(&server).await);
    a.post("/todo", json!({ "title": "Milk" })).await;
    b.put("/todo/1", json!({ "title": "Oats" })).await;
    assert_eq!(a.event().await[1]["data"]["title"], "Oats");
    a.put("/todo/1", json!({ "title": "Eggs" })).await;
    assert_eq!(b.event().await[1]["data"]["title"], "Eggs");
    // These writes do not subscribe to the resource.
    let mut c = Socket::stock(&server).await;
    c.post("/todo", json!({})).await;
    assert!(a.pushes().await.is_empty() && b.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn head_is_a_read_without_a_body_and_options_lists_the_methods() {
    let server = server().await;
    let (mut a, mut b) = (Socket::stock(&server).await, Socket::stock(&server).await);
    let head = b.ask(json!(["head", { "url": "/todo" }])).await;
    assert_eq!((&head["statusCode"], head.get("body")), (&json!(200), None));
    let options = b.ask(json!(["options", { "url": "/todo" }])).await;
    assert_eq!((&options["statusCode"], options.get("body")), (&json!(200), None));
    assert_eq!(options["headers"]["allow"], "GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS");
    let options = b.ask(json!(["options", { "url": "/todo/7/" }])).await;
    assert_eq!(options["headers"]["allow"], "GET,HEAD,PUT,PATCH,DELETE,OPTIONS");
    // HEAD subscribes, because it is a read.
    a.post("/todo", json!({})).await;
    assert_eq!(b.event().await[1]["verb"], "created");
    server.shutdown().await;
}
