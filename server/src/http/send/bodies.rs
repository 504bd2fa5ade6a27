//! What the body of a request may be: one message, or many.

use backwire_records::brackets;
use http::{HeaderMap, header};
use serde_json::value::RawValue;

use super::draft::Draft;
use crate::error::{Error, Result};

/// Messages in one request.
pub(super) const MOST_MESSAGES: usize = 1000;

/// What there is to be sent.
pub(super) enum Body {
    One(Box<Draft>),
    /// Each is answered by itself.
    Many(Vec<Result<Draft>>),
}

impl Body {
    /// How many messages there are, also of those that cannot be sent.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(drafts) => drafts.len(),
        }
    }

    pub(super) fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self> {
        // `curl -d` calls everything a form, and other programs say nothing or `text/plain`. No form of a
        // message begins like this.
        let looks_like_json = matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['));
        match kind(headers).as_str() {
            "application/json" => of_json(bytes),
            "" | "text/plain" | FORM if looks_like_json => of_json(bytes),
            "application/x-ndjson" => {
                let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                many(lines.filter(|line| !line.is_empty()).map(Draft::read).collect())
            }
            FORM => {
                let said = brackets::read(bytes).map_err(Error::BadForm)?;
                let json = serde_json::to_vec(&said).expect("it is made of strings");
                one(&json)
            }
            kind => Err(Error::Unsupported {
                header: "content-type",
                value: kind.chars().take(LONGEST_SHOWN).collect(),
                supported: "application/json, application/x-ndjson or \
                            application/x-www-form-urlencoded",
            }),
        }
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Characters of a header that are repeated in an error.
pub(super) const LONGEST_SHOWN: usize = 100;

/// Its media type, without what may follow it.
fn kind(headers: &HeaderMap) -> String {
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
    many(each.into_iter().map(|one| Draft::read(one.get().as_bytes())).collect())
}

fn one(json: &[u8]) -> Result<Body> {
    Ok(Body::One(Box::new(Draft::read(json)?)))
}

fn many(drafts: Vec<Result<Draft>>) -> Result<Body> {
    match drafts.len() {
        1..=MOST_MESSAGES => Ok(Body::Many(drafts)),
        _ => Err(Error::BadBody("there have to be 1 to 1000 messages")),
    }
}
