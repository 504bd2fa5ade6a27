//! What happens in rooms.

use super::answer::Snapshot;
use super::names::resource_of;
use super::symbols::{Symbol, Symbols};

/// What happened to a record, as the room of a query reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was created, or it begins to fulfil the filter.
    Created,
    /// Some of its attributes have changed.
    Updated,
    /// It no longer exists.
    Destroyed,
    /// It no longer fulfils the filter.
    Left,
}

impl Change {
    /// Reads the number on the wire.
    pub const fn from_verb(verb: u32) -> Option<Self> {
        match verb {
            1 => Some(Self::Created),
            2 => Some(Self::Updated),
            3 => Some(Self::Destroyed),
            4 => Some(Self::Left),
            _ => None,
        }
    }
}

/// Something that happened in a room.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomChange {
    pub(super) room: Symbol,
    pub(super) resource: Symbol,
    /// To which record, if that is known.
    pub(super) record: Option<(Change, Symbol)>,
}

impl RoomChange {
    pub(super) fn new(room: &str, record: Option<(Change, Symbol)>, symbols: &mut Symbols) -> Self {
        let resource = symbols.intern(resource_of(room));
        Self { room: symbols.intern(room), resource, record }
    }

    /// Whether it reports new attributes of one of these records.
    pub(super) fn has_attributes_of_any(&self, ids: &[Symbol]) -> bool {
        matches!(self.record, Some((Change::Created | Change::Updated, id)) if ids.contains(&id))
    }

    /// Whether an answer to a request that was sent before may be older, by what can be seen of it.
    pub(super) fn is_missing_in(&self, answer: &Snapshot) -> bool {
        let is_in_room = self.room == answer.room;
        match self.record {
            Some((Change::Updated, id)) => {
                is_in_room && (answer.description.is_sorted_list() || !answer.ids.contains(&id))
            }
            Some((Change::Destroyed, id)) if !is_in_room => {
                self.resource == answer.resource && answer.ids.contains(&id)
            }
            _ => is_in_room,
        }
    }
}
