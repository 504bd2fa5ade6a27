//! Browsers and clients.

use std::net::{IpAddr, Ipv4Addr};

use axum::routing::get;
use axum::{Json, Router};
use backwire::model::Model;
use backwire::server::{Builder, StartError};
use backwire::{Context, Error, Session};
use backwire_testing::{App, ChangeVerb, Handshake, Value, json};

use super::server;

#[tokio::test]
async fn client_hears_of_others_and_not_of_itself() {
    let app = App::new(server()).await;
    let (mut ann, bob) = (app.client().await, app.client().await);
    assert_eq!(ann.subscribe("todo").await, Vec::<Value>::new());
    assert_eq!(ann.post("/todo", json!({ "n": 1 })).await.status, 201);
    assert_eq!(bob.post("/todo", json!({ "n": 2 })).await.status, 201);
    assert_eq!(bob.patch("/todo/1", json!({ "n": 3 })).await.status, 200);
    assert_eq!(bob.put("/todo/1", json!({ "m": 4 })).await.status, 200);
    assert_eq!(bob.delete("/todo/1").await.status, 200);
    let changes = ann.received_changes().await;
    let seen: Vec<_> = changes.iter().map(|it| (it.verb, &it.id, &it.data["n"])).collect();
    assert_eq!(seen[0], (ChangeVerb::Created, &json!(2), &json!(2)));
    assert_eq!(seen[1], (ChangeVerb::Updated, &json!(1), &json!(3)));
    assert_eq!(seen[3].0, ChangeVerb::Destroyed);
    assert_eq!((seen.len(), &*changes[0].room), (4, "todo"));
    let refused = bob.get("/todo/7").await;
    assert_eq!((refused.status, refused.code()), (404, "E_NOT_FOUND"));
}

#[tokio::test]
async fn client_that_was_away_gets_what_it_missed_and_sends_what_waited() {
    let app = App::new(server()).await;
    let mut ann = app.client().await;
    ann.subscribe("todo").await;
    ann.disconnect().await;
    assert!(!ann.is_connected());
    assert_eq!(app.handle().sockets().len(), 0);
    app.create("todo", json!({})).await;
    assert_eq!(ann.received_changes().await, []);
    ann.reconnect().await;
    assert_eq!(ann.next_change().await.id, 1);
    assert_eq!(ann.post("/todo", json!({})).await.ok()["id"], 2);
}

#[tokio::test]
async fn stock_client_has_requests_events_and_acks() {
    let greet = get(async |cx: Context| -> Result<Json<Value>, Error> {
        let client = cx.client().expect("it comes over a socket");
        let ack = client.clone();
        let publisher = cx.publisher().clone();
        let second = std::time::Duration::from_secs(1);
        tokio::spawn(async move {
            let answer = publisher.emit_with_ack(&ack, "hello", &json!({ "n": 1 }), second).await;
            publisher.emit(&ack, "answer", &answer.unwrap()).unwrap();
        });
        Ok(Json(json!("soon")))
    });
    let app = App::new(server().route("/greet", greet)).await;
    let mut stock = app.stock_client().await;
    assert_eq!(stock.get("/greet").await.ok(), "soon");
    let hello = stock.next_event().await;
    assert_eq!((&*hello.name, &*hello.arguments), ("hello", &[json!({ "n": 1 })][..]));
    stock.ack(&hello, json!("hi")).await;
    let answer = stock.next_event().await;
    assert_eq!((&*answer.name, &*answer.arguments), ("answer", &[json!("hi")][..]));
    assert_eq!(stock.post("/todo", json!({ "n": 1 })).await.ok()["id"], 1);
    stock.get("/todo").await;
    assert_eq!(stock.put("/todo/1", json!({ "n": 2 })).await.ok()["n"], 2);
    assert_eq!(stock.patch("/todo/1", json!({ "n": 3 })).await.ok()["n"], 3);
    app.update("todo", 1, json!({ "n": 4 })).await;
    assert_eq!(stock.next_event().await.arguments[0]["data"]["n"], 4);
    assert_eq!(stock.delete("/todo/1").await.status, 200);
    assert_eq!(stock.received_events().await, []);
    app.handle().sockets()[0].disconnect();
    stock.wait_until_closed().await;
}

#[tokio::test]
async fn handler_sends_events_to_pages_with_the_runtime() {
    let say = get(async |cx: Context| cx.broadcast_to_all("news", &json!({ "n": 7 })));
    let app = App::new(server().route("/say", say)).await;
    let mut ann = app.client().await;
    app.browser().get("/say").await.ok();
    assert_eq!(ann.next_message().await, ("news".to_owned(), vec![json!({ "n": 7 })]));
}

