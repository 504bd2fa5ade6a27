//! What happened: one committed create, update or destroy, and the words to speak of it.
//!
//! In reading order: `resource`; `record`, with `to_id` for what may be an id; `room`, those who listen to
//! either; and what happened to them, here.

mod record;
mod resource;
mod room;
mod to_id;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use record::is_attribute_name;
pub use record::{Attributes, Id};
pub use resource::Resource;
pub use room::Room;
pub use to_id::ToId;

/// A place in a resource's log. Written `epoch:offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which log: drawn at each start of the server, below 2⁴⁸ so that it is exact in JavaScript.
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
    pub fn gone(resource: &Resource, id: &Id) -> Self {
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
    pub fn entering(&self) -> Self {
        Self { verb: Verb::Create, before: None, ..self.clone() }
    }

    /// The same to those for whom the record is there no more after it.
    pub fn leaving(&self) -> Self {
        Self { verb: Verb::Destroy, after: None, set: Attributes::new(), ..self.clone() }
    }
}
