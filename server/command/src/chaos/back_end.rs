//! The back end of the server that a run starts: it answers the auth requests of clients, and sends
//! messages.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use backwire::sites::HttpClient;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::deployment::Deployment;

/// How long the answer to a message may take before it is sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The pause before a message is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Starts the back end, which answers auth requests. Returns the content of `sites.yml`: one site
/// with the name of the run.
pub(super) async fn serve(site: &str, key: &str) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new().route("/rooms", get(rooms));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(format!(
        "{site}:\n  authUrl: http://{address}/rooms\n  apiKey: {key}\n  userRoomPrefix: user_\n  \
         clientTtl: 1d\n  mostDevices: 10000\n  mostWaiting: 100000\n"
    ))
}

/// Returns the rooms of a person. The token of the request is the name of the person.
async fn rooms(headers: HeaderMap) -> Result<String, StatusCode> {
    let token = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    let token = token.and_then(|it| it.rsplit(' ').next()).ok_or(StatusCode::UNAUTHORIZED)?;
    Ok(serde_json::json!([format!("user_{token}")]).to_string())
}

/// Sends messages to random people until the run stops. Each message is repeated until it is
/// answered.
pub(super) async fn send_messages(
    deployment: Arc<Deployment>,
    key: String,
    people: usize,
    mut random: StdRng,
    mut stop: watch::Receiver<bool>,
) {
    let http = HttpClient::default();
    loop {
        let pause = Duration::from_millis(random.random_range(0..200));
        tokio::select! {
            () = sleep(pause) => {}
            _ = stop.wait_for(|is_over| *is_over) => return,
        }
        let person = backwire_checker::people::name_of(random.random_range(0..people));
        let number = deployment.messages.send(&person);
        let room = format!("user_{person}");
        let message = serde_json::json!({"rooms": [room], "event": "note", "args": [number]});
        while !send(&http, &deployment, &key, number, message.to_string()).await {
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// Sends a message once. Returns whether it was answered.
async fn send(
    http: &HttpClient,
    deployment: &Deployment,
    key: &str,
    number: u64,
    message: String,
) -> bool {
    let url = format!("http://{}/send?site={}", deployment.proxy.address(), deployment.name);
    let idempotency_key = format!("message-{number}");
    let request = Request::post(url)
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", idempotency_key)
        .body(Full::from(Bytes::from(message)));
    let Ok(request) = request else { return false };
    match timeout(ANSWER_TIMEOUT, http.send(request, MAX_ANSWER_BYTES)).await {
        Ok(Ok(answer)) if answer.status().is_client_error() => {
            let message = format!("message {number} was answered with {}", answer.status());
            deployment.history.violated(message);
            true
        }
        Ok(Ok(answer)) => answer.status().is_success(),
        _ => false,
    }
}