#[tokio::test]
async fn handshake_has_a_query_headers_and_an_auth() {
    let seen = |client: backwire::Client, _| async move {
        let handshake = client.handshake();
        let auth = handshake.auth().unwrap_or_default();
        let room = handshake.query("room").ok_or("E_ROOM: there is no room")?;
        let header = handshake.headers().get("x-app").map(|it| it.to_str().unwrap().to_owned());
        match (&*room, header.as_deref(), &auth["token"]) {
            ("the lobby", Some("mine"), token) if *token == "abc" => Ok(()),
            other => Err(format!("E_OTHER: {other:?}")),
        }
    };
    let app = App::new(server().on_connect(seen)).await;
    let browser = app.browser().with_header("x-app", "mine");
    let handshake = || Handshake::new().query("room", "the lobby").auth(json!({ "token": "abc" }));
    assert!(browser.connect(handshake()).await.is_ok());
    assert!(browser.connect_stock(handshake()).await.is_ok());
    let refused = [
        browser.connect(Handshake::new()).await.unwrap_err(),
        browser.connect_stock(Handshake::new()).await.unwrap_err(),
    ];
    assert_eq!(refused, ["E_ROOM: there is no room"; 2]);
    let other = handshake().header("x-app", "yours");
    assert!(browser.connect(other).await.unwrap_err().starts_with("E_OTHER"));
}

async fn count(session: Session) -> Result<Json<u64>, Error> {
    let visits = session.get("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", visits)?;
    Ok(Json(visits))
}

#[tokio::test]
async fn browser_and_its_clients_share_a_session() {
    let app = App::new(server().route("/visits", get(count))).await;
    let mut ann = app.browser();
    assert_eq!(ann.get("/visits").await.ok(), 1);
    assert_eq!(ann.client().await.get("/visits").await.ok(), 2);
    assert_eq!(ann.stock_client().await.get("/visits").await.ok(), 3);
    assert_eq!(ann.get("/visits").await.ok(), 4);
    assert_eq!(app.browser().get("/visits").await.ok(), 1);
}

#[tokio::test]
async fn browser_sends_headers_and_tokens() {
    let app = App::new(server().csrf(true)).await;
    let mut ann = app.browser();
    assert_eq!(ann.post("/todo", json!({})).await.code(), "E_CSRF");
    let token = ann.get("/csrfToken").await.ok()["_csrf"].as_str().unwrap().to_owned();
    let mut ann = ann.with_header("x-csrf-token", &token);
    assert_eq!(ann.post("/todo", json!({ "n": 1 })).await.status, 201);
    assert_eq!(ann.patch("/todo/1", json!({ "n": 2 })).await.ok()["n"], 2);
    assert_eq!(ann.put("/todo/1", json!({ "n": 3 })).await.ok()["n"], 3);
    assert_eq!(ann.request("OPTIONS", "/todo", None).await.status, 200);
    assert_eq!(ann.delete("/todo/1").await.status, 200);
    // A sign-in makes the token invalid, and works with the setting.
    ann.sign_in("ann & co", ["member", "admin"]).await;
    assert_eq!(ann.post("/todo", json!({})).await.code(), "E_CSRF");
}

#[tokio::test]
async fn visitors_have_addresses() {
    let mut settings = backwire::Settings::default();
    settings.limits.connections_per_address = 1;
    let app = App::new(server().settings(settings)).await;
    let browser = |last| app.browser().at(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
    let _first = browser(1).client().await;
    assert_eq!(browser(1).get("/todo").await.status, 429);
    assert_eq!(browser(2).get("/todo").await.status, 200);
}

#[tokio::test]
async fn server_inside_of_an_app_has_its_path() {
    let model = Model::default();
    let server = server().prefix("/api").resource("todo", model).unwrap();
    let nested = async |server: Builder| -> Result<_, StartError> {
        let (live, handle) = server.build().await?;
        let routes = Router::new().route("/", get(async || "home"));
        Ok((routes.nest("/live", live), handle))
    };
    let app = App::inside("/live/", server, nested).await;
    let mut browser = app.browser();
    assert_eq!(browser.get("/").await.ok(), "home");
    browser.sign_in("ann", []).await;
    let mut client = browser.client().await;
    assert_eq!(client.get("/live/api/todo").await.ok(), json!([]));
    let mut stock = browser.stock_client().await;
    assert_eq!(stock.post("/live/api/todo", json!({})).await.status, 200);
    assert_eq!(client.next_change().await.id, 1);
    assert_eq!(client.subscribe("api/todo").await.len(), 1);
}

#[tokio::test]
async fn server_that_cannot_start_says_why() {
    let refused = App::try_new(server().route("/health", get(async || ""))).await;
    assert_eq!(refused.unwrap_err().code(), "E_PATH");
}

#[tokio::test]
async fn shutdown_ends_clients_and_answers_503() {
    let app = App::new(server()).await;
    let stock = app.stock_client().await;
    app.shutdown().await;
    stock.wait_until_closed().await;
    assert_eq!(app.browser().get("/todo").await.status, 503);
}

/// With a paused clock, tokio moves its own time whenever nothing else is to do. The time of the
/// server stands still nevertheless.
#[tokio::test(start_paused = true)]
async fn paused_clock_of_tokio_does_not_move_the_server() {
    let app = App::new(server()).await;
    let mut ann = app.client().await;
    ann.subscribe("todo").await;
    tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
    assert_eq!(app.create("todo", json!({})).await["createdAt"], backwire_testing::BEGIN);
    assert_eq!(ann.next_change().await.id, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_runs_in_a_runtime_with_threads() {
    let app = App::new(server()).await;
    let (mut ann, bob) = (app.client().await, app.client().await);
    ann.subscribe("todo").await;
    bob.post("/todo", json!({})).await.ok();
    assert_eq!(ann.next_change().await.id, 1);
    app.truncate_all().await;
    assert_eq!(ann.next_change().await.verb, ChangeVerb::Destroyed);
}
