//! What happened: one committed create, update or destroy, and the words to speak of it.

mod to_id;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::criteria::Scope;

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

    /// One that no path leads to: a dot can not stand in the name of any other.
    pub(crate) fn internal(name: &str) -> Self {
        Self(name.into())
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

/// Listeners of a resource, or of one record of it, or of what fulfils a filter. Written `todo`, `todo/7`
/// and `todo?…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Room {
    /// The resource.
    pub resource: Resource,
    /// The record, for the room of one.
    pub id: Option<Id>,
    /// What is followed of the resource, for the room of some criteria, as the [`Scope`] writes it.
    pub scope: Option<Arc<str>>,
}

/// Bytes a scope may have in the name of a room.
const LONGEST_SCOPE: usize = 2048;

impl Room {
    /// Everyone who listens to a resource.
    pub fn class(resource: Resource) -> Self {
        Self { resource, id: None, scope: None }
    }

    /// Everyone who listens to one record.
    pub fn instance(resource: Resource, id: Id) -> Self {
        Self { resource, id: Some(id), scope: None }
    }

    /// Everyone who follows the same of a resource; `None` if that takes too many words.
    pub fn scoped(resource: Resource, scope: &Scope) -> Option<Self> {
        if scope.is_everything() {
            return Some(Self::class(resource));
        }
        let (id, scope) = (scope.id().cloned(), scope.encode());
        let is_short = scope.len() <= LONGEST_SCOPE;
        is_short.then(|| Self { resource, id, scope: Some(scope.into()) })
    }

    /// What is followed of the resource, if it is not all of it.
    pub fn scope(&self) -> Option<Scope> {
        Scope::decode(self.scope.as_deref()?)
    }

    /// Reads `todo`, `todo/7`, or `todo?` and a scope.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((resource, scope)) = text.split_once('?')
            && !resource.contains('/')
        {
            let scope = Scope::decode(scope).filter(|_| scope.len() <= LONGEST_SCOPE)?;
            return Self::scoped(Resource::parse(resource)?, &scope);
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
        match (&self.id, &self.scope) {
            (_, Some(scope)) => write!(f, "{}?{scope}", self.resource),
            (Some(id), None) => write!(f, "{}/{id}", self.resource),
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

impl Change {
    /// That a record is there no more, as far as somebody is concerned. It stands in no log.
    pub(crate) fn gone(resource: &Resource, id: &Id) -> Self {
        Self {
            resource: resource.clone(),
            position: Position { epoch: 0, offset: 0 },
            previous: 0,
            verb: Verb::Destroy,
            id: id.clone(),
            before: None,
            after: None,
            set: Attributes::new(),
            mark: 0,
            published: false,
            origin: None,
            at: 0,
        }
    }

    /// The same to those for whom the record begins to be there with it.
    pub(crate) fn entering(&self) -> Self {
        Self { verb: Verb::Create, before: None, ..self.clone() }
    }

    /// The same to those for whom the record is there no more after it.
    pub(crate) fn leaving(&self) -> Self {
        Self { verb: Verb::Destroy, after: None, set: Attributes::new(), ..self.clone() }
    }
}
