//! That a session is another one, for everybody else, once somebody has signed in.

use axum::Json;
use axum::routing::{get, post};
use backwire::error::Result;
use backwire::{Context, Session};
use reqwest::Method;
use serde_json::{Value, json};

use super::{all_is_said, door, enter, note, notes, room_of, serve, signed_in, status, texts};
use crate::browser::Browser;
use crate::client::{Socket, builder, start};

/// Somebody with the same cookie: who planted it there, say.
fn likewise(browser: &Browser) -> Browser {
    Browser { server: browser.server.clone(), cookie: browser.cookie.clone() }
}

#[tokio::test]
async fn who_knew_the_cookie_before_somebody_signed_in_has_nothing_of_them_after_it() {
    let server = serve().await;
    let mut ann = Browser::new(&server);
    ann.send(Method::GET, "/__getcookie", None).await;
    let mut mallory = likewise(&ann);
    let (mut runtime, mut stock) = (mallory.runtime(&server).await, mallory.socket(&server).await);
    for socket in [&mut runtime, &mut stock] {
        assert_eq!(socket.get("/note").await["statusCode"], 401);
    }
    enter(&mut ann, "ann", &["editor"]).await;
    assert_ne!(ann.cookie, mallory.cookie);
    note(&mut ann, "Milk").await;

    assert_eq!(status(&mut mallory, Method::GET, "/note").await, 401);
    let mut late = mallory.runtime(&server).await;
    for socket in [&mut runtime, &mut stock, &mut late] {
        assert_eq!(socket.get("/note").await["statusCode"], 401);
    }
    all_is_said(&server).await;
    assert!(runtime.heard().await.is_empty() && stock.heard().await.is_empty());
    assert_eq!(texts(&ann.runtime(&server).await.get("/note").await["body"]), ["Milk"]);
    server.shutdown().await;
}

#[tokio::test]
async fn who_signs_in_where_another_was_gets_a_session_that_the_other_has_not() {
    let server = serve().await;
    let mut mallory = signed_in(&server, "mallory", &[]).await;
    note(&mut mallory, "Mine").await;
    let mut runtime = mallory.runtime(&server).await;
    let room = room_of(&runtime.get("/note").await);
    enter(&mut likewise(&mallory), "ann", &["editor"]).await;
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    assert_eq!(status(&mut mallory, Method::GET, "/note").await, 401);
    server.shutdown().await;
}

#[tokio::test]
async fn what_was_kept_before_somebody_signed_in_goes_with_them() {
    async fn cart(session: Session) -> Result<Json<Value>> {
        Ok(Json(session.get("cart").await?.unwrap_or_default()))
    }
    async fn fill(session: Session, Json(cart): Json<Value>) -> Result<()> {
        session.insert("cart", cart)
    }
    async fn enter(cx: Context, session: Session) -> Result<Json<Value>> {
        let before = session.id().to_owned();
        session.insert("seen", true)?;
        session.sign_in("ann", ["editor"]).await?;
        session.insert("greeted", true)?;
        let who = cx.who().await?.person.map(|person| person.to_string());
        Ok(Json(json!([who, session.id() == before, session.get::<bool>("seen").await?])))
    }
    let server = builder().route("/cart", get(cart).post(fill)).route("/door", post(enter));
    let server = start(server).await;
    let mut ann = Browser::new(&server);
    assert_eq!(ann.send(Method::POST, "/cart", Some(json!(["Milk"]))).await.status(), 200);
    let mut before = likewise(&ann);
    let entered = ann.send(Method::POST, "/door", None).await;
    let cookies = Vec::from_iter(entered.headers().get_all("set-cookie"));
    assert_eq!(cookies.len(), 1);
    assert_eq!(entered.headers()["cache-control"], "private");
    assert_eq!(entered.json::<Value>().await.unwrap(), json!(["ann", false, true]));
    assert_eq!(ann.get("/cart").await, json!(["Milk"]));
    assert_eq!(before.get("/cart").await, Value::Null);
    // The id stays where the person does,
    let again = ann.send(Method::POST, "/door", None).await;
    assert!(!again.headers().contains_key("set-cookie"));
    assert_eq!(again.json::<Value>().await.unwrap(), json!(["ann", true, true]));
    // and who brings no cookie has a session that nobody else can know.
    let entered = Browser::new(&server).send(Method::POST, "/door", None).await;
    assert_eq!(entered.json::<Value>().await.unwrap(), json!(["ann", true, true]));
    server.shutdown().await;
}

#[tokio::test]
async fn the_cookie_is_given_also_if_the_handler_has_failed_in_the_end() {
    let fails = post(async |session: Session| -> Result<()> {
        session.sign_in("ann", ["editor"]).await?;
        session.get::<u8>("backwire.person").await.map(drop)
    });
    let server = start(builder().route("/door", fails).resource("note", notes()).unwrap()).await;
    let mut ann = Browser::new(&server);
    ann.send(Method::GET, "/__getcookie", None).await;
    assert_eq!(ann.send(Method::POST, "/door", None).await.status(), 500);
    assert_eq!(status(&mut ann, Method::GET, "/note").await, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn a_socket_signs_in_its_session_as_it_is() {
    let server = serve().await;
    let mut ann = Browser::new(&server);
    ann.send(Method::GET, "/__getcookie", None).await;
    let (mut runtime, mut other) = (ann.runtime(&server).await, ann.socket(&server).await);
    let entered = runtime.post("/door", json!({ "person": "ann", "roles": [] })).await;
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
async fn a_handler_that_knows_people_by_itself_can_renew_the_session() {
    let enter = post(async |session: Session| -> Result<()> {
        session.insert("me", "ann")?;
        session.renew().await
    });
    let me = get(async |session: Session| -> Result<Json<Option<String>>> {
        session.get("me").await.map(Json)
    });
    let server = start(builder().route("/door", enter).route("/me", me)).await;
    let mut ann = Browser::new(&server);
    ann.send(Method::GET, "/__getcookie", None).await;
    let mut before = likewise(&ann);
    let mut socket = before.socket(&server).await;
    ann.send(Method::POST, "/door", None).await;
    assert_eq!((ann.get("/me").await, before.get("/me").await), (json!("ann"), Value::Null));
    assert_eq!(socket.get("/me").await["body"], Value::Null);
    server.shutdown().await;
}

#[tokio::test]
async fn person_is_signed_out_of_all_sessions_by_a_handler() {
    let revoke = post(async |cx: Context, person: String| -> Result<String> {
        Ok(cx.sign_out_everywhere(person).await?.to_string())
    });
    let server = door(builder()).route("/revoke-person", revoke).resource("note", notes()).unwrap();
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
