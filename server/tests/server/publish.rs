//! `POST /publish`, for back ends in other languages.

use axum::routing::post;
use backwire::access::Access;
use backwire::error::Result;
use backwire::model::{Ids, Model};
use backwire::{Server, Session};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::client::{Socket, builder, server, start};

async fn keyed() -> Server {
    start(builder().api_key("secret".parse().unwrap())).await
}

async fn publish(server: &Server, query: &str, news: &Value) -> Response {
    let url = format!("http://{}/publish{query}", server.addr());
    Client::new().post(url).json(news).send().await.unwrap()
}

/// Returns status, code and field of a refusal.
async fn refused(response: Response) -> Value {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    assert!(body["message"].as_str().is_some_and(|message| message.len() > 10), "{body}");
    json!([status, body["code"], body["field"]])
}

const KEY: &str = "?site=/&apiKey=secret";

#[tokio::test]
async fn api_key_may_be_in_a_header() {
    let server = keyed().await;
    let url = format!("http://{}/publish", server.addr());
    let news = json!({ "model": "user", "verb": "destroy", "id": 3 });
    for (key, status) in [("Bearer secret", 200), ("secret", 200), ("Bearer other", 401)] {
        let request = Client::new().post(&url).header("authorization", key).json(&news);
        assert_eq!(request.send().await.unwrap().status(), status, "{key}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn published_event_is_pushed_and_not_stored() {
    let server = keyed().await;
    let (mut ours, mut sails) = (Socket::runtime(&server).await, Socket::stock(&server).await);
    ours.get("/user").await;
    sails.get("/user").await;
    let news = json!({ "model": "user", "verb": "create", "id": 3, "data": { "name": "Randy" } });
    let response = publish(&server, KEY, &news).await;
    let position = response.headers()["backwire-position"].to_str().unwrap().to_owned();
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "position": position }));
    let randy = json!({ "name": "Randy", "id": 3 });
    let push = ours.event().await;
    assert_eq!(
        (&push[1], &push[3], &push[4]),
        (&json!("user"), &json!(0), &json!([[1, 1, 3, randy, 0]]))
    );
    assert_eq!(position, format!("{}:1", push[2]));
    let created = json!({ "verb": "created", "id": 3, "data": randy });
    assert_eq!(sails.event().await, json!(["user", created]));
    for verb in ["updated", "destroyed"] {
        let news =
            json!({ "model": "User", "verb": verb, "id": "3", "data": { "name": "Amanda" } });
        assert_eq!(publish(&server, "?apiKey=secret", &news).await.status(), 200);
    }
    assert_eq!(
        ours.changes("user", 2).await,
        json!([[2, 2, 3, { "name": "Amanda" }, 0], [3, 3, 3, null, 0]])
    );
    let updated = json!({ "verb": "updated", "id": 3, "data": { "name": "Amanda" } });
    assert_eq!(sails.event().await, json!(["user", updated]));
    assert_eq!(sails.event().await, json!(["user", { "verb": "destroyed", "id": 3 }]));
    assert_eq!(ours.get("/user").await["body"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn publish_may_be_repeated_with_the_same_key() {
    let server = keyed().await;
    let url = format!("http://{}/publish{KEY}", server.addr());
    let say = || {
        let news = json!({ "model": "user", "verb": "update", "id": 3, "data": {} });
        Client::new().post(&url).header("idempotency-key", "k").json(&news).send()
    };
    let first = say().await.unwrap().text().await.unwrap();
    assert_eq!(say().await.unwrap().text().await.unwrap(), first);
    server.shutdown().await;
}

fn keyed_create(path: &str) -> Value {
    json!(["post", { "url": path, "headers": { "idempotency-key": "order-7" }, "data": {} }])
}

#[tokio::test]
async fn idempotency_keys_of_back_ends_anonymous_callers_and_persons_are_separate() {
    async fn sign_in(session: Session) -> Result<()> {
        session.sign_in(":api_key", Vec::<String>::new()).await
    }
    let owned = Access { owner: Some("userId".to_owned()), ..Access::default() };
    let builder = builder().api_key("secret".parse().unwrap()).route("/sign-in", post(sign_in));
    let model = Model { access: owned, ids: Ids::Uuid, ..Model::default() };
    let server = start(builder.resource("note", model).unwrap()).await;
    let mut person = Browser::new(&server);
    person.send(Method::POST, "/sign-in", None).await;
    // The attack: other callers use keys that the back end will use later.
    let anonymous = Socket::runtime(&server).await;
    let mut sockets = [anonymous, person.runtime(&server).await];
    for (socket, path) in sockets.iter_mut().zip(["/user", "/note"]) {
        let reply = socket.ask(keyed_create(path)).await;
        assert_eq!(reply["statusCode"], 201);
    }
    let url = format!("http://{}/publish{KEY}", server.addr());
    let publish = async |id: u32| {
        let news = json!({ "model": "user", "verb": "update", "id": id, "data": {} });
        let request = Client::new().post(&url).header("idempotency-key", "order-7").json(&news);
        request.send().await.unwrap()
    };
    assert_eq!(publish(3).await.status(), 200);
    assert_eq!(publish(3).await.status(), 200);
    assert_eq!(refused(publish(4).await).await, json!([422, "E_KEY_REUSED", "idempotency-key"]));
    // The other callers get the answers to their own requests.
    for (socket, path) in sockets.iter_mut().zip(["/user", "/note"]) {
        let reply = socket.ask(keyed_create(path)).await;
        assert_eq!(reply["statusCode"], 201);
        assert_eq!(socket.get(path).await["body"].as_array().unwrap().len(), 1);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn publish_requires_the_configured_api_key() {
    let news = json!({ "model": "user", "verb": "destroy", "id": 3 });
    let open = server().await;
    for query in ["", "?apiKey=", KEY] {
        let refusal = refused(publish(&open, query, &news).await).await;
        assert_eq!(refusal, json!([404, "E_NOT_FOUND", null]), "{query}");
    }
    open.shutdown().await;
    let server = keyed().await;
    for query in ["", "?apiKey=", "?apiKey=secre", "?apiKey=secret2", "?site=/shop&apiKey=secret"] {
        let refusal = refused(publish(&server, query, &news).await).await;
        assert_eq!(refusal, json!([401, "E_UNAUTHORIZED", "apiKey"]), "{query}");
    }
    assert_eq!(publish(&server, KEY, &news).await.status(), 200);
    server.shutdown().await;
}

#[tokio::test]
async fn invalid_publication_is_refused_with_its_field() {
    let server = keyed().await;
    let table = [
        (json!([]), "E_BAD_BODY", "body"),
        (json!({ "verb": "create", "data": { "id": 1 } }), "E_BAD_BODY", "model"),
        (json!({ "model": "a b", "verb": "create", "data": { "id": 1 } }), "E_BAD_BODY", "model"),
        (json!({ "model": "user", "verb": "make", "data": { "id": 1 } }), "E_BAD_BODY", "verb"),
        (json!({ "model": "user", "verb": "update", "id": 1 }), "E_BAD_BODY", "data"),
        (json!({ "model": "user", "verb": "update", "id": 1, "data": [] }), "E_BAD_BODY", "data"),
        (json!({ "model": "user", "verb": "create", "data": {} }), "E_BAD_BODY", "id"),
        (json!({ "model": "user", "verb": "destroy", "id": {} }), "E_BAD_BODY", "id"),
        (
            json!({ "model": "user", "verb": "update", "id": 1, "data": { "id": 2 } }),
            "E_BAD_BODY",
            "id",
        ),
    ];
    for (news, code, field) in table {
        let refusal = refused(publish(&server, KEY, &news).await).await;
        assert_eq!(refusal, json!([400, code, field]), "{news}");
    }
    let url = format!("http://{}/publish{KEY}", server.addr());
    let broken = Client::new().post(url).body("{oops").send().await.unwrap();
    assert_eq!(refused(broken).await, json!([400, "E_BAD_JSON", null]));
    let large =
        json!({ "model": "user", "verb": "update", "id": 1, "data": { "n": "x".repeat(2 << 20) } });
    assert_eq!(publish(&server, KEY, &large).await.status(), 413);
    server.shutdown().await;
}
