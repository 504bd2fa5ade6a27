//! The dialect of Node callbacks: events `<resource>:<action>`, which are answered with an error or
//! with data.

use backwire::Server;
use serde_json::{Value, json};

use crate::client::{Socket, refusal, server};

/// A client in the style of `backbone.iobind`.
struct Node(Socket);

impl Node {
    async fn connected(server: &Server) -> Self {
        Self(Socket::stock(server).await)
    }

    /// Sends an event, and returns the two arguments of its ack as text.
    async fn ask(&mut self, event: &str, data: Value) -> String {
        let number = self.0.emit(&json!([event, data])).await;
        loop {
            let frame = self.0.next_frame().await;
            if let Some(arguments) = frame.strip_prefix(&format!("43{number}")) {
                return arguments.to_owned();
            }
        }
    }

    /// Sends an event that must succeed, and returns its data.
    async fn result(&mut self, event: &str, data: Value) -> Value {
        let arguments = self.ask(event, data).await;
        let (error, data): (Value, Value) = serde_json::from_str(&arguments).unwrap();
        assert_eq!(error, Value::Null);
        data
    }

    async fn error(&mut self, event: &str, data: Value) -> Value {
        let (error,) = serde_json::from_str(&self.ask(event, data).await).unwrap();
        error
    }
}

#[tokio::test]
async fn node_ack_is_an_error_or_null_and_the_data() {
    let server = server().await;
    let mut socket = Node::connected(&server).await;
    assert_eq!(socket.ask("todo:read", json!([])).await, "[null,[]]");
    let created = socket.result("todo:create", json!({ "title": "Milk" })).await;
    assert_eq!((&created["id"], &created["title"]), (&json!(1), &json!("Milk")));
    assert_eq!(socket.result("todo:read", json!({ "id": 1, "title": "?" })).await, created);
    assert_eq!(socket.result("todo:read", json!({ "title": "Eggs" })).await, json!([]));
    let updated = socket.result("todo:update", json!({ "id": 1, "title": "Oats" })).await;
    assert_eq!(updated["title"], "Oats");
    let patched = socket.result("todo:patch", json!({ "id": 1, "done": true })).await;
    assert_eq!((&patched["title"], &patched["done"]), (&json!("Oats"), &json!(true)));
    assert_eq!(socket.result("todo:delete", json!({ "id": 1 })).await, patched);
    let error = socket.error("todo:read", json!({ "id": 1 })).await;
    assert_eq!((&error["status"], &error["code"]), (&json!(404), &json!("E_NOT_FOUND")));
    let error = socket.error("todo:update", json!({ "title": "?" })).await;
    assert_eq!((&error["status"], &error["code"]), (&json!(400), &json!("E_NO_ID")));
    let error = socket.error("todo:fly", json!({})).await;
    assert_eq!(error["code"], "E_UNKNOWN_VERB");
    server.shutdown().await;
}

#[tokio::test]
async fn node_client_receives_events_named_after_the_change() {
    let server = server().await;
    let (mut a, mut b) = (Node::connected(&server).await, Node::connected(&server).await);
    a.result("todo:read", json!([])).await;
    let created = b.result("todo:create", json!({ "title": "Milk" })).await;
    assert_eq!(a.0.event().await, json!(["todo:create", created]));
    let updated = b.result("todo:update", json!({ "id": 1, "title": "Oats" })).await;
    assert_eq!(a.0.event().await, json!(["todo/1:update", updated]));
    // The author of a record receives later changes of it, but not own changes.
    let patched = a.result("todo:patch", json!({ "id": 1, "done": true })).await;
    assert_eq!(b.0.event().await, json!(["todo/1:update", patched]));
    a.result("todo:delete", json!({ "id": 1 })).await;
    assert_eq!(b.0.event().await, json!(["todo/1:delete", patched]));
    b.result("todo:create", json!({})).await;
    assert_eq!(a.0.event().await[0], "todo:create");
    server.shutdown().await;
}

#[tokio::test]
async fn node_event_name_may_contain_any_id() {
    let server = server().await;
    let (mut a, mut b) = (Node::connected(&server).await, Node::connected(&server).await);
    let id = "7\":\u{e9}\\";
    b.result("todo:create", json!({ "id": id })).await;
    a.result("todo:read", json!([])).await;
    let updated = b.result("todo:update", json!({ "id": id, "n": 1 })).await;
    assert_eq!(a.0.event().await, json!([format!("todo/{id}:update"), updated]));
    server.shutdown().await;
}

#[tokio::test]
async fn other_dialects_refuse_node_events() {
    let server = server().await;
    let (mut sails, mut ours) = (Socket::stock(&server).await, Socket::runtime(&server).await);
    sails.get("/todo").await;
    let event = json!(["todo:read", {}]);
    assert_eq!(refusal(&sails.ask(event.clone()).await), json!([405, "E_UNKNOWN_VERB"]));
    assert_eq!(refusal(&ours.ask(event).await), json!([405, "E_UNKNOWN_VERB"]));
    server.shutdown().await;
}
