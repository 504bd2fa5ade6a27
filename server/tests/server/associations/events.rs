//! Pushes of association changes.

use serde_json::{Value, json};

use super::{body, filled, owned, pushes, timeless, tom};
use crate::client::{Socket, refusal};

#[tokio::test]
async fn subscriber_of_a_record_receives_membership_changes_of_its_collections() {
    let server = filled(owned()).await;
    let mut s1 = Socket::stock(&server).await;
    s1.get("/user").await;
    s1.get("/pet").await;
    let membership = |user: i64, verb: &str, pet: i64| {
        let id = if verb == "addedTo" { "addedId" } else { "removedId" };
        json!(["user", { "id": user, "verb": verb, "attribute": "pets", id: pet }])
    };
    let updated = |from: Value, to: Value| {
        let previous = json!({ "name": "Rex", "owner": from, "id": 1 });
        json!(["pet", { "verb": "updated", "id": 1, "data": { "owner": to, "id": 1 },
                        "previous": previous }])
    };
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    let moved =
        [membership(2, "addedTo", 1), updated(json!(1), json!(2)), membership(1, "removedFrom", 1)];
    assert_eq!(pushes(&mut s1).await, moved);
    body(&server, "DELETE", "/user/2/pets/1", Value::Null).await;
    let left = [membership(2, "removedFrom", 1), updated(json!(2), Value::Null)];
    assert_eq!(pushes(&mut s1).await, left);
    // A change from the other side gives the same events.
    body(&server, "PATCH", "/pet/1", json!({ "owner": 2 })).await;
    assert_eq!(
        pushes(&mut s1).await,
        [membership(2, "addedTo", 1), updated(Value::Null, json!(2))]
    );
    let kit = body(&server, "POST", "/user/1/pets", json!({ "name": "Kit" })).await;
    let created = json!(["pet", { "verb": "created", "id": 3, "data": kit }]);
    assert_eq!(pushes(&mut s1).await, [membership(1, "addedTo", 3), created]);
    body(&server, "DELETE", "/pet/3", Value::Null).await;
    let gone = json!(["pet", { "verb": "destroyed", "id": 3, "previous": kit }]);
    assert_eq!(pushes(&mut s1).await, [gone, membership(1, "removedFrom", 3)]);
    // Nothing changes, so the server pushes nothing.
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    body(&server, "PATCH", "/pet/1", json!({ "owner": "2" })).await;
    assert!(pushes(&mut s1).await.is_empty());
    // The author of a change does not receive it.
    s1.put("/user/1/pets/1", Value::Null).await;
    assert!(pushes(&mut s1).await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn reader_of_an_association_receives_changes_of_both_sides() {
    let server = filled(owned()).await;
    let [mut populated, mut shortcut] =
        [Socket::stock(&server).await, Socket::stock(&server).await];
    populated.get("/user/1?populate=pets").await;
    shortcut.get("/user/1/pets").await;
    let mut adding = Socket::stock(&server).await;
    adding.put("/user/1/pets/1", Value::Null).await;
    body(&server, "PATCH", "/pet/1", json!({ "name": "King" })).await;
    body(&server, "PATCH", "/user/1", json!({ "name": "Anna" })).await;
    body(&server, "POST", "/pet", json!({ "name": "nobody's" })).await;
    for socket in [&mut populated, &mut shortcut, &mut adding] {
        let pushes = pushes(socket).await;
        let of: Vec<_> = pushes.iter().map(|it| (&it[0], &it[1]["verb"], &it[1]["id"])).collect();
        let [pet, user, verb, id] = [json!("pet"), json!("user"), json!("updated"), json!(1)];
        assert_eq!(of, [(&pet, &verb, &id), (&user, &verb, &id)]);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn filtered_list_gains_and_loses_members() {
    let server = filled(owned()).await;
    let mut runtime = Socket::runtime(&server).await;
    let filtered = runtime.get(r#"/pet?where={"owner":1}"#).await;
    let room = filtered["headers"]["backwire-room"].as_str().unwrap().to_owned();
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    body(&server, "PUT", "/user/1/pets/1", Value::Null).await;
    let changes = runtime.changes(&room, 2).await;
    let verbs: Vec<_> = changes.as_array().unwrap().iter().map(|it| (&it[1], &it[2])).collect();
    assert_eq!(verbs, [(&json!(4), &json!(1)), (&json!(1), &json!(1))], "it leaves and enters");
    // A request that changes an association is answered like any route and subscribes to nothing.
    let changed = runtime.put("/user/1/pets", json!([2])).await;
    assert_eq!(timeless(changed["body"]["pets"].clone()), json!([tom()]));
    assert_eq!(changed["headers"].get("backwire-record"), None);
    let made = runtime.post("/user/1/pets", json!({ "name": "Kit" })).await;
    assert_eq!(
        (&made["statusCode"], &made["headers"]["backwire-record"]),
        (&json!(201), &json!("pet/3"))
    );
    let gone = runtime.get("/user/9/pets").await;
    assert_eq!(refusal(&gone), json!([404, "E_NOT_FOUND"]));
    server.shutdown().await;
}

#[tokio::test]
async fn one_to_many_path_is_followed_like_a_filtered_list() {
    let server = filled(owned()).await;
    let mut runtime = Socket::runtime(&server).await;
    let path = runtime.get("/user/1/pets").await;
    assert_eq!(timeless(path["body"].clone())[0]["owner"], 1);
    assert!(path["headers"]["backwire-position"].is_string());
    let room = path["headers"]["backwire-room"].as_str().unwrap().to_owned();
    assert!(room.starts_with("pet?"), "{room}");
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    body(&server, "PATCH", "/pet/1", json!({ "name": "nobody hears of it" })).await;
    body(&server, "PUT", "/user/1/pets/1", Value::Null).await;
    body(&server, "POST", "/user/1/pets", json!({ "name": "Kit" })).await;
    body(&server, "PATCH", "/pet/2", json!({ "name": "Tim" })).await;
    body(&server, "DELETE", "/pet/2", Value::Null).await;
    body(&server, "DELETE", "/user/1", Value::Null).await;
    let changes = runtime.changes(&room, 7).await;
    let verbs: Vec<_> = changes.as_array().unwrap().iter().map(|it| [&it[1], &it[2]]).collect();
    let expected = json!([[4, 1], [1, 1], [1, 3], [2, 2], [3, 2], [4, 1], [4, 3]]);
    assert_eq!(json!(verbs), expected);
    // A limited read of the path is a part that can be invalidated, like any part.
    let part = runtime.get("/user/2/pets?sort=name&limit=1").await;
    assert!(part["headers"]["backwire-room"].as_str().unwrap().starts_with("pet?"));
    server.shutdown().await;
}

#[tokio::test]
async fn clients_without_association_events_receive_record_updates_only() {
    let server = filled(owned()).await;
    // Sails 0.9: JSON in a string, both ways.
    let mut old = Socket::stock(&server).await;
    for url in ["/user", "/pet"] {
        old.ask(json!(["get", json!({ "url": url }).to_string()])).await;
    }
    let pets = old.ask(json!(["get", r#"{"url":"/user/1/pets?populate=owner"}"#])).await;
    let pets: Value = serde_json::from_str(pets.as_str().unwrap()).unwrap();
    assert_eq!(pets[1]["owner"]["name"], "Ann");
    let mut runtime = Socket::runtime(&server).await;
    runtime.get("/user").await;
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    let moved = json!({ "name": "Rex", "owner": 2, "id": 1 });
    let pushed = json!(["message", { "model": "pet", "verb": "update", "data": moved, "id": 1 }]);
    assert_eq!(timeless(old.event().await), pushed);
    old.ask(json!(["get", r#"{"url":"/fence/1"}"#])).await;
    assert!(old.buffered_frames().is_empty());
    assert!(runtime.pushes().await.is_empty(), "a user has not changed");
    server.shutdown().await;
}
