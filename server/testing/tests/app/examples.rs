//! The examples of the server, tested as their users would test them.

#[allow(dead_code, reason = "their main functions are for people")]
#[path = "../../../examples/chat.rs"]
mod chat;
#[allow(dead_code, reason = "their main functions are for people")]
#[path = "../../../examples/embed.rs"]
mod embed;
#[allow(dead_code, reason = "their main functions are for people")]
#[path = "../../../examples/session.rs"]
mod session;

use std::time::Duration;

use backwire::Server;
use backwire_testing::{App, Handshake, json};

#[tokio::test]
async fn chat_knows_who_is_there() {
    let app = App::new(chat::routes(Server::builder())).await;
    let named = |name: &str| Handshake::new().query("name", name);
    let mut ann = app.browser().connect(named("Ann")).await.unwrap();
    let mut bob = app.browser().connect_stock(named("Bob")).await.unwrap();
    assert_eq!(ann.get("/chat/lobby").await.ok()["present"], json!(["Ann"]));
    assert_eq!(bob.get("/chat/lobby").await.ok()["entered"], "lobby");
    assert_eq!(ann.next_message().await.0, "entered");
    bob.post("/chat/lobby", json!({ "text": "Hi" })).await.ok();
    assert_eq!(ann.next_message().await.1[0]["text"], "Hi");
    let taken = app.browser().connect(named("Ann")).await.unwrap_err();
    assert_eq!(taken, "E_NAME: this name is taken");
    ann.disconnect().await;
    assert_eq!(bob.next_event().await.name, "left");
    assert!(app.browser().connect(named("Ann")).await.is_ok());
}

#[tokio::test]
async fn visits_are_forgotten_with_their_session() {
    let app = App::new(session::routes(Server::builder())).await;
    let mut browser = app.browser();
    assert_eq!(browser.get("/visits").await.ok(), json!({ "visits": 1 }));
    assert_eq!(browser.client().await.get("/visits").await.ok(), json!({ "visits": 2 }));
    app.clock().advance(Duration::from_secs(2 * 24 * 60 * 60)).await;
    assert_eq!(browser.get("/visits").await.ok(), json!({ "visits": 1 }));
}

#[tokio::test]
async fn app_reminds_those_who_follow_todos() {
    let app = App::inside("/live", Server::builder(), embed::app).await;
    let mut client = app.client().await;
    client.subscribe("todo").await;
    let mut browser = app.browser();
    assert_eq!(browser.post("/remind", json!(null)).await.status, 204);
    assert_eq!(client.next_change().await.data["title"], "Buy milk");
    assert_eq!(browser.get("/").await.headers["server"], "my app");
}
