//! A sign-in replaces the session, so that no other holder of its cookie uses it.

use axum::Json;
use axum::routing::{get, post};
use backwire::error::Result;
use backwire::{Context, Session};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    note, notes, room_of, serve, sign_in, signed_in, status, texts, wait_for_pushes, with_sign_in,
};
use crate::browser::Browser;
use crate::client::{Socket, builder, start};

/// Returns another browser with the same cookie, for example of an attacker who planted it.
fn with_same_cookie(browser: &Browser) -> Browser {
    Browser { server: browser.server.clone(), cookie: browser.cookie.clone() }
}

#[tokio::test]
async fn cookie_from_before_sign_in_gives_no_access_after_it() {
    let server = serve().await;
    let mut ann = Browser::new(&server);
    ann.send(Method::GET, "/__getcookie", None).await;
    let mut mallory = with_same_cookie(&ann);
    let (mut runtime, mut stock) = (mallory.runtime(&server).await, mallory.socket(&server).await);
    for socket in [&mut runtime, &mut stock] {
        assert_eq!(socket.get("/note").await["statusCode"], 401);
    }
    sign_in(&mut ann, "ann", &["editor"]).await;
    assert_ne!(ann.cookie, mallory.cookie);
    note(&mut ann, "Milk").await;

    assert_eq!(status(&mut mallory, Method::GET, "/note").await, 401);
    let mut late = mallory.runtime(&server).await;
    for socket in [&mut runtime, &mut stock, &mut late] {
        assert_eq!(socket.get("/note").await["statusCode"], 401);
    }
    wait_for_pushes(&server).await;
    assert!(runtime.pushes().await.is_empty() && stock.pushes().await.is_empty());
    assert_eq!(texts(&ann.runtime(&server).await.get("/note").await["body"]), ["Milk"]);
    server.shutdown().await;
}

#[tokio::test]
async fn sign_in_over_another_persons_session_replaces_the_session() {
    let server = serve().await;
    let mut mallory = signed_in(&server, "mallory", &[]).await;
    note(&mut mallory, "Mine").await;
    let mut runtime = mallory.runtime(&server).await;
    let room = room_of(&runtime.get("/note").await);
    sign_in(&mut with_same_cookie(&mallory), "ann", &["editor"]).await;
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    assert_eq!(status(&mut mallory, Method::GET, "/note").await, 401);
    server.shutdown().await;
}

#[tokio::test]
async fn session_values_from_before_sign_in_are_kept() {
    async fn cart(session: Session) -> Result<Json<Value>> {
        Ok(Json(session.get("cart").await?.unwrap_or_default()))
    }
    async fn fill(session: Session, Json(cart): Json<Value>) -> Result<()> {
        session.insert("cart", cart)
    }
    async fn sign_in(cx: Context, session: Session) -> Result<Json<Value>> {
        let before = session.id().to_owned();
        session.insert("seen", true)?;
        session.sign_in("ann", ["editor"]).await?;
        session.insert("greeted", true)?;
        let who = cx.principal().await?.person.map(|person| person.to_string());
        Ok(Json(json!([who, session.id() == before, session.get::<bool>("seen").await?])))
    }
    let server = builder().route("/cart", get(cart).post(fill)).route("/sign-in", post(sign_in));
    let server = start(server).await;
    let mut ann = Browser::new(&server);
    assert_eq!(ann.send(Method::POST, "/cart", Some(json!(["Milk"]))).await.status(), 200);
    let mut before = with_same_cookie(&ann);
    let entered = ann.send(Method::POST, "/sign-in", None).await;
    let cookies = Vec::from_iter(entered.headers().get_all("set-cookie"));
    assert_eq!(cookies.len(), 1);
    assert_eq!(entered.headers()["cache-control"], "private");
    assert_eq!(entered.json::<Value>().await.unwrap(), json!(["ann", false, true]));
    assert_eq!(ann.get("/cart").await, json!(["Milk"]));
    assert_eq!(before.get("/cart").await, Value::Null);
    // The session keeps its id if the same person signs in again.
    let again = ann.send(Method::POST, "/sign-in", None).await;
    assert!(!again.headers().contains_key("set-cookie"));
    assert_eq!(again.json::<Value>().await.unwrap(), json!(["ann", true, true]));
    // A caller without a cookie has a session that nobody else can know.
    let entered = Browser::new(&server).send(Method::POST, "/sign-in", None).await;
    assert_eq!(entered.json::<Value>().await.unwrap(), json!(["ann", true, true]));
    server.shutdown().await;
}

