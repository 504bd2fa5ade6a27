//! Resources and routes that a path of the server itself would hide.

use axum::routing::get;
use backwire::model::Model;
use backwire::route::Paths;
use backwire::server::Builder;
use backwire::settings::SocketIo;
use reqwest::Method;
use serde_json::json;

use super::{ask, build, builder, serve};

fn declared(server: Builder, name: &str) -> Builder {
    server.resource(name, Model::default()).unwrap()
}

fn below(prefix: &str) -> Builder {
    builder().paths(Paths { prefix: prefix.to_owned(), ..Paths::default() })
}

fn with_socket_io_at(server: Builder, path: &str) -> Builder {
    let mut socket_io = SocketIo::default();
    socket_io.path = path.parse().unwrap();
    server.socket_io(socket_io)
}

/// Returns why a server does not start.
async fn refusal(server: Builder) -> String {
    let found = server.check().expect_err("a check finds it");
    let error = server.build().await.expect_err("it does not start");
    assert_eq!((error.code(), error.to_string()), ("E_PATH", found.to_string()));
    error.to_string()
}

#[tokio::test]
async fn resource_that_the_route_of_tokens_hides_is_refused() {
    assert_eq!(
        refusal(declared(builder().csrf(true), "csrfToken")).await,
        "the resource csrftoken at /csrftoken is hidden: /csrfToken belongs to the setting csrf; \
         give the resource another name or a plural, or change the setting"
    );
    let tokens = Model { plural: Some("CsrfToken".to_owned()), ..Model::default() };
    let server = builder().csrf(true).resource("token", tokens).unwrap();
    assert!(refusal(server).await.contains("the resource token at /CsrfToken"));
}

#[tokio::test]
async fn resource_that_another_path_does_not_hide_is_served() {
    let plural = Model { plural: Some("csrftokens".to_owned()), ..Model::default() };
    for (server, path) in [
        (declared(builder(), "csrftoken"), "/csrftoken"),
        (declared(below("/api").csrf(true), "csrftoken"), "/api/csrftoken"),
        (builder().resource("csrftoken", plural).unwrap(), "/csrftokens"),
        (declared(with_socket_io_at(builder(), "/push"), "pushes"), "/pushes"),
        (declared(below("/health"), "dead"), "/health/dead"),
    ] {
        let (router, handle) = build(server).await;
        let addr = serve(router).await;
        let (status, list) = ask(Method::GET, addr, path, json!(null)).await;
        assert_eq!((status, list), (200, json!([])), "{path}");
        handle.shutdown().await;
    }
}

#[tokio::test]
async fn resource_at_above_or_below_a_path_of_the_server_is_refused() {
    let at_push = |name: &str| declared(with_socket_io_at(builder(), "/push"), name);
    let of_path = "/push belongs to the setting io.path";
    assert!(refusal(at_push("push")).await.contains(of_path));
    let below_push = with_socket_io_at(below("/push/live"), "/push");
    assert!(refusal(declared(below_push, "todo")).await.contains(of_path));
    // It would be the path of a record.
    let below_todo = with_socket_io_at(builder(), "/Todo/push");
    assert!(refusal(declared(below_todo, "todo")).await.contains("the resource todo at /todo"));
    let socket_io = declared(below("/socket.io"), "todo");
    assert!(refusal(socket_io).await.contains("/socket.io belongs to Socket.IO"));
    assert!(refusal(declared(below("/health"), "live")).await.contains("/health/live belongs"));
}

#[tokio::test]
async fn route_that_a_path_of_the_server_hides_is_refused() {
    let answer = || get(async || "mine");
    for path in ["/health", "/health/live", "/metrics", "/send", "/publish", "/revoke"] {
        let refused = refusal(builder().route(path, answer())).await;
        assert!(refused.starts_with(&format!("the route {path} is hidden")), "{refused}");
    }
    for path in ["/backwire.js", "/__getcookie", "/socket.io", "/socket.io/{id}"] {
        refusal(builder().concurrent_route(path, answer())).await;
    }
    refusal(with_socket_io_at(builder(), "/push").route("/push/me", answer())).await;
}

/// It comes before the one of the server.
#[tokio::test]
async fn route_of_the_user_may_answer_with_tokens() {
    let server = builder().csrf(true).route("/csrfToken", get(async || "mine"));
    let (router, handle) = build(server).await;
    let addr = serve(router).await;
    assert_eq!(super::get(addr, "/csrfToken").await, (200, "mine".to_owned()));
    handle.shutdown().await;
}
