//! Keys of `sites.yml` of later versions of the SocketIO Web Service.

use std::time::Duration;

use axum::Router;
use axum::extract::{OriginalUri, State};
use axum::routing::put;
use backwire::settings::Store;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::push_service::PushService;

/// The path, `Authorization` header and body of a report.
type Report = (String, String, Value);

/// Starts a back end that receives reports. Returns its `updateUserUrl` and the reports.
async fn reports() -> (String, UnboundedReceiver<Report>) {
    async fn take(
        State(reports): State<UnboundedSender<Report>>,
        OriginalUri(uri): OriginalUri,
        headers: HeaderMap,
        axum::Json(body): axum::Json<Value>,
    ) {
        let shown = headers["authorization"].to_str().unwrap().to_owned();
        reports.send((uri.to_string(), shown, body)).unwrap();
    }
    let (sender, reports) = unbounded_channel();
    let app = Router::new().route("/users/{id}", put(take)).with_state(sender);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/users/:id", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    (url, reports)
}

async fn next(reports: &mut UnboundedReceiver<Report>) -> Report {
    timeout(Duration::from_secs(20), reports.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn update_user_url_receives_connects_and_disconnects() {
    let (url, mut reports) = reports().await;
    let service =
        PushService::with(|shop| shop.update_user_url = url.parse().ok(), Store::Memory).await;
    let ann = service.connect("user_8+staff").await;
    let (path, shown, body) = next(&mut reports).await;
    assert_eq!((&*path, &*shown), ("/users/8", "Bearer user_8+staff"));
    assert_eq!(body["id"], "8");
    let time = body["user"]["last_connected"].as_str().unwrap();
    // JavaScript writes the time in this format: 2015-05-06T07:49:29.196Z.
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    ann.disconnect().await;
    let (_, _, body) = next(&mut reports).await;
    assert!(body["user"]["last_disconnected"].is_string(), "{body}");
    // The server does not report refused clients.
    assert!(service.connect_to("shop", "token=staff").await.is_err());
    service.connect("user_9").await;
    assert_eq!(next(&mut reports).await.0, "/users/9");
    service.server.shutdown().await;
}

#[tokio::test]
async fn failing_update_user_url_does_not_refuse_clients() {
    let service = PushService::with(
        |shop| shop.update_user_url = "http://127.0.0.1:1/:id".parse().ok(),
        Store::Memory,
    )
    .await;
    let mut ann = service.connect("user_1").await;
    service.send(json!("user_1"), "news", 1).await;
    assert_eq!(ann.take().await, json!(["news", 1]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn public_channel_accepts_clients_without_a_private_room() {
    let service =
        PushService::with(|shop| shop.public_channel = Some("public".to_owned()), Store::Memory)
            .await;
    assert!(service.connect_to("shop", "token=staff").await.is_err());
    let mut guest = service.connect("public").await;
    let mut ann = service.connect("user_1+public").await;
    service.send(json!("public"), "news", 1).await;
    for client in [&mut guest, &mut ann] {
        assert_eq!(client.next().await, (None, json!(["news", 1])));
    }
    service.server.shutdown().await;
}
