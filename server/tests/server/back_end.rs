//! A back end that authenticates tokens.

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

/// Starts a back end that accepts tokens such as `user_1+staff`. The parts of a token are the rooms
/// of its person. A number behind them, as in `user_1;300`, is when the token expires.
pub(crate) async fn back_end() -> String {
    async fn rooms(headers: HeaderMap) -> Response {
        let authorization = headers["authorization"].to_str().unwrap();
        match authorization.strip_prefix("Bearer ") {
            Some("stranger") | None => StatusCode::UNAUTHORIZED.into_response(),
            Some("broken") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Some(token) => match token.split_once(';') {
                Some((rooms, seconds)) => {
                    let seconds: u32 = seconds.parse().unwrap();
                    let rooms: Vec<_> = rooms.split('+').collect();
                    Json(json!({ "rooms": rooms, "expiresIn": seconds })).into_response()
                }
                None => Json(token.split('+').collect::<Vec<_>>()).into_response(),
            },
        }
    }
    let app = Router::new().route("/rooms", get(rooms));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rooms", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    url
}
