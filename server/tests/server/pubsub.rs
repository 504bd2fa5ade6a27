//! Publishing and subscribing by code, in handlers and outside of them.

use std::future::ready;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::Path;
use axum::routing::{get, post};
use backwire::change::Attributes;
use backwire::server::Builder;
use backwire::{Client, Context, Error, Publisher, Server};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{RUNTIME, Socket, builder, events, position, refusal, start};

/// A command of a test to its own socket.
#[derive(Deserialize)]
struct Command {
    command: String,
    #[serde(default)]
    ids: Vec<Value>,
}

async fn execute(cx: Context, Json(Command { command, ids }): Json<Command>) -> Result<(), Error> {
    let users = cx.pubsub("user")?;
    match command.as_str() {
        "subscribe" => users.subscribe(cx.client()),
        "subscribe to" => users.subscribe_to(cx.client(), ids)?,
        "unsubscribe" => users.unsubscribe(cx.client()),
        "unsubscribe from" => users.unsubscribe_from(cx.client(), ids)?,
        "create without me" => {
            users.publish_create(json!({ "id": 3 }), cx.client()).await?;
        }
        "update without me" => {
            users.publish_update(3, json!({ "name": "Amanda" }), cx.client()).await?;
        }
        "destroy without me" => drop(users.publish_destroy(3, cx.client()).await?),
        "introduce without me" => users.introduce(3, cx.client()).await?,
        "publish without me" => users.publish_to(ids, &json!({ "n": 1 }), cx.client())?,
        other => panic!("unknown command {other}"),
    }
    Ok(())
}

async fn server() -> Server {
    start(builder().route("/execute", post(execute))).await
}

async fn send_command(socket: &mut Socket, command: &str, ids: Value) -> Value {
    socket.post("/execute", json!({ "command": command, "ids": ids })).await["statusCode"].clone()
}

async fn send_command_09(socket: &mut Socket, command: &str, ids: Value) {
    let payload = json!({ "url": "/execute", "data": { "command": command, "ids": ids } });
    socket.ask(json!(["post", payload.to_string()])).await;
}

/// Returns the pushed events and their data. Pushes in flight arrive before the answer to this
/// request.
async fn pushes(socket: &mut Socket) -> Vec<Value> {
    events(&socket.pushes().await)
}

