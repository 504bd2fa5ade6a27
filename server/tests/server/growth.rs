//! Limits of what clients may store.

use axum::routing::put;
use backwire::error::Result;
use backwire::model::{Attribute, Model};
use backwire::server::Builder;
use backwire::settings::{Limit, Limits};
use backwire::{Context, Server, Session};
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::client::{Socket, ask, builder, refusal, start};
use crate::limits_reached::{CapturedLog, count};

fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    set(&mut limits);
    limits
}

async fn limited(set: impl FnOnce(&mut Limits)) -> Server {
    start(builder().limits(limits(set))).await
}

fn full() -> Value {
    json!([507, "E_FULL"])
}

#[tokio::test]
async fn resource_at_its_limit_refuses_only_new_records() {
    let log = CapturedLog::start();
    let pet = Model { upsert: true, ..Model::default() };
    let pet = pet.attribute("owner", Attribute::model("user"));
    let user = Model::default().attribute("pets", Attribute::collection("pet", "owner"));
    let server = builder().resource("user", user).unwrap().resource("pet", pet).unwrap();
    let server = start(server.limits(limits(|limits| limits.records_per_resource = 2))).await;
    let mut socket = Socket::runtime(&server).await;
    assert_eq!(socket.post("/user", json!({})).await["statusCode"], 201);
    // Of a list, the server creates the records that fit.
    let three = json!([{ "n": 1 }, { "n": 2 }, { "n": 3 }]);
    let (status, answer) = ask(&server, "POST", "/pet", three).await;
    assert_eq!((status, &answer["code"], &answer["limit"]), (507, &json!("E_FULL"), &json!(2)));
    assert!(answer["message"].as_str().unwrap().contains("records_per_resource"), "{answer}");
    let refused = [
        socket.post("/pet", json!({ "n": 4 })).await,
        socket.put("/pet/9", json!({ "n": 4 })).await,
        socket.post("/user/1/pets", json!({ "n": 4 })).await,
    ];
    for ack in refused {
        assert_eq!(refusal(&ack), full());
    }
    assert_eq!(count(&server, Limit::RecordsPerResource).await, 4);
    assert!(log.lines_of(Limit::RecordsPerResource)[0].contains("client=127.0.0.1"));
    assert_eq!(ask(&server, "GET", "/pet", Value::Null).await.1.as_array().unwrap().len(), 2);
    assert_eq!(socket.put("/pet/1", json!({ "n": 5 })).await["statusCode"], 200);
    assert_eq!(socket.delete("/pet/1").await["statusCode"], 200);
    assert_eq!(socket.post("/pet", json!({ "n": 6 })).await["statusCode"], 201);
    server.shutdown().await;
}

#[tokio::test]
async fn server_at_its_record_limit_refuses_new_records_of_all_resources() {
    let server = limited(|limits| limits.records = 2).await;
    for resource in ["/todo", "/cart"] {
        assert_eq!(ask(&server, "POST", resource, json!({})).await.0, 201);
    }
    let (status, answer) = ask(&server, "POST", "/todo", json!({})).await;
    assert_eq!((status, &answer["limit"]), (507, &json!(2)));
    assert_eq!(count(&server, Limit::Records).await, 1);
    server.shutdown().await;
}

#[tokio::test]
async fn new_undeclared_resources_of_one_address_are_limited() {
    let log = CapturedLog::start();
    let server = builder().resource("cart", Model::default()).unwrap();
    let set = |limits: &mut Limits| {
        limits.undeclared_resources_per_address = 2;
        limits.undeclared_resources = 3;
    };
    let server = start(server.limits(limits(set))).await;
    let mut socket = Socket::runtime(&server).await;
    for resource in ["/a", "/b"] {
        assert_eq!(socket.post(resource, json!({})).await["statusCode"], 201);
    }
    assert_eq!(refusal(&socket.post("/c", json!({})).await), full());
    let (status, answer) = ask(&server, "POST", "/c", json!([{}, {}])).await;
    assert_eq!((status, &answer["limit"]), (507, &json!(2)));
    // A read begins no resource. Existing and declared resources work as before.
    assert_eq!(socket.get("/c").await["statusCode"], 200);
    for resource in ["/a", "/b", "/cart"] {
        assert_eq!(socket.post(resource, json!({})).await["statusCode"], 201);
    }
    assert_eq!(count(&server, Limit::UndeclaredResourcesPerAddress).await, 2);
    assert!(log.lines_of(Limit::UndeclaredResourcesPerAddress)[0].contains("client=127.0.0.1"));
    let post = async |address: &str, resource: &str| {
        let url = format!("http://{}{resource}", server.addr());
        let request = reqwest::Client::new().post(url).header("x-forwarded-for", address);
        request.json(&json!({})).send().await.unwrap().status()
    };
    assert_eq!(post("1.2.3.4", "/c").await, 201);
    assert_eq!(post("1.2.3.4", "/d").await, 507);
    assert_eq!(count(&server, Limit::UndeclaredResources).await, 1);
    server.shutdown().await;
}

