//! What happened: one committed create, update or destroy, and the words to speak of it.

mod to_id;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::criteria::Filter;

pub use to_id::ToId;

/// A record's attributes, in the order they were sent.
pub type Attributes = serde_json::Map<String, Value>;

/// A resource's name in lower case: `[a-z][a-z0-9_-]*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Resource(Arc<str>);

/// Names that are routes of the server and so can not be resources.
const RESERVED: [&str; 8] =
    ["socket.io", "backwire.js", "send", "publish", "health", "metrics", "__getcookie", "resume"];

impl Resource {
    /// The name in lower case, or `None` where it can not be a resource.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let mut bytes = name.bytes();
        let starts_well = bytes.next().is_some_and(|first| first.is_ascii_lowercase());
        let goes_on_well =
            bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        let is_free = !RESERVED.contains(&name.as_str());
        (starts_well && goes_on_well && is_free && name.len() <= 64).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
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

/// A place in a resource's log. Written `epoch:offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which log: drawn when the store was made, below 2⁴⁸ so that it is exact in JavaScript.
    pub epoch: u64,
    /// Which change: the first of a resource is 1.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, offset) = text.split_once(':').ok_or("a position is epoch:offset")?;
        let number = |text: &str| text.parse().map_err(|_| "a position is two whole numbers");
        Ok(Self { epoch: number(epoch)?, offset: number(offset)? })
    }
}

/// Listeners of a resource, or of one record of it. Written `todo` and `todo/7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Room {
    /// The resource.
    pub resource: Resource,
    /// The record, for an instance room.
    pub id: Option<Id>,
    /// Which records, for the room of a filter, as the filter writes it.
    pub filter: Option<Arc<str>>,
}

/// Bytes a filter may have in the name of a room.
const LONGEST_FILTER: usize = 2048;

impl Room {
    /// Everyone who listens to a resource.
    pub fn class(resource: Resource) -> Self {
        Self { resource, id: None, filter: None }
    }

    /// Everyone who listens to one record.
    pub fn instance(resource: Resource, id: Id) -> Self {
        Self { resource, id: Some(id), filter: None }
    }

    /// Everyone who listens to the records that a filter picks; `None` if that takes too many words.
    pub fn filtered(resource: Resource, filter: &Filter) -> Option<Self> {
        let filter = filter.encode();
        let is_short = filter.len() <= LONGEST_FILTER;
        is_short.then(|| Self { resource, id: None, filter: Some(filter.into()) })
    }

    /// What its records fulfil, for the room of a filter.
    pub fn as_filter(&self) -> Option<Filter> {
        Filter::decode(self.filter.as_deref()?)
    }

    /// Reads `todo`, `todo/7`, or `todo?` and a filter.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((resource, filter)) = text.split_once('?')
            && !resource.contains('/')
        {
            let filter = Filter::decode(filter).filter(|_| filter.len() <= LONGEST_FILTER)?;
            return Self::filtered(Resource::parse(resource)?, &filter);
        }
        match text.split_once('/') {
            None => Resource::parse(text).map(Self::class),
            Some((resource, id)) => {
                Some(Self::instance(Resource::parse(resource)?, Id::parse(id)?))
            }
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.filter) {
            (Some(id), _) => write!(f, "{}/{id}", self.resource),
            (None, Some(filter)) => write!(f, "{}?{filter}", self.resource),
            (None, None) => self.resource.fmt(f),
        }
    }
}

/// What was done to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// It was not there before.
    Create,
    /// Some of its attributes were set.
    Update,
    /// It is gone.
    Destroy,
}

/// One entry of a log: what was done to a record, or what was published of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Of which resource.
    pub resource: Resource,
    /// Its place in the resource's log.
    pub position: Position,
    /// Offset of the record's previous change, also of a record that was destroyed and is there
    /// again; the log's floor where that is forgotten, 0 if this is its first. `prev` of the
    /// instance room.
    pub previous: u64,
    /// What was done.
    pub verb: Verb,
    /// To which record.
    pub id: Id,
    /// The record before; `None` for a create. Needed for those who stop matching a filter.
    pub before: Option<Arc<Attributes>>,
    /// The record after; `None` for a destroy.
    pub after: Option<Arc<Attributes>>,
    /// The attributes the writer set, with id and timestamps; empty for a destroy.
    pub set: Attributes,
    /// Hash of the idempotency key; 0 if there was none.
    pub mark: u64,
    /// Whether it was only said, see [`Action::Publish`](crate::write::Action::Publish): the records
    /// stayed as they were. `before` is not known then, and `after` is what was said.
    pub published: bool,
    /// The connection it came from, where it came from one; of what was published, the connection that
    /// is to be passed over.
    pub origin: Option<Arc<str>>,
    /// When it was committed, in Unix milliseconds.
    pub at: u64,
}