async fn pushes_09(socket: &mut Socket) -> Vec<Value> {
    socket.ask(json!(["get", r#"{"url":"/fence/1"}"#])).await;
    events(&socket.buffered_frames())
}

#[tokio::test]
async fn publication_reaches_every_dialect_in_its_own_format() {
    let server = server().await;
    let (mut ours, mut sails) = (Socket::runtime(&server).await, Socket::stock(&server).await);
    let (mut old, mut node) = (Socket::stock(&server).await, Socket::stock(&server).await);
    ours.get("/user").await;
    sails.get("/user").await;
    old.ask(json!(["get", r#"{"url":"/user"}"#])).await;
    node.send(r#"421["user:read"]"#).await;
    node.next_frame().await;
    let users = server.publisher().pubsub("user").unwrap();
    let randy = json!({ "id": 3, "name": "Randy" });
    let amanda = json!({ "name": "Amanda" });
    users.publish_create(randy.clone(), None).await.unwrap();
    users.publish_update(3, amanda.clone(), None).await.unwrap();
    users.publish_destroy("3", None).await.unwrap();
    assert_eq!(
        ours.changes("user", 3).await,
        json!([[1, 1, 3, randy, 0], [2, 2, 3, amanda, 0], [3, 3, 3, null, 0]])
    );
    for (verb, old_verb, data) in [
        ("created", "create", Some(&randy)),
        ("updated", "update", Some(&amanda)),
        ("destroyed", "destroy", None),
    ] {
        let (mut new, mut message) = (json!({ "verb": verb, "id": 3 }), json!({ "model": "user" }));
        message["verb"] = json!(old_verb);
        message["id"] = json!(3);
        if let Some(data) = data {
            new["data"] = data.clone();
            message["data"] = data.clone();
        }
        assert_eq!(sails.event().await, json!(["user", new]));
        assert_eq!(old.event().await, json!(["message", message]));
    }
    assert_eq!(node.event().await, json!(["user:create", randy]));
    assert_eq!(node.event().await, json!(["user/3:update", amanda]));
    assert_eq!(node.event().await, json!(["user/3:delete", { "id": 3 }]));
    server.shutdown().await;
}

#[tokio::test]
async fn resume_returns_missed_publications() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let users = server.publisher().pubsub("user").unwrap();
    let first = users.publish_create(json!({ "id": 3 }), None).await.unwrap();
    users.publish_update(3, json!({ "name": "Amanda" }), None).await.unwrap();
    let epoch = first.position.epoch;
    let missed = socket.ask(json!(["resume", [["user/3", epoch, 1]]])).await;
    assert_eq!(missed, json!([["user/3", epoch, 2, [[2, 2, 3, { "name": "Amanda" }, 0]]]]));
    server.shutdown().await;
}

#[tokio::test]
async fn socket_subscribes_to_a_resource_or_to_records_with_ids_of_any_type() {
    let server = server().await;
    let mut socket = Socket::stock(&server).await;
    let users = server.publisher().pubsub("user").unwrap();
    let (randy, none) = (json!({ "id": 3 }), Vec::<Value>::new());
    // An empty list subscribes to nothing.
    send_command(&mut socket, "subscribe to", json!([])).await;
    users.publish_create(randy.clone(), None).await.unwrap();
    users.publish_update(3, json!({}), None).await.unwrap();
    assert_eq!(pushes(&mut socket).await, none);
    // Numbers, numeric strings, other strings, and records.
    send_command(
        &mut socket,
        "subscribe to",
        json!([7, "8", "eggs", { "id": 3, "name": "Randy" }]),
    )
    .await;
    for id in ["7", "8", "eggs", "3", "9"] {
        users.publish_update(id, json!({}), None).await.unwrap();
    }
    users.publish_create(json!({ "id": 10 }), None).await.unwrap();
    let ids =
        |pushes: Vec<Value>| pushes.iter().map(|push| push[1]["id"].clone()).collect::<Vec<_>>();
    assert_eq!(json!(ids(pushes(&mut socket).await)), json!([7, 8, "eggs", 3]));
    send_command(&mut socket, "unsubscribe from", json!(["7", "eggs"])).await;
    for id in ["7", "8", "eggs", "3"] {
        users.publish_update(id, json!({}), None).await.unwrap();
    }
    assert_eq!(json!(ids(pushes(&mut socket).await)), json!([8, 3]));
    // A subscription to the resource receives new records and their changes.
    send_command(&mut socket, "subscribe", json!([])).await;
    users.publish_create(json!({ "id": 11 }), None).await.unwrap();
    users.publish_update(11, json!({}), None).await.unwrap();
    users.publish_update(12, json!({}), None).await.unwrap();
    assert_eq!(json!(ids(pushes(&mut socket).await)), json!([11, 11]));
    send_command(&mut socket, "unsubscribe", json!([])).await;
    users.publish_create(json!({ "id": 13 }), None).await.unwrap();
    assert_eq!(pushes(&mut socket).await, none);
    // Invalid ids are refused.
    assert_eq!(send_command(&mut socket, "subscribe to", json!([7, true])).await, 400);
    assert_eq!(send_command(&mut socket, "subscribe to", json!([""])).await, 400);
    server.shutdown().await;
}

#[tokio::test]
async fn runtime_can_be_subscribed_by_a_handler() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let users = server.publisher().pubsub("user").unwrap();
    send_command(&mut socket, "subscribe to", json!([3])).await;
    users.publish_update(3, json!({ "n": 1 }), None).await.unwrap();
    users.publish_update(4, json!({ "n": 2 }), None).await.unwrap();
    let push = socket.event().await;
    assert_eq!((&push[1], &push[4]), (&json!("user/3"), &json!([[1, 2, 3, { "n": 1 }, 0]])));
    send_command(&mut socket, "unsubscribe from", json!([3])).await;
    users.publish_update(3, json!({ "n": 3 }), None).await.unwrap();
    assert_eq!(pushes(&mut socket).await, Vec::<Value>::new());
    server.shutdown().await;
}

#[tokio::test]
async fn omitted_socket_receives_no_publication() {
    let server = server().await;
    let (mut me, mut other) = (Socket::stock(&server).await, Socket::stock(&server).await);
    let mut old = Socket::stock(&server).await;
    me.get("/user").await;
    other.get("/user").await;
    send_command_09(&mut old, "subscribe", json!([])).await;
    for command in ["create without me", "update without me", "destroy without me"] {
        send_command(&mut me, command, json!([])).await;
    }
    let verbs: Vec<_> =
        pushes(&mut other).await.iter().map(|push| push[1]["verb"].clone()).collect();
    assert_eq!(verbs, ["created", "updated", "destroyed"]);
    assert!(pushes(&mut me).await.is_empty());
    // Sails 0.9 sends changes to their author, but not to an omitted socket.
    pushes_09(&mut old).await;
    send_command_09(&mut old, "create without me", json!([])).await;
    assert!(pushes_09(&mut old).await.is_empty());
    // The server did not add it to the room of the new record either.
    server.publisher().pubsub("user").unwrap().publish_update(3, json!({}), None).await.unwrap();
    assert!(pushes_09(&mut old).await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn subscribers_of_a_resource_are_introduced_to_records() {
    let server = server().await;
    let (mut me, mut other) = (Socket::stock(&server).await, Socket::stock(&server).await);
    me.get("/user").await;
    other.get("/user").await;
    let users = server.publisher().pubsub("user").unwrap();
    send_command(&mut me, "introduce without me", json!([])).await;
    users.publish_update(3, json!({}), None).await.unwrap();
    assert_eq!((pushes(&mut me).await.len(), pushes(&mut other).await.len()), (0, 1));
    users.introduce(3, None).await.unwrap();
    users.publish_update(3, json!({}), None).await.unwrap();
    assert_eq!((pushes(&mut me).await.len(), pushes(&mut other).await.len()), (1, 1));
    server.shutdown().await;
}

#[tokio::test]
async fn any_data_may_be_published_to_subscribers_of_records() {
    let server = server().await;
    let (mut sails, mut old) = (Socket::stock(&server).await, Socket::stock(&server).await);
    let mut node = Socket::stock(&server).await;
    send_command(&mut sails, "subscribe to", json!([7])).await;
    send_command_09(&mut old, "subscribe to", json!([7])).await;
    node.send(r#"421["user:read"]"#).await;
    node.next_frame().await;
    let users = server.publisher().pubsub("user").unwrap();
    let place = json!({ "latitude": 31.2325 });
    users.publish_to([2, 7], &place, None).unwrap();
    assert_eq!(sails.event().await, json!(["user", place]));
    assert_eq!(old.event().await, json!(["message", place]));
    users.publish(&place, None).unwrap();
    assert_eq!(node.event().await, json!(["user:message", place]));
    users.introduce(7, None).await.unwrap();
    users.publish_to([7], &place, None).unwrap();
    assert_eq!(node.event().await, json!(["user/7:message", place]));
    // To no record, and to all subscribers except the sender.
    users.publish_to(Vec::<i64>::new(), &place, None).unwrap();
    old.buffered_frames();
    assert_eq!(pushes(&mut sails).await.len(), 1);
    send_command(&mut sails, "publish without me", json!([7])).await;
    assert!(pushes(&mut sails).await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn room_lists_its_subscribers_and_sails_clients_leave_it_after_a_destroy() {
    let server = server().await;
    let (mut sails, mut ours) = (Socket::stock(&server).await, Socket::runtime(&server).await);
    sails.get("/user").await;
    send_command(&mut ours, "subscribe to", json!([3])).await;
    let users = server.publisher().pubsub("user").unwrap();
    assert_eq!(users.room(3).unwrap().to_string(), "user/3");
    assert_eq!(users.class_room().to_string(), "user");
    users.publish_create(json!({ "id": 3 }), None).await.unwrap();
    pushes(&mut sails).await;
    let [class, instance] = [users.class_subscribers(), users.subscribers(3).unwrap()];
    assert_eq!((class.len(), instance.len()), (1, 2));
    assert!(instance.iter().all(Client::is_connected));
    assert!(instance.iter().any(|client| client.id() == class[0].id()));
    // Clients that are not Sails clients stay in the room: they receive a recreated record.
    users.publish_destroy(3, None).await.unwrap();
    pushes(&mut sails).await;
    assert_eq!((users.class_subscribers().len(), users.subscribers(3).unwrap().len()), (1, 1));
    drop((users, class, instance));
    server.shutdown().await;
}

#[tokio::test]
async fn destroy_of_record_0_empties_its_room() {
    let server = server().await;
    let (mut class, mut record) = (Socket::stock(&server).await, Socket::stock(&server).await);
    class.get("/user").await;
    send_command(&mut record, "subscribe to", json!([0])).await;
    let users = server.publisher().pubsub("user").unwrap();
    users.publish_create(json!({ "id": 0 }), None).await.unwrap();
    assert_eq!(pushes(&mut record).await, Vec::<Value>::new());
    pushes(&mut class).await;
    assert_eq!(users.subscribers(0).unwrap().len(), 2);
    users.publish_destroy(0, None).await.unwrap();
    assert_eq!((pushes(&mut class).await.len(), pushes(&mut record).await.len()), (1, 1));
    assert!(users.subscribers(0).unwrap().is_empty());
    server.shutdown().await;
}

/// An external store of users.
type ExternalStore = Arc<Mutex<Vec<Attributes>>>;

fn user(id: u64, name: &str) -> Attributes {
    json!({ "id": id, "name": name }).as_object().unwrap().clone()
}

/// Returns resources whose records are in an external store, and a route that changes them.
fn external_store(kept: &ExternalStore) -> Builder {
    let all = {
        let kept = kept.clone();
        async move |cx: Context| {
            cx.find_external("user", || ready(Ok(kept.lock().unwrap().clone()))).await
        }
    };
    let one = {
        let kept = kept.clone();
        async move |cx: Context, Path(id): Path<u64>| {
            let found = kept.lock().unwrap().iter().find(|user| user["id"] == id).cloned();
            cx.find_one_external("user", id, ready(Ok(found))).await
        }
    };
    let rename = {
        let kept = kept.clone();
        async move |publisher: Publisher, Path(id): Path<u64>, Json(set): Json<Attributes>| {
            kept.lock().unwrap().iter_mut().filter(|user| user["id"] == id).for_each(|user| {
                user.extend(set.clone());
            });
            let published = publisher.pubsub("user")?.publish_update(id, set, None).await?;
            Ok::<_, Error>(published.position.to_string())
        }
    };
    builder().override_route("/user", get(all)).override_route("/user/{id}", get(one).put(rename))
}

#[tokio::test]
async fn records_of_an_external_store_are_live() {
    let kept = ExternalStore::new(vec![user(1, "Ann"), user(2, "Bob")].into());
    let server = start(external_store(&kept)).await;
    let (mut ours, mut sails) = (Socket::runtime(&server).await, Socket::stock(&server).await);
    let mut one = Socket::runtime(&server).await;
    let read = ours.get("/user").await;
    assert_eq!(read["body"], json!([{ "id": 1, "name": "Ann" }, { "id": 2, "name": "Bob" }]));
    assert_eq!((&read["headers"]["backwire-room"], position(&read).1), (&json!("user"), 0));
    assert_eq!(sails.get("/user").await["body"], read["body"]);
    let read = one.get("/user/2").await;
    assert_eq!(
        (&read["headers"]["backwire-room"], &read["body"]["name"]),
        (&json!("user/2"), &json!("Bob"))
    );
    assert_eq!(refusal(&one.get("/user/3").await), json!([404, "E_NOT_FOUND"]));
    sails.put("/user/2", json!({ "name": "Rob" })).await;
    let change = json!([[1, 2, 2, { "name": "Rob" }, 0]]);
    assert_eq!(ours.changes("user", 1).await, change);
    assert_eq!(one.changes("user/2", 1).await, change);
    let news = json!({ "verb": "updated", "id": 2, "data": { "name": "Rob" } });
    assert_eq!(sails.event().await, json!(["user", news]));
    let read = one.get("/user/2").await;
    assert_eq!((position(&read).1, &read["body"]["name"]), (1, &json!("Rob")));
    server.shutdown().await;
}

#[tokio::test]
async fn invalid_publication_is_an_error() {
    let server = server().await;
    let publisher = server.publisher();
    assert!(matches!(publisher.pubsub("no such!"), Err(Error::InvalidResourceName(_))));
    let users = publisher.pubsub("User").unwrap();
    assert_eq!(users.resource().as_str(), "user");
    for values in [json!({}), json!({ "id": null }), json!([1]), json!({ "id": [] })] {
        assert!(users.publish_create(values, None).await.is_err());
    }
    assert!(users.publish_update(7, json!("name"), None).await.is_err());
    assert!(users.publish_destroy(&Attributes::new(), None).await.is_err());
    server.shutdown().await;
}

#[tokio::test]
async fn publisher_returns_an_error_after_the_server_has_stopped() {
    let server = server().await;
    let publisher: Publisher = server.publisher();
    let mut socket = Socket::with_small_buffer(&server, RUNTIME).await;
    socket.get("/user").await;
    server.shutdown().await;
    let users = publisher.pubsub("user").unwrap();
    assert!(users.publish_destroy(3, None).await.is_err());
    assert!(users.class_subscribers().is_empty());
    publisher.broadcast("anywhere", "message", &1, None).unwrap();
}
