//! Sessions over HTTP and sockets, and their cookies.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Json;
use axum::routing::get;
use backwire::engine::{Engine, Memory, SessionEdit, Window};
use backwire::error::Result;
use backwire::server::Builder;
use backwire::settings::Store;
use backwire::{Context, Server, Session};
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};

use crate::browser::Browser;
use crate::client::{Socket, builder, refusal, start};

/// Adds `/session/{key}`: `GET` returns a value of the session, `PUT` stores the body, and `DELETE`
/// removes the value.
fn notes(server: Builder) -> Builder {
    use axum::extract::Path;
    async fn show(session: Session, Path(key): Path<String>) -> Result<Json<Value>> {
        Ok(Json(session.get(&key).await?.unwrap_or_default()))
    }
    async fn keep(session: Session, Path(key): Path<String>, body: Json<Value>) -> Result<()> {
        session.insert(&key, body.0)
    }
    async fn drop_it(session: Session, Path(key): Path<String>) {
        session.remove(&key);
    }
    server.route("/session/{key}", get(show).put(keep).delete(drop_it))
}

async fn notes_of(socket: &mut Socket, key: &str) -> Value {
    socket.get(&format!("/session/{key}")).await["body"].clone()
}

#[tokio::test]
async fn session_is_shared_by_http_and_sockets() {
    let server = start(notes(builder())).await;
    let mut browser = Browser::new(&server);
    browser.keep("name", json!("Ann")).await;
    let mut socket = browser.socket(&server).await;
    assert_eq!(notes_of(&mut socket, "name").await, "Ann");
    socket.put("/session/cart", json!(["Milk"])).await;
    assert_eq!(browser.get("/session/cart").await, json!(["Milk"]));
    browser.keep("name", json!("Bob")).await;
    assert_eq!(notes_of(&mut socket, "name").await, "Bob");
    socket.delete("/session/name").await;
    assert_eq!(browser.get("/session/name").await, Value::Null);
    // A socket that connects later sees the value too.
    assert_eq!(notes_of(&mut browser.socket(&server).await, "cart").await, json!(["Milk"]));
    server.shutdown().await;
}

#[tokio::test]
async fn handshake_url_may_contain_the_cookie() {
    let server = start(notes(builder())).await;
    let (mut ann, mut bob) = (Browser::new(&server), Browser::new(&server));
    ann.keep("name", json!("Ann")).await;
    bob.keep("name", json!("Bob")).await;
    let encode = |cookie: &str| cookie.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let query = format!("&cookie={}", encode(&ann.cookie.unwrap()));
    let header = [("cookie", bob.cookie.as_deref().unwrap())];
    let mut socket = Socket::connect_with(&server, &query, &header, "").await;
    assert_eq!(notes_of(&mut socket, "name").await, "Ann");
    let mut socket = Socket::connect_with(&server, "&cookie=%00", &header, "").await;
    assert_eq!(notes_of(&mut socket, "name").await, "Bob");
    server.shutdown().await;
}

#[tokio::test]
async fn socket_without_a_cookie_has_its_own_session() {
    let server = start(notes(builder())).await;
    let (mut one, mut other) = (Socket::runtime(&server).await, Socket::stock(&server).await);
    let kept = one.put("/session/name", json!({ "of": "one" })).await;
    assert_eq!(kept["statusCode"], 200);
    assert_eq!(kept["headers"].get("set-cookie"), None);
    assert_eq!(notes_of(&mut one, "name").await, json!({ "of": "one" }));
    assert_eq!(notes_of(&mut other, "name").await, Value::Null);
    server.shutdown().await;
}

#[tokio::test]
async fn cookie_is_set_when_the_session_has_a_value() {
    let server = start(notes(builder())).await;
    let mut browser = Browser::new(&server);
    for (method, path) in
        [(Method::GET, "/todo"), (Method::POST, "/todo"), (Method::GET, "/session/a")]
    {
        browser.send(method, path, Some(json!({}))).await;
        assert_eq!(browser.cookie, None, "{path}");
    }
    let kept = browser.send(Method::PUT, "/session/a", Some(json!(1))).await;
    let cookie = kept.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("backwire.sid="), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Path=/"), "{cookie}");
    assert_eq!(kept.headers()["cache-control"], "private");
    let again = browser.send(Method::PUT, "/session/a", Some(json!(2))).await;
    assert!(!again.headers().contains_key("set-cookie"));
    server.shutdown().await;
}

