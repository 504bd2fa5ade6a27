//! Who may do what, and that nobody learns of what they may not read.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::routing::post;
use backwire::access::{Access, Act, Policy, Reach, Who};
use backwire::error::Result;
use backwire::model::{Attribute, Model};
use backwire::server::Builder;
use backwire::{Server, Session};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::client::{Socket, builder, start};

#[derive(Deserialize)]
struct Papers {
    person: String,
    roles: Vec<String>,
}

/// `POST /door` signs in whoever says who they are, `DELETE` out.
fn door(server: Builder) -> Builder {
    async fn enter(session: Session, papers: Json<Papers>) -> Result<()> {
        let Json(Papers { person, roles }) = papers;
        session.sign_in(&*person, roles).await
    }
    async fn go(session: Session) -> Result<()> {
        session.sign_out().await
    }
    server.route("/door", post(enter).delete(go))
}

fn model(said: Value) -> Model {
    serde_json::from_value(said).unwrap()
}

/// Notes are their owners', and editors may do everything.
fn notes() -> Model {
    let any = json!(["owner", { "role": "editor" }]);
    let create = json!(["signedIn"]);
    model(json!({
        "attributes": { "slug": { "unique": true } },
        "access": { "owner": "userId", "read": any, "create": create, "update": any, "destroy": any },
    }))
}

async fn serve() -> Server {
    start(door(builder()).resource("note", notes()).unwrap()).await
}

async fn signed_in(server: &Server, person: &str, roles: &[&str]) -> Browser {
    let mut browser = Browser::new(server);
    enter(&mut browser, person, roles).await;
    browser
}

async fn enter(browser: &mut Browser, person: &str, roles: &[&str]) {
    let papers = json!({ "person": person, "roles": roles });
    let entered = browser.send(Method::POST, "/door", Some(papers)).await;
    assert_eq!(entered.status(), 200);
}

