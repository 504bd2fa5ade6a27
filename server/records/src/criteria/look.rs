//! Values that criteria look at.

use std::sync::Arc;

use serde_json::Value;

use crate::change::Attributes;

/// A value with attributes, of which criteria look at some.
pub trait Look {
    /// The value of an attribute; one that is not there is null.
    fn look(&self, name: &str) -> &Value;
}

impl Look for Attributes {
    fn look(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }
}

impl<R: Look> Look for Arc<R> {
    fn look(&self, name: &str) -> &Value {
        R::look(self, name)
    }
}
