//! The `Idempotency-Key` header, by which the server recognizes a repeated write.

use std::sync::Arc;

use backwire_protocol::wire::header::IDEMPOTENCY_KEY;
use http::HeaderMap;

use crate::error::{Error, Result};

/// Returns the key of a request, if it has one.
pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Arc<str>>> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let is_key = matches!(key.len(), 1..=255) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    match key.to_str() {
        Ok(key) if is_key => Ok(Some(key.into())),
        _ => Err(Error::BadKey),
    }
}

/// Returns the key of a write that a request makes besides its main write.
pub(crate) fn part(key: &Arc<str>, part: &str) -> Arc<str> {
    format!("{key}/{part}").into()
}

/// Returns the key of one of several writes of a request, counted from 0. The first write has the
/// key of the request, so that the server detects if another request uses the same key.
pub(crate) fn nth(key: &Arc<str>, index: usize) -> Arc<str> {
    match index {
        0 => Arc::clone(key),
        index => format!("{key}/{index}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Option<Arc<str>>> {
        let value = http::HeaderValue::from_str(text).unwrap();
        of(&HeaderMap::from_iter([(IDEMPOTENCY_KEY.parse().unwrap(), value)]))
    }

    #[test]
    fn key_has_1_to_255_visible_characters() {
        assert_eq!(key("5f0c-1").unwrap().as_deref(), Some("5f0c-1"));
        assert!(key(&"k".repeat(255)).is_ok());
        assert!(key(&"k".repeat(256)).is_err());
        assert!(key("").is_err());
        assert!(key("a b").is_err());
        assert!(of(&HeaderMap::new()).unwrap().is_none());
    }
}
