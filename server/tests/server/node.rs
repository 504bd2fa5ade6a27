//! The style of Node's callbacks: `<resource>:<what to do>`, answered with an error or with data.

use backwire::Server;
use serde_json::{Value, json};

use crate::client::{Socket, refusal, server};

/// A client in the style of `backbone.iobind`.
struct Node(Socket);

impl Node {
    async fn connected(server: &Server) -> Self {
        Self(Socket::stock(server).await)
    }

    /// The two arguments of the ack, as they come.
    async fn ask(&mut self, event: &str, data: Value) -> String {
        let number = self.0.emit(&json!([event, data])).await;
        loop {
            let frame = self.0.next_frame().await;
            if let Some(arguments) = frame.strip_prefix(&format!("43{number}")) {
                return arguments.to_owned();
            }
        }
    }

    /// What comes after the error that there was not.
    async fn done(&mut self, event: &str, data: Value) -> Value {
        let arguments = self.ask(event, data).await;
        let (error, data): (Value, Value) = serde_json::from_str(&arguments).unwrap();
        assert_eq!(error, Value::Null);
        data
    }

    async fn refused(&mut self, event: &str, data: Value) -> Value {
        let (error,) = serde_json::from_str(&self.ask(event, data).await).unwrap();
        error
    }
}

#[tokio::test]
async fn an_ack_is_an_error_or_null_and_the_data() {
    let server = server().await;
    let mut socket = Node::connected(&server).await;
    assert_eq!(socket.ask("todo:read", json!([])).await, "[null,[]]");
    let created = socket.done("todo:create", json!({ "title": "Milk" })).await;
    assert_eq!((&created["id"], &created["title"]), (&json!(1), &json!("Milk")));
    assert_eq!(socket.done("todo:read", json!({ "id": 1, "title": "?" })).await, created);
    assert_eq!(socket.done("todo:read", json!({ "title": "Eggs" })).await, json!([]));
    let updated = socket.done("todo:update", json!({ "id": 1, "title": "Oats" })).await;
    assert_eq!(updated["title"], "Oats");
    let patched = socket.done("todo:patch", json!({ "id": 1, "done": true })).await;
    assert_eq!((&patched["title"], &patched["done"]), (&json!("Oats"), &json!(true)));
    assert_eq!(socket.done("todo:delete", json!({ "id": 1 })).await, patched);
    let error = socket.refused("todo:read", json!({ "id": 1 })).await;
    assert_eq!((&error["status"], &error["code"]), (&json!(404), &json!("E_NOT_FOUND")));
    let error = socket.refused("todo:update", json!({ "title": "?" })).await;
    assert_eq!((&error["status"], &error["code"]), (&json!(400), &json!("E_NO_ID")));
    let error = socket.refused("todo:fly", json!({})).await;
    assert_eq!(error["code"], "E_UNKNOWN_VERB");
    server.shutdown().await;
}

#[tokio::test]
async fn what_others_do_is_an_event_named_after_it() {
    let server = server().await;
    let (mut a, mut b) = (Node::connected(&server).await, Node::connected(&server).await);
    a.done("todo:read", json!([])).await;
    let created = b.done("todo:create", json!({ "title": "Milk" })).await;
    assert_eq!(a.0.event().await, json!(["todo:create", created]));
    let updated = b.done("todo:update", json!({ "id": 1, "title": "Oats" })).await;
    assert_eq!(a.0.event().await, json!(["todo/1:update", updated]));
    // Who made a record or changed it hears what becomes of it, but not of their own changes.
    let patched = a.done("todo:patch", json!({ "id": 1, "done": true })).await;
    assert_eq!(b.0.event().await, json!(["todo/1:update", patched]));
    a.done("todo:delete", json!({ "id": 1 })).await;
    assert_eq!(b.0.event().await, json!(["todo/1:delete", patched]));
    b.done("todo:create", json!({})).await;
    assert_eq!(a.0.event().await[0], "todo:create");
    server.shutdown().await;
}

#[tokio::test]
async fn an_id_may_have_any_characters() {
    let server = server().await;
    let (mut a, mut b) = (Node::connected(&server).await, Node::connected(&server).await);
    let id = "7\":\u{e9}\\";
    b.done("todo:create", json!({ "id": id })).await;
    a.done("todo:read", json!([])).await;
    let updated = b.done("todo:update", json!({ "id": id, "n": 1 })).await;
    assert_eq!(a.0.event().await, json!([format!("todo/{id}:update"), updated]));
    server.shutdown().await;
}

#[tokio::test]
async fn the_other_dialects_do_not_know_such_events() {
    let server = server().await;
    let (mut sails, mut ours) = (Socket::stock(&server).await, Socket::runtime(&server).await);
    sails.get("/todo").await;
    let event = json!(["todo:read", {}]);
    assert_eq!(refusal(&sails.ask(event.clone()).await), json!([405, "E_UNKNOWN_VERB"]));
    assert_eq!(refusal(&ours.ask(event).await), json!([405, "E_UNKNOWN_VERB"]));
    server.shutdown().await;
}
