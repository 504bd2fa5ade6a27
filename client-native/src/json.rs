//! `serde_json` values as payloads of the core.

use std::ops::Deref;
use std::sync::Arc;

use backwire_protocol::Payload;
use serde_json::Value;

/// JSON behind a reference count. A clone is cheap. Access to a part copies that part.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(Arc<Value>);

impl Json {
    /// Parses JSON. Returns `None` if the text is not JSON.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str::<Value>(text).ok().map(Self::from)
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self(Arc::new(value))
    }
}

impl Deref for Json {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl Payload for Json {
    fn item(&self, index: u32) -> Option<Self> {
        self.get(index as usize).cloned().map(Self::from)
    }

    fn field(&self, name: &'static str) -> Option<Self> {
        self.get(name).filter(|field| !field.is_null()).cloned().map(Self::from)
    }

    fn number(&self) -> Option<u64> {
        // The browser client accepts only numbers that JavaScript represents exactly, and so does
        // this one.
        self.as_u64().filter(|number| *number < 1 << 53)
    }

    fn text(&self) -> Option<String> {
        self.as_str().map(Into::into)
    }

    fn size(&self) -> u64 {
        self.to_string().len() as u64
    }

    fn id(&self) -> Option<String> {
        match &**self {
            Value::Number(number) => Some(number.to_string()),
            _ => self.text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text).unwrap()
    }

    #[test]
    fn number_is_an_integer_that_javascript_represents_exactly() {
        assert_eq!(json("9007199254740991").number(), Some(9_007_199_254_740_991));
        for text in ["-1", "1.5", "9007199254740992", "\"1\"", "null", "{}"] {
            assert_eq!(json(text).number(), None, "{text}");
        }
    }

    #[test]
    fn numeric_id_equals_the_same_id_as_text() {
        for (text, id) in [("7", "7"), ("\"7\"", "7"), ("-3", "-3"), ("\"a/b\"", "a/b")] {
            assert_eq!(json(text).id().as_deref(), Some(id));
        }
        assert_eq!(json("[]").id(), None);
    }

    #[test]
    fn missing_item_or_field_is_none() {
        for text in ["null", "1", "\"text\"", "{}", "[]", "{\"name\":null}"] {
            assert_eq!(json(text).item(0), None, "{text}");
            assert_eq!(json(text).field("name"), None, "{text}");
        }
        assert_eq!(Json::parse("{"), None);
    }
}