#[tokio::test]
async fn opened_page_and_cookie_request_set_a_cookie_once() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("page.html"), "<h1>hi</h1>").unwrap();
    let server = start(notes(builder().pages(home.path()))).await;
    let ask = async |path: &str, accept: &str, cookie: &str| {
        let url = format!("http://{}{path}", server.addr());
        let request = Client::new().get(url).header("accept", accept).header("cookie", cookie);
        let response = request.send().await.unwrap();
        let given = response.headers().get("set-cookie").cloned();
        given.map(|given| given.to_str().unwrap().to_owned())
    };
    const PAGE: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
    let given = ask("/page.html", PAGE, "").await.unwrap();
    assert!(ask("/", "*/*", "").await.is_some());
    assert!(ask("/__getcookie", "*/*", "").await.is_some());
    assert!(ask("/page.html", "*/*", "").await.is_none());
    assert!(ask("/backwire.js", "*/*", "").await.is_none());
    let cookie = given.split_once(';').unwrap().0;
    assert!(ask("/", "*/*", cookie).await.is_none());
    assert!(ask("/__getcookie", "*/*", &format!("{cookie}x")).await.is_some());
    server.shutdown().await;
}

/// As in an early test app: one request sets the cookie, then the socket connects, then other
/// requests follow.
#[tokio::test]
async fn cookie_of_the_root_is_used_by_the_handshake_and_later_requests() {
    let server = start(notes(builder())).await;
    let mut browser = Browser::new(&server);
    assert_eq!(browser.send(Method::GET, "/", None).await.status(), 404);
    let mut socket = browser.socket(&server).await;
    socket.put("/session/name", json!({ "first": "Ann" })).await;
    assert_eq!(browser.get("/session/name").await, json!({ "first": "Ann" }));
    server.shutdown().await;
}

#[tokio::test]
async fn route_opened_as_a_page_uses_the_session_of_its_new_cookie() {
    let server = start(notes(builder())).await;
    let url = format!("http://{}/session/a", server.addr());
    let request = Client::new().put(&url).header("accept", "text/html").json(&json!(1));
    assert_eq!(request.send().await.unwrap().headers().get_all("set-cookie").iter().count(), 1);
    let visits = get(async |session: Session| session.insert("seen", true));
    let server_of_pages = start(notes(builder().route("/page", visits))).await;
    let url = format!("http://{}/page", server_of_pages.addr());
    let page = Client::new().get(url).header("accept", "text/html").send().await.unwrap();
    let given = Vec::from_iter(page.headers().get_all("set-cookie"));
    assert_eq!(given.len(), 1);
    let mut browser = Browser::new(&server_of_pages);
    browser.cookie = Some(given[0].to_str().unwrap().split_once(';').unwrap().0.to_owned());
    assert_eq!(browser.get("/session/seen").await, true);
    server.shutdown().await;
    server_of_pages.shutdown().await;
}

#[tokio::test]
async fn tampered_cookie_is_ignored() {
    let server = start(notes(builder())).await;
    let mut browser = Browser::new(&server);
    browser.keep("name", json!("Ann")).await;
    let cookie = browser.cookie.clone().unwrap();
    let other = if cookie.ends_with('0') { '1' } else { '0' };
    browser.cookie = Some(format!("{}{other}", &cookie[..cookie.len() - 1]));
    let mut socket = browser.socket(&server).await;
    assert_eq!(notes_of(&mut socket, "name").await, Value::Null);
    assert_eq!(browser.get("/session/name").await, Value::Null);
    browser.keep("name", json!("Bob")).await;
    assert_ne!(browser.cookie.as_ref(), Some(&cookie));
    browser.cookie = Some(cookie);
    assert_eq!(browser.get("/session/name").await, "Ann");
    server.shutdown().await;
}

#[tokio::test]
async fn expired_session_is_empty() {
    let server = start(notes(builder().session_age(Duration::ZERO))).await;
    let mut browser = Browser::new(&server);
    browser.keep("name", json!("Ann")).await;
    assert!(browser.cookie.is_some());
    assert_eq!(browser.get("/session/name").await, Value::Null);
    server.shutdown().await;
}

#[tokio::test]
async fn read_of_a_session_extends_its_lifetime() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let engines = Arc::new(OnceLock::new());
    let of_server = engines.clone();
    let open = move |tail| {
        let engine: Arc<dyn Engine> = Arc::new(Memory::new(Window::default(), tail));
        Ok(of_server.get_or_init(|| engine).clone())
    };
    let server = start(notes(builder().session_age(DAY).engine(open))).await;
    let sessions = engines.get().unwrap().sessions();
    let mut browser = Browser::new(&server);
    browser.keep("name", json!("Ann")).await;
    let cookie = browser.cookie.clone().unwrap();
    let id = &cookie[cookie.len() - 32..];
    let end = async || sessions.load(id, 0).await.unwrap().unwrap().until;
    let at_first = end().await;
    assert_eq!(browser.get("/session/name").await, "Ann");
    assert_eq!(end().await, at_first, "read so soon, it need not be written down");
    let hour = 60 * 60 * 1000;
    let aged = SessionEdit { id: id.into(), until: at_first - 2 * hour, ..SessionEdit::default() };
    sessions.edit(aged).await.unwrap();
    assert_eq!(browser.get("/session/name").await, "Ann");
    assert!(end().await >= at_first);
    drop(engines);
    server.shutdown().await;
}

