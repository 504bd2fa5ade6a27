//! The Sails 0.9 dialect: a request is JSON in a string, and so is its answer.

use axum::routing::get;
use backwire::Server;
use serde_json::{Value, json};

use crate::client::{Socket, builder, events, refusal, server, start};

/// What a client of Sails 0.9 sends and is answered, as its code writes it.
struct Old(Socket);

impl Old {
    async fn connected(server: &Server) -> Self {
        Self(Socket::stock(server).await)
    }

    /// The one argument of the ack, as it comes.
    async fn ask(&mut self, event: &str, payload: &Value) -> Value {
        self.0.ask(json!([event, payload.to_string()])).await
    }

    /// An answer that is JSON.
    async fn json(&mut self, event: &str, payload: Value) -> Value {
        let answer = self.ask(event, &payload).await;
        serde_json::from_str(answer.as_str().expect("it is a string")).unwrap()
    }

    async fn get(&mut self, url: &str) -> Value {
        self.json("get", json!({ "url": url })).await
    }

    /// All pushes so far.
    async fn heard(&mut self) -> Vec<Value> {
        let fence = self.0.emit(&json!(["get", r#"{"url":"/fence/1"}"#])).await;
        self.0.ack(fence).await;
        events(&self.0.early())
    }
}

#[tokio::test]
async fn the_frames_are_those_of_the_original() {
    let server = server().await;
    let mut socket = Socket::stock(&server).await;
    socket.send(r#"421["get","{\"url\":\"/user\"}"]"#).await;
    assert_eq!(socket.next_frame().await, r#"431["[]"]"#);
    socket.send(r#"422["put","{\"url\":\"/user\",\"data\":{\"name\":\"x\"}}"]"#).await;
    let no_id = socket.next_frame().await;
    assert!(
        no_id.starts_with(r#"432["{\"status\":400,\"validationErrors\":\"No id provided.\","#),
        "{no_id}"
    );
    socket.send(r#"423["get","{\"url\":\"/user/99\"}"]"#).await;
    let unknown = socket.next_frame().await;
    assert!(unknown.starts_with(r#"433["{\"status\":404,\"code\":\"E_NOT_FOUND\","#), "{unknown}");
    socket.send(r#"424["get","{notjson"]"#).await;
    assert_eq!(
        socket.next_frame().await,
        r#"434["Invalid socket request! The following JSON could not be parsed :: {notjson"]"#
    );
    socket.send(r#"425["get","{}"]"#).await;
    assert!(socket.next_frame().await.starts_with(r#"435["No url provided in request: "#));
    server.shutdown().await;
}

#[tokio::test]
async fn listeners_of_a_resource_hear_of_creates_and_of_all_that_follows() {
    let server = server().await;
    let (mut a, mut b) = (Old::connected(&server).await, Old::connected(&server).await);
    assert_eq!(a.get("/user").await, json!([]));
    let created = b.json("post", json!({ "url": "/user", "data": { "name": "a" } })).await;
    let push = json!({ "model": "user", "verb": "create", "data": created, "id": 1 });
    assert_eq!(a.0.event().await, json!(["message", push]));
    let updated = b.json("put", json!({ "url": "/user/1", "data": { "name": "b" } })).await;
    let push = json!({ "model": "user", "verb": "update", "data": updated, "id": 1 });
    assert_eq!(a.0.event().await, json!(["message", push]));
    assert_eq!(b.json("delete", json!({ "url": "/user/1" })).await, updated);
    assert_eq!(
        a.0.event().await,
        json!(["message", { "model": "user", "verb": "destroy", "id": 1 }])
    );
    // Who only writes hears nothing.
    assert!(b.heard().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn the_author_of_a_change_hears_of_it_too() {
    let server = server().await;
    let mut socket = Old::connected(&server).await;
    socket.get("/user").await;
    socket.json("post", json!({ "url": "/user", "data": {} })).await;
    socket.json("put", json!({ "url": "/user", "data": { "id": 1, "name": "b" } })).await;
    socket.json("delete", json!({ "url": "/user", "data": { "id": 1 } })).await;
    let heard = socket.heard().await;
    let verbs: Vec<_> = heard.iter().map(|push| &push[1]["verb"]).collect();
    assert_eq!(verbs, ["create", "update", "destroy"]);
    server.shutdown().await;
}

#[tokio::test]
async fn who_asked_for_one_record_hears_of_that_one_only() {
    let server = server().await;
    let (mut a, mut b) = (Old::connected(&server).await, Old::connected(&server).await);
    for _ in 0..2 {
        a.json("post", json!({ "url": "/user", "data": {} })).await;
    }
    b.get("/user/2").await;
    a.json("put", json!({ "url": "/user/1", "data": { "n": 1 } })).await;
    a.json("post", json!({ "url": "/user", "data": {} })).await;
    a.json("put", json!({ "url": "/user/2", "data": { "n": 2 } })).await;
    let heard = b.heard().await;
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0][1]["id"], 2);
    server.shutdown().await;
}

#[tokio::test]
async fn a_model_that_is_read_is_sent_along_and_may_be_where_its_id_is() {
    let server = server().await;
    let mut socket = Old::connected(&server).await;
    let created = socket.json("post", json!({ "url": "/User/", "data": { "name": "a" } })).await;
    let read = socket.json("get", json!({ "url": "/User/", "data": created })).await;
    assert_eq!(read, created);
    let read = socket.json("get", json!({ "url": "/user/1", "data": created })).await;
    assert_eq!(read, created);
    let other = socket.json("get", json!({ "url": "/user/2", "data": created })).await;
    assert_eq!(other["status"], 400);
    server.shutdown().await;
}

#[tokio::test]
async fn the_message_event_says_its_verb_in_the_payload() {
    let server = server().await;
    let mut socket = Old::connected(&server).await;
    let payload = json!({ "url": "/user", "verb": "post", "data": { "name": "a" } });
    assert_eq!(socket.json("message", payload).await["id"], 1);
    assert_eq!(socket.json("message", json!({ "url": "/user/1" })).await["name"], "a");
    let fly = socket.json("message", json!({ "url": "/user/1", "method": "fly" })).await;
    assert_eq!((&fly["status"], &fly["code"]), (&json!(405), &json!("E_UNKNOWN_VERB")));
    server.shutdown().await;
}

#[tokio::test]
async fn a_route_of_ones_own_answers_with_the_text_it_gave() {
    let server = start(builder().route("/hello", get(async || "hello"))).await;
    let mut socket = Old::connected(&server).await;
    assert_eq!(socket.ask("get", &json!({ "url": "/hello" })).await, "hello");
    server.shutdown().await;
}

#[tokio::test]
async fn the_first_request_decides_and_nobody_is_told_in_two_ways() {
    let server = server().await;
    let (mut old, mut new) = (Old::connected(&server).await, Socket::stock(&server).await);
    let mut ours = Socket::runtime(&server).await;
    // An event that shows nothing decides nothing.
    assert_eq!(refusal(&old.0.ask(json!(["chat", "hi"])).await), json!([405, "E_UNKNOWN_VERB"]));
    old.get("/user").await;
    new.get("/user").await;
    ours.get("/user").await;
    // The original understood objects, too, and answered in its own way.
    let created = old.0.post("/user", json!({ "name": "a" })).await;
    assert!(created.as_str().is_some_and(|text| text.starts_with(r#"{"name":"a""#)), "{created}");
    // The other two dialects never understood strings.
    let string = json!(["get", r#"{"url":"/user"}"#]);
    assert_eq!(refusal(&new.ask(string.clone()).await), json!([400, "E_BAD_URL"]));
    assert_eq!(refusal(&ours.ask(string).await), json!([400, "E_BAD_URL"]));
    assert_eq!(old.heard().await.len(), 1);
    let heard = new.heard().await;
    assert!(
        heard.len() == 1 && heard[0].starts_with(r#"42["user",{"verb":"created""#),
        "{heard:?}"
    );
    let heard = ours.heard().await;
    assert!(heard.len() == 1 && heard[0].starts_with(r#"42["push","user","#), "{heard:?}");
    server.shutdown().await;
}
