//! Parses the body of a request: one message, or many.

use backwire_records::brackets;
use http::{HeaderMap, header};
use serde_json::value::RawValue;

use super::raw_message::RawMessage;
use crate::error::{Error, Result};

/// How many messages one request may have.
pub(super) const MAX_MESSAGES: usize = 1000;

/// The messages of a request.
pub(super) enum Body {
    One(Box<RawMessage>),
    /// Each message gets its own answer.
    Many(Vec<Result<RawMessage>>),
}

impl Body {
    /// Returns the number of messages, including those that cannot be sent.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(messages) => messages.len(),
        }
    }

    pub(super) fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self> {
        // `curl -d` labels everything as a form, and other programs send no type or `text/plain`.
        // No form of a message begins with these characters.
        let looks_like_json = matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['));
        match media_type(headers).as_str() {
            "application/json" => of_json(bytes),
            "" | "text/plain" | FORM if looks_like_json => of_json(bytes),
            "application/x-ndjson" => {
                let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                many(lines.filter(|line| !line.is_empty()).map(RawMessage::read).collect())
            }
            FORM => {
                let fields = brackets::read(bytes).map_err(Error::BadForm)?;
                let json = serde_json::to_vec(&fields).expect("it is made of strings");
                one(&json)
            }
            kind => Err(Error::Unsupported {
                header: "content-type",
                value: kind.chars().take(MAX_SHOWN_CHARS).collect(),
                supported: "application/json, application/x-ndjson or \
                            application/x-www-form-urlencoded",
            }),
        }
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// How many characters of a header an error repeats.
pub(super) const MAX_SHOWN_CHARS: usize = 100;

/// Returns the media type of the body, without parameters.
fn media_type(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?"));
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

fn of_json(bytes: &[u8]) -> Result<Body> {
    if !bytes.trim_ascii_start().starts_with(b"[") {
        return one(bytes);
    }
    let each: Vec<&RawValue> =
        serde_json::from_slice(bytes).map_err(|error| Error::BadJson(error.to_string()))?;
    many(each.into_iter().map(|one| RawMessage::read(one.get().as_bytes())).collect())
}

fn one(json: &[u8]) -> Result<Body> {
    Ok(Body::One(Box::new(RawMessage::read(json)?)))
}

fn many(messages: Vec<Result<RawMessage>>) -> Result<Body> {
    match messages.len() {
        1..=MAX_MESSAGES => Ok(Body::Many(messages)),
        _ => Err(Error::BadBody("there have to be 1 to 1000 messages")),
    }
}
