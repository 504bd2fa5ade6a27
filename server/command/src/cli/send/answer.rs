//! What a server answers to messages.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::Deserialize;

/// What is answered to one message of many.
#[derive(Deserialize)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) error: Option<Refusal>,
}

/// The server's words.
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

/// How long to wait until the same is to be sent again, of which nothing is stored.
pub(super) fn later(answer: &Response<Bytes>) -> Option<Duration> {
    let seconds = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    (answer.status() == StatusCode::TOO_MANY_REQUESTS).then_some(Duration::from_secs(seconds))
}

/// The body of a good answer, or what a bad one says.
pub(super) fn good(response: Response<Bytes>) -> io::Result<Bytes> {
    let status = response.status();
    if matches!(status, StatusCode::OK | StatusCode::MULTI_STATUS) {
        return Ok(response.into_body());
    }
    let told = match serde_json::from_slice::<Refusal>(response.body()) {
        Ok(refusal) => refusal.to_string(),
        Err(_) => String::from_utf8_lossy(response.body()).chars().take(200).collect(),
    };
    Err(io::Error::other(format!("{} {told}", status.as_u16())))
}
