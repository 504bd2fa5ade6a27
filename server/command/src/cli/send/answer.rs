//! The server's answers to messages.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::Deserialize;

/// The outcome of one message in a request of many.
#[derive(Deserialize)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) error: Option<Refusal>,
}

/// The error of a message, in the server's wording.
#[derive(Deserialize)]
pub(super) struct Refusal {
    message: String,
    field: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{field}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Returns how long to wait before the request is sent again, if the server asks for it. Then it
/// has stored none of the messages.
pub(super) fn retry_after(answer: &Response<Bytes>) -> Option<Duration> {
    let seconds = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    (answer.status() == StatusCode::TOO_MANY_REQUESTS).then_some(Duration::from_secs(seconds))
}

/// Returns the body of a successful answer, or the error of another one.
pub(super) fn body_or_error(response: Response<Bytes>) -> io::Result<Bytes> {
    let status = response.status();
    if matches!(status, StatusCode::OK | StatusCode::MULTI_STATUS) {
        return Ok(response.into_body());
    }
    let message = match serde_json::from_slice::<Refusal>(response.body()) {
        Ok(refusal) => refusal.to_string(),
        Err(_) => String::from_utf8_lossy(response.body()).chars().take(200).collect(),
    };
    Err(io::Error::other(format!("{} {message}", status.as_u16())))
}
