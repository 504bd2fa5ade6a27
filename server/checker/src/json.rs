//! JSON in the form that the core of the client reads.

use std::sync::Arc;

use backwire_protocol::Payload;
use serde_json::Value;

/// A JSON value. Clones share it.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub Arc<Value>);

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self(Arc::new(value))
    }
}

impl Payload for Json {
    fn item(&self, index: u32) -> Option<Self> {
        self.0.get(index as usize).cloned().map(Self::from)
    }

    fn field(&self, name: &'static str) -> Option<Self> {
        self.0.get(name).filter(|value| !value.is_null()).cloned().map(Self::from)
    }

    fn number(&self) -> Option<u64> {
        self.0.as_u64()
    }

    fn text(&self) -> Option<String> {
        self.0.as_str().map(Into::into)
    }

    fn size(&self) -> u64 {
        self.0.to_string().len() as u64
    }

    fn id(&self) -> Option<String> {
        self.text().or_else(|| self.number().map(|number| number.to_string()))
    }
}
