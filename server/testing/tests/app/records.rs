//! Records that a test makes and removes.

use axum::body::Body;
use backwire::Server;
use backwire::model::{Attribute, Model};
use backwire::settings::Store;
use backwire_testing::{App, ChangeVerb, Client, Value, json};
use http::Request;

use super::{server, with_notes, with_pets};

async fn verbs(client: &mut Client) -> Vec<(ChangeVerb, Value)> {
    client.received_changes().await.into_iter().map(|change| (change.verb, change.id)).collect()
}

#[tokio::test]
async fn clients_are_told_of_records_that_the_test_makes() {
    let app = App::new(server()).await;
    let mut ann = app.client().await;
    ann.subscribe("todo").await;
    assert_eq!(app.create("todo", json!({ "title": "Milk" })).await["id"], 1);
    assert_eq!(app.update("todo", 1, json!({ "done": true })).await["title"], "Milk");
    app.destroy("todo", 1).await;
    let expected = [ChangeVerb::Created, ChangeVerb::Updated, ChangeVerb::Destroyed];
    assert_eq!(verbs(&mut ann).await, expected.map(|verb| (verb, json!(1))));
    assert_eq!(app.records("todo").await, Vec::<Value>::new());
}

#[tokio::test]
async fn test_sees_and_makes_records_whatever_the_access_rules_are() {
    let app = App::new(with_notes(server())).await;
    let note = app.create("note", json!({ "author": "ann", "text": "secret" })).await;
    assert_eq!(note["id"].as_str().unwrap().len(), 36);
    assert_eq!(app.records("note").await, [note]);
    assert_eq!(app.client().await.get("/note").await.status, 401);
    let mut bob = app.browser();
    bob.sign_in("bob", []).await;
    assert_eq!(bob.get("/note").await.ok(), json!([]));
    let mut ann = app.browser();
    ann.sign_in("ann", []).await;
    assert_eq!(ann.get("/note").await.ok()[0]["text"], "secret");
    ann.sign_out().await;
    assert_eq!(ann.get("/note").await.status, 401);
}

#[tokio::test]
async fn truncated_resource_is_empty_and_its_ids_begin_at_1() {
    let app = App::new(server()).await;
    let (mut ann, mut stock) = (app.client().await, app.stock_client().await);
    ann.subscribe("todo").await;
    stock.get("/todo").await;
    for resource in ["todo", "todo", "cart"] {
        app.create(resource, json!({})).await;
    }
    ann.received_changes().await;
    stock.received_events().await;
    app.truncate("todo").await;
    assert_eq!(app.records("todo").await, Vec::<Value>::new());
    assert_eq!(app.records("cart").await.len(), 1);
    let destroyed = [1, 2].map(|id| (ChangeVerb::Destroyed, json!(id)));
    assert_eq!(verbs(&mut ann).await, destroyed);
    let events = stock.received_events().await;
    let told: Vec<_> = events.iter().map(|event| &event.arguments[0]).collect();
    assert!(told.iter().all(|change| change["verb"] == "destroyed"), "{told:?}");
    assert_eq!(told.len(), 2);
    // Clients go on to follow it.
    assert_eq!(app.create("todo", json!({})).await["id"], 1);
    assert_eq!(verbs(&mut ann).await, [(ChangeVerb::Created, json!(1))]);
    assert_eq!(stock.next_event().await.arguments[0]["verb"], "created");
    assert_eq!(app.create("cart", json!({})).await["id"], 2);
}

#[tokio::test]
async fn references_to_truncated_records_are_null_at_once() {
    let app = App::new(with_pets(server())).await;
    app.create("person", json!({ "name": "Ann" })).await;
    for _ in 0..3 {
        app.create("pet", json!({ "owner": 1 })).await;
    }
    app.truncate("person").await;
    assert!(app.records("pet").await.iter().all(|pet| pet["owner"].is_null()));
    // So a new person with the same id has none of them.
    app.create("person", json!({ "name": "Bob" })).await;
    let client = app.client().await;
    assert_eq!(client.get("/pet?owner=1").await.ok(), json!([]));
}

fn keyed(url: &str) -> Request<Body> {
    let request = Request::post(url).header("content-type", "application/json");
    request.header("idempotency-key", "abc").body("{}".into()).unwrap()
}

#[tokio::test]
async fn everything_can_be_truncated_with_the_keys_of_requests() {
    let app = App::new(with_pets(with_notes(server()))).await;
    let mut browser = app.browser();
    app.create("todo", json!({})).await;
    app.create("note", json!({ "author": "ann" })).await;
    app.create("person", json!({})).await;
    app.create("pet", json!({ "owner": 1 })).await;
    assert_eq!(browser.send(keyed("/todo")).await.ok()["id"], 2);
    assert_eq!(browser.send(keyed("/todo")).await.ok()["id"], 2);
    app.truncate_all().await;
    for resource in ["todo", "note", "person", "pet"] {
        assert_eq!(app.records(resource).await, Vec::<Value>::new(), "{resource}");
    }
    assert_eq!(browser.send(keyed("/todo")).await.ok()["id"], 1);
}

/// The tests of a program must not touch its database.
#[tokio::test]
async fn store_is_in_memory_whichever_one_the_server_has() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("data.db");
    let app = App::new(Server::builder().store(Store::Sqlite(file.clone()))).await;
    app.create("todo", json!({})).await;
    assert!(!file.exists());
    assert_eq!(App::new(server()).await.records("todo").await.len(), 0);
}

#[tokio::test]
async fn pairs_are_truncated_with_their_records() {
    let many = |of: &str, via: &str| Attribute {
        collection: Some(of.to_owned()),
        via: Some(via.to_owned()),
        ..Attribute::default()
    };
    let user = Model::default().attribute("teams", many("team", "members"));
    let team = Model::default().attribute("members", many("user", "teams"));
    let server = server().resource("user", user).unwrap().resource("team", team).unwrap();
    let app = App::new(server).await;
    let client = app.client().await;
    let joined = async || {
        for url in ["/user", "/team"] {
            assert_eq!(client.post(url, json!({})).await.ok()["id"], 1);
        }
        assert_eq!(client.get("/user/1/teams").await.ok(), json!([]));
        assert_eq!(client.put("/user/1/teams/1", Value::Null).await.status, 200);
        assert_eq!(client.get("/user/1/teams").await.ok()[0]["id"], 1);
    };
    joined().await;
    app.truncate("user").await;
    app.truncate("team").await;
    joined().await;
    app.truncate_all().await;
    joined().await;
}
