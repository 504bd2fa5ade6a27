//! The Sails 0.9 dialect: requests and answers are JSON in strings.

use axum::routing::get;
use backwire::settings::Store;
use backwire::{Context, Error, Server};
use serde_json::{Value, json};

use crate::client::{Socket, builder, events, refusal, server, start};

/// A client of Sails 0.9.
struct Old(Socket);

impl Old {
    async fn connected(server: &Server) -> Self {
        Self(Socket::stock(server).await)
    }

    /// Sends an event, and returns the argument of its ack.
    async fn ask(&mut self, event: &str, payload: &Value) -> Value {
        self.0.ask(json!([event, payload.to_string()])).await
    }

    /// Sends an event, and returns its answer as parsed JSON.
    async fn json(&mut self, event: &str, payload: Value) -> Value {
        let answer = self.ask(event, &payload).await;
        serde_json::from_str(answer.as_str().expect("it is a string")).unwrap()
    }

    async fn get(&mut self, url: &str) -> Value {
        self.json("get", json!({ "url": url })).await
    }

    /// Returns all pushes so far.
    async fn pushes(&mut self) -> Vec<Value> {
        let fence = self.0.emit(&json!(["get", r#"{"url":"/fence/1"}"#])).await;
        self.0.ack(fence).await;
        events(&self.0.buffered_frames())
    }
}

#[tokio::test]
async fn frames_equal_those_of_sails_0_9() {
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
async fn subscribers_of_a_resource_receive_creates_and_later_changes() {
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
    // A client that only writes receives no pushes.
    assert!(b.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn author_of_a_change_receives_it_too() {
    let server = server().await;
    let mut socket = Old::connected(&server).await;
    socket.get("/user").await;
    socket.json("post", json!({ "url": "/user", "data": {} })).await;
    socket.json("put", json!({ "url": "/user", "data": { "id": 1, "name": "b" } })).await;
    socket.json("delete", json!({ "url": "/user", "data": { "id": 1 } })).await;
    let pushes = socket.pushes().await;
    let verbs: Vec<_> = pushes.iter().map(|push| &push[1]["verb"]).collect();
    assert_eq!(verbs, ["create", "update", "destroy"]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_a_request_arrive_before_its_answer() {
    let publish = async |cx: Context| {
        cx.pubsub("user")?.publish_update(1, json!({ "x": 1 }), None).await?;
        Ok::<_, Error>("published")
    };
    let home = tempfile::tempdir().unwrap();
    for store in [Store::Memory, Store::Sqlite(home.path().join("records"))] {
        let server = Server::builder().port(0).store(store).route("/announce", get(publish));
        let server = start(server).await;
        let (mut a, mut b) = (Old::connected(&server).await, Old::connected(&server).await);
        for socket in [&mut a, &mut b] {
            socket.get("/user").await;
        }
        for round in 0..30 {
            // Others write as well, so that the fan-out has more to send.
            let other = b.0.emit(&json!(["post", r#"{"url":"/user","data":{"of":"b"}}"#])).await;
            for (event, payload) in [
                ("post", json!({ "url": "/user", "data": { "of": "a", "round": round } })),
                ("put", json!({ "url": "/user/1", "data": { "put": round } })),
                ("get", json!({ "url": "/announce" })),
            ] {
                a.ask(event, &payload).await;
                let early = events(&a.0.buffered_frames());
                let data = payload.get("data").cloned().unwrap_or(json!({ "x": 1 }));
                let is_own = |push: &Value| {
                    data.as_object().unwrap().iter().all(|(name, it)| push[1]["data"][name] == *it)
                };
                assert_eq!(
                    early.iter().filter(|push| is_own(push)).count(),
                    1,
                    "{payload} {early:?}"
                );
            }
            b.0.ack(other).await;
            let own = events(&b.0.buffered_frames());
            assert!(own.iter().any(|push| push[1]["data"]["of"] == "b"), "{own:?}");
        }
        server.shutdown().await;
    }
}

#[tokio::test]
async fn reader_of_one_record_receives_only_its_changes() {
    let server = server().await;
    let (mut a, mut b) = (Old::connected(&server).await, Old::connected(&server).await);
    for _ in 0..2 {
        a.json("post", json!({ "url": "/user", "data": {} })).await;
    }
    b.get("/user/2").await;
    a.json("put", json!({ "url": "/user/1", "data": { "n": 1 } })).await;
    a.json("post", json!({ "url": "/user", "data": {} })).await;
    a.json("put", json!({ "url": "/user/2", "data": { "n": 2 } })).await;
    let pushes = b.pushes().await;
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0][1]["id"], 2);
    server.shutdown().await;
}

#[tokio::test]
async fn read_takes_the_id_from_the_sent_model() {
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
async fn message_event_has_its_verb_in_the_payload() {
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
async fn custom_route_is_answered_with_its_text() {
    let server = start(builder().route("/hello", get(async || "hello"))).await;
    let mut socket = Old::connected(&server).await;
    assert_eq!(socket.ask("get", &json!({ "url": "/hello" })).await, "hello");
    server.shutdown().await;
}

#[tokio::test]
async fn first_request_decides_the_dialect_of_a_connection() {
    let server = server().await;
    let (mut old, mut new) = (Old::connected(&server).await, Socket::stock(&server).await);
    let mut ours = Socket::runtime(&server).await;
    // An event that does not identify a dialect decides nothing.
    assert_eq!(refusal(&old.0.ask(json!(["chat", "hi"])).await), json!([405, "E_UNKNOWN_VERB"]));
    old.get("/user").await;
    new.get("/user").await;
    ours.get("/user").await;
    // Sails 0.9 also accepted objects, and answered with a string.
    let created = old.0.post("/user", json!({ "name": "a" })).await;
    assert!(created.as_str().is_some_and(|text| text.starts_with(r#"{"name":"a""#)), "{created}");
    // The other two dialects do not accept strings.
    let string = json!(["get", r#"{"url":"/user"}"#]);
    assert_eq!(refusal(&new.ask(string.clone()).await), json!([400, "E_BAD_URL"]));
    assert_eq!(refusal(&ours.ask(string).await), json!([400, "E_BAD_URL"]));
    assert_eq!(old.pushes().await.len(), 1);
    let pushes = new.pushes().await;
    assert!(
        pushes.len() == 1 && pushes[0].starts_with(r#"42["user",{"verb":"created""#),
        "{pushes:?}"
    );
    let pushes = ours.pushes().await;
    assert!(pushes.len() == 1 && pushes[0].starts_with(r#"42["push","user","#), "{pushes:?}");
    server.shutdown().await;
}
