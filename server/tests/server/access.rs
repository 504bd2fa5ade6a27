//! Access rules: what callers may do, and that they learn nothing of records that they may not
//! read.

mod owners;
mod revealing;
mod schedules;
mod signing_in;
mod subscriptions;

use axum::Json;
use axum::routing::post;
use backwire::access::{Access, AccessScope, Operation, Policy, Principal};
use backwire::error::Result;
use backwire::model::{Attribute, Model};
use backwire::server::Builder;
use backwire::{Server, Session};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::client::{Socket, builder, start};

#[derive(Deserialize)]
struct Credentials {
    person: String,
    roles: Vec<String>,
}

/// Adds `POST /sign-in`, which signs in the person that the body names, and `DELETE`, which signs
/// the caller out.
pub(crate) fn with_sign_in(server: Builder) -> Builder {
    async fn sign_in(session: Session, credentials: Json<Credentials>) -> Result<()> {
        let Json(Credentials { person, roles }) = credentials;
        session.sign_in(&*person, roles).await
    }
    async fn sign_out(session: Session) -> Result<()> {
        session.sign_out().await
    }
    server.route("/sign-in", post(sign_in).delete(sign_out))
}

fn model(declaration: Value) -> Model {
    serde_json::from_value(declaration).unwrap()
}

/// Returns the model of notes. An owner may access own notes, and editors may do everything.
pub(crate) fn notes() -> Model {
    let any = json!(["owner", { "role": "editor" }]);
    let create = json!(["signedIn"]);
    model(json!({
        "attributes": { "slug": { "unique": true } },
        "access": {
            "owner": "userId", "assign": { "role": "editor" },
            "read": any, "create": create, "update": any, "destroy": any,
        },
    }))
}

async fn serve() -> Server {
    start(with_sign_in(builder()).resource("note", notes()).unwrap()).await
}

pub(crate) async fn signed_in(server: &Server, person: &str, roles: &[&str]) -> Browser {
    let mut browser = Browser::new(server);
    sign_in(&mut browser, person, roles).await;
    browser
}

async fn sign_in(browser: &mut Browser, person: &str, roles: &[&str]) {
    let credentials = json!({ "person": person, "roles": roles });
    let entered = browser.send(Method::POST, "/sign-in", Some(credentials)).await;
    assert_eq!(entered.status(), 200);
}

