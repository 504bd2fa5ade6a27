//! The conventions of Sails 1.x (`compat: sails`). The expected answers are those of Sails 1.5.18.

use axum::routing::get;
use backwire::model::{Attribute, Conventions, Kind, Model};
use backwire::{Server, Session};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Socket, ask, builder, start};

fn model(declaration: Value) -> Model {
    serde_json::from_value(declaration).unwrap()
}

/// Starts a server with some of the models that Sails was tried with.
async fn sails() -> Server {
    let person = model(json!({ "attributes": {
        "name": "string", "email": { "type": "string", "email": true }, "age": "number",
        "admin": "boolean", "meta": "json", "pets": { "collection": "animal", "via": "owner" },
    } }));
    let animal = model(json!({ "attributes": {
        "name": { "type": "string", "required": true, "unique": true },
        "kind": { "type": "string", "enum": ["cat", "dog"], "default": "cat" },
        "weight": { "type": "number", "min": 1 }, "owner": { "model": "person" },
        "note": { "type": "string", "null": true },
    } }));
    // The conventions count for resources that were declared before as well.
    let builder = builder().resource("person", person).unwrap().compat(Conventions::Sails);
    start(builder.resource("animal", animal).unwrap()).await
}

async fn send(server: &Server, method: &str, url: &str, body: Value) -> (u16, Value) {
    let (status, mut body) = ask(server, method, url, body).await;
    if let Some(record) = body.as_object_mut() {
        record.retain(|name, _| !matches!(&**name, "createdAt" | "updatedAt"));
    }
    (status, body)
}

#[tokio::test]
async fn create_is_200_and_missing_values_are_filled_in() {
    let server = sails().await;
    let empty = json!({ "id": 1, "name": "", "email": "", "age": 0, "admin": false, "meta": null, "pets": [] });
    assert_eq!(send(&server, "POST", "/person", json!({ "nope": 1 })).await, (200, empty));
    let rex = json!({ "name": "rex" });
    let whole =
        json!({ "id": 1, "name": "rex", "kind": "cat", "weight": 0, "owner": null, "note": null });
    assert_eq!(send(&server, "POST", "/animal", rex).await, (200, whole));
    let coerced = json!({ "id": "07", "age": "05", "admin": 1, "name": 5, "email": "" });
    let (status, record) = send(&server, "POST", "/person", coerced).await;
    let stored = json!({ "id": 7, "age": 5, "admin": true, "name": "5", "email": "", "meta": null, "pets": [] });
    assert_eq!((status, record), (200, stored));
    server.shutdown().await;
}

/// The push of a destroy shows what the request has read, but only what everyone may read.
#[tokio::test]
async fn pushes_have_no_associated_records_that_not_everyone_may_read() {
    let secret = model(json!({
        "attributes": { "text": "string", "owner": { "model": "person" } },
        "access": { "owner": "by", "read": "owner", "create": "everyone" },
    }));
    let open = model(json!({ "attributes": { "name": "string", "owner": { "model": "person" } } }));
    let person = model(json!({ "attributes": {
        "name": "string", "secrets": { "collection": "secret", "via": "owner" },
        "pets": { "collection": "pet", "via": "owner" },
    } }));
    let sign_in = get(async |session: Session| session.sign_in("ann", [""; 0]).await);
    let builder = builder().compat(Conventions::Sails).route("/in", sign_in);
    let declared = [("secret", secret), ("pet", open), ("person", person)];
    let builder =
        declared.into_iter().fold(builder, |all, (name, model)| all.resource(name, model).unwrap());
    let server = start(builder).await;
    let (mut ann, mut bob) = (Socket::stock(&server).await, Socket::stock(&server).await);
    ann.get("/in").await;
    ann.post("/person", json!({ "name": "Ann" })).await;
    let made = ann.post("/secret", json!({ "text": "hidden", "owner": 1 })).await;
    assert_eq!(made["statusCode"], 200, "{made}");
    ann.post("/pet", json!({ "name": "Rex", "owner": 1 })).await;
    bob.get("/person").await;
    ann.put("/person/1", json!({ "name": "Anna" })).await;
    let destroyed = ann.delete("/person/1").await;
    assert_eq!(destroyed["body"]["secrets"][0]["text"], "hidden");
    for verb in ["updated", "destroyed"] {
        let push = bob.event().await;
        assert_eq!(push[1]["verb"], verb);
        assert_eq!(push[1]["previous"]["pets"][0]["name"], "Rex");
        assert!(!push.to_string().contains("hidden"), "{push}");
    }
    server.shutdown().await;
}

