//! Publish and subscribe by hand, in handlers and outside of them.

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

/// What a test wants done with its own socket.
#[derive(Deserialize)]
struct Deed {
    deed: String,
    #[serde(default)]
    ids: Vec<Value>,
}

async fn act(cx: Context, Json(Deed { deed, ids }): Json<Deed>) -> Result<(), Error> {
    let users = cx.pubsub("user")?;
    match deed.as_str() {
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
        other => panic!("{other} is no deed"),
    }
    Ok(())
}

async fn server() -> Server {
    start(builder().route("/act", post(act))).await
}

async fn act_as(socket: &mut Socket, deed: &str, ids: Value) -> Value {
    socket.post("/act", json!({ "deed": deed, "ids": ids })).await["statusCode"].clone()
}

async fn act_as_09(socket: &mut Socket, deed: &str, ids: Value) {
    let payload = json!({ "url": "/act", "data": { "deed": deed, "ids": ids } });
    socket.ask(json!(["post", payload.to_string()])).await;
}

/// What has been pushed, as event and data; what is still on its way comes before the answer.
async fn heard(socket: &mut Socket) -> Vec<Value> {
    events(&socket.heard().await)
}

async fn heard_09(socket: &mut Socket) -> Vec<Value> {
    socket.ask(json!(["get", r#"{"url":"/fence/1"}"#])).await;
    events(&socket.early())
}

#[tokio::test]
async fn what_is_published_reaches_every_dialect_in_its_own_words() {
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
        let (mut new, mut said) = (json!({ "verb": verb, "id": 3 }), json!({ "model": "user" }));
        said["verb"] = json!(old_verb);
        said["id"] = json!(3);
        if let Some(data) = data {
            new["data"] = data.clone();
            said["data"] = data.clone();
        }
        assert_eq!(sails.event().await, json!(["user", new]));
        assert_eq!(old.event().await, json!(["message", said]));
    }
    assert_eq!(node.event().await, json!(["user:create", randy]));
    assert_eq!(node.event().await, json!(["user/3:update", amanda]));
    assert_eq!(node.event().await, json!(["user/3:delete", { "id": 3 }]));
    server.shutdown().await;
}

#[tokio::test]
async fn who_was_away_is_told_what_was_published_meanwhile() {
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
async fn a_socket_subscribes_to_a_resource_or_to_records_of_ids_of_any_type() {
    let server = server().await;
    let mut socket = Socket::stock(&server).await;
    let users = server.publisher().pubsub("user").unwrap();
    let (randy, none) = (json!({ "id": 3 }), Vec::<Value>::new());
    // An empty list subscribes to nothing.
    act_as(&mut socket, "subscribe to", json!([])).await;
    users.publish_create(randy.clone(), None).await.unwrap();
    users.publish_update(3, json!({}), None).await.unwrap();
    assert_eq!(heard(&mut socket).await, none);
    // Numbers, strings that read as one, other strings, and records.
    act_as(&mut socket, "subscribe to", json!([7, "8", "eggs", { "id": 3, "name": "Randy" }]))
        .await;
    for id in ["7", "8", "eggs", "3", "9"] {
        users.publish_update(id, json!({}), None).await.unwrap();
    }
    users.publish_create(json!({ "id": 10 }), None).await.unwrap();
    let ids =
        |heard: Vec<Value>| heard.iter().map(|push| push[1]["id"].clone()).collect::<Vec<_>>();
    assert_eq!(json!(ids(heard(&mut socket).await)), json!([7, 8, "eggs", 3]));
    act_as(&mut socket, "unsubscribe from", json!(["7", "eggs"])).await;
    for id in ["7", "8", "eggs", "3"] {
        users.publish_update(id, json!({}), None).await.unwrap();
    }
    assert_eq!(json!(ids(heard(&mut socket).await)), json!([8, 3]));
    // The resource: new records, and what becomes of them.
    act_as(&mut socket, "subscribe", json!([])).await;
    users.publish_create(json!({ "id": 11 }), None).await.unwrap();
    users.publish_update(11, json!({}), None).await.unwrap();
    users.publish_update(12, json!({}), None).await.unwrap();
    assert_eq!(json!(ids(heard(&mut socket).await)), json!([11, 11]));
    act_as(&mut socket, "unsubscribe", json!([])).await;
    users.publish_create(json!({ "id": 13 }), None).await.unwrap();
    assert_eq!(heard(&mut socket).await, none);
    // What can be no id is refused.
    assert_eq!(act_as(&mut socket, "subscribe to", json!([7, true])).await, 400);
    assert_eq!(act_as(&mut socket, "subscribe to", json!([""])).await, 400);
    server.shutdown().await;
}

#[tokio::test]
async fn our_runtime_subscribes_by_hand_as_well() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let users = server.publisher().pubsub("user").unwrap();
    act_as(&mut socket, "subscribe to", json!([3])).await;
    users.publish_update(3, json!({ "n": 1 }), None).await.unwrap();
    users.publish_update(4, json!({ "n": 2 }), None).await.unwrap();
    let push = socket.event().await;
    assert_eq!((&push[1], &push[4]), (&json!("user/3"), &json!([[1, 2, 3, { "n": 1 }, 0]])));
    act_as(&mut socket, "unsubscribe from", json!([3])).await;
    users.publish_update(3, json!({ "n": 3 }), None).await.unwrap();
    assert_eq!(heard(&mut socket).await, Vec::<Value>::new());
    server.shutdown().await;
}

#[tokio::test]
async fn a_socket_that_is_omitted_is_not_told() {
    let server = server().await;
    let (mut me, mut other) = (Socket::stock(&server).await, Socket::stock(&server).await);
    let mut old = Socket::stock(&server).await;
    me.get("/user").await;
    other.get("/user").await;
    act_as_09(&mut old, "subscribe", json!([])).await;
    for deed in ["create without me", "update without me", "destroy without me"] {
        act_as(&mut me, deed, json!([])).await;
    }
    let verbs: Vec<_> =
        heard(&mut other).await.iter().map(|push| push[1]["verb"].clone()).collect();
    assert_eq!(verbs, ["created", "updated", "destroyed"]);
    assert!(heard(&mut me).await.is_empty());
    // Sails 0.9 tells an author of changes, but nobody who is to be passed over.
    heard_09(&mut old).await;
    act_as_09(&mut old, "create without me", json!([])).await;
    assert!(heard_09(&mut old).await.is_empty());
    // Nor was it led into the room of the new record.
    server.publisher().pubsub("user").unwrap().publish_update(3, json!({}), None).await.unwrap();
    assert!(heard_09(&mut old).await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn who_listens_to_a_resource_is_introduced_to_records() {
    let server = server().await;
    let (mut me, mut other) = (Socket::stock(&server).await, Socket::stock(&server).await);
    me.get("/user").await;
    other.get("/user").await;
    let users = server.publisher().pubsub("user").unwrap();
    act_as(&mut me, "introduce without me", json!([])).await;
    users.publish_update(3, json!({}), None).await.unwrap();
    assert_eq!((heard(&mut me).await.len(), heard(&mut other).await.len()), (0, 1));
    users.introduce(3, None).await.unwrap();
    users.publish_update(3, json!({}), None).await.unwrap();
    assert_eq!((heard(&mut me).await.len(), heard(&mut other).await.len()), (1, 1));
    server.shutdown().await;
}

#[tokio::test]
async fn anything_may_be_said_to_those_who_follow_records() {
    let server = server().await;
    let (mut sails, mut old) = (Socket::stock(&server).await, Socket::stock(&server).await);
    let mut node = Socket::stock(&server).await;
    act_as(&mut sails, "subscribe to", json!([7])).await;
    act_as_09(&mut old, "subscribe to", json!([7])).await;
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
    // To nobody, or to all but the one who says it.
    users.publish_to(Vec::<i64>::new(), &place, None).unwrap();
    old.early();
    assert_eq!(heard(&mut sails).await.len(), 1);
    act_as(&mut sails, "publish without me", json!([7])).await;
    assert!(heard(&mut sails).await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_room_knows_its_subscribers_and_is_empty_after_a_destroy() {
    let server = server().await;
    let (mut sails, mut ours) = (Socket::stock(&server).await, Socket::runtime(&server).await);
    sails.get("/user").await;
    act_as(&mut ours, "subscribe to", json!([3])).await;
    let users = server.publisher().pubsub("user").unwrap();
    assert_eq!(users.room(3).unwrap().to_string(), "user/3");
    assert_eq!(users.class_room().to_string(), "user");
    users.publish_create(json!({ "id": 3 }), None).await.unwrap();
    heard(&mut sails).await;
    let [class, instance] = [users.class_subscribers(), users.subscribers(3).unwrap()];
    assert_eq!((class.len(), instance.len()), (1, 2));
    assert!(instance.iter().all(Client::is_connected));
    assert!(instance.iter().any(|client| client.id() == class[0].id()));
    // Those who are no Sails client stay: they are told of a record that is there again.
    users.publish_destroy(3, None).await.unwrap();
    heard(&mut sails).await;
    assert_eq!((users.class_subscribers().len(), users.subscribers(3).unwrap().len()), (1, 1));
    server.shutdown().await;
}

#[tokio::test]
async fn everyone_is_led_out_of_the_room_of_what_was_destroyed_and_id_0_has_one_of_its_own() {
    let server = server().await;
    let (mut class, mut record) = (Socket::stock(&server).await, Socket::stock(&server).await);
    class.get("/user").await;
    act_as(&mut record, "subscribe to", json!([0])).await;
    let users = server.publisher().pubsub("user").unwrap();
    users.publish_create(json!({ "id": 0 }), None).await.unwrap();
    assert_eq!(heard(&mut record).await, Vec::<Value>::new());
    heard(&mut class).await;
    assert_eq!(users.subscribers(0).unwrap().len(), 2);
    users.publish_destroy(0, None).await.unwrap();
    assert_eq!((heard(&mut class).await.len(), heard(&mut record).await.len()), (1, 1));
    assert!(users.subscribers(0).unwrap().is_empty());
    server.shutdown().await;
}

/// Where users are kept, if not here.
type Elsewhere = Arc<Mutex<Vec<Attributes>>>;

fn user(id: u64, name: &str) -> Attributes {
    json!({ "id": id, "name": name }).as_object().unwrap().clone()
}

/// Resources whose records are kept elsewhere, and a route to change them there.
fn elsewhere(kept: &Elsewhere) -> Builder {
    let all = {
        let kept = kept.clone();
        async move |cx: Context| cx.find("user", || ready(Ok(kept.lock().unwrap().clone()))).await
    };
    let one = {
        let kept = kept.clone();
        async move |cx: Context, Path(id): Path<u64>| {
            let found = kept.lock().unwrap().iter().find(|user| user["id"] == id).cloned();
            cx.find_one("user", id, ready(Ok(found))).await
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
    builder().instead("/user", get(all)).instead("/user/{id}", get(one).put(rename))
}

#[tokio::test]
async fn records_that_are_kept_elsewhere_are_live_as_well() {
    let kept = Elsewhere::new(vec![user(1, "Ann"), user(2, "Bob")].into());
    let server = start(elsewhere(&kept)).await;
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
async fn what_can_not_be_published_is_refused() {
    let server = server().await;
    let publisher = server.publisher();
    assert!(matches!(publisher.pubsub("no such!"), Err(Error::NoResource(_))));
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
async fn a_publisher_that_outlives_its_server_says_so() {
    let server = server().await;
    let publisher: Publisher = server.publisher();
    let mut socket = Socket::small(&server, RUNTIME).await;
    socket.get("/user").await;
    server.shutdown().await;
    let users = publisher.pubsub("user").unwrap();
    assert!(users.publish_destroy(3, None).await.is_err());
    assert!(users.class_subscribers().is_empty());
    publisher.broadcast("anywhere", &1, None).unwrap();
}
