//! The router below a path.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get as get_route;
use backwire::settings::SocketIo;
use backwire::{Context, Session};
use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, build, builder, get, serve};
use crate::client::{Socket, refusal};

async fn transport(cx: Context) -> &'static str {
    if cx.client().is_some() { "a socket" } else { "HTTP" }
}

#[tokio::test]
async fn resources_have_the_same_urls_over_http_and_sockets() {
    let (router, handle) = build(builder().route("/transport", get_route(transport))).await;
    let own = Router::new().route("/todo", get_route(async || "of the app"));
    let addr = serve(own.nest("/api", router)).await;
    let mut socket = Socket::runtime_below(addr, "/api/socket.io/").await;
    assert_eq!(socket.get("/api/todo").await["body"], json!([]));
    let (status, created) = ask(Method::POST, addr, "/api/todo", json!({ "title": "a" })).await;
    assert_eq!((status, &created["id"]), (201, &json!(1)));
    let push = socket.event().await;
    assert_eq!(push[1], "todo");
    let over_socket = socket.post("/api/todo?x=1", json!({ "title": "b" })).await;
    assert_eq!(over_socket["statusCode"], 201);
    assert_eq!(ask(Method::GET, addr, "/api/todo/2", Value::Null).await.1["title"], "b");
    assert_eq!(socket.get("/api/transport").await["body"], "a socket");
    assert_eq!(get(addr, "/api/transport").await.1, "HTTP");
    // The routes of the app are its own.
    assert_eq!(get(addr, "/todo").await, (200, "of the app".to_owned()));
    assert_eq!(get(addr, "/socket.io/?EIO=4&transport=polling").await.0, 404);
    handle.shutdown().await;
}

#[tokio::test]
async fn runtime_is_sent_to_http_for_urls_of_the_app() {
    let (router, handle) = build(builder()).await;
    let addr = serve(Router::new().nest("/api", router)).await;
    let mut socket = Socket::runtime_below(addr, "/api/socket.io/").await;
    for url in ["/login", "/apis/todo", "/"] {
        let refused = socket.post(url, json!({})).await;
        assert_eq!(refusal(&refused), json!([404, "E_NOT_FOUND"]), "{url}");
        assert_eq!(refused["headers"]["backwire-transport"], "http", "{url}");
    }
    assert_eq!(socket.get("/api/login").await["statusCode"], 200);
    handle.shutdown().await;
}

#[tokio::test]
async fn servers_of_one_process_have_records_clients_and_paths_of_their_own() {
    let [(one, handle), (two, other)] = [build(builder()).await, build(builder()).await];
    let addr = serve(Router::new().nest("/one", one).nest("/two", two)).await;
    let mut first = Socket::runtime_below(addr, "/one/socket.io/").await;
    let mut second = Socket::runtime_below(addr, "/two/socket.io/").await;
    first.get("/one/todo").await;
    second.get("/two/todo").await;
    second.post("/two/todo", json!({ "title": "of the second" })).await;
    assert_eq!(ask(Method::GET, addr, "/one/todo", Value::Null).await, (200, json!([])));
    assert!(first.buffered_frames().is_empty());
    assert_eq!((handle.sockets().len(), other.sockets().len()), (1, 1));
    let todos = handle.publisher().pubsub("todo").unwrap();
    todos.publish_create(json!({ "id": 7 }), None).await.unwrap();
    assert_eq!(first.event().await[4][0][3], json!({ "id": 7 }));
    other.shutdown().await;
    second.wait_for_close().await;
    assert_eq!(first.get("/one/todo").await["statusCode"], 200);
    handle.shutdown().await;
}

async fn count_visits(session: Session) -> axum::Json<Value> {
    let visits = session.get::<u64>("visits").await.unwrap().unwrap_or_default() + 1;
    session.insert("visits", visits).unwrap();
    axum::Json(json!(visits))
}

#[tokio::test]
async fn session_cookie_is_for_the_path_of_the_router() {
    let (router, handle) = build(builder().route("/visits", get_route(count_visits))).await;
    let addr = serve(Router::new().nest("/api", router)).await;
    let first = reqwest::get(format!("http://{addr}/api/visits")).await.unwrap();
    let cookie = first.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.ends_with("; Path=/api"), "{cookie}");
    let again = reqwest::Client::new().get(format!("http://{addr}/api/visits"));
    let again = again.header("cookie", cookie).send().await.unwrap();
    assert_eq!(again.json::<u64>().await.unwrap(), 2);
    handle.shutdown().await;
}

#[tokio::test]
async fn files_and_their_redirects_are_below_the_path() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("docs")).unwrap();
    std::fs::write(home.path().join("docs/index.html"), "read me").unwrap();
    let (router, handle) = build(builder().pages(home.path())).await;
    let addr = serve(Router::new().nest("/api", router)).await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let redirect =
        client.build().unwrap().get(format!("http://{addr}/api/docs")).send().await.unwrap();
    assert_eq!(redirect.headers()["location"], "/api/docs/");
    assert_eq!(get(addr, "/api/docs").await, (200, "read me".to_owned()));
    assert_ne!(get(addr, "/api/backwire.js").await.0, 404);
    handle.shutdown().await;
}

#[tokio::test]
async fn custom_path_of_socket_io_is_below_the_path_of_the_router() {
    let mut socket_io = SocketIo::default();
    socket_io.path = "/push".parse().unwrap();
    let (router, handle) = build(builder().socket_io(socket_io)).await;
    let addr = serve(Router::new().nest("/api", router)).await;
    let mut socket = Socket::runtime_below(addr, "/api/push/").await;
    assert_eq!(socket.post("/api/todo", json!({})).await["statusCode"], 201);
    handle.shutdown().await;
}

async fn require_key(headers: HeaderMap, request: Request, next: Next) -> Response {
    match headers.get("x-key").is_some_and(|key| key == "open") {
        true => next.run(request).await,
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}

#[tokio::test]
async fn layer_of_the_app_sees_requests_and_handshakes() {
    let (router, handle) = build(builder()).await;
    let layered = router.layer(from_fn(require_key));
    let addr = serve(Router::new().nest("/api", layered)).await;
    assert_eq!(get(addr, "/api/todo").await.0, 401);
    assert_eq!(get(addr, "/api/socket.io/?EIO=4&transport=polling").await.0, 401);
    let url = format!("http://{addr}/api/socket.io/?EIO=4&transport=polling");
    let opened = reqwest::Client::new().get(url).header("x-key", "open").send().await.unwrap();
    assert_eq!(opened.status(), 200);
    handle.shutdown().await;
}

#[tokio::test]
async fn head_options_and_preflights_are_answered() {
    let (router, handle) = build(builder().origin("https://app.example".parse().unwrap())).await;
    let addr = serve(Router::new().nest("/api", router)).await;
    let url = format!("http://{addr}/api/todo");
    let client = reqwest::Client::new();
    let head = client.head(&url).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.bytes().await.unwrap().len()), (200, 0));
    let preflight = client
        .request(Method::OPTIONS, &url)
        .header("origin", "https://app.example")
        .header("access-control-request-method", "PUT");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example");
    handle.shutdown().await;
}
