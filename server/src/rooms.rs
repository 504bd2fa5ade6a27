//! The names of rooms, and the number of connections in each.
//!
//! Each dialect has its own rooms, because each encodes the same change differently. Socket.IO
//! knows the members. [`Presence`] counts how many connections asked for a room, so that nothing is
//! encoded for an empty room. It may count a member for a room that has just become empty, never
//! none for a room that has a member.

mod filter_index;
mod filter_users;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backwire_records::change::{Change, Id, Resource, Room};
use backwire_records::criteria::Scope;
use parking_lot::{Mutex, MutexGuard};

use crate::dialect::Dialect;
use crate::settings::{Limit, Limits};
use crate::sites::Name;

pub(crate) use filter_index::{Candidates, FollowedFilter};
use filter_index::{FilterIndex, Keys, is_indexed};
use filter_users::FilterUsers;

pub(crate) use filter_users::User;

/// Returns the name of a room in Socket.IO.
pub(crate) fn name(dialect: Dialect, room: &Room) -> String {
    format!("{}:{room}", prefix(dialect))
}

fn prefix(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Runtime => "b",
        Dialect::Sails => "s",
        Dialect::Sails09 => "o",
        Dialect::Node => "i",
    }
}

/// Parses the name of a room in Socket.IO, if it is a room of records in this dialect.
pub(crate) fn parse_name(dialect: Dialect, name: &str) -> Option<Room> {
    let (start, room) = name.split_once(':')?;
    (start == prefix(dialect)).then(|| Room::parse(room)).flatten()
}

/// Returns the name of the room of all connections of our runtime for a site.
pub(crate) fn site_name(site: &Name) -> String {
    format!("p:{}", site.as_str())
}

/// Returns the name of a room that handlers use, which is the same in all dialects.
pub(crate) fn custom_name(room: &str) -> String {
    format!("n:{room}")
}

/// Returns the key under which a membership is counted. Each room counts by itself. But stock
/// clients are added to dozens of instance rooms, so these count for their resource as a whole.
pub(crate) fn presence_key(dialect: Dialect, room: &Room) -> String {
    match dialect {
        _ if room.scope.is_some() => name(dialect, room),
        Dialect::Runtime => name(dialect, room),
        Dialect::Sails | Dialect::Sails09 | Dialect::Node => {
            name(dialect, &Room::class(room.resource.clone()))
        }
    }
}

/// Returns the name of the class room of a room's resource.
fn class_of(name: &str) -> &str {
    name.split(['/', '?']).next().unwrap_or(name)
}

/// Whether a room is that of a filter, and not of one record.
pub(crate) fn is_filter(room: &Room) -> bool {
    room.scope.is_some() && room.id.is_none()
}

/// The number of connections in each room.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    counts: Mutex<Counts>,
    limits: Limits,
    /// The approximate number of bytes that are kept for all rooms of all connections.
    memory: AtomicUsize,
}

#[derive(Debug, Default)]
struct Counts {
    rooms: BTreeMap<String, usize>,
    /// The number of connections in all rooms of a resource together, by the name of its class
    /// room.
    classes: HashMap<String, usize>,
    /// The followed filters of a resource, by the name of its class room.
    filters: HashMap<String, FilterIndex>,
    filter_users: FilterUsers,
}

