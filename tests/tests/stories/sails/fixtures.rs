//! The app of `tests/sails/app.cjs` with Backwire, written with nothing but its public API.

use std::time::Duration;

use axum::Json;
use axum::extract::Query;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use backwire::change::Attributes;
use backwire::error::Result;
use backwire::model::{Conventions, Model, ModelError, Undeclared};
use backwire::server::Builder;
use backwire::{AllParams, Client, Publisher, Session};
use serde::Deserialize;
use serde_json::{Value, json};

/// The models, as in a configuration file.
fn models() -> Value {
    let belongs = |model: &str| json!({ "model": model });
    let many = |of: &str, via: &str| json!({ "collection": of, "via": via });
    json!({
        "user": { "key": "user_id", "attributes": {
            "name": "string", "pets": many("pet", "owner"), "patients": many("pet", "vets"),
            "profile": many("userprofile", "user"),
        } },
        "pet": { "key": "pet_id", "attributes": {
            "name": "string", "isPet": { "type": "boolean", "default": true },
            "owner": belongs("user"), "bestFriend": belongs("user"),
            "vets": many("user", "patients"), "parents": many("pet", "children"),
            "children": many("pet", "parents"), "bestFurryFriend": belongs("pet"),
        } },
        "userprofile": { "attributes": { "zodiac": "string", "user": belongs("user") } },
        "person": { "attributes": {
            "name": "string", "email": { "type": "string", "email": true }, "age": "number",
            "admin": "boolean", "meta": "json", "pets": many("animal", "owner"),
        } },
        "animal": { "attributes": {
            "name": { "type": "string", "required": true, "unique": true },
            "kind": { "type": "string", "enum": ["cat", "dog", "bird"], "default": "cat" },
            "weight": { "type": "number", "min": 0 }, "owner": belongs("person"),
        } },
        "article": { "attributes": {
            "title": { "type": "string", "required": true, "max": 20 },
            "subtitle": { "type": "string", "null": true }, "author": belongs("person"),
            "tags": many("tag", "articles"),
        } },
        "tag": { "attributes": { "label": "string", "articles": many("article", "tags") } },
        "fence": { "attributes": { "label": "string" } },
    })
}

async fn header(headers: HeaderMap) -> Response {
    match headers.get("x-test-header-one").and_then(|value| value.to_str().ok()) {
        Some(value) => value.to_owned().into_response(),
        None => StatusCode::OK.into_response(),
    }
}

#[derive(Deserialize)]
struct Echoed {
    x: Option<String>,
}

async fn slow(Query(Echoed { x }): Query<Echoed>) -> String {
    tokio::time::sleep(Duration::from_millis(100)).await;
    x.unwrap_or_default()
}

async fn count(session: Option<Session>) -> Result<Response> {
    let Some(session) = session else { return Ok("NOSESSION".into_response()) };
    let count = session.get::<u64>("count").await?.unwrap_or(0) + 1;
    session.insert("count", count)?;
    Ok(Json(count).into_response())
}

async fn echo(method: Method, AllParams(all): AllParams) -> Json<Value> {
    Json(json!({ "method": method.as_str(), "all": all }))
}

async fn token(client: Option<Client>) -> String {
    client.and_then(|client| client.handshake().query("token")).unwrap_or_default()
}

#[derive(Deserialize)]
struct Blast {
    event: String,
    data: Value,
}

async fn blast(publisher: Publisher, Json(Blast { event, data }): Json<Blast>) -> Result<()> {
    publisher.broadcast_to_all(&event, &data, None)
}

async fn fail() -> Json<Attributes> {
    panic!("this handler fails")
}

pub(super) fn app(server: Builder) -> std::result::Result<Builder, ModelError> {
    let hello = get("ok!").post("posted!").put("putted!").patch("patched!").delete("deleted!");
    let mut server = server
        .compat(Conventions::Sails)
        .undeclared(Undeclared::Refuse)
        .route("/hello", hello)
        .route("/someJSON", get(async || Json(json!({ "foo": "bar" }))))
        .route("/someNull", get(async || Json(Value::Null)))
        .route("/someZero", get(async || Json(0)))
        .route(
            "/someError",
            get(async || (StatusCode::NOT_IMPLEMENTED, Json(json!({ "blah": "blah" })))),
        )
        .route("/foo", get("foo"))
        .route("/bar", get("bar"))
        .route("/headers", get(header))
        .route("/headersOverride", get(header))
        .route("/headersRemove", get(header))
        .route("/auth", post(token))
        .route("/ok", get(slow))
        .route("/count", get(count))
        .route("/echo", any(echo))
        .route("/throw", get(fail))
        .route("/forbidden", put(async || (StatusCode::FORBIDDEN, "Forbidden")))
        .route("/_fixture/blast", post(blast));
    let models = models();
    for (name, model) in models.as_object().into_iter().flatten() {
        let model: Model = serde_json::from_value(model.clone()).expect("it is a model");
        server = server.resource(name, model)?;
    }
    Ok(server)
}