async fn write(browser: &mut Browser, method: Method, path: &str, body: Value) -> (u16, Value) {
    let response = browser.send(method, path, Some(body)).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Waits until the server has pushed all commits so far.
pub(crate) async fn wait_for_pushes(server: &Server) {
    let mut socket = Socket::runtime(server).await;
    let room = room_of(&socket.get("/fence").await);
    socket.post("/fence", json!({})).await;
    socket.changes(&room, 1).await;
}

/// Creates a note and returns its id.
async fn note(browser: &mut Browser, text: &str) -> String {
    let (status, note) = write(browser, Method::POST, "/note", json!({ "text": text })).await;
    assert_eq!(status, 201, "{note}");
    note["id"].as_str().unwrap().to_owned()
}

async fn status(browser: &mut Browser, method: Method, path: &str) -> u16 {
    let body = (method != Method::GET).then(|| json!({}));
    browser.send(method, path, body).await.status().as_u16()
}

fn texts(notes: &Value) -> Vec<&str> {
    notes.as_array().unwrap().iter().map(|note| note["text"].as_str().unwrap()).collect()
}

fn room_of(ack: &Value) -> String {
    ack["headers"]["backwire-room"].as_str().expect("it has joined a room").to_owned()
}

#[tokio::test]
async fn session_values_of_a_handler_do_not_sign_the_caller_in() {
    async fn keep(session: Session) -> Result<()> {
        session.insert("person", "ann")?;
        session.insert("roles", ["editor"])
    }
    let server = builder().route("/kept", post(keep)).resource("note", notes()).unwrap();
    let server = start(server).await;
    let mut browser = Browser::new(&server);
    assert_eq!(status(&mut browser, Method::POST, "/kept").await, 200);
    assert_eq!(status(&mut browser, Method::GET, "/note").await, 401);
    server.shutdown().await;
}

#[tokio::test]
async fn anonymous_caller_gets_401_for_protected_records() {
    let server = serve().await;
    let mut nobody = Browser::new(&server);
    for (method, path) in [
        (Method::GET, "/note"),
        (Method::GET, "/note/1"),
        (Method::POST, "/note"),
        (Method::PUT, "/note/1"),
        (Method::DELETE, "/note/1"),
    ] {
        let refused = nobody.send(method.clone(), path, Some(json!({}))).await;
        assert_eq!(refused.status(), 401, "{method} {path}");
        let body: Value = refused.json().await.unwrap();
        assert_eq!(body["code"], "E_UNAUTHORIZED");
        let mut socket = nobody.socket(&server).await;
        let event = json!([method.as_str().to_lowercase(), { "url": path, "data": {} }]);
        assert_eq!(socket.ask(event).await["statusCode"], 401, "{method} {path}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn records_of_other_owners_look_like_missing_ones() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let milk = note(&mut ann, "Milk").await;
    note(&mut bob, "Beer").await;
    assert_eq!(texts(&ann.get("/note").await), ["Milk"]);
    assert_eq!(texts(&bob.get("/note").await), ["Beer"]);
    let (mut stock, mut runtime) = (bob.socket(&server).await, bob.runtime(&server).await);
    for query in [
        "?where={\"userId\":\"ann\"}",
        "?userId=ann",
        "?where={\"or\":[{\"userId\":\"ann\"},{\"text\":\"Milk\"}]}",
        "?where={\"not\":{\"userId\":\"bob\"}}",
        "?where={\"text\":\"Milk\"}&limit=5&sort=text",
        "?where={\"text\":\"Milk\"}&select=text",
    ] {
        let path = format!("/note{query}");
        assert_eq!(bob.get(&path).await, json!([]), "{query}");
        assert_eq!(stock.get(&path).await["body"], json!([]), "{query}");
        assert_eq!(runtime.get(&path).await["body"], json!([]), "{query}");
    }
    let (hers, none) = (format!("/note/{milk}"), format!("/note/{}x", &milk[1..]));
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
        let refused = async |browser: &mut Browser, path: &str| {
            let body = (method != Method::GET).then(|| json!({ "slug": "x" }));
            let refused = browser.send(method.clone(), path, body).await;
            (refused.status().as_u16(), refused.text().await.unwrap().replace(&path[6..], "…"))
        };
        let (of_hers, of_none) = (refused(&mut bob, &hers).await, refused(&mut bob, &none).await);
        assert_eq!(of_hers.0, 404);
        assert_eq!(of_hers, of_none, "{method}");
    }
    assert_eq!(stock.get(&hers).await["statusCode"], 404);
    assert_eq!(runtime.get(&hers).await["statusCode"], 404);
    assert_eq!(status(&mut ann, Method::GET, &hers).await, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn server_sets_the_owner_of_a_new_record_and_clients_cannot() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let (status, note) = write(&mut ann, Method::POST, "/note", json!({ "userId": null })).await;
    assert_eq!((status, &note["userId"]), (201, &json!("ann")));
    let bobs = json!({ "userId": "bob" });
    let (status, refused) = write(&mut ann, Method::POST, "/note", bobs.clone()).await;
    assert_eq!((status, &refused["field"]), (403, &json!("userId")));
    let path = format!("/note/{}", note["id"].as_str().unwrap());
    let (status, refused) = write(&mut ann, Method::PUT, &path, bobs.clone()).await;
    assert_eq!((status, &refused["code"]), (403, &json!("E_FORBIDDEN")));
    let mut editor = signed_in(&server, "eve", &["editor"]).await;
    assert_eq!(write(&mut editor, Method::PUT, &path, bobs.clone()).await.0, 200);
    assert_eq!(write(&mut editor, Method::POST, "/note", bobs).await.0, 201);
    assert_eq!(ann.send(Method::GET, &path, None).await.status(), 404);
    server.shutdown().await;
}

#[tokio::test]
async fn records_are_created_only_for_the_caller_as_owner() {
    let owned = json!({ "access": { "owner": "userId" } });
    let server = start(with_sign_in(builder()).resource("note", model(owned)).unwrap()).await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    assert_eq!(write(&mut ann, Method::POST, "/note", json!({ "text": "Milk" })).await.0, 201);
    let (status, _) = write(&mut ann, Method::POST, "/note", json!({ "userId": "bob" })).await;
    assert_eq!(status, 403);
    let list = json!([{ "text": "Eggs" }, { "userId": "bob" }]);
    assert_eq!(write(&mut ann, Method::POST, "/note", list).await.0, 403);
    server.shutdown().await;
}

#[tokio::test]
async fn ids_and_unique_values_do_not_reveal_records_of_others() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let slug = json!({ "slug": "home" });
    let (_, hers) = write(&mut ann, Method::POST, "/note", slug.clone()).await;
    assert_eq!(write(&mut bob, Method::POST, "/note", slug.clone()).await.0, 201);
    assert_eq!(write(&mut ann, Method::POST, "/note", slug).await.0, 409);
    for id in [&hers["id"], &json!(uuid::Uuid::now_v7().to_string())] {
        let (status, refused) = write(&mut bob, Method::POST, "/note", json!({ "id": id })).await;
        assert_eq!((status, &refused["field"]), (400, &json!("id")));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn stored_reply_is_returned_only_to_its_identity() {
    let server = serve().await;
    let (ann, bob) = (signed_in(&server, "ann", &[]).await, signed_in(&server, "bob", &[]).await);
    let create = json!(["post", {
        "url": "/note", "data": { "text": "Milk" }, "headers": { "idempotency-key": "k" },
    }]);
    let first = ann.runtime(&server).await.ask(create.clone()).await;
    let again = ann.runtime(&server).await.ask(create.clone()).await;
    assert_eq!(first["body"], again["body"]);
    let others = bob.runtime(&server).await.ask(create).await;
    assert_eq!(others["body"]["userId"], "bob");
    assert_ne!(others["body"]["id"], first["body"]["id"]);
    server.shutdown().await;
}

#[tokio::test]
async fn policy_in_rust_restricts_access() {
    let policy = Policy::new(|who: &Principal, act| match act {
        Operation::Destroy if !who.has_role("boss") => AccessScope::Nothing,
        _ if who.has_role("boss") => AccessScope::Whole,
        _ => AccessScope::matching(json!({ "team": &*who.roles })).unwrap(),
    });
    let access = Access { policy: Some(policy), ..Access::default() };
    let job = Model { access, ..Model::default() }.attribute("team", Attribute::default());
    let server = start(with_sign_in(builder()).resource("job", job).unwrap()).await;
    let mut boss = signed_in(&server, "boss", &["boss"]).await;
    let mut red = signed_in(&server, "ann", &["red"]).await;
    for team in ["red", "blue"] {
        assert_eq!(write(&mut boss, Method::POST, "/job", json!({ "team": team })).await.0, 201);
    }
    let jobs = red.get("/job").await;
    assert_eq!(jobs.as_array().unwrap().len(), 1);
    let path = format!("/job/{}", jobs[0]["id"].as_str().unwrap());
    assert_eq!(status(&mut red, Method::DELETE, &path).await, 403);
    assert_eq!(write(&mut red, Method::PUT, &path, json!({ "team": "blue" })).await.0, 403);
    assert_eq!(status(&mut boss, Method::DELETE, &path).await, 200);
    server.shutdown().await;
}

#[test]
fn inconsistent_access_rules_are_refused() {
    let refused = |declaration: Value| {
        builder().resource("note", model(declaration)).err().expect("it is refused").to_string()
    };
    let owned = json!({ "owner": "userId" });
    assert!(refused(json!({ "access": { "read": "owner" } })).contains("`owner`"));
    assert!(refused(json!({ "access": owned, "ids": "integer" })).contains("UUID"));
    assert!(refused(json!({ "access": owned, "upsert": true })).contains("PUT"));
}

#[tokio::test]
async fn associations_do_not_expose_unreadable_records() {
    let user = model(json!({ "attributes": {
        "notes": { "collection": "note", "via": "about" },
        "tags": { "collection": "tag", "via": "users" },
    } }));
    let note = model(json!({
        "attributes": { "about": { "model": "user" } }, "access": { "owner": "userId" },
    }));
    let tag = model(json!({
        "attributes": { "users": { "collection": "user", "via": "tags" } },
        "access": { "owner": "userId" },
    }));
    let server =
        with_sign_in(builder()).resource("user", user).unwrap().resource("note", note).unwrap();
    let server = start(server.resource("tag", tag).unwrap()).await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let mut nobody = Browser::new(&server);
    write(&mut bob, Method::POST, "/user", json!({ "name": "Cyd" })).await;
    let mut stock = bob.socket(&server).await;
    stock.get("/user/1?populate=notes,tags").await;
    let (_, hers) =
        write(&mut ann, Method::POST, "/user/1/notes", json!({ "text": "of ann" })).await;
    let (_, tag) = write(&mut ann, Method::POST, "/tag", json!({ "text": "of ann" })).await;
    let (note, tag) = (hers["id"].as_str().unwrap(), tag["id"].as_str().unwrap());
    let tagged = format!("/user/1/tags/{tag}");
    assert_eq!(write(&mut ann, Method::PUT, &tagged, json!({})).await.0, 200);
    let path = "/user/1?populate=notes,tags";
    assert_eq!(texts(&ann.get(path).await["notes"]), ["of ann"]);
    assert_eq!(texts(&ann.get(path).await["tags"]), ["of ann"]);
    for stranger in [&mut bob, &mut nobody] {
        let read = stranger.get(path).await;
        assert_eq!((&read["notes"], &read["tags"]), (&json!([]), &json!([])));
        assert_eq!(stranger.get("/user/1/notes").await, json!([]));
    }
    for path in [format!("/user/1/notes/{note}"), tagged] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            assert_eq!(status(&mut bob, method.clone(), &path).await, 404, "{method} {path}");
        }
    }
    // A caller who sees none of the members cannot remove members of others.
    assert_eq!(write(&mut bob, Method::PUT, "/user/1/tags", json!([])).await.0, 200);
    assert_eq!(texts(&ann.get(path).await["tags"]), ["of ann"]);
    wait_for_pushes(&server).await;
    assert!(stock.pushes().await.iter().all(|frame| !frame.contains(note) && !frame.contains(tag)));
    server.shutdown().await;
}

#[tokio::test]
async fn action_allowed_to_nobody_is_refused_with_403_even_before_sign_in() {
    let closed = json!({ "create": "nobody", "update": [], "destroy": { "role": "editor" } });
    let unread = json!({ "read": ["nobody"] });
    let mut builder = with_sign_in(builder());
    for (name, access) in [("log", closed), ("vault", unread)] {
        builder = builder.resource(name, model(json!({ "access": access }))).unwrap();
    }
    let server = start(builder).await;
    let (mut nobody, mut ann) = (Browser::new(&server), signed_in(&server, "ann", &[]).await);
    let mut socket = Socket::runtime(&server).await;
    for (method, path, stranger, known) in [
        (Method::POST, "/log", 403, 403),
        (Method::PATCH, "/log/1", 403, 403),
        // An editor may destroy records, so signing in could help.
        (Method::DELETE, "/log/1", 401, 403),
        (Method::GET, "/vault", 403, 403),
        (Method::GET, "/vault/1", 403, 403),
        (Method::DELETE, "/vault/1", 403, 403),
    ] {
        let verb = method.as_str().to_ascii_lowercase();
        let ack = socket.ask(json!([verb, { "url": path, "data": {} }])).await;
        assert_eq!(ack["statusCode"], stranger, "{method} {path}: {ack}");
        for (browser, expected) in [(&mut nobody, stranger), (&mut ann, known)] {
            let status = write(browser, method.clone(), path, json!({})).await.0;
            assert_eq!(status, expected, "{method} {path}");
        }
    }
    server.shutdown().await;
}
