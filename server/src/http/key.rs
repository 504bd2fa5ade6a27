//! The header by which a repeat is known.

use std::sync::Arc;

use http::HeaderMap;

use crate::error::{Error, Result};

/// What it is called.
pub(crate) const NAME: &str = "idempotency-key";

/// A request's `Idempotency-Key`.
pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Arc<str>>> {
    let Some(key) = headers.get(NAME) else {
        return Ok(None);
    };
    let is_key = matches!(key.len(), 1..=255) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    match key.to_str() {
        Ok(key) if is_key => Ok(Some(key.into())),
        _ => Err(Error::BadKey),
    }
}

/// The key of one of several writes of a request, counted from 0. The first has the request's own,
/// so that a use of it for another request is noticed.
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
        of(&HeaderMap::from_iter([(NAME.parse().unwrap(), value)]))
    }

    #[test]
    fn a_key_is_up_to_255_visible_characters() {
        assert_eq!(key("5f0c-1").unwrap().as_deref(), Some("5f0c-1"));
        assert!(key(&"k".repeat(255)).is_ok());
        assert!(key(&"k".repeat(256)).is_err());
        assert!(key("").is_err());
        assert!(key("a b").is_err());
        assert!(of(&HeaderMap::new()).unwrap().is_none());
    }
}
