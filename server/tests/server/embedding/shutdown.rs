//! The end of a server in an app.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get as get_route;
use backwire::settings::Store;
use backwire::sites::Site;
use reqwest::Method;
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use super::{WAIT, ask, build, builder, get, listen, serve};
use crate::client::Socket;
use crate::polling::poll;

#[tokio::test]
async fn shutdown_ends_sockets_and_the_app_goes_on() {
    let (router, handle) = build(builder()).await;
    let own = Router::new().route("/", get_route(async || "home"));
    let addr = serve(own.nest("/api", router.clone())).await;
    let mut socket = Socket::runtime_below(addr, "/api/socket.io/").await;
    handle.shutdown().await;
    socket.wait_for_close().await;
    assert_eq!(get(addr, "/").await, (200, "home".to_owned()));
    let (status, body) = get(addr, "/api/todo").await;
    assert!(status == 503 && body.contains("E_UNAVAILABLE"), "{body}");
    assert_eq!(get(addr, "/api/socket.io/?EIO=4&transport=polling").await.0, 503);
    assert!(handle.sockets().is_empty());
    // Another call does nothing.
    handle.clone().shutdown().await;
}

#[tokio::test]
async fn shutdown_waits_for_requests_and_refuses_new_ones() {
    let (entered, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (entered, finish) = (Arc::clone(&entered), Arc::clone(&finish));
        get_route(async move || {
            entered.notify_one();
            finish.notified().await;
            "done"
        })
    };
    let (router, handle) = build(builder().route("/slow", slow)).await;
    let addr = serve(router).await;
    let asking = tokio::spawn(async move { get(addr, "/slow").await });
    entered.notified().await;
    let stopping = tokio::spawn(async move { handle.shutdown().await });
    let is_refused = async || (get(addr, "/todo").await.0 == 503).then_some(());
    poll("new requests are refused", WAIT, is_refused).await;
    assert!(!stopping.is_finished());
    finish.notify_one();
    assert_eq!(asking.await.unwrap(), (200, "done".to_owned()));
    stopping.await.unwrap();
}

#[tokio::test]
async fn server_without_a_handle_runs_on_and_takes_messages_of_back_ends() {
    let shop = Site::new("http://127.0.0.1:1/rooms".parse().unwrap(), "54321".parse().unwrap());
    let (router, handle) = build(builder().site("shop", shop).unwrap()).await;
    drop(handle);
    let addr = serve(router).await;
    let message = json!({ "rooms": ["news"], "event": "hello", "args": [] });
    let path = "/send?site=shop&apiKey=54321";
    assert_eq!(ask(Method::POST, addr, path, message).await.0, 200);
    assert_eq!(ask(Method::POST, addr, "/todo", json!({})).await.0, 201);
}

/// The router still exists, and holds nothing of the server.
#[tokio::test]
async fn file_can_be_opened_again_after_the_shutdown() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::Sqlite(home.path().join("data.db"));
    let begin = std::time::Instant::now();
    let (router, handle) = build(builder().store(store.clone())).await;
    let addr = serve(router.clone()).await;
    let mut socket = Socket::runtime_at(addr).await;
    socket.get("/todo").await;
    handle.shutdown().await;
    let (again, other) = build(builder().store(store)).await;
    // A step that is abandoned takes 5 seconds, and a store that is open 20.
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    other.shutdown().await;
    drop((router, again, handle));
}

#[tokio::test]
async fn signal_of_serve_shuts_everything_down() {
    let (router, handle) = build(builder()).await;
    let (listener, addr) = listen().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let app = Router::new().nest("/api", router);
    let serve = handle.serve(listener, app).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serve.into_future());
    let mut socket = Socket::runtime_below(addr, "/api/socket.io/").await;
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    socket.wait_for_close().await;
    assert!(reqwest::get(format!("http://{addr}/api/todo")).await.is_err());
    let (listener, _) = listen().await;
    assert!(handle.serve(listener, Router::new()).await.is_err());
}

#[tokio::test]
async fn polling_client_is_ended_by_a_shutdown_over_another_server() {
    let (router, handle) = build(builder()).await;
    let addr = serve(router).await;
    let path = "/socket.io/?EIO=4&transport=polling";
    let (_, opened) = get(addr, path).await;
    let session: serde_json::Value =
        serde_json::from_str(opened.split('\u{1e}').next().unwrap().trim_start_matches('0'))
            .unwrap();
    let path = format!("{path}&sid={}", session["sid"].as_str().unwrap());
    let posted = reqwest::Client::new().post(format!("http://{addr}{path}"));
    let posted = posted.body("40{\"backwire\":1}").send().await.unwrap();
    assert_eq!(posted.status(), 200);
    let mut received = String::new();
    while !received.contains("40{") {
        received = get(addr, &path).await.1;
    }
    let polling = tokio::spawn(async move { get(addr, &path).await });
    handle.shutdown().await;
    // The last poll is answered, with the end of the session or without one.
    polling.await.unwrap();
}
