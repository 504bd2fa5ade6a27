//! Persons whose rights change lose their connections, and are authenticated again.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use backwire::settings::Store;
use http::{HeaderMap, StatusCode};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::push_service::PushService;
use super::runtime::runtime;
use crate::client::Socket;

/// A back end that accepts every token, until it answers with another status.
struct BackEnd {
    status: watch::Sender<StatusCode>,
    asked: watch::Sender<usize>,
    /// While this is `false`, decided answers wait.
    answers: watch::Sender<bool>,
}

impl BackEnd {
    /// Starts a back end, and a push service whose site `shop` uses it.
    async fn service(recheck: Option<Duration>) -> (Arc<Self>, PushService) {
        let back_end = Arc::new(Self {
            status: watch::Sender::new(StatusCode::OK),
            asked: watch::Sender::new(0),
            answers: watch::Sender::new(true),
        });
        let app = Router::new().route("/rooms", get(rooms)).with_state(back_end.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/rooms", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        let change = |site: &mut backwire::sites::Site| {
            site.auth_url = url.parse().unwrap();
            site.recheck = recheck;
        };
        (back_end, PushService::with(change, Store::Memory).await)
    }

    fn now_answers(&self, status: StatusCode) {
        self.status.send_replace(status);
    }

    async fn is_asked(&self, times: usize) {
        self.asked.subscribe().wait_for(|asked| *asked >= times).await.unwrap();
    }
}

async fn rooms(State(back_end): State<Arc<BackEnd>>, headers: HeaderMap) -> Response {
    let status = *back_end.status.borrow();
    back_end.asked.send_modify(|asked| *asked += 1);
    back_end.answers.subscribe().wait_for(|answers| *answers).await.unwrap();
    let token = headers["authorization"].to_str().unwrap().trim_start_matches("Bearer ");
    match status {
        StatusCode::OK => axum::Json(token.split('+').collect::<Vec<_>>()).into_response(),
        status => status.into_response(),
    }
}

async fn revoke(service: &PushService, query: &str, body: Value) -> (u16, Value) {
    let url = format!("http://{}/revoke?{query}", service.server.addr());
    let response = Client::new().post(url).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

const KEY: &str = "site=shop&apiKey=54321";

#[tokio::test]
async fn revoked_person_loses_all_connections_and_is_authenticated_again() {
    let (back_end, service) = BackEnd::service(None).await;
    let mut phone = service.connect("user_1+staff").await;
    let mut page = runtime(&service, "token=user_1&deviceId=tab").await.unwrap();
    let mut bob = service.connect("user_2+user_11").await;
    back_end.now_answers(StatusCode::UNAUTHORIZED);
    let revoked = revoke(&service, KEY, json!({ "user": 1 })).await;
    assert_eq!(revoked, (200, json!({ "connections": 2 })));
    assert_eq!(phone.socket.frame().await, None);
    page.wait_for_close().await;
    let refused = service.connect_to("shop", "token=user_1%2Bstaff").await.err().unwrap();
    assert_eq!(refused, json!({ "message": "Authentication error" }));
    assert!(runtime(&service, "token=user_1").await.is_err_and(|error| error.contains("E_TOKEN")));
    service.send(json!(["user_2"]), "news", 1).await;
    assert_eq!(bob.take().await, json!(["news", 1]));
    assert_eq!(revoke(&service, KEY, json!({ "user": "1" })).await.1, json!({ "connections": 0 }));
    service.server.shutdown().await;
}

#[tokio::test]
async fn revocation_of_a_token_ends_only_its_connections() {
    let (_, service) = BackEnd::service(None).await;
    let mut one = service.connect("user_1+a").await;
    let mut other = service.connect("user_1+b").await;
    let revoked = revoke(&service, KEY, json!({ "session": "user_1+a" })).await;
    assert_eq!(revoked, (200, json!({ "connections": 1 })));
    assert_eq!(one.socket.frame().await, None);
    service.send(json!(["user_1"]), "news", 1).await;
    assert_eq!(other.take().await, json!(["news", 1]));
    // The back end accepts the token again.
    service.connect("user_1+a").await;
    service.server.shutdown().await;
}

#[tokio::test]
async fn auth_response_from_before_a_revocation_is_discarded() {
    let (back_end, service) = BackEnd::service(None).await;
    back_end.answers.send_replace(false);
    let mut socket = Socket::open_with_query(&service.server, "&token=user_1").await;
    socket.send("40/shop,").await;
    back_end.is_asked(1).await;
    back_end.now_answers(StatusCode::UNAUTHORIZED);
    let revoked = revoke(&service, KEY, json!({ "user": "1" })).await;
    assert_eq!(revoked, (200, json!({ "connections": 0 })));
    back_end.answers.send_replace(true);
    let answer = socket.next_frame().await;
    assert_eq!(answer, r#"44/shop,{"message":"Authentication error"}"#);
    service.server.shutdown().await;
}

#[tokio::test]
async fn revocation_requires_the_api_key_and_a_user_or_token() {
    let (_, service) = BackEnd::service(None).await;
    let mut ann = service.connect("user_1").await;
    let (user, none) = (json!({ "user": "1" }), json!({}));
    for (query, body, expected) in [
        ("site=shop&apiKey=other", &user, json!([401, "E_UNAUTHORIZED", "apiKey"])),
        ("site=nowhere&apiKey=54321", &user, json!([401, "E_UNAUTHORIZED", "apiKey"])),
        ("site=shop", &user, json!([400, "E_NO_SITE", "apiKey"])),
        ("apiKey=54321", &user, json!([400, "E_NO_SITE", "site"])),
        (KEY, &none, json!([400, "E_BAD_BODY", "body"])),
        (KEY, &json!({ "user": "1", "session": "x" }), json!([400, "E_BAD_BODY", "body"])),
        (KEY, &json!({ "user": ["1"] }), json!([400, "E_BAD_BODY", "user"])),
        (KEY, &json!({ "session": "" }), json!([400, "E_BAD_BODY", "session"])),
        (KEY, &json!(1), json!([400, "E_BAD_BODY", "body"])),
        (KEY, &json!(["1"]), json!([400, "E_BAD_BODY", "body"])),
    ] {
        let (status, refused) = revoke(&service, query, body.clone()).await;
        assert_eq!(json!([status, refused["code"], refused["field"]]), expected, "{body}");
    }
    let blog = revoke(&service, "site=blog&apiKey=54321", user).await;
    assert_eq!(blog, (200, json!({ "connections": 0 })));
    service.send(json!(["user_1"]), "news", 1).await;
    assert_eq!(ann.take().await, json!(["news", 1]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn connected_clients_are_rechecked_and_end_only_if_refused() {
    let (back_end, service) = BackEnd::service(Some(Duration::from_millis(20))).await;
    let mut ann = service.connect("user_1").await;
    for (status, times) in [
        (StatusCode::OK, 3),
        (StatusCode::INTERNAL_SERVER_ERROR, 8),
        (StatusCode::SERVICE_UNAVAILABLE, 14),
    ] {
        back_end.now_answers(status);
        back_end.is_asked(times).await;
        service.send(json!(["user_1"]), "news", times).await;
        assert_eq!(ann.take().await, json!(["news", times]));
    }
    back_end.now_answers(StatusCode::UNAUTHORIZED);
    assert_eq!(ann.socket.frame().await, None);
    assert!(service.connect_to("shop", "token=user_1").await.is_err());
    service.server.shutdown().await;
}
