//! CSRF tokens (`csrf: true`), as those of Sails.

use axum::Json;
use axum::routing::{get, post};
use backwire::model::Conventions;
use backwire::route::{Paths, Shortcuts};
use backwire::server::Builder;
use backwire::{Server, Session};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::client::{Socket, ask, builder, refusal, start};

const FORM: &str = "application/x-www-form-urlencoded";

/// Adds a handler that echoes its body, and one that signs in and answers with a new token.
fn protected(server: Builder) -> Builder {
    let echo = post(async |body: Json<Value>| body).get(async || "read");
    let sign_in = async |session: Session| {
        session.sign_in("ann", [""; 0]).await.map(|()| Json(session.csrf_token()))
    };
    server.csrf(true).route("/echo", echo).route("/in", post(sign_in))
}

/// Returns a record without the times of its changes.
fn timeless(mut record: Value) -> Value {
    if let Some(record) = record.as_object_mut() {
        record.retain(|name, _| !matches!(&**name, "createdAt" | "updatedAt"));
    }
    record
}

async fn token(browser: &mut Browser) -> String {
    browser.get("/csrfToken").await["_csrf"].as_str().unwrap().to_owned()
}

/// Sends a request with a header `X-CSRF-Token`.
async fn send_with(browser: &Browser, method: Method, path: &str, header: &str) -> (u16, Value) {
    let request = Client::new().request(method, format!("{}{path}", browser.server));
    let cookie = browser.cookie.as_deref().unwrap_or_default();
    let request = request.header("cookie", cookie).header("x-csrf-token", header);
    let response = request.json(&json!({ "title": "Milk" })).send().await.unwrap();
    (response.status().as_u16(), timeless(response.json().await.unwrap_or_default()))
}

#[tokio::test]
async fn write_over_http_needs_a_token_of_its_session() {
    let server = start(protected(builder())).await;
    let (mut ann, mut bob) = (Browser::new(&server), Browser::new(&server));
    let refused = ann.send(Method::POST, "/todo", Some(json!({ "title": "Milk" }))).await;
    assert_eq!(refused.status(), 403);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!((&refused["code"], &refused["field"]), (&json!("E_CSRF"), &json!("_csrf")));
    let (mine, others) = (token(&mut ann).await, token(&mut bob).await);
    for bad in ["", "x", "x-y", &others, &mine[1..]] {
        assert_eq!(send_with(&ann, Method::POST, "/todo", bad).await.0, 403, "{bad}");
    }
    let made = (201, json!({ "title": "Milk", "id": 1 }));
    assert_eq!(send_with(&ann, Method::POST, "/todo", &mine).await, made);
    for (method, path) in
        [(Method::PUT, "/todo/1"), (Method::PATCH, "/todo/1"), (Method::DELETE, "/todo/1")]
    {
        assert_eq!(send_with(&ann, method.clone(), path, "").await.0, 403);
        assert_eq!(send_with(&ann, method, path, &mine).await.0, 200);
    }
    // The token alone, without the cookie, belongs to nobody.
    let nobody = Browser::new(&server);
    assert_eq!(send_with(&nobody, Method::POST, "/todo", &mine).await.0, 403);
    server.shutdown().await;
}

#[tokio::test]
async fn reads_need_no_token_and_get_no_cookie() {
    let server = start(protected(builder())).await;
    let mut browser = Browser::new(&server);
    for path in ["/todo", "/echo", "/health"] {
        assert_eq!(browser.send(Method::GET, path, None).await.status(), 200, "{path}");
    }
    assert_eq!(browser.send(Method::OPTIONS, "/todo", None).await.status(), 200);
    assert_eq!(browser.cookie, None);
    let granted = browser.send(Method::GET, "/csrfToken", None).await;
    assert_eq!(granted.headers()["cache-control"], "no-store");
    assert!(browser.cookie.is_some());
    let again = browser.send(Method::GET, "/csrftoken", None).await;
    assert!(!again.headers().contains_key("set-cookie"));
    server.shutdown().await;
}

