//! A record: its attributes and its primary key.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A record's attributes, in the order they were sent.
pub type Attributes = serde_json::Map<String, Value>;

/// Whether an attribute may have this name.
///
/// To SQLite, a name ends at a NUL, so one attribute could be found in place of another. Other
/// control characters in names confuse readers. Names inside of values are not checked, because no
/// record is looked up by them.
pub fn is_attribute_name(name: &str) -> bool {
    !has_control_characters(name)
}

/// Whether a text has characters that no name of an attribute and no id has.
///
/// An id is part of urls, headers and names of rooms, and clients separate ids by such characters.
/// An engine may have records with such ids of an earlier version. Lists show them.
pub fn has_control_characters(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_control())
}

/// The primary key of a record. A string that reads as an integer *is* that integer, so that
/// `/todo/7` and `{"id":"7"}` and `{"id":7}` mean one record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// An integer. Integers sort before texts.
    Integer(i64),
    /// A text of 1 to 255 bytes without control characters.
    Text(Arc<str>),
}

impl Id {
    /// The largest integer that JavaScript represents exactly, as `Number.MAX_SAFE_INTEGER`.
    pub const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

    /// Reads an id from a url or a string attribute.
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse::<i64>() {
            Ok(integer) if integer.to_string() == text => Some(Self::Integer(integer)),
            _ if text.is_empty() || text.len() > 255 || has_control_characters(text) => None,
            _ => Some(Self::Text(text.into())),
        }
    }

    /// Reads an id from a JSON value; only integers and strings can be ids.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().map(Self::Integer),
            Value::String(text) => Self::parse(text),
            _ => None,
        }
    }

    /// Whether JavaScript represents the id exactly. It would read a larger integer as one of its
    /// neighbours.
    pub fn is_exact(&self) -> bool {
        match self {
            Self::Integer(integer) => {
                (-Self::MAX_SAFE_INTEGER..=Self::MAX_SAFE_INTEGER).contains(integer)
            }
            Self::Text(_) => true,
        }
    }

    /// Returns the id as it is written in a record.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Integer(integer) => Value::from(*integer),
            Self::Text(text) => Value::from(&**text),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}
