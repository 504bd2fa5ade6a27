//! Which records are meant.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Case;
use super::condition::Condition;
use crate::change::Attributes;

/// Something a record fulfils or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    /// All of these; where there are none, nothing is asked.
    All(Vec<Filter>),
    /// One of these at least; where there are none, no record does.
    Any(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// This attribute is so.
    Attribute(String, Condition),
}

impl Default for Filter {
    /// Every record.
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl Filter {
    /// As text, the same for the same filter, and without a slash.
    pub fn encode(&self) -> String {
        let text = serde_json::to_string(self).expect("it is made of strings and finite numbers");
        // One can only stand in a string.
        text.replace('/', "\\u002f")
    }

    /// Reads what [`encode`](Self::encode) has written.
    pub fn decode(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Does this record fulfil it?
    pub fn matches(&self, record: &Attributes, case: Case) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(record, case)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(record, case)),
            Self::Not(part) => !part.matches(record, case),
            Self::Attribute(name, condition) => {
                condition.holds(record.get(name).unwrap_or(&Value::Null), case)
            }
        }
    }
}