#[tokio::test]
async fn token_in_the_query_or_the_body_is_no_attribute() {
    let server = start(protected(builder())).await;
    let mut browser = Browser::new(&server);
    let token = token(&mut browser).await;
    let milk = |id: u64| json!({ "title": "Milk", "n": 1, "id": id });
    let body = json!({ "title": "Milk", "_csrf": token, "n": 1 });
    let made = browser.send(Method::POST, "/todo", Some(body.clone())).await;
    assert_eq!(timeless(made.json().await.unwrap()), milk(1));
    let url = format!("/todo?_csrf={token}");
    let made = browser.send(Method::POST, &url, Some(json!({ "title": "Milk", "n": 1 }))).await;
    assert_eq!(timeless(made.json().await.unwrap()), milk(2));
    let echoed = browser.send(Method::POST, "/echo", Some(body)).await;
    assert_eq!(echoed.json::<Value>().await.unwrap(), json!({ "title": "Milk", "n": 1 }));
    // A token in a header does not leave the other one in the record.
    let request = Client::new().post(format!("{}/todo?_csrf=x", browser.server));
    let request = request.header("cookie", browser.cookie.clone().unwrap());
    let request = request.header("x-csrf-token", &token).json(&json!({ "_csrf": { "a": 1 } }));
    let made: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(timeless(made), json!({ "id": 3 }));
    let refused = browser.send(Method::POST, "/todo", Some(json!({ "_csrf": null }))).await;
    assert_eq!(refused.status(), 403);
    server.shutdown().await;
}

#[tokio::test]
async fn token_may_be_in_a_form() {
    let server = start(protected(builder())).await;
    let mut browser = Browser::new(&server);
    let token = token(&mut browser).await;
    let cookie = browser.cookie.clone().unwrap();
    let form = async |path: &str, form: String| {
        let request = Client::new().post(format!("{}{path}", browser.server));
        let request = request.header("cookie", &cookie).header("content-type", FORM).body(form);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), timeless(response.json().await.unwrap()))
    };
    let made = (201, json!({ "title": "A&B", "id": 1 }));
    assert_eq!(form("/todo", format!("_csrf={token}&title=A%26B")).await, made);
    let put = format!("title=C&_csrf={token}&_method=PUT");
    assert_eq!(form("/todo/1", put).await, (200, json!({ "title": "C", "id": 1 })));
    assert_eq!(form("/todo/1", "title=D&_method=PUT".to_owned()).await.0, 403);
    server.shutdown().await;
}

#[tokio::test]
async fn write_over_a_socket_needs_a_token_which_sockets_cannot_request() {
    for conventions in [Conventions::Backwire, Conventions::Sails] {
        let server = start(protected(builder()).compat(conventions)).await;
        let mut browser = Browser::new(&server);
        let token = token(&mut browser).await;
        let mut others = Socket::stock(&server).await;
        for mut socket in [browser.socket(&server).await, browser.runtime(&server).await] {
            assert_eq!(socket.get("/csrfToken").await["statusCode"], 404);
            let refused = socket.post("/todo", json!({ "title": "Milk" })).await;
            assert_eq!(refusal(&refused), json!([403, "E_CSRF"]));
            let with_header = json!({
                "url": "/todo", "headers": { "X-CSRF-Token": token }, "data": { "title": "Milk" },
            });
            let made = socket.ask(json!(["post", with_header])).await;
            assert_eq!(made["body"]["title"], "Milk", "{made}");
            let made = socket.post("/todo", json!({ "title": "Oats", "_csrf": token })).await;
            assert_eq!(made["body"]["title"], "Oats", "{made}");
            assert_eq!(made["body"].get("_csrf"), None);
            let made = socket.post(&format!("/todo?_csrf={token}"), json!({})).await;
            assert_eq!(made["body"].get("_csrf"), None);
            assert!(made["statusCode"].as_u64().unwrap() < 300, "{made}");
            let echoed = socket.post("/echo", json!({ "_csrf": token, "a": 1 })).await;
            assert_eq!(echoed["body"], json!({ "a": 1 }));
            // The token belongs to another session.
            let refused = others.post("/todo", json!({ "_csrf": token })).await;
            assert_eq!(refusal(&refused), json!([403, "E_CSRF"]));
        }
        server.shutdown().await;
    }
}

