//! A change: one committed create, update or destroy, and the types that describe it.
//!
//! In reading order: `resource`; `record`, with `to_id` for values that may be ids; `room`, the
//! listeners of either; `new_members`, the collections of a new record; and the changes, here.

mod new_members;
mod record;
mod resource;
mod room;
mod to_id;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use backwire_protocol::wire::Position;
pub use new_members::NewMembers;
pub use record::{Attributes, Id};
pub use record::{has_control_characters, is_attribute_name};
pub use resource::Resource;
pub use room::{NamedScope, Room};
pub use to_id::ToId;

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// The record was added.
    Create,
    /// Some attributes of the record were set.
    Update,
    /// The record was removed.
    Destroy,
}

/// One entry of a log: a change of a record, or an event that was published about one.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The resource of the record.
    pub resource: Resource,
    /// The position in the resource's log.
    pub position: Position,
    /// The offset of the record's previous change. If the record was destroyed before and created
    /// again, this counts the changes before the destroy, too. It is the log's floor if the log has
    /// forgotten that change, and 0 if this is the first change. `prev` of the instance room.
    pub previous: u64,
    /// The kind of the change.
    pub verb: Verb,
    /// The id of the record.
    pub id: Id,
    /// The record before; `None` for a create. Needed for records that stop matching a filter.
    pub before: Option<Arc<Attributes>>,
    /// The record after; `None` for a destroy.
    pub after: Option<Arc<Attributes>>,
    /// The attributes that the writer set, with id and timestamps; empty for a destroy.
    pub set: Attributes,
    /// Hash of the idempotency key; 0 if there was none.
    pub mark: u64,
    /// Whether this was only published, see [`Action::Publish`](crate::write::Action::Publish): no
    /// record was changed. Then `before` is not known, and `after` is the published data.
    pub published: bool,
    /// The connection that the change came from, if it came from one. A published event is not sent
    /// to this connection.
    pub origin: Option<Arc<str>>,
    /// The members of a new record's collections that the change is about. Engines that several
    /// servers share keep it in the log.
    pub new_members: Option<Arc<NewMembers>>,
    /// The time of the commit, in Unix milliseconds.
    pub at: u64,
}

impl Change {
    /// Returns a destroy that is in no log. It is sent to a client that may no longer see a record.
    pub fn synthetic_destroy(resource: &Resource, id: &Id) -> Self {
        Self {
            resource: resource.clone(),
            position: Position::NOWHERE,
            previous: 0,
            verb: Verb::Destroy,
            id: id.clone(),
            before: None,
            after: None,
            set: Attributes::new(),
            mark: 0,
            published: false,
            origin: None,
            new_members: None,
            at: 0,
        }
    }

    /// Returns this change as a create, for clients whose filter the record fulfils only after it.
    pub fn as_create(&self) -> Self {
        Self { verb: Verb::Create, before: None, ..self.clone() }
    }

    /// Returns this change as a destroy, for clients whose filter the record no longer fulfils.
    pub fn as_destroy(&self) -> Self {
        Self { verb: Verb::Destroy, after: None, set: Attributes::new(), ..self.clone() }
    }
}