/// A read without a result subscribes to no associated resource, and a write to no associated
/// record, even though its answer has it.
#[tokio::test]
async fn client_of_sails_follows_only_associated_records_that_it_has_read() {
    let server = sails().await;
    let (mut ann, mut bob) = (Socket::stock(&server).await, Socket::stock(&server).await);
    ann.post("/animal", json!({ "name": "stray" })).await;
    assert_eq!(bob.get("/animal/1/owner").await["statusCode"], 404);
    ann.post("/person", json!({ "name": "Ann" })).await;
    let created = bob.post("/animal", json!({ "name": "rex", "owner": 1 })).await;
    assert_eq!(created["body"]["owner"]["name"], "Ann");
    let refused = bob.put("/person/9", json!({ "pets": [1] })).await;
    assert_eq!(refused["statusCode"], 404);
    ann.put("/animal/1", json!({ "weight": 5 })).await;
    ann.put("/person/1", json!({ "name": "Anna" })).await;
    assert_eq!(bob.get("/animal/2/owner").await["body"]["name"], "Anna");
    assert_eq!(crate::client::events(&bob.buffered_frames()), [Value::Null; 0]);
    ann.put("/person/1", json!({ "name": "Ann" })).await;
    assert_eq!(bob.event().await[1]["data"]["name"], "Ann");
    ann.post("/person", json!({ "name": "Bea" })).await;
    assert_eq!(bob.event().await[1]["data"]["name"], "Bea");
    server.shutdown().await;
}

