//! The rooms of one resource that have subscribers, in one dialect.

use std::sync::Arc;

use backwire_environment::{HashMap, HashSet};
use backwire_records::change::{Id, Room};
use backwire_records::criteria::{CollectionKey, Scope};

use super::filter_index::{FilterIndex, FollowedFilter};
use crate::dialect::Dialect;
use crate::settings::{Limit, Limits};

/// Returns the room as which a membership is counted. Each room counts by itself. But stock clients
/// are added to dozens of instance rooms, so these count for their resource as a whole.
pub(crate) fn counted_room(dialect: Dialect, room: &Room) -> Room {
    match room {
        Room::Instance(resource, _) if dialect.is_stock() => Room::class(resource.clone()),
        _ => room.clone(),
    }
}

/// How many subscribers a resource has in one dialect.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriberCounts {
    /// How often connections are in any room of the resource.
    pub(crate) all: usize,
    /// The number of connections in the room of the resource.
    pub(crate) in_class: usize,
    /// Whether any connection follows a filter of the resource or of a record.
    pub(crate) has_filters: bool,
}

/// The subscribers of one resource in one dialect.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    /// The number of connections in all rooms together.
    total: usize,
    rooms: HashMap<Room, usize>,
    filters: FilterIndex,
    /// The filters of one record each, by its id.
    of_records: HashMap<Id, HashMap<Room, Arc<FollowedFilter>>>,
    /// The rooms of members, by their collection. They are in the index of filters as well.
    of_collections: HashMap<CollectionKey, HashSet<Room>>,
}

impl Subscribers {
    /// Adds a connection to a room. `filter` is that of the room, if it has one.
    pub(super) fn add(&mut self, room: &Room, filter: Option<FollowedFilter>) {
        self.total += 1;
        let count = self.rooms.entry(room.clone()).or_default();
        *count += 1;
        if let Some(filter) = filter.filter(|_| *count == 1) {
            self.add_filter(room, filter);
        }
    }

    fn add_filter(&mut self, room: &Room, filter: FollowedFilter) {
        if let Some(id) = room.id() {
            let of_record = self.of_records.entry(id.clone()).or_default();
            of_record.insert(room.clone(), Arc::new(filter));
            return;
        }
        if let Some(of) = room.scope().and_then(Scope::collection) {
            self.of_collections.entry(of.of.clone()).or_default().insert(room.clone());
        }
        self.filters.insert(filter);
    }

    /// Removes a connection from a room.
    pub(super) fn remove(&mut self, room: &Room) {
        let Some(count) = self.rooms.get_mut(room) else { return };
        self.total -= 1;
        *count -= 1;
        if *count == 0 {
            self.rooms.remove(room);
            self.remove_filter(room);
        }
    }

    fn remove_filter(&mut self, room: &Room) {
        let Some(scope) = room.scope() else { return };
        if let Some(id) = scope.id() {
            let Some(of_record) = self.of_records.get_mut(id) else { return };
            of_record.remove(room);
            if of_record.is_empty() {
                self.of_records.remove(id);
            }
            return;
        }
        self.filters.remove(room);
        let Some(of) = scope.collection() else { return };
        let Some(rooms) = self.of_collections.get_mut(&of.of) else { return };
        rooms.remove(room);
        if rooms.is_empty() {
            self.of_collections.remove(&of.of);
        }
    }

    /// Checks whether the resource may have a filter as well, or has it already.
    pub(super) fn check_filter(
        &self,
        filter: &FollowedFilter,
        limits: &Limits,
    ) -> Result<(), Limit> {
        let (all, unindexed) = self.filters.counts();
        let is_indexed = filter.is_indexed;
        match self.filters.contains(&filter.room) {
            true => Ok(()),
            false if all >= limits.filters_per_resource => Err(Limit::FiltersPerResource),
            false if !is_indexed && unindexed >= limits.unindexed_filters_per_resource => {
                Err(Limit::UnindexedFiltersPerResource)
            }
            false => Ok(()),
        }
    }

    pub(super) fn shared(&self, room: &Room) -> Option<Room> {
        self.rooms.get_key_value(room).map(|(room, _)| room.clone())
    }

    pub(super) fn count(&self, room: &Room) -> usize {
        self.rooms.get(room).copied().unwrap_or(0)
    }

    pub(super) fn counts(&self, class: &Room) -> SubscriberCounts {
        SubscriberCounts {
            all: self.total,
            in_class: self.count(class),
            has_filters: !self.filters.is_empty() || !self.of_records.is_empty(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub(super) fn filters(&self) -> &FilterIndex {
        &self.filters
    }

    pub(super) fn record_filters(&self, id: &Id) -> Vec<Arc<FollowedFilter>> {
        self.of_records.get(id).map(|all| all.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn member_rooms(&self, of: &CollectionKey) -> Vec<Room> {
        self.of_collections.get(of).map(|all| all.iter().cloned().collect()).unwrap_or_default()
    }
}
