//! Handlers of the user: their reads, writes and answers.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use backwire::access::{Access, Grant, Rule};
use backwire::change::Attributes;
use backwire::model::{Conventions, Model};
use backwire::server::Builder;
use backwire::{AllParams, Context, Error, PlainText, Session};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::client::{Socket, ask, builder, refusal, start};

fn notes() -> Model {
    let own = || Some(Rule(vec![Grant::Owner]));
    let access = Access {
        owner: Some("author".to_owned()),
        read: own(),
        create: own(),
        update: own(),
        destroy: own(),
        ..Access::default()
    };
    Model { access, ..Model::default() }
}

async fn find(cx: Context, Json(criteria): Json<Value>) -> Result<Json<Vec<Attributes>>, Error> {
    Ok(Json(cx.find("note", criteria).await?))
}

async fn find_one(cx: Context, Path(id): Path<String>) -> Result<Json<Option<Attributes>>, Error> {
    Ok(Json(cx.find_one("note", &*id).await?))
}

async fn create(cx: Context, Json(note): Json<Attributes>) -> Result<Response, Error> {
    let reply = cx.create("note", note).await?;
    let made = reply.record().and_then(|record| record.get("n")).cloned();
    Ok((StatusCode::CREATED, Json(json!({ "made": made }))).into_response())
}

#[tokio::test]
async fn handler_reads_what_its_caller_may_read_and_gets_the_created_record() {
    let sign_in = get(async |session: Session, Path(person): Path<String>| {
        session.sign_in(&*person, [""; 0]).await
    });
    let server = builder()
        .resource("note", notes())
        .unwrap()
        .route("/find", post(find))
        .route("/find/{id}", get(find_one))
        .route("/create", post(create))
        .route("/in/{person}", sign_in);
    let server = start(server).await;
    let (mut ann, mut bob) = (Socket::stock(&server).await, Socket::runtime(&server).await);
    ann.get("/in/ann").await;
    bob.get("/in/bob").await;
    for n in 1..=3 {
        assert_eq!(ann.post("/create", json!({ "n": n })).await["body"], json!({ "made": n }));
    }
    bob.post("/create", json!({ "n": 4 })).await;
    let numbers = |ack: Value| {
        let list = ack["body"].as_array().cloned().unwrap();
        list.iter().map(|note| note["n"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(ann.post("/find", json!({})).await), [1, 2, 3]);
    let some = json!({ "where": { "n": { ">": 1 } }, "sort": "n DESC", "limit": 1 });
    assert_eq!(numbers(ann.post("/find", some).await), [3]);
    assert_eq!(numbers(bob.post("/find", json!({ "n": [1, 4] })).await), [4]);
    let id = async |socket: &mut Socket| {
        socket.post("/find", json!({})).await["body"][0]["id"].as_str().unwrap().to_owned()
    };
    let (anns, bobs) = (id(&mut ann).await, id(&mut bob).await);
    assert_eq!(bob.get(&format!("/find/{anns}")).await["body"], Value::Null);
    assert_eq!(bob.get(&format!("/find/{bobs}")).await["body"]["n"], 4, "{bobs}");
    let refused = bob.post("/find", json!({ "limit": "x" })).await;
    assert_eq!(refusal(&refused), json!([400, "E_BAD_CRITERIA"]));
    assert_eq!(refusal(&bob.post("/find", json!([])).await), json!([400, "E_BAD_BODY"]));
    // The reads have subscribed nobody.
    ann.post("/create", json!({ "n": 5 })).await;
    assert!(bob.pushes().await.is_empty());
    server.shutdown().await;
}

fn with_refusals(builder: Builder) -> Builder {
    builder
        .route("/text", put(async || (StatusCode::FORBIDDEN, "Forbidden")))
        .route("/plain", put(async || PlainText((StatusCode::FORBIDDEN, "Forbidden"))))
}

#[tokio::test]
async fn refusal_of_a_handler_is_json_unless_it_is_to_stay_text() {
    for (conventions, is_json) in [(Conventions::Backwire, true), (Conventions::Sails, false)] {
        let server = start(with_refusals(builder().compat(conventions))).await;
        let mut socket = Socket::stock(&server).await;
        let url = |path: &str| format!("http://{}{path}", server.addr());
        let text = async |path: &str| {
            let answer = Client::new().put(url(path)).send().await.unwrap();
            assert_eq!(answer.status(), 403);
            answer.text().await.unwrap()
        };
        assert_eq!(text("/plain").await, "Forbidden");
        assert_eq!(text("/text").await == "Forbidden", !is_json);
        assert_eq!(socket.put("/plain", json!({})).await["body"], "Forbidden");
        let body = socket.put("/text", json!({})).await["body"].clone();
        assert_eq!(body["message"] == "Forbidden", is_json);
        assert_eq!(body == "Forbidden", !is_json);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn all_parameters_are_those_of_path_body_and_query() {
    let all = async |AllParams(params): AllParams| Json(params);
    let server = start(builder().route("/all/{name}", any(all)).route("/all", any(all))).await;
    let (status, params) =
        ask(&server, Method::POST, "/all/Ann?name=q&x=1&y=2&t[]=a", json!({ "x": true })).await;
    assert_eq!(status, 200);
    assert_eq!(params, json!({ "name": "Ann", "x": true, "y": "2", "t": ["a"] }));
    let (_, params) = ask(&server, Method::GET, "/all?name=q", Value::Null).await;
    assert_eq!(params, json!({ "name": "q" }));
    let mut socket = Socket::stock(&server).await;
    let request = json!(["get", { "url": "/all?name=q&z=1", "data": { "name": "d" } }]);
    assert_eq!(socket.ask(request).await["body"], json!({ "name": "d", "z": "1" }));
    server.shutdown().await;
}
