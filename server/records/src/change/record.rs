//! A record: its attributes, and the key it is found by.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A record's attributes, in the order they were sent.
pub type Attributes = serde_json::Map<String, Value>;

/// Whether an attribute may have this name. To SQLite, a name ends where it has a NUL, so it would be
/// found in place of another; and control characters in names confuse everybody who reads them. Names
/// inside of values are not looked at: nothing is found by them.
pub fn is_attribute_name(name: &str) -> bool {
    !name.bytes().any(|byte| byte.is_ascii_control())
}

/// A record's primary key. A string that reads as an integer *is* that integer, so that `/todo/7`
/// and `{"id":"7"}` and `{"id":7}` mean one record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// Sorts before every text.
    Integer(i64),
    /// At most 255 bytes, not empty.
    Text(Arc<str>),
}

impl Id {
    /// The largest integer that JavaScript can hold.
    pub const LARGEST: i64 = (1 << 53) - 1;

    /// Reads an id from a url or a string attribute.
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse::<i64>() {
            Ok(integer) if integer.to_string() == text => Some(Self::Integer(integer)),
            _ if text.is_empty() || text.len() > 255 => None,
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

    /// Whether JavaScript can hold the id: it would read a larger integer as one of its neighbours.
    pub fn is_exact(&self) -> bool {
        match self {
            Self::Integer(integer) => (-Self::LARGEST..=Self::LARGEST).contains(integer),
            Self::Text(_) => true,
        }
    }

    /// The id as it stands in a record.
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
