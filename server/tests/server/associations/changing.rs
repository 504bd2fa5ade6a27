//! Changes of associations.

use backwire::route::{Paths, Shortcuts};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::pairs::joined;
use super::{ask, body, filled, owned, read, rex, timeless, tom};
use crate::client::{Socket, refusal};

#[tokio::test]
async fn members_are_added_removed_and_replaced() {
    let server = filled(owned()).await;
    let moved = json!({ "name": "Rex", "owner": 2, "id": 1 });
    let bob = json!({ "name": "Bob", "id": 2, "pets": [moved] });
    for _ in 0..2 {
        assert_eq!(body(&server, "PUT", "/user/2/pets/1", Value::Null).await, bob);
    }
    assert_eq!(read(&server, "/user/1/pets").await, json!([tom()]));
    // The removal does not affect the member of another record.
    body(&server, "DELETE", "/user/1/pets/1", Value::Null).await;
    assert_eq!(read(&server, "/pet/1").await, moved);
    for _ in 0..2 {
        let bob = body(&server, "DELETE", "/user/2/pets/1", Value::Null).await;
        assert_eq!(bob["pets"], json!([]));
    }
    assert_eq!(read(&server, "/pet/1").await["owner"], Value::Null);
    let ann = body(&server, "PUT", "/user/1/pets", json!([1, "1"])).await;
    assert_eq!(ann["pets"], json!([rex()]));
    assert_eq!(read(&server, "/pet/2").await["owner"], Value::Null);
    let ann = body(&server, "PUT", "/user/1/pets", json!([])).await;
    assert_eq!(ann["pets"], json!([]));
    for (verb, path, data, status, message) in [
        ("PUT", "/user/9/pets/1", Value::Null, 404, "there is no record 9 in user"),
        ("PUT", "/user/1/pets/9", Value::Null, 404, "there is no record 9 in pet"),
        ("DELETE", "/user/1/pets/9", Value::Null, 404, "there is no record 9 in pet"),
        ("PUT", "/user/1/pets", json!([1, 9]), 404, "there is no record 9 in pet"),
        (
            "PUT",
            "/user/1/pets/1",
            json!({ "id": 1, "name": "King" }),
            400,
            "to add a record takes no values: it has a path of its own",
        ),
        ("PUT", "/user/1/pets", json!({}), 400, "the body has to be a list of ids"),
        ("PUT", "/user/1/pets", json!([{}]), 400, "the body has to be a list of ids"),
        (
            "PUT",
            "/user/1/pets",
            vec![1; 1001].into(),
            413,
            "the body has 1001 ids, at most 1000 are allowed: send less at a time",
        ),
        ("PATCH", "/user/1/pets", json!([1]), 405, "PATCH is not supported here"),
        ("DELETE", "/user/1/pets", json!([1]), 405, "DELETE is not supported here"),
        ("PUT", "/pet/1/owner", json!([1]), 405, "PUT is not supported here"),
    ] {
        let (actual, refused) = ask(&server, verb, path, data).await;
        assert_eq!((actual, &refused["message"]), (status, &json!(message)), "{verb} {path}");
    }
    assert_eq!(read(&server, "/user/1/pets").await, json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn record_posted_to_a_collection_becomes_its_member() {
    let server = filled(owned()).await;
    let (status, pet) = ask(&server, "POST", "/user/2/pets", json!({ "name": "Kit" })).await;
    let kit = json!({ "name": "Kit", "owner": 2, "id": 3 });
    assert_eq!((status, timeless(pet)), (201, kit.clone()));
    // An existing record is only added.
    let (status, pet) = ask(&server, "POST", "/user/2/pets", json!({ "id": 1 })).await;
    let rex = json!({ "name": "Rex", "owner": 2, "id": 1 });
    assert_eq!((status, timeless(pet)), (200, rex.clone()));
    assert_eq!(body(&server, "POST", "/user/2/pets", json!({ "id": "1" })).await, rex);
    assert_eq!(read(&server, "/user/2/pets").await, json!([rex, kit]));
    let taken = ask(&server, "POST", "/user/2/pets", json!({ "id": 1, "name": "x" })).await;
    assert_eq!((taken.0, &taken.1["code"]), (409, &json!("E_EXISTS")));
    assert_eq!(ask(&server, "POST", "/user/9/pets", json!({ "name": "x" })).await.0, 404);
    assert_eq!(ask(&server, "POST", "/user/2/pets", json!({ "id": 9 })).await.0, 404);
    assert_eq!(ask(&server, "POST", "/user/2/pets", json!([{}])).await.0, 400);
    server.shutdown().await;
}

#[tokio::test]
async fn options_list_the_methods_of_an_association() {
    let server = filled(owned()).await;
    for (path, verbs) in [
        ("/user/1/pets", "GET,HEAD,POST,PUT,OPTIONS"),
        ("/user/1/pets/1", "GET,HEAD,PUT,PATCH,DELETE,OPTIONS"),
        ("/pet/1/owner", "GET,HEAD,OPTIONS"),
    ] {
        let url = format!("http://{}{path}", server.addr());
        let response = Client::new().request(Method::OPTIONS, &url).send().await.unwrap();
        assert_eq!(response.headers()["allow"], verbs);
        let head = Client::new().head(&url).send().await.unwrap();
        assert_eq!(head.status(), 200);
        let get = Client::new().get(&url).send().await.unwrap();
        assert_eq!(head.headers()["content-length"], get.headers()["content-length"]);
        let mut socket = Socket::stock(&server).await;
        let response = socket.ask(json!(["options", { "url": path }])).await;
        assert_eq!(response["headers"]["allow"], verbs);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn collection_has_ids_or_records_and_an_owner_is_an_id() {
    let server = filled(owned()).await;
    for (verb, path, data, field, rule) in [
        ("POST", "/user", json!({ "pets": null }), "pets", "is a collection"),
        ("PATCH", "/user/1", json!({ "pets": true }), "pets", "is a collection"),
        ("POST", "/pet", json!({ "owner": [1] }), "owner", "is the id of a user"),
        ("PATCH", "/pet/1", json!({ "owner": "" }), "owner", "is the id of a user"),
    ] {
        let (status, refused) = ask(&server, verb, path, data).await;
        assert_eq!((status, &refused["field"]), (400, &json!(field)));
        assert!(refused["problems"][0]["rule"].as_str().unwrap().starts_with(rule));
    }
    // A form sends the id as text.
    let tom = body(&server, "PATCH", "/pet/2", json!({ "owner": "2" })).await;
    assert_eq!(tom["owner"], 2);
    server.shutdown().await;
}

#[tokio::test]
async fn repeated_association_write_is_not_applied_again() {
    let server = joined().await;
    let mut runtime = Socket::runtime(&server).await;
    let keyed = |verb: &str, url: &str, key: &str, data: Value| json!([verb, { "url": url, "headers": { "idempotency-key": key }, "data": data }]);
    let cy = keyed("post", "/team/2/members", "a", json!({ "name": "Cy" }));
    let made = runtime.ask(cy.clone()).await;
    assert_eq!((&made["statusCode"], &made["body"]["id"]), (&json!(201), &json!(3)));
    assert_eq!(made["headers"]["backwire-record"], "user/3");
    assert_eq!(runtime.ask(cy).await["body"], made["body"]);
    let bob = keyed("put", "/team/2/members/2", "b", Value::Null);
    assert_eq!(runtime.ask(bob.clone()).await["body"]["members"].as_array().unwrap().len(), 3);
    // Another client removes Bob before the write is repeated.
    body(&server, "DELETE", "/team/2/members/2", Value::Null).await;
    assert_eq!(runtime.ask(bob).await["body"]["members"].as_array().unwrap().len(), 2);
    let none = keyed("put", "/team/2/members", "c", json!([]));
    for _ in 0..2 {
        assert_eq!(runtime.ask(none.clone()).await["body"]["members"], json!([]));
    }
    assert_eq!(read(&server, "/user").await.as_array().unwrap().len(), 3);
    server.shutdown().await;
}

#[tokio::test]
async fn association_paths_of_resources_with_custom_handlers_are_404() {
    let server =
        filled(owned().override_route("/pet", axum::routing::patch(async || "nobody does that")))
            .await;
    for path in ["/user/1/pets", "/pet/1/owner"] {
        assert_eq!(ask(&server, "GET", path, Value::Null).await.0, 404, "{path}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn member_can_be_updated_under_the_path_of_its_collection() {
    let server = filled(owned()).await;
    let mut runtime = Socket::runtime(&server).await;
    let patch = |path: &str, key: &str, set: Value| json!(["patch", { "url": path, "headers": { "idempotency-key": key }, "data": set }]);
    let king = runtime.ask(patch("/user/1/pets/1", "a", json!({ "name": "King" }))).await;
    assert_eq!((&king["statusCode"], &king["body"]["name"]), (&json!(200), &json!("King")));
    assert_eq!(king["headers"]["backwire-record"], "pet/1");
    // This update removes the pet from the collection, so a later one does not find it there.
    let given = patch("/user/1/pets/1", "b", json!({ "owner": 2 }));
    let gone = runtime.ask(given.clone()).await;
    assert_eq!((&gone["statusCode"], &gone["body"]["owner"]), (&json!(200), &json!(2)));
    assert_eq!(runtime.ask(given).await["body"], gone["body"]);
    let late = runtime.ask(patch("/user/1/pets/1", "c", json!({ "name": "Rex" }))).await;
    assert_eq!(refusal(&late), json!([404, "E_NOT_FOUND"]));
    for (path, set, status) in [
        ("/user/1/pets/1", json!({ "name": "Rex" }), 404),
        ("/user/1/pets/9", json!({ "name": "Rex" }), 404),
        ("/user/9/pets/2", json!({ "name": "Rex" }), 404),
        ("/user/1/pets/2", json!({ "id": 1 }), 400),
    ] {
        assert_eq!(ask(&server, "PATCH", path, set).await.0, status, "{path}");
    }
    assert_eq!(read(&server, "/pet/1").await["name"], "King");
    server.shutdown().await;

    let server = joined().await;
    let blue = body(&server, "PATCH", "/user/1/teams/1", json!({ "name": "Navy" })).await;
    assert_eq!(blue["name"], "Navy");
    assert_eq!(ask(&server, "PATCH", "/user/2/teams/1", json!({ "name": "Blue" })).await.0, 404);
    server.shutdown().await;
}

#[tokio::test]
async fn different_ids_in_body_and_path_are_refused() {
    let server = filled(owned()).await;
    for verb in ["PUT", "DELETE"] {
        let (status, refused) = ask(&server, verb, "/user/1/pets/1", json!({ "id": 2 })).await;
        assert_eq!((status, &refused["code"]), (400, &json!("E_BAD_ID")), "{verb}");
        let (status, ann) = ask(&server, verb, "/user/1/pets/2", json!({ "id": "2" })).await;
        assert_eq!((status, &ann["pets"][0]["id"]), (200, &json!(1)), "{verb}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn enabled_shortcuts_add_remove_and_replace_members() {
    let paths = Paths { shortcuts: Shortcuts::Write, ..Paths::default() };
    let server = filled(owned().paths(paths)).await;
    assert_eq!(read(&server, "/user/2/pets/add/1").await["pets"][0]["id"], 1);
    assert_eq!(read(&server, "/user/2/pets/remove/1").await["pets"], json!([]));
    let bob = read(&server, "/user/2/pets/replace?pets=[1,2]").await;
    assert_eq!(bob["pets"].as_array().unwrap().len(), 2);
    assert_eq!(body(&server, "POST", "/user/2/pets/replace", json!([])).await["pets"], json!([]));
    for bad in ["/user/2/pets/replace", "/user/2/pets/replace?pets=1"] {
        assert_eq!(ask(&server, "GET", bad, Value::Null).await.0, 400, "{bad}");
    }
    let (status, _) = ask(&server, "DELETE", "/user/2/pets/add/1", Value::Null).await;
    assert_eq!(status, 405);
    server.shutdown().await;
}