async fn write(browser: &mut Browser, method: Method, path: &str, body: Value) -> (u16, Value) {
    let response = browser.send(method, path, Some(body)).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

/// All that has been committed so far has been said to whoever is told of it.
async fn all_is_said(server: &Server) {
    let mut socket = Socket::runtime(server).await;
    let room = room_of(&socket.get("/fence").await);
    socket.post("/fence", json!({})).await;
    socket.changes(&room, 1).await;
}

/// Writes a note and gives its id.
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
async fn what_a_handler_keeps_in_a_session_signs_nobody_in() {
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
async fn whoever_has_to_sign_in_is_told_so() {
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
async fn everyone_has_their_own_records_and_there_seem_to_be_no_others() {
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
        "?text=Milk&limit=5&sort=text",
        "?text=Milk&select=text",
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
async fn the_server_says_whose_a_new_record_is_and_nobody_else_does() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let (status, note) = write(&mut ann, Method::POST, "/note", json!({ "userId": null })).await;
    assert_eq!((status, &note["userId"]), (201, &json!("ann")));
    let bobs = json!({ "userId": "bob" });
    // Who may create anything may create for another.
    assert_eq!(write(&mut ann, Method::POST, "/note", bobs.clone()).await.0, 201);
    let path = format!("/note/{}", note["id"].as_str().unwrap());
    let (status, refused) = write(&mut ann, Method::PUT, &path, bobs.clone()).await;
    assert_eq!((status, &refused["code"]), (403, &json!("E_FORBIDDEN")));
    let mut editor = signed_in(&server, "eve", &["editor"]).await;
    assert_eq!(write(&mut editor, Method::PUT, &path, bobs).await.0, 200);
    assert_eq!(ann.send(Method::GET, &path, None).await.status(), 404);
    server.shutdown().await;
}

#[tokio::test]
async fn an_owners_records_are_for_its_owner_to_create() {
    let owned = json!({ "access": { "owner": "userId" } });
    let server = start(door(builder()).resource("note", model(owned)).unwrap()).await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    assert_eq!(write(&mut ann, Method::POST, "/note", json!({ "text": "Milk" })).await.0, 201);
    let (status, _) = write(&mut ann, Method::POST, "/note", json!({ "userId": "bob" })).await;
    assert_eq!(status, 403);
    let list = json!([{ "text": "Eggs" }, { "userId": "bob" }]);
    assert_eq!(write(&mut ann, Method::POST, "/note", list).await.0, 403);
    server.shutdown().await;
}

#[tokio::test]
async fn ids_and_unique_values_tell_nothing_of_other_peoples_records() {
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
async fn a_stored_reply_is_for_whom_it_was_given_to() {
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
async fn a_subscription_hears_of_its_owners_records_and_of_no_others() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let (mut hers, mut his) = (ann.runtime(&server).await, bob.runtime(&server).await);
    let (to_her, to_him) = (room_of(&hers.get("/note").await), room_of(&his.get("/note").await));
    note(&mut ann, "Milk").await;
    note(&mut bob, "Beer").await;
    assert_eq!(hers.changes(&to_her, 1).await[0][3]["text"], "Milk");
    assert_eq!(his.changes(&to_him, 1).await[0][3]["text"], "Beer");
    all_is_said(&server).await;
    assert!(hers.heard().await.is_empty() && his.heard().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn nobody_gets_into_a_room_by_knowing_its_name() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let bob = signed_in(&server, "bob", &[]).await;
    let milk = note(&mut ann, "Milk").await;
    let mut hers = ann.runtime(&server).await;
    let one = hers.get(&format!("/note/{milk}")).await;
    let list = hers.get("/note").await;
    let part = hers.get("/note?limit=3").await;
    let mut his = bob.runtime(&server).await;
    let mut nobody = Browser::new(&server).runtime(&server).await;
    let rooms = [&one, &list, &part].map(room_of);
    let others = ["note".to_owned(), format!("note/{milk}"), "note?{\"All\":[]}".to_owned()];
    for room in rooms.into_iter().chain(others) {
        let ask = json!(["resume", [[room, 1, 0]]]);
        for stranger in [&mut his, &mut nobody] {
            assert_eq!(stranger.ask(ask.clone()).await, json!([[room, null]]), "{room}");
        }
    }
    write(&mut ann, Method::PUT, &format!("/note/{milk}"), json!({ "text": "Eggs" })).await;
    note(&mut ann, "Bread").await;
    all_is_said(&server).await;
    assert!(his.heard().await.is_empty() && nobody.heard().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_record_that_changes_hands_leaves_one_list_and_enters_the_other() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let bob = signed_in(&server, "bob", &[]).await;
    let mut editor = signed_in(&server, "eve", &["editor"]).await;
    let milk = note(&mut ann, "Milk").await;
    let path = format!("/note/{milk}");
    let (mut list, mut one) = (ann.runtime(&server).await, ann.runtime(&server).await);
    let (of_list, of_one) = (room_of(&list.get("/note").await), room_of(&one.get(&path).await));
    let mut his = bob.runtime(&server).await;
    let of_his = room_of(&his.get("/note").await);
    let (mut stock_hers, mut stock_his) = (ann.socket(&server).await, bob.socket(&server).await);
    stock_hers.get("/note").await;
    stock_his.get("/note").await;
    let given = json!({ "userId": "bob", "text": "Beer" });
    assert_eq!(write(&mut editor, Method::PUT, &path, given).await.0, 200);
    assert_eq!(list.changes(&of_list, 1).await[0][1], 4);
    assert_eq!(one.changes(&of_one, 1).await[0][1], 3);
    let entered = &his.changes(&of_his, 1).await[0];
    assert_eq!((&entered[1], &entered[3]["text"]), (&json!(1), &json!("Beer")));
    let told = stock_hers.event().await;
    assert_eq!((&told[1]["verb"], &told[1]["id"]), (&json!("destroyed"), &json!(milk)));
    assert_eq!(told[1]["previous"]["text"], "Milk");
    let told = stock_his.event().await;
    assert_eq!((&told[1]["verb"], &told[1]["data"]["text"]), (&json!("created"), &json!("Beer")));
    write(&mut editor, Method::PUT, &path, json!({ "text": "Ale" })).await;
    assert_eq!(stock_his.event().await[1]["verb"], "updated");
    all_is_said(&server).await;
    for hers in [&mut stock_hers, &mut list, &mut one] {
        assert!(hers.heard().await.is_empty());
    }
    server.shutdown().await;
}

#[tokio::test]
async fn who_signs_out_hears_no_more_and_finds_out() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let milk = note(&mut ann, "Milk").await;
    let (mut runtime, mut stock) = (ann.runtime(&server).await, ann.socket(&server).await);
    let room = room_of(&runtime.get("/note").await);
    stock.get("/note").await;
    let cookie = ann.cookie.clone();
    assert_eq!(status(&mut ann, Method::DELETE, "/door").await, 200);
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    let gone = json!(["note", { "verb": "destroyed", "id": milk }]);
    assert_eq!(stock.event().await, gone);
    assert_eq!(runtime.ask(json!(["resume", [[room, 1, 0]]])).await, json!([[room, null]]));
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    // The same person elsewhere goes on writing.
    let mut elsewhere = signed_in(&server, "ann", &[]).await;
    note(&mut elsewhere, "Eggs").await;
    all_is_said(&server).await;
    assert!(runtime.heard().await.is_empty() && stock.heard().await.is_empty());
    // And back in, on the same connection.
    ann.cookie = cookie;
    enter(&mut ann, "ann", &[]).await;
    assert_eq!(texts(&runtime.get("/note").await["body"]), ["Milk", "Eggs"]);
    server.shutdown().await;
}

#[tokio::test]
async fn who_loses_a_role_keeps_what_is_theirs() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &["editor"]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let (hers, his) = (note(&mut ann, "Milk").await, note(&mut bob, "Beer").await);
    let (mut runtime, mut stock) = (ann.runtime(&server).await, ann.socket(&server).await);
    assert_eq!(room_of(&runtime.get("/note").await), "note");
    stock.get("/note").await;
    enter(&mut ann, "ann", &[]).await;
    assert_eq!(runtime.event().await, json!(["push", "note", 0, 0, []]));
    assert_eq!(runtime.ask(json!(["resume", [["note", 1, 0]]])).await, json!([["note", null]]));
    assert_eq!(texts(&runtime.get("/note").await["body"]), ["Milk"]);
    assert_eq!(stock.event().await, json!(["note", { "verb": "destroyed", "id": his }]));
    write(&mut bob, Method::PUT, &format!("/note/{his}"), json!({ "text": "Ale" })).await;
    write(&mut ann, Method::PUT, &format!("/note/{hers}"), json!({ "text": "Tea" })).await;
    let told = stock.event().await;
    assert_eq!((&told[1]["verb"], &told[1]["data"]["text"]), (&json!("updated"), &json!("Tea")));
    server.shutdown().await;
}

#[tokio::test]
async fn a_session_that_ends_by_itself_ends_subscriptions_too() {
    let server = door(builder()).session_age(Duration::from_secs(1));
    let server = start(server.resource("note", notes()).unwrap()).await;
    let ann = signed_in(&server, "ann", &[]).await;
    let mut runtime = ann.runtime(&server).await;
    let room = room_of(&runtime.get("/note").await);
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_published_of_a_hidden_record_is_for_who_may_read_it() {
    let server = serve().await;
    let (ann, bob) = (signed_in(&server, "ann", &[]).await, signed_in(&server, "bob", &[]).await);
    let (mut hers, mut his) = (ann.runtime(&server).await, bob.runtime(&server).await);
    let to_her = room_of(&hers.get("/note").await);
    his.get("/note").await;
    let (mut stock_hers, mut stock_his) = (ann.socket(&server).await, bob.socket(&server).await);
    stock_hers.get("/note").await;
    stock_his.get("/note").await;
    let notes = server.publisher().pubsub("note").unwrap();
    let told = json!({ "userId": "ann", "text": "Milk" });
    notes.publish_create(told_with(&told, "n1"), None).await.unwrap();
    notes.publish_update("n1", told, None).await.unwrap();
    notes.publish_update("n1", json!({ "text": "whose?" }), None).await.unwrap();
    let changes = hers.changes(&to_her, 2).await;
    assert_eq!((&changes[0][1], &changes[1][1]), (&json!(1), &json!(2)));
    assert_eq!(stock_hers.event().await[1]["verb"], "created");
    all_is_said(&server).await;
    assert!(his.heard().await.is_empty() && stock_his.heard().await.is_empty());
    server.shutdown().await;
}

fn told_with(told: &Value, id: &str) -> Value {
    let mut told = told.clone();
    told["id"] = json!(id);
    told
}

#[tokio::test]
async fn a_policy_in_rust_narrows_the_rules() {
    let policy = Policy::new(|who: &Who, act| match act {
        Act::Destroy if !who.has_role("boss") => Reach::Nothing,
        _ if who.has_role("boss") => Reach::Whole,
        _ => Reach::those(json!({ "team": &*who.roles })).unwrap(),
    });
    let access = Access { policy: Some(policy), ..Access::default() };
    let job = Model { access, ..Model::default() }.attribute("team", Attribute::default());
    let server = start(door(builder()).resource("job", job).unwrap()).await;
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
fn rules_that_could_not_keep_their_word_are_refused() {
    let refused = |said: Value| {
        builder().resource("note", model(said)).err().expect("it is refused").to_string()
    };
    let owned = json!({ "owner": "userId" });
    assert!(refused(json!({ "access": { "read": "owner" } })).contains("`owner`"));
    assert!(refused(json!({ "access": owned, "ids": "integer" })).contains("UUID"));
    assert!(refused(json!({ "access": owned, "upsert": true })).contains("PUT"));
}

const PEOPLE: [&str; 3] = ["ann", "bob", "cyd"];

#[derive(Debug, Clone)]
enum Step {
    Create(&'static str),
    Touch(usize),
    Give(usize, &'static str),
    Destroy(usize),
    Leave(&'static str),
    Return(&'static str),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let person = || select(PEOPLE.to_vec());
    let step = prop_oneof![
        3 => person().prop_map(Step::Create),
        3 => (0..8usize).prop_map(Step::Touch),
        3 => (0..8usize, person()).prop_map(|(note, to)| Step::Give(note, to)),
        1 => (0..8usize).prop_map(Step::Destroy),
        1 => person().prop_map(Step::Leave),
        2 => person().prop_map(Step::Return),
    ];
    prop::collection::vec(step, 1..24)
}

/// A person with a page of each kind, who has read everything in every way there is.
struct Person {
    browser: Browser,
    sockets: Vec<Socket>,
}

impl Person {
    async fn new(server: &Server, name: &str) -> Self {
        let browser = signed_in(server, name, &[]).await;
        let mut sockets = vec![browser.runtime(server).await, browser.socket(server).await];
        for socket in &mut sockets {
            Self::read(socket, "").await;
        }
        Self { browser, sockets }
    }

    async fn read(socket: &mut Socket, id: &str) {
        for path in ["/note", "/note?open=true", "/note?limit=2&sort=text", &format!("/note/{id}")]
        {
            socket.get(path).await;
        }
    }
}

/// Every text says whose it is, and changes with its owner. So a frame that says another's name is one
/// that should not have been sent.
async fn nobody_learns_of_anothers_records(steps: Vec<Step>) {
    let server = serve().await;
    let mut editor = signed_in(&server, "eve", &["editor"]).await;
    let mut people = BTreeMap::new();
    for name in PEOPLE {
        people.insert(name, Person::new(&server, name).await);
    }
    let mut notes: Vec<(String, &str)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let of = |name: &str| json!({ "userId": name, "text": format!("of {name} {number}"), "open": number % 2 == 0 });
        let chosen = |note: usize| (note % notes.len().max(1)).min(notes.len());
        match step {
            Step::Create(name) => {
                let (status, note) = write(&mut editor, Method::POST, "/note", of(name)).await;
                assert_eq!(status, 201);
                notes.push((note["id"].as_str().unwrap().to_owned(), name));
            }
            Step::Leave(name) => {
                let person = people.get_mut(name).unwrap();
                person.browser.send(Method::DELETE, "/door", None).await;
            }
            Step::Return(name) => {
                let person = people.get_mut(name).unwrap();
                enter(&mut person.browser, name, &[]).await;
                let any = notes.get(number % notes.len().max(1)).map_or("", |(id, _)| id);
                for socket in &mut person.sockets {
                    Person::read(socket, any).await;
                }
            }
            Step::Touch(note) | Step::Give(note, _) | Step::Destroy(note) if notes.is_empty() => {
                let _ = note;
            }
            Step::Touch(note) => {
                let (id, name) = &notes[chosen(note)];
                write(&mut editor, Method::PUT, &format!("/note/{id}"), of(name)).await;
            }
            Step::Give(note, to) => {
                let note = chosen(note);
                notes[note].1 = to;
                write(&mut editor, Method::PUT, &format!("/note/{}", notes[note].0), of(to)).await;
            }
            Step::Destroy(note) => {
                let (id, _) = notes.swap_remove(chosen(note));
                assert_eq!(status(&mut editor, Method::DELETE, &format!("/note/{id}")).await, 200);
            }
        }
    }
    all_is_said(&server).await;
    for (name, person) in &mut people {
        for socket in &mut person.sockets {
            for frame in socket.heard().await {
                let others = PEOPLE.iter().filter(|other| *other != name);
                for other in others {
                    assert!(!frame.contains(&format!("of {other}")), "{name} heard {frame}");
                }
            }
        }
    }
    server.shutdown().await;
}

#[test]
fn no_frame_to_anyone_tells_of_anothers_records() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(Config { cases: 24, ..Config::default() });
    let told = runner.run(&steps(), |steps| {
        runtime.block_on(nobody_learns_of_anothers_records(steps));
        Ok(())
    });
    if let Err(failure) = told {
        panic!("{failure}");
    }
}

#[tokio::test]
async fn associations_lead_nobody_to_what_they_may_not_read() {
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
    let server = door(builder()).resource("user", user).unwrap().resource("note", note).unwrap();
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
    // Who has none of these in it can not take others' out either.
    assert_eq!(write(&mut bob, Method::PUT, "/user/1/tags", json!([])).await.0, 200);
    assert_eq!(texts(&ann.get(path).await["tags"]), ["of ann"]);
    all_is_said(&server).await;
    assert!(stock.heard().await.iter().all(|frame| !frame.contains(note) && !frame.contains(tag)));
    server.shutdown().await;
}
