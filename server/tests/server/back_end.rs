//! A back end that authenticates tokens.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;

/// Starts a back end that accepts tokens such as `user_1+staff`. The parts of a token are the rooms
/// of its person.
pub(crate) async fn back_end() -> String {
    async fn rooms(headers: HeaderMap) -> Response {
        let authorization = headers["authorization"].to_str().unwrap();
        match authorization.strip_prefix("Bearer ") {
            Some("stranger") | None => StatusCode::UNAUTHORIZED.into_response(),
            Some("broken") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Some(token) => axum::Json(token.split('+').collect::<Vec<_>>()).into_response(),
        }
    }
    let app = Router::new().route("/rooms", get(rooms));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rooms", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    url
}
