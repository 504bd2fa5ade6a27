//! The rooms of records that have subscribers, and their names in Socket.IO.
//!
//! Each dialect has its own rooms, because each encodes the same change differently. Socket.IO
//! knows the members. [`Presence`] counts how many connections asked for a room, so that nothing is
//! encoded for an empty room. It may count a member for a room that has just become empty, never
//! none for a room that has a member.

mod filter_index;
mod filter_users;
mod names;
mod subscribers;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backwire_environment::HashMap;
use backwire_records::change::{Change, Id, Resource, Room};
use backwire_records::criteria::CollectionKey;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use crate::dialect::Dialect;
use crate::settings::{Limit, Limits};

pub(crate) use filter_index::{Candidates, FollowedFilter};
pub(crate) use filter_users::User;
pub(crate) use names::{
    custom_name, is_instance_name, name, parse_instance_name, polling_name, site_name,
};
pub(crate) use subscribers::{SubscriberCounts, counted_room};

use filter_index::Keys;
use filter_users::FilterUsers;
use subscribers::Subscribers;

/// The number of connections in each room.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    counts: Mutex<Counts>,
    limits: Limits,
    memory: Mutex<RoomMemory>,
    /// Whether a connection of our runtime that polls has joined a room since the start.
    has_polling: AtomicBool,
}

/// The approximate number of bytes that are kept for the rooms of connections.
#[derive(Debug, Default)]
struct RoomMemory {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug, Default)]
struct Counts {
    /// The subscribers of each resource that has any, by dialect.
    resources: HashMap<Resource, [Subscribers; Dialect::ALL.len()]>,
    filter_users: FilterUsers,
}

impl Presence {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether a connection of our runtime that polls may be in a room.
    pub(crate) fn has_polling(&self) -> bool {
        self.has_polling.load(Ordering::Relaxed)
    }

    /// Sets that a connection of our runtime that polls joins a room.
    pub(crate) fn set_polling(&self) {
        self.has_polling.store(true, Ordering::Relaxed);
    }

    /// Replaces the bytes that are kept for the rooms of a connection from this address.
    pub(crate) fn resize(&self, address: Option<IpAddr>, before: usize, now: usize) {
        let memory = &mut *self.memory.lock();
        memory.total = memory.total + now - before;
        if let Some(address) = address {
            let own = memory.by_address.entry(address).or_default();
            *own = *own + now - before;
            if *own == 0 {
                memory.by_address.remove(&address);
            }
        }
    }

    /// Whether the connections from this address may keep more for their rooms: not more than is
    /// free. So one address keeps at most half of all, and something is left for others however
    /// many addresses there are.
    pub(crate) fn has_memory(&self, address: Option<IpAddr>) -> bool {
        let memory = self.memory.lock();
        let free = self.limits.subscription_bytes_total.saturating_sub(memory.total);
        let own = address.and_then(|address| memory.by_address.get(&address));
        free > own.copied().unwrap_or_default()
    }

    /// Returns the approximate number of bytes that are kept for all rooms of all connections.
    #[cfg(test)]
    fn memory(&self) -> usize {
        self.memory.lock().total
    }

    /// Checks whether one more connection, which belongs to these users, may follow a filter.
    pub(crate) fn check_filter(
        &self,
        dialect: Dialect,
        filter: &FollowedFilter,
        users: &[User],
    ) -> Result<(), Limit> {
        let counts = &*self.counts.lock();
        let (key, limit) = ((dialect, &filter.room), self.limits.filters_per_client);
        counts.filter_users.check(key, users, filter.is_indexed, limit)?;
        match counts.of(dialect, filter.room.resource()) {
            Some(subscribers) => subscribers.check_filter(filter, &self.limits),
            None => Ok(()),
        }
    }

    /// Adds a connection to a room.
    pub(crate) fn add(&self, dialect: Dialect, room: &Room) {
        let filter = FollowedFilter::of(room);
        self.counts.lock().add(dialect, room, filter);
    }

    /// Adds a connection of these users to the room of a filter.
    pub(crate) fn add_filter(&self, dialect: Dialect, filter: FollowedFilter, users: &[User]) {
        let (is_indexed, room) = (filter.is_indexed, filter.room.clone());
        let counts = &mut *self.counts.lock();
        counts.filter_users.add((dialect, &room), users, is_indexed);
        counts.add(dialect, &room, Some(filter));
    }

    /// Returns the same room as other connections have it, so that they share its scope.
    pub(crate) fn shared(&self, dialect: Dialect, room: Room) -> Room {
        match &room {
            Room::Scoped(resource, _) => {
                self.of(dialect, resource).and_then(|it| it.shared(&room)).unwrap_or(room)
            }
            Room::Class(_) | Room::Instance(..) => room,
        }
    }

