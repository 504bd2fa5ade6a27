//! JSON values as payloads. Both test binaries include this file.

use backwire_protocol::Payload;
use serde_json::Value;

/// A JSON value in the form that the core reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub Value);

impl Payload for Json {
    fn item(&self, index: u32) -> Option<Self> {
        self.0.get(index as usize).cloned().map(Self)
    }

    fn field(&self, name: &'static str) -> Option<Self> {
        self.0.get(name).filter(|value| !value.is_null()).cloned().map(Self)
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
