//! Time moves when the test says so.

use std::time::Duration;

use axum::Json;
use axum::routing::get;
use backwire::{Client, Context, Error, Session};
use backwire_testing::{App, BEGIN, Change, ChangeVerb, json};
use serde_json::Value;

use super::{server, with_notes};

const HOUR: Duration = Duration::from_secs(60 * 60);

async fn who(session: Session) -> Result<Json<Value>, Error> {
    Ok(Json(session.get::<Value>("name").await?.unwrap_or_default()))
}

async fn set_name(session: Session) -> Result<(), Error> {
    session.insert("name", "Ann")
}

#[tokio::test]
async fn session_expires_when_the_clock_has_moved_and_not_before() {
    let who = get(who).post(set_name);
    let app = App::new(server().session_age(HOUR).route("/who", who)).await;
    let mut ann = app.browser();
    ann.post("/who", Value::Null).await.ok();
    app.clock().advance(HOUR / 2).await;
    assert_eq!(ann.clone().get("/who").await.ok(), "Ann");
    app.clock().advance(2 * HOUR).await;
    assert_eq!(ann.get("/who").await.ok(), Value::Null);
}

#[tokio::test]
async fn records_have_the_times_of_the_clock() {
    let app = App::new(server()).await;
    let client = app.client().await;
    assert_eq!(app.clock().unix_millis(), BEGIN);
    let made = client.post("/todo", json!({})).await.ok();
    assert_eq!([&made["createdAt"], &made["updatedAt"]], [BEGIN, BEGIN]);
    app.clock().advance(Duration::from_millis(1_500)).await;
    let changed = client.put("/todo/1", json!({ "done": true })).await.ok();
    assert_eq!([&changed["createdAt"], &changed["updatedAt"]], [BEGIN, BEGIN + 1_500]);
}

#[tokio::test]
async fn client_loses_what_its_expired_session_gave_it() {
    let app = App::new(with_notes(server().session_age(HOUR))).await;
    let mut ann = app.browser();
    ann.sign_in("ann", []).await;
    let mut client = ann.client().await;
    assert_eq!(client.subscribe("note").await.len(), 0);
    app.create("note", json!({ "author": "ann", "n": 1 })).await;
    assert_eq!(client.next_change().await.data["n"], 1);
    app.clock().advance(2 * HOUR).await;
    app.create("note", json!({ "author": "ann", "n": 2 })).await;
    assert_eq!(client.received_changes().await, []);
    assert_eq!(client.get("/note").await.status, 401);
}

/// The server waits for the ack of a client as long as the handler says.
#[tokio::test]
async fn deadline_passes_when_the_clock_has_moved() {
    let ask = get(async |cx: Context| -> Result<Json<Value>, Error> {
        let asked = cx.publisher().clients();
        let asked: &Client = asked.first().expect("there is a client");
        let answer = cx.publisher().emit_with_ack(asked, "question", &(), HOUR).await;
        Ok(Json(json!({ "answer": answer.ok() })))
    });
    let app = App::new(server().route("/ask", ask)).await;
    let mut stock = app.stock_client().await;
    let mut browser = app.browser();
    let mut asking = tokio::spawn(async move { browser.get("/ask").await });
    assert_eq!(stock.next_event().await.name, "question");
    app.clock().advance(HOUR - Duration::from_millis(1)).await;
    assert!(!asking.is_finished());
    app.clock().advance(Duration::from_millis(1)).await;
    assert_eq!((&mut asking).await.unwrap().ok(), json!({ "answer": null }));
}

#[tokio::test]
async fn client_reads_again_if_the_log_has_forgotten_what_it_missed() {
    let app = App::new(server().log_age(HOUR)).await;
    let mut ann = app.client().await;
    ann.subscribe("todo").await;
    let missed = async |app: &App, ann: &mut backwire_testing::Client, after: Duration| {
        ann.disconnect().await;
        app.create("todo", json!({})).await;
        app.clock().advance(after).await;
        app.create("todo", json!({})).await;
        ann.reconnect().await;
        let changes = ann.received_changes().await;
        (changes.len(), ann.received_refreshes().await.len())
    };
    assert_eq!(missed(&app, &mut ann, HOUR / 2).await, (2, 0));
    assert_eq!(missed(&app, &mut ann, 2 * HOUR).await, (0, 1));
}

#[tokio::test]
async fn health_is_good_before_and_after_days() {
    let app = App::new(server()).await;
    let mut browser = app.browser();
    for _ in 0..2 {
        assert_eq!(browser.get("/health").await.ok()["status"], "ok");
        app.clock().advance(2 * 24 * HOUR).await;
    }
    // Connections outlast it, too.
    let mut client = app.client().await;
    client.subscribe("todo").await;
    app.clock().advance(24 * HOUR).await;
    app.create("todo", json!({})).await;
    let Change { verb, id, .. } = client.next_change().await;
    assert_eq!((verb, id), (ChangeVerb::Created, json!(1)));
}