#[tokio::test]
async fn socket_without_a_session_cannot_write() {
    let server = start(protected(builder())).await;
    let mut browser = Browser::new(&server);
    let token = token(&mut browser).await;
    let headers = [("cookie", browser.cookie.as_deref().unwrap()), ("nosession", "true")];
    let mut socket = Socket::connect_with(&server, "", &headers, "").await;
    assert_eq!(socket.get("/todo").await["statusCode"], 200);
    let refused = socket.post("/todo", json!({ "_csrf": token })).await;
    assert_eq!(refusal(&refused), json!([403, "E_CSRF"]));
    server.shutdown().await;
}

#[tokio::test]
async fn token_from_before_a_sign_in_is_refused_after_it() {
    let server = start(protected(builder())).await;
    let mut browser = Browser::new(&server);
    let before = token(&mut browser).await;
    let signed_in = browser.send(Method::POST, "/in", Some(json!({ "_csrf": before }))).await;
    let after: String = signed_in.json().await.unwrap();
    assert_eq!(send_with(&browser, Method::POST, "/todo", &before).await.0, 403);
    assert_eq!(send_with(&browser, Method::POST, "/todo", &after).await.0, 201);
    server.shutdown().await;
}

#[tokio::test]
async fn shortcut_that_writes_needs_a_token_whatever_its_method() {
    let paths = Paths { shortcuts: Shortcuts::Write, ..Paths::default() };
    let server = start(protected(builder()).paths(paths)).await;
    let mut browser = Browser::new(&server);
    let mut socket = Socket::stock(&server).await;
    for path in ["/todo/create?title=a", "/todo/update/1?title=a", "/todo/destroy/1"] {
        assert_eq!(browser.send(Method::GET, path, None).await.status(), 403, "{path}");
        assert_eq!(refusal(&socket.get(path).await), json!([403, "E_CSRF"]));
    }
    assert_eq!(browser.send(Method::GET, "/todo/find", None).await.status(), 200);
    let url = format!("/todo/create?title=a&_csrf={}", token(&mut browser).await);
    assert_eq!(timeless(browser.get(&url).await), json!({ "title": "a", "id": 1 }));
    server.shutdown().await;
}

/// Back ends have a key, and no cookie that a page could use.
#[tokio::test]
async fn back_end_with_its_key_needs_no_token() {
    let server = start(protected(builder()).api_key("secret".parse().unwrap())).await;
    let event = json!({ "model": "todo", "verb": "create", "id": 1, "data": {} });
    assert_eq!(ask(&server, "POST", "/publish?apiKey=secret", event).await.0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn token_is_valid_at_all_servers_with_the_same_session_secret() {
    let secret = || "s".repeat(32).parse().unwrap();
    let one = start(protected(builder()).session_secret(secret())).await;
    let other = start(protected(builder()).session_secret(secret())).await;
    let mut browser = Browser::new(&one);
    let token = token(&mut browser).await;
    browser.server = Browser::new(&other).server;
    assert_eq!(send_with(&browser, Method::POST, "/todo", &token).await.0, 201);
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn without_the_setting_no_write_needs_a_token() {
    let page = get(async |session: Session| Json(session.csrf_token()));
    let server: Server = start(builder().route("/page", page)).await;
    let mut browser = Browser::new(&server);
    assert_eq!(browser.get("/page").await, Value::Null);
    assert_eq!(browser.cookie, None);
    assert_eq!(send_with(&browser, Method::POST, "/todo", "").await.0, 201);
    server.shutdown().await;
}
