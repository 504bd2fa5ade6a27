//! `serde_json` values as the core wants to see them.

use std::ops::Deref;
use std::sync::Arc;

use backwire_protocol::Payload;
use serde_json::Value;

/// JSON behind a reference count. Cloning it costs nothing; taking a part out copies that part.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(Arc<Value>);

impl Json {
    /// Parses JSON; `None` if it is none.
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
        // What a browser cannot hold exactly is no number there, so it is none here.
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
    fn a_number_is_whole_and_exact_in_a_browser_too() {
        assert_eq!(json("9007199254740991").number(), Some(9_007_199_254_740_991));
        for text in ["-1", "1.5", "9007199254740992", "\"1\"", "null", "{}"] {
            assert_eq!(json(text).number(), None, "{text}");
        }
    }

    #[test]
    fn an_id_is_the_same_as_number_and_as_text() {
        for (text, id) in [("7", "7"), ("\"7\"", "7"), ("-3", "-3"), ("\"a/b\"", "a/b")] {
            assert_eq!(json(text).id().as_deref(), Some(id));
        }
        assert_eq!(json("[]").id(), None);
    }

    #[test]
    fn what_is_not_there_is_none() {
        for text in ["null", "1", "\"text\"", "{}", "[]", "{\"name\":null}"] {
            assert_eq!(json(text).item(0), None, "{text}");
            assert_eq!(json(text).field("name"), None, "{text}");
        }
        assert_eq!(Json::parse("{"), None);
    }
}
