//! Access to the attributes that criteria evaluate.

use std::sync::Arc;

use serde_json::Value;

use crate::change::Attributes;

/// A value with attributes. Criteria read some of them.
pub trait HasAttributes {
    /// Returns the value of an attribute; null if it is missing.
    fn attribute(&self, name: &str) -> &Value;
}

impl HasAttributes for Attributes {
    fn attribute(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }
}

impl<R: HasAttributes> HasAttributes for Arc<R> {
    fn attribute(&self, name: &str) -> &Value {
        R::attribute(self, name)
    }
}