    /// Removes a connection of these users from the room of a filter.
    pub(crate) fn remove_filter(&self, dialect: Dialect, room: &Room, users: &[User]) {
        let counts = &mut *self.counts.lock();
        counts.filter_users.remove((dialect, room), users);
        counts.remove(dialect, room);
    }

    /// Removes a connection from a room.
    pub(crate) fn remove(&self, dialect: Dialect, room: &Room) {
        self.counts.lock().remove(dialect, room);
    }

    /// Returns the number of connections in a room.
    pub(crate) fn count(&self, dialect: Dialect, room: &Room) -> usize {
        self.of(dialect, room.resource()).map_or(0, |subscribers| subscribers.count(room))
    }

    /// Returns how many subscribers a resource has, by dialect.
    pub(crate) fn counts(&self, resource: &Resource) -> [SubscriberCounts; Dialect::ALL.len()] {
        let counts = self.counts.lock();
        counts.resources.get(resource).map_or_else(Default::default, |dialects| {
            let class = Room::class(resource.clone());
            dialects.each_ref().map(|subscribers| subscribers.counts(&class))
        })
    }

    /// Whether any connection is in a room of a resource.
    pub(crate) fn has_any(&self, resource: &Resource) -> bool {
        self.counts.lock().resources.contains_key(resource)
    }

    /// Returns the followed filters of a resource that the changes may concern. It may return too
    /// many, never too few.
    pub(crate) fn filters_for(
        &self,
        dialect: Dialect,
        resource: &Resource,
        changes: &[Arc<Change>],
    ) -> Candidates {
        if !self.has_filters(dialect, resource) {
            return Candidates::default();
        }
        // Hashing the records takes a while, so it is done without the lock.
        let keys: Vec<_> = changes.iter().map(|change| Keys::of(change)).collect();
        let subscribers = self.of(dialect, resource);
        subscribers.map(|it| it.filters().candidates(&keys)).unwrap_or_default()
    }

    /// Returns all followed filters of a resource.
    pub(crate) fn filters_of(
        &self,
        dialect: Dialect,
        resource: &Resource,
    ) -> Vec<Arc<FollowedFilter>> {
        self.of(dialect, resource).map(|it| it.filters().all()).unwrap_or_default()
    }

    /// Whether any connection follows a filter of a resource.
    pub(crate) fn has_filters(&self, dialect: Dialect, resource: &Resource) -> bool {
        self.of(dialect, resource).is_some_and(|it| !it.filters().is_empty())
    }

    /// Returns the filters of one record that have subscribers.
    pub(crate) fn record_filters(
        &self,
        dialect: Dialect,
        resource: &Resource,
        id: &Id,
    ) -> Vec<Arc<FollowedFilter>> {
        self.of(dialect, resource).map(|it| it.record_filters(id)).unwrap_or_default()
    }

    /// Returns the rooms of members of a collection that have subscribers.
    pub(crate) fn member_rooms(
        &self,
        dialect: Dialect,
        resource: &Resource,
        of: &CollectionKey,
    ) -> Vec<Room> {
        self.of(dialect, resource).map(|it| it.member_rooms(of)).unwrap_or_default()
    }

    fn of(
        &self,
        dialect: Dialect,
        resource: &Resource,
    ) -> Option<MappedMutexGuard<'_, Subscribers>> {
        MutexGuard::try_map(self.counts.lock(), |counts| {
            counts.resources.get_mut(resource).map(|dialects| &mut dialects[dialect as usize])
        })
        .ok()
    }
}

impl Counts {
    fn of(&self, dialect: Dialect, resource: &Resource) -> Option<&Subscribers> {
        self.resources.get(resource).map(|dialects| &dialects[dialect as usize])
    }

    fn add(&mut self, dialect: Dialect, room: &Room, filter: Option<FollowedFilter>) {
        let dialects = match self.resources.get_mut(room.resource()) {
            Some(dialects) => dialects,
            None => self.resources.entry(room.resource().clone()).or_default(),
        };
        dialects[dialect as usize].add(room, filter);
    }

    fn remove(&mut self, dialect: Dialect, room: &Room) {
        let Some(dialects) = self.resources.get_mut(room.resource()) else { return };
        dialects[dialect as usize].remove(room);
        if dialects.iter().all(Subscribers::is_empty) {
            self.resources.remove(room.resource());
        }
    }
}

#[cfg(test)]
mod tests;