#[tokio::test]
async fn cookie_is_set_even_if_the_handler_fails_after_sign_in() {
    let fails = post(async |session: Session| -> Result<()> {
        session.sign_in("ann", ["editor"]).await?;
        session.get::<u8>("backwire.person").await.map(drop)
    });
    let server = start(builder().route("/sign-in", fails).resource("note", notes()).unwrap()).await;
    let mut ann = Browser::new(&server);
    ann.send(Method::GET, "/__getcookie", None).await;
    assert_eq!(ann.send(Method::POST, "/sign-in", None).await.status(), 500);
    assert_eq!(status(&mut ann, Method::GET, "/note").await, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn sign_in_over_a_socket_keeps_the_session_id() {
    let server = serve().await;
    let mut ann = Browser::new(&server);
    ann.send(Method::GET, "/__getcookie", None).await;
    let (mut runtime, mut other) = (ann.runtime(&server).await, ann.socket(&server).await);
    let entered = runtime.post("/sign-in", json!({ "person": "ann", "roles": [] })).await;
    assert_eq!(entered["statusCode"], 200);
    assert_eq!(entered["headers"].get("set-cookie"), None);
    for socket in [&mut runtime, &mut other, &mut Socket::runtime(&server).await] {
        socket.post("/note", json!({ "text": "Milk" })).await;
    }
    assert_eq!(texts(&runtime.get("/note").await["body"]), ["Milk", "Milk"]);
    assert_eq!(status(&mut ann, Method::GET, "/note").await, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn handler_with_custom_authentication_can_renew_the_session() {
    let sign_in = post(async |session: Session| -> Result<()> {
        session.insert("me", "ann")?;
        session.renew().await
    });
    let me = get(async |session: Session| -> Result<Json<Option<String>>> {
        session.get("me").await.map(Json)
    });
    let server = start(builder().route("/sign-in", sign_in).route("/me", me)).await;
    let mut ann = Browser::new(&server);
    ann.send(Method::GET, "/__getcookie", None).await;
    let mut before = with_same_cookie(&ann);
    let mut socket = before.socket(&server).await;
    ann.send(Method::POST, "/sign-in", None).await;
    assert_eq!((ann.get("/me").await, before.get("/me").await), (json!("ann"), Value::Null));
    assert_eq!(socket.get("/me").await["body"], Value::Null);
    server.shutdown().await;
}

#[tokio::test]
async fn handler_signs_a_person_out_of_all_sessions() {
    let revoke = post(async |cx: Context, person: String| -> Result<String> {
        Ok(cx.sign_out_everywhere(person).await?.to_string())
    });
    let server =
        with_sign_in(builder()).route("/revoke-person", revoke).resource("note", notes()).unwrap();
    let server = start(server).await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut anns_phone = signed_in(&server, "ann", &["editor"]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let mut runtime = ann.runtime(&server).await;
    let room = room_of(&runtime.get("/note").await);
    let url = format!("http://{}/revoke-person", server.addr());
    for (person, count) in [("ann", "2"), ("ann", "0"), ("cyd", "0")] {
        let ended = reqwest::Client::new().post(&url).body(person).send().await.unwrap();
        assert_eq!(ended.text().await.unwrap(), count);
    }
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    for (who, expected) in [(&mut ann, 401), (&mut anns_phone, 401), (&mut bob, 200)] {
        assert_eq!(status(who, Method::GET, "/note").await, expected);
    }
    server.shutdown().await;
}