#[tokio::test]
async fn undeclared_resources_count_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let store = || backwire::settings::Store::Sqlite(home.path().join("backwire.db"));
    let server = async |max| {
        start(builder().store(store()).limits(limits(|it| it.undeclared_resources = max))).await
    };
    let first = server(2).await;
    assert_eq!(ask(&first, "POST", "/a", json!({})).await.0, 201);
    first.shutdown().await;
    let second = server(1).await;
    assert_eq!(ask(&second, "POST", "/a", json!({})).await.0, 201);
    assert_eq!(ask(&second, "POST", "/b", json!({})).await.0, 507);
    second.shutdown().await;
}

/// Adds `PUT /session/{key}`, which stores a value, and `PUT /sign-in/{person}`.
fn sessions(server: Builder) -> Builder {
    use axum::extract::Path;
    async fn keep(session: Session, Path(key): Path<String>) -> Result<()> {
        session.insert(&key, 1)
    }
    async fn sign_in(session: Session, Path(person): Path<String>) -> Result<()> {
        session.sign_in(&*person, ["user"]).await
    }
    async fn read(_: Context, session: Session) -> Result<String> {
        Ok(session.get::<u8>("a").await?.is_some().to_string())
    }
    server
        .route("/session/{key}", put(keep))
        .route("/sign-in/{person}", put(sign_in))
        .route("/has-a", axum::routing::get(read))
}

async fn put_as(browser: &mut Browser, path: &str) -> u16 {
    browser.send(Method::PUT, path, None).await.status().as_u16()
}

#[tokio::test]
async fn new_sessions_of_one_address_are_limited() {
    let log = CapturedLog::start();
    let server = builder().limits(limits(|limits| limits.sessions_per_address = 2));
    let server = start(sessions(server)).await;
    let mut browser = Browser::new(&server);
    assert_eq!(put_as(&mut browser, "/session/a").await, 200);
    // Each request without a cookie, and a socket without one, begins a session.
    let mut socket = Socket::runtime(&server).await;
    assert_eq!(socket.put("/session/a", json!({})).await["statusCode"], 200);
    for _ in 0..2 {
        let (status, answer) = ask(&server, "PUT", "/session/a", json!({})).await;
        assert_eq!((status, &answer["limit"]), (429, &json!(2)));
    }
    let mut other = Socket::runtime(&server).await;
    assert_eq!(refusal(&other.put("/session/a", json!({})).await), json!([429, "E_TOO_MANY"]));
    assert_eq!(count(&server, Limit::SessionsPerAddress).await, 3);
    assert!(log.lines_of(Limit::SessionsPerAddress)[0].contains("client=127.0.0.1"));
    assert_eq!(put_as(&mut browser, "/session/b").await, 200);
    assert_eq!(socket.put("/session/b", json!({})).await["statusCode"], 200);
    server.shutdown().await;
}

#[tokio::test]
async fn new_session_replaces_the_oldest_anonymous_session() {
    let server = builder().limits(limits(|limits| limits.sessions = 2));
    let server = start(sessions(server)).await;
    let [mut ann, mut visitor, mut next] = std::array::from_fn(|_| Browser::new(&server));
    assert_eq!(put_as(&mut ann, "/sign-in/ann").await, 200);
    assert_eq!(put_as(&mut ann, "/session/a").await, 200);
    assert_eq!(put_as(&mut visitor, "/session/a").await, 200);
    assert_eq!(put_as(&mut next, "/session/a").await, 200);
    assert_eq!(ann.get("/has-a").await, true);
    assert_eq!(visitor.get("/has-a").await, false);
    assert_eq!(put_as(&mut next, "/sign-in/bob").await, 200);
    let (status, answer) = ask(&server, "PUT", "/session/a", json!({})).await;
    assert_eq!((status, &answer["limit"]), (507, &json!(2)));
    assert_eq!(count(&server, Limit::Sessions).await, 1);
    server.shutdown().await;
}