/// A removal and a request that is refused subscribe to nothing.
#[tokio::test]
async fn client_of_sails_follows_a_record_and_the_members_that_it_adds() {
    let server = sails().await;
    let (mut ann, mut bob) = (Socket::stock(&server).await, Socket::stock(&server).await);
    for (url, name) in
        [("/person", "Ann"), ("/person", "Bea"), ("/animal", "rex"), ("/animal", "tom")]
    {
        ann.post(url, json!({ "name": name })).await;
    }
    for (verb, url, data, status, followed) in [
        ("get", "/person/1/pets?limit=x", json!({}), 400, vec![]),
        ("get", "/animal/1/owner", json!({}), 404, vec![]),
        ("put", "/person/1/pets/9", json!({}), 404, vec![]),
        ("delete", "/person/1/pets/1", json!({}), 200, vec![]),
        ("put", "/person/1/pets/1", json!({}), 200, vec!["person 1", "animal 1"]),
        (
            "put",
            "/person/2/pets",
            json!([2]),
            200,
            vec!["person 1", "person 2", "animal 1", "animal 2"],
        ),
    ] {
        let answer = bob.ask(json!([verb, { "url": url, "data": data }])).await;
        assert_eq!(answer["statusCode"], status, "{verb} {url}: {answer}");
        for url in ["/person/1", "/person/2", "/animal/1", "/animal/2"] {
            ann.put(url, json!({})).await;
        }
        let pushes = crate::client::events(&bob.pushes().await);
        let records: Vec<_> = pushes
            .iter()
            .map(|push| format!("{} {}", push[0].as_str().unwrap(), push[1]["id"]))
            .collect();
        assert_eq!(records, followed, "{verb} {url}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn null_wrong_types_and_wrong_ids_are_refused() {
    let server = sails().await;
    for (url, body, field) in [
        ("/person", json!({ "age": null }), "age"),
        ("/person", json!({ "age": "" }), "age"),
        ("/person", json!({ "admin": 2 }), "admin"),
        ("/person", json!({ "email": " " }), "email"),
        ("/animal", json!({ "name": "" }), "name"),
        ("/animal", json!({ "name": "a", "weight": "0" }), "weight"),
        ("/animal", json!({ "name": "a", "owner": "abc" }), "owner"),
        ("/animal", json!({ "name": "a", "owner": 0 }), "owner"),
    ] {
        let (status, refused) = send(&server, "POST", url, body.clone()).await;
        assert_eq!((status, &refused["field"]), (400, &json!(field)), "{body}");
    }
    for id in [json!("x"), json!(0), json!(-3), json!(1.5)] {
        assert_eq!(send(&server, "POST", "/person", json!({ "id": id })).await.0, 400, "{id}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn read_has_a_limit_and_is_populated() {
    let server = sails().await;
    let people: Vec<_> = (0..31).map(|_| json!({})).collect();
    send(&server, "POST", "/person", json!(people)).await;
    send(&server, "POST", "/animal", json!({ "name": "rex", "owner": "01" })).await;
    let read = async |url: &str| ask(&server, Method::GET, url, Value::Null).await.1;
    let list = read("/person").await;
    assert_eq!(list.as_array().unwrap().len(), 30);
    assert_eq!((&list[0]["pets"][0]["name"], &list[1]["pets"]), (&json!("rex"), &json!([])));
    assert_eq!(read("/person?limit=31&populate=false").await.as_array().unwrap().len(), 31);
    assert_eq!(read("/animal/01").await["owner"]["id"], 1);
    assert_eq!(read("/person/01?populate=false&select=*").await["age"], 0);
    assert_eq!(read("/person/0x1?select=name&populate=false").await, json!({"name": "", "id": 1}));
    server.shutdown().await;
}

#[tokio::test]
async fn criteria_of_another_type_or_on_an_undeclared_attribute_are_refused() {
    let server = sails().await;
    for (age, admin) in [(5, true), (6, false)] {
        send(&server, "POST", "/person", json!({ "age": age, "admin": admin, "name": age })).await;
    }
    let ids = async |query: &str| {
        let url = format!("/person?select=id&populate=false&{query}");
        let (status, body) = ask(&server, Method::GET, &url, Value::Null).await;
        let ids = body.as_array().map(|all| all.iter().map(|it| it["id"].clone()).collect());
        (status, ids.unwrap_or_else(|| vec![body["field"].clone()]))
    };
    for query in [
        "age=05",
        "admin=1",
        "name=5",
        "id=01",
        r#"where={"age":"5.0"}"#,
        r#"where={"admin":1}"#,
        r#"where={"name":5}"#,
        r#"where={"age":{"<":"6"}}"#,
        r#"where={"id":"1"}"#,
        r#"where={"id":true}"#,
        "_csrf=token&limit=1",
    ] {
        assert_eq!(ids(query).await, (200, vec![json!(1)]), "{query}");
    }
    assert_eq!(ids(r#"where={"age":null}"#).await, (200, vec![]));
    for (query, field) in [
        ("age=x", "age"),
        ("age=", "age"),
        ("admin=yes", "admin"),
        ("id=x", "id"),
        (r#"where={"age":"x"}"#, "age"),
        (r#"where={"or":[{"age":{"!=":["5","x"]}}]}"#, "age"),
        (r#"where={"admin":{"<":1}}"#, "admin"),
        (r#"where={"age":{"contains":"5"}}"#, "age"),
        (r#"where={"createdAt":{">":"2020-01-01"}}"#, "createdAt"),
        (r#"where={"nope":1}"#, "nope"),
        ("sort=nope", "nope"),
    ] {
        assert_eq!(ids(query).await, (400, vec![json!(field)]), "{query}");
    }
    let (status, _) =
        ask(&server, Method::GET, r#"/animal?where={"owner":"x"}"#, Value::Null).await;
    assert_eq!(status, 400);
    server.shutdown().await;
}

#[tokio::test]
async fn update_without_changes_touches_the_record_and_is_pushed_once() {
    let server = sails().await;
    let (mut a, mut b) = (Socket::stock(&server).await, Socket::stock(&server).await);
    let created = a.post("/person", json!({ "name": "Ann" })).await["body"].clone();
    b.get("/person").await;
    let patch = |key: &str| {
        let headers = json!({ "idempotency-key": key });
        json!(["patch", { "url": "/person/1", "headers": headers, "data": { "name": "Ann" } }])
    };
    let first = a.ask(patch("one")).await;
    let repeat = a.ask(patch("one")).await;
    assert_eq!(first["body"], repeat["body"]);
    let second = a.ask(json!(["patch", { "url": "/person/1" }])).await;
    assert_eq!(second["statusCode"], 200);
    let news = b.event().await;
    let updated = &first["body"]["updatedAt"];
    assert_eq!(news[1]["data"], json!({ "name": "Ann", "id": 1, "updatedAt": updated }));
    assert_eq!(news[1]["previous"]["name"], created["name"]);
    let updated = &second["body"]["updatedAt"];
    assert_eq!(b.event().await[1]["data"], json!({ "id": 1, "updatedAt": updated }));
    assert_eq!(b.pushes().await, [""; 0]);
    server.shutdown().await;
}

#[tokio::test]
async fn refusals_have_the_status_and_code_of_sails() {
    let server = sails().await;
    let rex = json!({ "name": "rex" });
    send(&server, "POST", "/animal", rex.clone()).await;
    for (body, attributes) in [(rex, json!(["name"])), (json!({ "id": 1, "name": "b" }), json!([]))]
    {
        let (status, refused) = send(&server, "POST", "/animal", body).await;
        assert_eq!((status, &refused["code"]), (400, &json!("E_UNIQUE")));
        assert_eq!(
            (&refused["modelIdentity"], &refused["attrNames"]),
            (&json!("animal"), &attributes)
        );
    }
    for url in ["/person?age=x", "/person/x", "/person/1,2"] {
        let (status, refused) = send(&server, "GET", url, Value::Null).await;
        assert_eq!((status, &refused["code"]), (400, &json!("E_INVALID_CRITERIA")), "{url}");
    }
    for url in ["/person/99", "/person/0", "/person/-1"] {
        assert_eq!(send(&server, "GET", url, Value::Null).await.0, 404, "{url}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn query_of_a_write_has_values_and_the_body_takes_precedence() {
    let server = sails().await;
    let name = async |method: &str, url: &str, body: Value| {
        let (status, record) = send(&server, method, url, body).await;
        assert_eq!(status, 200, "{method} {url}: {record}");
        record["name"].clone()
    };
    assert_eq!(name("POST", "/person?name=q&_csrf=t", Value::Null).await, "q");
    assert_eq!(name("POST", "/person?name=q", json!({ "name": "b" })).await, "b");
    assert_eq!(name("PATCH", "/person/1?name=zz", Value::Null).await, "zz");
    assert_eq!(name("PUT", "/person/01?name=zz&_csrf=t", json!({ "name": "y" })).await, "y");
    assert_eq!(name("DELETE", "/person/1?_csrf=t", Value::Null).await, "y");
    server.shutdown().await;
}

#[tokio::test]
async fn shortcuts_write_unless_they_are_set() {
    let server = sails().await;
    let (status, record) = send(&server, "GET", "/person/create?name=Ann", Value::Null).await;
    assert_eq!((status, &record["name"]), (200, &json!("Ann")));
    server.shutdown().await;
    let builder = builder().compat(Conventions::Sails);
    let server = start(builder.shortcuts(backwire::route::Shortcuts::Read)).await;
    // Without the shortcut, this is the url of a record that cannot exist.
    assert_eq!(send(&server, "GET", "/person/create?name=Ann", Value::Null).await.0, 400);
    assert_eq!(send(&server, "GET", "/person", Value::Null).await, (200, json!([])));
    server.shutdown().await;
}

#[tokio::test]
async fn settings_of_a_model_take_precedence_over_the_conventions() {
    let note = model(json!({
        "ids": "any", "unknown": "keep", "schema": false, "find": { "limit": 1, "populate": false },
        "attributes": { "by": { "model": "note" }, "text": { "type": "string", "null": true } },
    }));
    let server = start(builder().compat(Conventions::Sails).resource("note", note).unwrap()).await;
    let (status, first) =
        send(&server, "POST", "/note", json!({ "id": "a", "by": "a", "x": 1 })).await;
    assert_eq!((status, first), (200, json!({ "id": "a", "by": "a", "x": 1, "text": null })));
    send(&server, "POST", "/note", json!({ "x": 1 })).await;
    let url = r#"/note?where={"x":1}&select=by"#;
    let (_, list) = ask(&server, Method::GET, url, Value::Null).await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    server.shutdown().await;
}

/// Without the conventions of Sails, too.
#[tokio::test]
async fn declared_types_refuse_what_they_cannot_coerce() {
    let number = Attribute { kind: Some(Kind::Number), ..Attribute::default() };
    let item = Model::default().attribute("price", number);
    let server = start(builder().resource("item", item).unwrap()).await;
    let (status, created) = send(&server, "POST", "/item", json!({ "price": "04", "x": 1 })).await;
    assert_eq!((status, created), (201, json!({ "price": 4, "x": 1, "id": 1 })));
    assert_eq!(send(&server, "POST", "/item", Value::Null).await, (201, json!({ "id": 2 })));
    let read =
        async |query: &str| ask(&server, Method::GET, &format!("/item?{query}"), Value::Null).await;
    assert_eq!(read("price=04").await.1[0]["id"], 1);
    let (status, refused) = read(r#"where={"price":"x"}"#).await;
    assert_eq!((status, &refused["code"]), (400, &json!("E_BAD_CRITERIA")));
    let message = r#"price: "x" is not a number, which is the type of the attribute"#;
    assert_eq!(refused["message"], message);
    assert_eq!(read(r#"where={"x":1}"#).await.1[0]["id"], 1);
    server.shutdown().await;
}
