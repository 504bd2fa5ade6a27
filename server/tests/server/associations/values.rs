//! Associated records among the values of a create or an update.

use backwire::model::Model;
use reqwest::Method;
use serde_json::{Value, json};

use super::pairs::joined;
use super::{ask, body, filled, owned, read};
use crate::client::{Socket, builder, start};

async fn ids_of(server: &backwire::Server, path: &str) -> Vec<i64> {
    let list = read(server, path).await;
    let mut ids: Vec<_> =
        list.as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn members_are_set_by_ids_and_created_from_records() {
    let server = filled(owned()).await;
    let cy = json!({ "name": "Cy", "pets": [1, "2", { "id": 1 }, { "name": "Kit" }] });
    let cy = body(&server, "POST", "/user", cy).await;
    assert_eq!(cy, json!({ "name": "Cy", "id": 3 }));
    assert_eq!(ids_of(&server, "/user/3/pets").await, [1, 2, 3]);
    assert!(ids_of(&server, "/user/1/pets").await.is_empty());
    assert_eq!(read(&server, "/pet/3").await["name"], "Kit");
    body(&server, "PATCH", "/user/3", json!({ "pets": [2] })).await;
    assert_eq!(ids_of(&server, "/user/3/pets").await, [2]);
    body(&server, "PATCH", "/user/3", json!({ "pets": [] })).await;
    assert!(ids_of(&server, "/user/3/pets").await.is_empty());
    let tom =
        body(&server, "POST", "/pet", json!({ "name": "Jo", "owner": { "name": "Di" } })).await;
    assert_eq!((&tom["owner"], &read(&server, "/user/4").await["name"]), (&json!(4), &json!("Di")));
    let kit = body(&server, "PATCH", "/pet/3", json!({ "owner": { "id": 1, "name": "X" } })).await;
    assert_eq!(
        (&kit["owner"], &read(&server, "/user/1").await["name"]),
        (&json!(1), &json!("Ann"))
    );
    server.shutdown().await;
}

#[tokio::test]
async fn pairs_are_made_and_removed() {
    let server = joined().await;
    let crew = json!({ "name": "Crew", "members": [1, { "name": "New" }] });
    let crew = body(&server, "POST", "/team", crew).await["id"].as_i64().unwrap();
    let members = format!("/team/{crew}/members");
    let all = ids_of(&server, &members).await;
    assert_eq!((all.len(), all[0]), (2, 1));
    body(&server, "PATCH", &format!("/team/{crew}"), json!({ "members": [2] })).await;
    assert_eq!(ids_of(&server, &members).await, [2]);
    server.shutdown().await;
}

#[tokio::test]
async fn nothing_is_written_if_a_member_does_not_exist_or_is_no_id() {
    let server = filled(owned()).await;
    for (pets, status) in [
        (json!([1, 9]), 404),
        (json!([null]), 400),
        (json!([1.5]), 400),
        (json!(true), 400),
        (json!(null), 400),
    ] {
        let user = json!({ "name": "Cy", "pets": pets });
        assert_eq!(ask(&server, "POST", "/user", user.clone()).await.0, status, "{user}");
        assert_eq!(ask(&server, "PATCH", "/user/2", user.clone()).await.0, status, "{user}");
    }
    assert_eq!(ids_of(&server, "/user").await, [1, 2]);
    assert_eq!(read(&server, "/user/2").await["name"], "Bob");
    assert_eq!(ids_of(&server, "/user/1/pets").await, [1, 2]);
    server.shutdown().await;
}

#[tokio::test]
async fn member_with_a_value_that_its_resource_refuses_leaves_nothing_behind() {
    let declared = [
        ("user", json!({ "name": "string", "pets": { "collection": "pet", "via": "owner" } })),
        (
            "pet",
            json!({ "name": "string", "owner": { "model": "user" }, "age": "number",
            "toys": { "collection": "toy", "via": "pet" } }),
        ),
        ("toy", json!({ "label": "string", "pet": { "model": "pet" } })),
    ];
    let model = |attributes: Value| -> Model {
        serde_json::from_value(json!({ "attributes": attributes })).unwrap()
    };
    let all = declared.into_iter();
    let builder = all.fold(builder(), |all, (name, it)| all.resource(name, model(it)).unwrap());
    let server = start(builder).await;
    let rex = json!({ "name": "Rex", "toys": [{ "label": "ball" }] });
    for (url, record, field) in [
        ("/user", json!({ "name": "Ann", "pets": [{ "name": "Tom" }, rex] }), "toys"),
        ("/user", json!({ "name": "Ann", "pets": [{ "name": "Tom", "age": "old" }] }), "age"),
        ("/user", json!({ "name": "Ann", "pets": [{ "owner": { "name": "Bob" } }] }), "owner"),
        ("/toy", json!({ "label": "ball", "pet": { "owner": { "name": "Bob" } } }), "owner"),
    ] {
        let (status, refused) = ask(&server, Method::POST, url, record.clone()).await;
        assert_eq!((status, &refused["field"]), (400, &json!(field)), "{record}");
    }
    for resource in ["/user", "/pet", "/toy"] {
        assert_eq!(read(&server, resource).await, json!([]), "{resource}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn repeat_writes_nothing_again_and_keeps_what_others_have_changed() {
    let server = filled(owned()).await;
    let mut runtime = Socket::runtime(&server).await;
    let keyed = |verb: &str, url: &str, key: &str, data: Value| json!([verb, { "url": url, "headers": { "idempotency-key": key }, "data": data }]);
    let create =
        keyed("post", "/user", "a", json!({ "pets": [1, { "name": "Kit" }], "name": "Cy" }));
    let made = runtime.ask(create.clone()).await;
    assert_eq!(made["statusCode"], 201);
    body(&server, "PATCH", "/pet/1", json!({ "owner": 2 })).await;
    assert_eq!(runtime.ask(create).await["body"], made["body"]);
    assert_eq!(ids_of(&server, "/user").await, [1, 2, 3]);
    assert_eq!(ids_of(&server, "/pet").await, [1, 2, 3]);
    assert_eq!(ids_of(&server, "/user/3/pets").await, [3]);
    // The same key with other members is another request.
    let other = keyed("post", "/user", "a", json!({ "pets": [2], "name": "Cy" }));
    assert_eq!(runtime.ask(other).await["statusCode"], 422);
    // The repeat is answered although its member is gone.
    let doomed = keyed("post", "/user", "d", json!({ "pets": [1], "name": "Ed" }));
    let made = runtime.ask(doomed.clone()).await;
    body(&server, "DELETE", "/pet/1", Value::Null).await;
    assert_eq!(runtime.ask(doomed).await["body"]["id"], made["body"]["id"]);
    assert!(ids_of(&server, "/user/4/pets").await.is_empty());
    let update = keyed("patch", "/user/2", "b", json!({ "pets": [2], "name": "Bo" }));
    runtime.ask(update.clone()).await;
    body(&server, "PATCH", "/pet/3", json!({ "owner": 2 })).await;
    runtime.ask(update).await;
    assert_eq!(ids_of(&server, "/user/2/pets").await, [2, 3]);
    let owner = keyed("post", "/pet", "c", json!({ "name": "Jo", "owner": { "name": "Di" } }));
    let made = runtime.ask(owner.clone()).await;
    assert_eq!(runtime.ask(owner).await["body"], made["body"]);
    assert_eq!(ids_of(&server, "/user").await, [1, 2, 3, 4, 5]);
    server.shutdown().await;
}
