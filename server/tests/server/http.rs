//! Resources over plain HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::routing::get;
use backwire::engine::Error;
use backwire::model::Model;
use backwire::{Server, Session};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::client::{Socket, builder, server, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

async fn send(server: &Server, method: Method, path: &str, body: Option<&str>) -> Response {
    let url = format!("http://{}{path}", server.addr());
    let request = Client::new().request(method, url);
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_owned()),
        None => request,
    };
    request.send().await.unwrap()
}

async fn ask(server: &Server, method: Method, path: &str, body: Option<&str>) -> (u16, Value) {
    let response = send(server, method, path, body).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn record_is_created_read_updated_and_destroyed() {
    let server = server().await;
    let created = send(&server, Method::POST, "/todo", Some(r#"{"title":"Milk"}"#)).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    assert!(created.headers()["backwire-position"].to_str().unwrap().ends_with(":1"));
    assert_eq!(created.headers()["backwire-record"], "todo/1");
    let created: Value = created.json().await.unwrap();
    assert_eq!(created["title"], "Milk");
    assert_eq!(created["id"], 1);
    assert!(created["createdAt"].is_u64());

    let (status, read) = ask(&server, Method::GET, "/todo/1", None).await;
    assert_eq!((status, &read), (200, &created));
    let (status, all) = ask(&server, Method::GET, "/todo", None).await;
    assert_eq!((status, all), (200, json!([created])));

    let (status, put) = ask(&server, Method::PUT, "/todo/1", Some(r#"{"done":true}"#)).await;
    assert_eq!((status, &put["title"], &put["done"]), (200, &json!("Milk"), &json!(true)));
    let (status, patched) = ask(&server, Method::PATCH, "/todo/1", Some(r#"{"done":false}"#)).await;
    assert_eq!((status, &patched["done"]), (200, &json!(false)));

    let (status, destroyed) = ask(&server, Method::DELETE, "/todo/1", None).await;
    assert_eq!((status, destroyed), (200, patched));
    assert_eq!(ask(&server, Method::GET, "/todo/1", None).await.0, 404);
    server.shutdown().await;
}

#[tokio::test]
async fn read_over_http_has_a_position_and_no_subscription() {
    let server = server().await;
    let read = send(&server, Method::GET, "/todo", None).await;
    assert!(read.headers()["backwire-position"].to_str().unwrap().ends_with(":0"));
    assert!(!read.headers().contains_key("backwire-room"));
    server.shutdown().await;
}

#[tokio::test]
async fn resource_paths_ignore_case_and_a_trailing_slash() {
    let server = server().await;
    ask(&server, Method::POST, "/Todo/", Some(r#"{"title":"Milk"}"#)).await;
    for path in ["/todo/1", "/TODO/1", "/tOdO/1/"] {
        assert_eq!(ask(&server, Method::GET, path, None).await.1["title"], "Milk", "{path}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn id_may_be_in_the_body() {
    let server = server().await;
    ask(&server, Method::POST, "/todo", Some(r#"{"id":"milk"}"#)).await;
    let (_, put) = ask(&server, Method::PUT, "/todo", Some(r#"{"id":"milk","done":true}"#)).await;
    assert_eq!(put["done"], true);
    let (status, _) = ask(&server, Method::DELETE, "/todo", Some(r#"{"id":"milk"}"#)).await;
    assert_eq!(status, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn read_of_an_unknown_resource_is_an_empty_list() {
    let server = server().await;
    assert_eq!(ask(&server, Method::GET, "/nothing", None).await, (200, json!([])));
    assert_eq!(ask(&server, Method::GET, "/nothing?_=17", None).await, (200, json!([])));
    server.shutdown().await;
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body_and_options_are_answered() {
    let server = server().await;
    let head = send(&server, Method::HEAD, "/todo", None).await;
    assert_eq!(head.status(), 200);
    assert!(head.headers().contains_key("backwire-position"));
    let options = send(&server, Method::OPTIONS, "/todo", None).await;
    assert_eq!(options.status(), 200);
    server.shutdown().await;
}

#[tokio::test]
async fn request_with_a_repeated_key_gets_the_first_answer() {
    let server = server().await;
    let post = async |key: &str, body: &'static str| {
        let url = format!("http://{}/todo", server.addr());
        let request = Client::new().post(url).header("idempotency-key", key).body(body);
        let response = request.send().await.unwrap();
        let position = response.headers().get("backwire-position").cloned();
        (response.status().as_u16(), position, response.json::<Value>().await.unwrap())
    };
    let first = post("k-1", r#"{"title":"Milk"}"#).await;
    assert_eq!(first.0, 201);
    assert_eq!(post("k-1", r#"{"title":"Milk"}"#).await, first);
    let other = post("k-1", r#"{"title":"Eggs"}"#).await;
    assert_eq!((other.0, &other.2["code"]), (422, &json!("E_KEY_REUSED")));
    let bad = post("a key", r#"{"title":"Milk"}"#).await;
    assert_eq!((bad.0, &bad.2["code"]), (400, &json!("E_BAD_KEY")));
    let (_, all) = ask(&server, Method::GET, "/todo", None).await;
    assert_eq!(all.as_array().unwrap().len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn every_refusal_has_a_status_a_code_and_a_reason() {
    let server = server().await;
    ask(&server, Method::POST, "/todo", Some(r#"{"id":1}"#)).await;
    let post = Method::POST;
    let put = Method::PUT;
    let get = Method::GET;
    let delete = Method::DELETE;
    let table = [
        (&post, "/todo", Some("{oops"), 400, "E_BAD_JSON"),
        (&post, "/todo", Some("[1]"), 400, "E_BAD_BODY"),
        (&post, "/todo", Some("7"), 400, "E_BAD_BODY"),
        (&put, "/todo", Some("{}"), 400, "E_NO_ID"),
        (&delete, "/todo", None, 400, "E_NO_ID"),
        (&put, "/todo/1", Some(r#"{"id":2}"#), 400, "E_BAD_ID"),
        (&post, "/todo", Some(r#"{"id":{}}"#), 400, "E_BAD_ID"),
        (&post, "/todo", Some(r#"{"id":1}"#), 409, "E_EXISTS"),
        (&get, "/todo/9", None, 404, "E_NOT_FOUND"),
        (&put, "/todo/9", Some("{}"), 404, "E_NOT_FOUND"),
        (&delete, "/todo/9", None, 404, "E_NOT_FOUND"),
        (&get, "/send", None, 405, "E_UNKNOWN_VERB"),
        (&get, "/publish", None, 405, "E_UNKNOWN_VERB"),
        (&get, "/7up", None, 404, "E_NOT_FOUND"),
        (&get, "/todo/1/tags", None, 404, "E_NOT_FOUND"),
        (&get, "/", None, 404, "E_NOT_FOUND"),
        (&get, "/todo?where={oops", None, 400, "E_BAD_CRITERIA"),
        (&get, "/todo?limit=some", None, 400, "E_BAD_CRITERIA"),
        (&get, "/todo/1?limit=1", None, 400, "E_BAD_CRITERIA"),
        (&put, "/todo/1?limit=1", Some("{}"), 400, "E_BAD_CRITERIA"),
        (&delete, "/todo?where={}", None, 400, "E_BAD_CRITERIA"),
        (&post, "/todo/1", Some("{}"), 405, "E_UNKNOWN_VERB"),
        (&Method::TRACE, "/todo", None, 405, "E_UNKNOWN_VERB"),
        (&get, "/todo/%ff", None, 400, "E_BAD_URL"),
    ];
    for (method, path, body, status, code) in table {
        let (got, refusal) = ask(&server, method.clone(), path, body).await;
        assert_eq!((got, &refusal["code"]), (status, &json!(code)), "{method} {path} {body:?}");
        assert!(refusal["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    server.shutdown().await;
}

/// An engine that refuses every call.
struct Broken;

#[async_trait]
impl Interceptor for Broken {
    async fn before(&self, _: Call<'_>) -> Result<(), Error> {
        Err(Error::Unavailable("the disk is gone".to_owned()))
    }
}

#[tokio::test]
async fn session_that_cannot_be_read_or_stored_is_503_without_a_cookie() {
    let read = async |session: Session| session.get::<u8>("a").await.map(|_| "read");
    let keep = async |session: Session| session.insert("a", 1).map(|()| "kept");
    let server = builder().engine(intercepted_by(&Arc::new(Broken)));
    let server = start(server.route("/session", get(read).post(keep))).await;
    for method in [Method::GET, Method::POST] {
        let refused = send(&server, method, "/session", None).await;
        assert_eq!(refused.status(), 503);
        assert!(!refused.headers().contains_key("set-cookie"));
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "E_UNAVAILABLE");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn unavailable_engine_is_503() {
    let server = start(builder().engine(intercepted_by(&Arc::new(Broken)))).await;
    let (status, refusal) = ask(&server, Method::POST, "/todo", Some("{}")).await;
    assert_eq!((status, &refusal["code"]), (503, &json!("E_UNAVAILABLE")));
    // The client gets `Retry-After` over HTTP and over sockets.
    let over_http = send(&server, Method::GET, "/todo", None).await;
    assert_eq!(
        (over_http.status().as_u16(), &over_http.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    let over_socket = Socket::runtime(&server).await.get("/todo").await;
    assert_eq!(over_socket["statusCode"], 503);
    assert_eq!(over_socket["headers"]["retry-after"], "1");
    assert_eq!(ask(&server, Method::GET, "/health", None).await.0, 503);
    server.shutdown().await;
}

/// An engine whose writes fail if this is set.
#[derive(Default)]
struct FullDisk(AtomicBool);

#[async_trait]
impl Interceptor for FullDisk {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        let is_write = matches!(call, Call::Commit(_) | Call::EditSession | Call::Post);
        match is_write && self.0.load(Ordering::SeqCst) {
            true => Err(Error::Unavailable("the disk is full".to_owned())),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn health_is_503_while_writes_fail_and_liveness_is_200() {
    let disk = Arc::new(FullDisk(AtomicBool::new(true)));
    let server = start(builder().engine(intercepted_by(&disk))).await;
    let health = async |path: &str| ask(&server, Method::GET, path, None).await;
    assert_eq!(ask(&server, Method::GET, "/todo", None).await.0, 200);
    for _ in 0..2 {
        let failed = (503, json!({ "status": "the engine cannot write" }));
        assert_eq!(health("/health").await, failed);
        assert_eq!(health("/health/live").await, (200, json!({ "status": "ok" })));
    }
    disk.0.store(false, Ordering::SeqCst);
    assert_eq!(health("/health").await.0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn reserved_names_are_not_resources() {
    let server = server().await;
    for name in ["healthz", "ready", "admin", "resume"] {
        let (status, refusal) = ask(&server, Method::GET, &format!("/{name}"), None).await;
        assert_eq!((status, &refusal["code"]), (404, &json!("E_NOT_FOUND")), "{name}");
    }
    for name in ["revoke", "healthz", "ready", "admin", "resume", "metrics", "health"] {
        assert!(Server::builder().resource(name, Model::default()).is_err(), "{name}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn status_sites_and_docs_are_resources_only_if_they_are_declared() {
    let undeclared = server().await;
    let declared = start(builder().resource("status", Model::default()).unwrap()).await;
    for name in ["status", "sites", "docs"] {
        let path = format!("/{name}");
        assert_eq!(ask(&undeclared, Method::POST, &path, Some("{}")).await.0, 404, "{name}");
        assert_eq!(ask(&undeclared, Method::GET, &path, None).await.0, 404, "{name}");
    }
    assert_eq!(ask(&declared, Method::POST, "/status", Some("{}")).await.0, 201);
    assert_eq!(ask(&declared, Method::GET, "/docs", None).await.0, 404);
    undeclared.shutdown().await;
    declared.shutdown().await;
}

#[tokio::test]
async fn healthy_server_reports_ok() {
    let server = server().await;
    let healthy = (200, json!({ "status": "ok" }));
    assert_eq!(ask(&server, Method::GET, "/health", None).await, healthy);
    server.shutdown().await;
}

#[tokio::test]
async fn only_pages_of_the_same_host_and_allowed_origins_may_write() {
    let server = start(builder().origin("https://app.example".parse().unwrap())).await;
    let post = async |origin: &str| {
        let url = format!("http://{}/todo", server.addr());
        let request = Client::new().post(url).header("origin", origin).body("{}");
        request.send().await.unwrap()
    };
    let refused = post("https://evil.example").await;
    assert_eq!(refused.status(), 403);
    assert!(!refused.headers().contains_key("access-control-allow-origin"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "E_ORIGIN");
    assert_eq!(post("null").await.status(), 403);

    let named = post("https://app.example").await;
    assert_eq!(named.status(), 201);
    assert_eq!(named.headers()["access-control-allow-origin"], "https://app.example");
    let exposed = named.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("backwire-position"));
    assert_eq!(post("http://127.0.0.1:8080").await.status(), 201);
    server.shutdown().await;
}

/// Sends a request with this `Host`, and returns status and body.
async fn asked_as(server: &Server, host: &str) -> (u16, Value) {
    let url = format!("http://{}/todo", server.addr());
    let answer = Client::new().get(url).header("host", host).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn foreign_host_name_is_refused() {
    let server = server().await;
    let evil = format!("evil.example:{}", server.addr().port());
    let refusal = json!({
        "code": "E_HOST",
        "message": format!("the host {evil} is not allowed: allow it with --allowed-host {evil}, or `allowed_hosts` in the configuration"),
        "field": "host",
    });
    assert_eq!(asked_as(&server, &evil).await, (421, refusal));
    // A proxy on this machine forwards the host that its clients have requested.
    for host in ["push.example", &server.addr().to_string()] {
        assert_eq!(asked_as(&server, host).await.0, 200, "{host}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn configured_hosts_exclude_all_others() {
    let server = start(builder().allowed_host("push.example".parse().unwrap())).await;
    let at_our_port = format!("push.example:{}", server.addr().port());
    for host in ["push.example", &at_our_port, "localhost"] {
        assert_eq!(asked_as(&server, host).await.0, 200, "{host}");
    }
    for path in ["/health", "/socket.io/socket.io.js", "/socket.io/?EIO=4&transport=polling"] {
        let url = format!("http://{}{path}", server.addr());
        let refused = Client::new().get(url).header("host", "evil.example").send().await.unwrap();
        assert_eq!(refused.status(), 421, "{path}");
    }
    server.shutdown().await;
}

async fn preflight(server: &Server, origin: &str, method: &str) -> Response {
    let ask = Client::new()
        .request(Method::OPTIONS, format!("http://{}/todo/1", server.addr()))
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "content-type,idempotency-key");
    ask.send().await.unwrap()
}

#[tokio::test]
async fn preflight_of_an_allowed_page_allows_headers_and_cookies() {
    let server = start(builder().origin("https://app.example".parse().unwrap())).await;
    for method in ["PUT", "PATCH", "DELETE"] {
        let granted = preflight(&server, "https://app.example", method).await;
        assert_eq!(granted.status(), 200);
        let header = |name: &str| granted.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("access-control-allow-origin"), "https://app.example");
        assert_eq!(header("access-control-allow-credentials"), "true");
        assert_eq!(header("access-control-allow-headers"), "content-type,idempotency-key");
        assert!(header("access-control-allow-methods").contains(method));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn preflight_of_any_other_page_allows_nothing() {
    let server = start(builder().origin("https://app.example".parse().unwrap())).await;
    for origin in ["https://evil.example", "http://app.example", "null"] {
        let refused = preflight(&server, origin, "PUT").await;
        for name in ["access-control-allow-origin", "access-control-allow-credentials"] {
            assert!(!refused.headers().contains_key(name), "{origin}: {name}");
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn answers_have_cors_headers_for_allowed_pages() {
    let server = start(builder().origin("https://app.example".parse().unwrap())).await;
    let read = async |origin: &str| {
        let url = format!("http://{}/todo", server.addr());
        let read = Client::new().get(url).header("origin", origin).send().await.unwrap();
        assert_eq!(read.status(), 200);
        assert!(read.headers()["vary"].to_str().unwrap().contains("origin"));
        let names = ["allow-origin", "allow-credentials", "expose-headers"];
        names.map(|name| {
            let value = read.headers().get(format!("access-control-{name}"));
            value.map(|value| value.to_str().unwrap().to_owned())
        })
    };
    let [origin, credentials, exposed] = read("https://app.example").await;
    assert_eq!(origin.as_deref(), Some("https://app.example"));
    assert_eq!(credentials.as_deref(), Some("true"));
    assert_eq!(
        exposed.as_deref(),
        Some("backwire-position,backwire-query,backwire-record,backwire-room")
    );
    let [origin, credentials, _] = read("https://evil.example").await;
    assert_eq!((origin, credentials), (None, None));
    server.shutdown().await;
}

#[tokio::test]
async fn pages_of_any_origin_may_use_all_resources_without_cookies() {
    let server = start(builder().origin("*".parse().unwrap())).await;
    let url = format!("http://{}/", server.addr());
    let opened = Client::new().get(&url).send().await.unwrap();
    let cookie = opened.headers()["set-cookie"].clone();
    let of_page = |origin: &str| {
        Client::new().get(&url).header("origin", origin).header("cookie", cookie.clone())
    };
    let answer = of_page("https://evil.example").send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://evil.example");
    assert!(!answer.headers().contains_key("access-control-allow-credentials"));
    // The server did not see the cookie, and does not replace it.
    assert!(!answer.headers().contains_key("set-cookie"));
    let posted = Client::new().post(format!("{url}todo")).header("origin", "https://evil.example");
    assert_eq!(posted.body("{}").send().await.unwrap().status(), 201);
    let own = of_page("http://localhost:8000").send().await.unwrap();
    assert_eq!(own.headers()["access-control-allow-credentials"], "true");
    server.shutdown().await;
}
