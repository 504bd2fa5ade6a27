//! The responses of errors: `{code, message, field?, limit?}`, over HTTP and sockets.

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use backwire_engine as engine;
use backwire_protocol::wire;
use backwire_records::model::Violation;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde_json::Number;
use serde_json::value::{RawValue, to_raw_value};

use super::Error;

/// The body of an error response.
#[derive(Debug, Serialize)]
struct Refusal<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Number>,
    /// All violations of a record. The fields above describe the first one.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [Violation],
}

impl Error {
    /// Returns the status and the body of the response.
    pub(crate) fn refusal(&self) -> (StatusCode, Box<RawValue>) {
        if let Self::Engine(engine::Error::Unavailable(reason)) = self {
            tracing::error!(%reason, "the engine cannot do its work");
        }
        let (status, code, field) = self.kind();
        let message = self.to_string();
        let refusal = Refusal {
            code,
            message: &message,
            field,
            limit: self.limit(),
            problems: self.problems(),
        };
        (status, to_raw_value(&refusal).expect("it is made of strings and a number"))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, body) = self.refusal();
        let mut response = (status, Json(body)).into_response();
        // For the limit monitor.
        if let Some(limit) = self.limit_reached() {
            response.extensions_mut().insert(limit);
        }
        if let Self::HttpOnly(_) = self {
            let http = HeaderValue::from_static(wire::header::TRANSPORT_HTTP);
            response.headers_mut().insert(wire::header::TRANSPORT, http);
        }
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}

/// A refusal that stays plain text. Without it, an error response of a handler that is plain text
/// becomes JSON as that of [`Error`], with the text as its message. With the conventions of Sails,
/// all texts of handlers stay as they are.
///
/// ```
/// use axum::http::StatusCode;
/// use axum::routing::put;
/// use backwire::{PlainText, Server};
///
/// let forbidden = async || PlainText((StatusCode::FORBIDDEN, "Forbidden"));
/// let server = Server::builder().route("/forbidden", put(forbidden));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PlainText<T>(pub T);

/// Marks a response of [`PlainText`].
#[derive(Clone)]
struct StaysText;

impl<T: IntoResponse> IntoResponse for PlainText<T> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.extensions_mut().insert(StaysText);
        response
    }
}

/// Gives an error response of another source (plain text or an empty body) the shape of [`Error`].
pub(crate) async fn normalize_error(response: Response) -> Response {
    let is_refusal = response.status().is_client_error() || response.status().is_server_error();
    let stays_text = response.extensions().get::<StaysText>().is_some();
    if !is_refusal || stays_text || !is_plain(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = text_of(body).await;
    let reason = parts.status.canonical_reason().unwrap_or("refused");
    let message = if text.is_empty() { reason } else { &text };
    let code = code_of(parts.status);
    let refusal = Json(Refusal { code: &code, message, field: None, limit: None, problems: &[] });
    // These headers describe the old body. Other headers, such as `allow`, stay.
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::ETAG] {
        parts.headers.remove(name);
    }
    let mut response = (parts.status, refusal).into_response();
    response.headers_mut().extend(parts.headers);
    response
}

fn is_plain(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

/// Returns the text of an error response. Drops a text that is much longer than a sentence.
async fn text_of(body: Body) -> String {
    const MAX_TEXT_BYTES: usize = 4096;
    let whole = Limited::new(body, MAX_TEXT_BYTES).collect().await;
    whole.map_or_else(
        |_| String::new(),
        |text| String::from_utf8_lossy(&text.to_bytes()).into_owned(),
    )
}

fn code_of(status: StatusCode) -> String {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => "E_UNKNOWN_VERB".to_owned(),
        StatusCode::PAYLOAD_TOO_LARGE => "E_TOO_LARGE".to_owned(),
        _ => {
            let reason = status.canonical_reason().unwrap_or("refused");
            format!("E_{}", reason.to_ascii_uppercase().replace([' ', '-', '\''], "_"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body_of(response: Response) -> serde_json::Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn error_names_its_limit() {
        let response = Error::too_large(2_097_152, 1_048_576).into_response();
        assert_eq!(response.status(), 413);
        assert_eq!(
            body_of(response).await,
            serde_json::json!({
                "code": "E_TOO_LARGE",
                "message": "the body has 2097152 bytes, at most 1048576 are allowed: send less at a time",
                "field": "body",
                "limit": 1_048_576,
            })
        );
    }

    #[tokio::test]
    async fn plain_text_error_gets_the_json_shape_and_keeps_status_and_headers() {
        let theirs =
            (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], "no").into_response();
        let ours = normalize_error(theirs).await;
        assert_eq!(ours.status(), 405);
        assert_eq!(ours.headers()["allow"], "GET");
        assert_eq!(ours.headers()["content-type"], "application/json");
        assert_eq!(
            body_of(ours).await,
            serde_json::json!({ "code": "E_UNKNOWN_VERB", "message": "no" })
        );
    }

    #[tokio::test]
    async fn json_error_is_unchanged() {
        let theirs = (StatusCode::FORBIDDEN, Json("mine")).into_response();
        assert_eq!(body_of(normalize_error(theirs).await).await, "mine");
    }
}
