//! The answer to a request.

use axum::body::{Body, to_bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// The answer to a request, over HTTP or a socket.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers. Over a socket, the ack contains them.
    pub headers: HeaderMap,
    /// The body, parsed as JSON. If it is not JSON, this is a string; if it is empty, this is null.
    pub body: Value,
}

impl Response {
    /// Returns the body of a successful response.
    ///
    /// # Panics
    ///
    /// If the status is not from 200 to 299.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.body);
        self.body
    }

    /// Returns the code of an error response, such as `E_NOT_FOUND`, or an empty string.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(crate) async fn over_http(response: axum::response::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(text())),
        };
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) fn over_a_socket(status: u16, headers: Option<&Value>, body: Value) -> Self {
        let none = Map::new();
        let headers = headers.and_then(Value::as_object).unwrap_or(&none);
        let header = |(name, value): (&String, &Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(text).ok()?))
        };
        Self { status, headers: headers.iter().filter_map(header).collect(), body }
    }
}
