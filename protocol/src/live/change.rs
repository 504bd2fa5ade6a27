//! Changes and other events in rooms.

use super::answer::Snapshot;
use super::names::resource_of;
use super::symbols::{Symbol, Symbols};
use crate::wire::ChangeVerb;

/// An event in a room.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomChange {
    pub(super) room: Symbol,
    pub(super) resource: Symbol,
    /// The changed record, or `None` if the event names none.
    pub(super) record: Option<(ChangeVerb, Symbol)>,
}

impl RoomChange {
    pub(super) fn new(
        room: &str,
        record: Option<(ChangeVerb, Symbol)>,
        symbols: &mut Symbols,
    ) -> Self {
        let resource = symbols.intern(resource_of(room));
        Self { room: symbols.intern(room), resource, record }
    }

    /// Returns whether the change contains attributes of one of these records.
    pub(super) fn has_attributes_of_any(&self, ids: &[Symbol]) -> bool {
        matches!(self.record, Some((ChangeVerb::Created | ChangeVerb::Updated, id)) if ids.contains(&id))
    }

    /// Returns whether the answer may lack this change, if its request was sent before the change.
    pub(super) fn is_missing_in(&self, answer: &Snapshot<'_>) -> bool {
        let is_in_room = self.room == answer.room;
        match self.record {
            Some((ChangeVerb::Updated, id)) => {
                is_in_room && (answer.description.is_sorted_list() || !answer.ids.contains(&id))
            }
            Some((ChangeVerb::Destroyed, id)) if !is_in_room => {
                self.resource == answer.resource && answer.ids.contains(&id)
            }
            _ => is_in_room,
        }
    }
}