#[tokio::test]
async fn sessions_survive_a_restart_but_not_another_secret() {
    let home = tempfile::tempdir().unwrap();
    let file = || Store::Sqlite(home.path().join("backwire.db"));
    let server = start(notes(builder().store(file()))).await;
    let mut browser = Browser::new(&server);
    browser.keep("name", json!("Ann")).await;
    server.shutdown().await;
    let name_at = async |server: Server, browser: &Browser| {
        let mut browser = Browser { cookie: browser.cookie.clone(), ..Browser::new(&server) };
        let name = browser.get("/session/name").await;
        server.shutdown().await;
        name
    };
    assert_eq!(name_at(start(notes(builder().store(file()))).await, &browser).await, "Ann");
    let secret = "another secret, of 32 characters".parse().unwrap();
    let other = start(notes(builder().store(file()).session_secret(secret))).await;
    assert_eq!(name_at(other, &browser).await, Value::Null);
}

#[tokio::test]
async fn concurrent_requests_keep_each_others_session_values() {
    let server = start(notes(builder())).await;
    let mut browser = Browser::new(&server);
    browser.send(Method::GET, "/__getcookie", None).await;
    let keeping = (0..16).map(|n| {
        let mut tab = Browser { cookie: browser.cookie.clone(), ..Browser::new(&server) };
        tokio::spawn(async move { tab.keep(&format!("k{n}"), json!(n)).await })
    });
    for kept in Vec::from_iter(keeping) {
        kept.await.unwrap();
    }
    for n in 0..16 {
        assert_eq!(browser.get(&format!("/session/k{n}")).await, n);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn handler_sees_its_own_session_changes_and_clear_removes_all_values() {
    let handler = get(async |session: Session| -> Result<Json<Value>> {
        let mut seen = Map::new();
        session.insert("a", 1)?;
        seen.insert("inserted".into(), json!(session.get::<u8>("a").await?));
        session.save().await?;
        seen.insert("saved".into(), json!(session.get::<u8>("a").await?));
        session.remove("a");
        seen.insert("removed".into(), json!(session.get::<u8>("a").await?));
        session.clear();
        seen.insert("cleared".into(), json!(session.get::<u8>("old").await?));
        session.insert("b", 2)?;
        Ok(Json(seen.into()))
    });
    let server = start(notes(builder().route("/all", handler))).await;
    let mut browser = Browser::new(&server);
    browser.keep("old", json!(7)).await;
    let seen = json!({ "inserted": 1, "saved": 1, "removed": null, "cleared": null });
    assert_eq!(browser.get("/all").await, seen);
    for (key, kept) in [("a", Value::Null), ("old", Value::Null), ("b", json!(2))] {
        assert_eq!(browser.get(&format!("/session/{key}")).await, kept, "{key}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn session_value_of_another_type_is_an_error_that_names_its_key() {
    let number = get(async |session: Session| -> Result<String> {
        Ok(session.get::<u64>("name").await?.unwrap_or(0).to_string())
    });
    let server = start(notes(builder().route("/number", number))).await;
    let mut socket = Socket::stock(&server).await;
    socket.put("/session/name", json!({ "first": "Ann" })).await;
    let refused = socket.get("/number").await;
    assert_eq!(refusal(&refused), json!([500, "E_SESSION"]));
    assert!(refused["body"]["message"].as_str().unwrap().contains("name"));
    server.shutdown().await;
}

#[tokio::test]
async fn write_by_a_custom_handler_saves_its_session() {
    let create = axum::routing::post(
        async |cx: Context, session: Session, Json(record): Json<Map<String, Value>>| {
            session.insert("last", record["title"].clone())?;
            cx.create("todo", record).await
        },
    );
    let server = start(notes(builder().override_route("/todo", create))).await;
    let mut socket = Socket::stock(&server).await;
    for title in ["Milk", "Oats"] {
        socket.emit(&json!(["post", { "url": "/todo", "data": { "title": title } }])).await;
    }
    assert_eq!(notes_of(&mut socket, "last").await, "Oats");
    server.shutdown().await;
}
