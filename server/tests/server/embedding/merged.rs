//! The router beside the routes of the app.

use axum::Router;
use axum::routing::get as get_route;
use backwire::model::Model;
use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, build, builder, get, serve};
use crate::client::Socket;

fn own() -> Router {
    Router::new()
        .route("/", get_route(async || "home"))
        .route("/health", get_route(async || "of the app"))
        .route("/items/{id}", get_route(async || "an item"))
}

#[tokio::test]
async fn routes_of_the_app_come_before_the_fallback() {
    let (router, handle) = build(builder()).await;
    let addr = serve(own().merge(router)).await;
    for (path, text) in [("/", "home"), ("/health", "of the app"), ("/items/7", "an item")] {
        assert_eq!(get(addr, path).await, (200, text.to_owned()));
    }
    let live = reqwest::get(format!("http://{addr}/health/live")).await.unwrap();
    assert!(live.status() == 200 && live.headers().contains_key("content-length"));
    let mut socket = Socket::runtime_at(addr).await;
    assert_eq!(socket.post("/todo", json!({})).await["statusCode"], 201);
    assert_eq!(ask(Method::GET, addr, "/todo/1", Value::Null).await.0, 200);
    handle.shutdown().await;
}

#[tokio::test]
async fn router_without_a_fallback_leaves_other_paths_to_the_app() {
    let server = builder()
        .without_fallback()
        .resource("todo", Model::default())
        .unwrap()
        .resource("person", Model { plural: Some("people".to_owned()), ..Model::default() })
        .unwrap()
        .route("/hello", get_route(async || "hello"))
        .override_route("/todo/{id}", get_route(async || "overridden"));
    let (router, handle) = build(server).await;
    let own = Router::new().route("/mine", get_route(async || "mine"));
    let addr = serve(own.fallback(async || "fallback").merge(router)).await;
    for path in ["/", "/cart", "/person", "/todos", "/socket.iox"] {
        assert_eq!(get(addr, path).await.1, "fallback", "{path}");
    }
    assert_eq!(get(addr, "/mine").await.1, "mine");
    assert_eq!(get(addr, "/hello").await.1, "hello");
    assert_eq!(get(addr, "/todo/1").await.1, "overridden");
    for path in ["/todo", "/todo/", "/people", "/health", "/health/live"] {
        assert_eq!(get(addr, path).await.0, 200, "{path}");
    }
    for path in ["/backwire.js", "/socket.io/socket.io.js", "/__getcookie"] {
        assert_ne!(get(addr, path).await.1, "fallback", "{path}");
    }
    for path in ["/send", "/publish", "/revoke"] {
        // Each refuses a request without a key.
        assert!(ask(Method::POST, addr, path, json!({})).await.1.is_object(), "{path}");
    }
    let mut socket = Socket::runtime_at(addr).await;
    assert_eq!(socket.post("/people", json!({})).await["statusCode"], 201);
    assert_eq!(get(addr, "/people/1").await.0, 200);
    handle.shutdown().await;
}
