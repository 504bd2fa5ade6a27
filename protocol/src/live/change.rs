//! Changes and other events in rooms.

use super::answer::Snapshot;
use super::names::resource_of;
use super::symbols::{Symbol, Symbols};

/// The kind of change of a record, from the point of view of one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The record was created, or it matches the filter now.
    Created,
    /// Some of its attributes have changed.
    Updated,
    /// The record no longer exists.
    Destroyed,
    /// The record no longer matches the filter.
    Left,
}

impl Change {
    /// Reads the verb number of the protocol.
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

/// An event in a room.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomChange {
    pub(super) room: Symbol,
    pub(super) resource: Symbol,
    /// The changed record, or `None` if the event names none.
    pub(super) record: Option<(Change, Symbol)>,
}

impl RoomChange {
    pub(super) fn new(room: &str, record: Option<(Change, Symbol)>, symbols: &mut Symbols) -> Self {
        let resource = symbols.intern(resource_of(room));
        Self { room: symbols.intern(room), resource, record }
    }

    /// Returns whether the change contains attributes of one of these records.
    pub(super) fn has_attributes_of_any(&self, ids: &[Symbol]) -> bool {
        matches!(self.record, Some((Change::Created | Change::Updated, id)) if ids.contains(&id))
    }

    /// Returns whether the answer may lack this change, if its request was sent before the change.
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
