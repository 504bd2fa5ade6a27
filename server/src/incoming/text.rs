//! JSON strings that are read without a copy.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Returns the text of a JSON string, without a copy if it has no escapes.
pub(crate) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    // The error that describes another type would cost more than the parsing.
    if !text.starts_with('"') {
        return None;
    }
    serde_json::from_str(text).ok().map(|Text(text)| text)
}

/// A text that is borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