impl Presence {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Replaces the bytes that are kept for the rooms of a connection.
    pub(crate) fn resize(&self, before: usize, now: usize) {
        self.memory.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Returns the approximate number of bytes that are kept for all rooms of all connections.
    pub(crate) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Checks whether one more connection, which belongs to these users, may follow a filter.
    pub(crate) fn check_filter(&self, key: &str, room: &Room, users: &[User]) -> Result<(), Limit> {
        let is_indexed = room.scope().is_some_and(|scope| is_indexed(scope.filter()));
        let Counts { filters, filter_users, .. } = &mut *self.counts();
        filter_users.check(key, users, is_indexed, self.limits.filters_per_client)?;
        let Some(index) = filters.get(class_of(key)) else { return Ok(()) };
        let (all, unindexed) = index.counts();
        match index.contains(key) {
            true => Ok(()),
            false if all >= self.limits.filters_per_resource => Err(Limit::FiltersPerResource),
            false if !is_indexed && unindexed >= self.limits.unindexed_filters_per_resource => {
                Err(Limit::UnindexedFiltersPerResource)
            }
            false => Ok(()),
        }
    }

    /// Adds a connection to a room.
    pub(crate) fn add(&self, key: &str, room: &Room) {
        // Parsing takes a while, so it is done before the lock.
        let filter = is_filter(room).then(|| FollowedFilter::of(room)).flatten();
        let Counts { rooms, classes, filters, .. } = &mut *self.counts();
        let count = rooms.entry(key.to_owned()).or_default();
        *count += 1;
        *classes.entry(class_of(key).to_owned()).or_default() += 1;
        if let Some(filter) = filter.filter(|_| *count == 1) {
            filters.entry(class_of(key).to_owned()).or_default().insert(key, filter);
        }
    }

    /// Adds a connection of these users to the room of a filter.
    pub(crate) fn add_filter(&self, key: &str, room: &Room, users: &[User]) {
        self.add(key, room);
        let is_indexed = room.scope().is_some_and(|scope| is_indexed(scope.filter()));
        self.counts().filter_users.add(key, users, is_indexed);
    }

    pub(crate) fn remove_filter(&self, key: &str, users: &[User]) {
        self.remove(key);
        self.counts().filter_users.remove(key, users);
    }

    /// Removes a connection from a room.
    pub(crate) fn remove(&self, key: &str) {
        let Counts { rooms, classes, filters, .. } = &mut *self.counts();
        let Some(count) = rooms.get_mut(key) else { return };
        *count -= 1;
        let class = class_of(key);
        if *count == 0 {
            rooms.remove(key);
            if let Some(index) = filters.get_mut(class) {
                index.remove(key);
                if index.is_empty() {
                    filters.remove(class);
                }
            }
        }
        let Some(count) = classes.get_mut(class) else { return };
        *count -= 1;
        if *count == 0 {
            classes.remove(class);
        }
    }

    /// Returns the number of connections in a room.
    pub(crate) fn count(&self, key: &str) -> usize {
        self.counts().rooms.get(key).copied().unwrap_or(0)
    }

    /// Whether any connection is in a room of a resource.
    pub(crate) fn has_any(&self, dialect: Dialect, resource: &Resource) -> bool {
        let counts = self.counts();
        // Without any connection, the name need not be built.
        !counts.classes.is_empty()
            && counts.classes.contains_key(&format!("{}:{resource}", prefix(dialect)))
    }

    /// Returns the followed filters of a resource that the changes may concern. It may return too
    /// many, never too few.
    pub(crate) fn filters_for(
        &self,
        dialect: Dialect,
        resource: &Resource,
        changes: &[Arc<Change>],
    ) -> Candidates {
        let class = name(dialect, &Room::class(resource.clone()));
        if !self.counts().filters.contains_key(&class) {
            return Candidates::default();
        }
        let keys: Vec<_> = changes.iter().map(|change| Keys::of(change)).collect();
        let counts = self.counts();
        counts.filters.get(&class).map(|index| index.candidates(&keys)).unwrap_or_default()
    }

    /// Returns all followed filters of a resource.
    pub(crate) fn filters_of(
        &self,
        dialect: Dialect,
        resource: &Resource,
    ) -> Vec<Arc<FollowedFilter>> {
        let class = name(dialect, &Room::class(resource.clone()));
        self.counts().filters.get(&class).map(FilterIndex::all).unwrap_or_default()
    }

    /// Whether any connection follows a filter of a resource.
    pub(crate) fn has_filters(&self, dialect: Dialect, resource: &Resource) -> bool {
        let counts = self.counts();
        !counts.filters.is_empty()
            && counts.filters.contains_key(&name(dialect, &Room::class(resource.clone())))
    }

    /// Returns the names of the rooms of parts of one record that have members.
    pub(crate) fn record_rooms(
        &self,
        dialect: Dialect,
        resource: &Resource,
        id: &Id,
    ) -> Vec<String> {
        self.rooms_with_prefix(dialect, resource, &format!("?{}", Scope::start_of_one(id)))
    }

    /// Returns the names of the rooms of members of a collection that have members.
    pub(crate) fn member_rooms(
        &self,
        dialect: Dialect,
        resource: &Resource,
        of: &(String, Id, String),
    ) -> Vec<String> {
        self.rooms_with_prefix(dialect, resource, &format!("?{}", Scope::start_of_members(of)))
    }

    fn rooms_with_prefix(&self, dialect: Dialect, resource: &Resource, start: &str) -> Vec<String> {
        let start = name(dialect, &Room::class(resource.clone())) + start;
        let counts = self.counts();
        let names = counts.rooms.range(start.clone()..).map(|(name, _)| name);
        let names = names.take_while(|name| name.starts_with(&start));
        names.filter_map(|name| Some(name.split_once(':')?.1.to_owned())).collect()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backwire_records::criteria::Filter;

    #[test]
    fn dialects_do_not_share_rooms() {
        let room = Room::parse("todo/7").unwrap();
        assert_eq!(name(Dialect::Runtime, &room), "b:todo/7");
        assert_eq!(name(Dialect::Sails, &room), "s:todo/7");
        assert_eq!(name(Dialect::Sails09, &room), "o:todo/7");
        assert_eq!(name(Dialect::Node, &room), "i:todo/7");
        assert_eq!(presence_key(Dialect::Runtime, &room), "b:todo/7");
        assert_eq!(presence_key(Dialect::Sails, &room), "s:todo");
    }

    #[test]
    fn scoped_rooms_are_found_by_their_resource() {
        let presence = Presence::default();
        let scoped = |resource: &str| {
            let resource = Resource::parse(resource).unwrap();
            Room::scoped(resource, &Scope::Whole(Filter::Any(Vec::new()))).unwrap()
        };
        for room in [scoped("todo"), scoped("todos"), Room::parse("todo/7").unwrap()] {
            presence.add(&name(Dialect::Runtime, &room), &room);
        }
        let todo = Resource::parse("todo").unwrap();
        let filters = presence.filters_of(Dialect::Runtime, &todo);
        let rooms: Vec<_> = filters.iter().map(|filter| filter.room.clone()).collect();
        assert_eq!(rooms, [scoped("todo")]);
        presence.remove(&name(Dialect::Runtime, &scoped("todo")));
        assert!(!presence.has_filters(Dialect::Runtime, &todo));
    }

    #[test]
    fn resource_has_connections_as_long_as_any_of_its_rooms_has() {
        let (presence, todo) = (Presence::default(), Resource::parse("todo").unwrap());
        let scoped = Room::scoped(todo.clone(), &Scope::Whole(Filter::Any(Vec::new()))).unwrap();
        let has_any = || Dialect::ALL.map(|dialect| presence.has_any(dialect, &todo));
        for room in [scoped, Room::parse("todo/7/8").unwrap(), Room::class(todo.clone())] {
            let name = name(Dialect::Runtime, &room);
            presence.add("b:todos", &Room::parse("todos").unwrap());
            presence.add(&name, &room);
            presence.add(&name, &room);
            presence.remove(&name);
            assert_eq!(has_any(), [true, false, false, false], "{name}");
            presence.remove(&name);
            presence.remove(&name);
            assert_eq!(has_any(), [false; 4], "{name}");
        }
    }

    #[test]
    fn room_is_empty_when_last_connection_has_left() {
        let presence = Presence::default();
        let room = Room::parse("todo").unwrap();
        presence.add("b:todo", &room);
        presence.add("b:todo", &room);
        for left in [1, 0, 0] {
            presence.remove("b:todo");
            assert_eq!(presence.count("b:todo"), left);
        }
    }
}
