//! The router in another app, whose requests another server may have accepted.

mod addresses;
mod config_file;
mod defaults;
mod hidden_paths;
mod merged;
mod nested;
mod shutdown;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use backwire::server::Handle;
use backwire::settings::Store;
use backwire::{Server, server::Builder};
use reqwest::Method;
use serde_json::Value;
use tokio::net::TcpListener;

/// How long a state may take that no event announces.
const WAIT: Duration = Duration::from_secs(20);

fn builder() -> Builder {
    Server::builder().store(Store::Memory)
}

async fn build(builder: Builder) -> (Router, Handle) {
    builder.build().await.unwrap()
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Serves an app as users of axum do.
async fn serve(app: Router) -> SocketAddr {
    let (listener, addr) = listen().await;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// Serves an app with axum and without the addresses of clients.
async fn serve_without_addresses(app: Router) -> SocketAddr {
    let (listener, addr) = listen().await;
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// Sends a request. Returns the status and the JSON of the body, or null.
async fn ask(method: Method, addr: SocketAddr, path: &str, body: Value) -> (u16, Value) {
    let request = reqwest::Client::new().request(method, format!("http://{addr}{path}"));
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

async fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let response = reqwest::get(format!("http://{addr}{path}")).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}
