//! Who listens to what: names of rooms, and which of them have anybody in them.
//!
//! Each dialect has rooms of its own, because the same change is spelled differently in each.
//! Socket.IO knows the members; [`Presence`] knows how many connections asked for a room, so that
//! nothing is encoded for a room that is empty. It may say "somebody" for a room that has just
//! become empty, never "nobody" for one that has not.

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

/// The room's name among Socket.IO's rooms.
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

/// The room that is called so among Socket.IO's rooms of a dialect, if it is one of records.
pub(crate) fn read(dialect: Dialect, name: &str) -> Option<Room> {
    let (start, room) = name.split_once(':')?;
    (start == prefix(dialect)).then(|| Room::parse(room)).flatten()
}

/// The name of the room of all connections of our runtime for a site.
pub(crate) fn all_of_site(site: &Name) -> String {
    format!("p:{}", site.as_str())
}

/// The name of a room that handlers speak of, which is the same in all dialects.
pub(crate) fn named(room: &str) -> String {
    format!("n:{room}")
}

/// What a membership is counted under: each room by itself. But stock clients are led into instance
/// rooms by the dozen, so they count for their resource as a whole.
pub(crate) fn counted_as(dialect: Dialect, room: &Room) -> String {
    match dialect {
        _ if room.scope.is_some() => name(dialect, room),
        Dialect::Runtime => name(dialect, room),
        Dialect::Sails | Dialect::Sails09 | Dialect::Node => {
            name(dialect, &Room::class(room.resource.clone()))
        }
    }
}

/// The name of the class room of a room's resource.
fn class_of(name: &str) -> &str {
    name.split(['/', '?']).next().unwrap_or(name)
}

/// Whether a room is that of a filter, and not of one record.
pub(crate) fn is_filter(room: &Room) -> bool {
    room.scope.is_some() && room.id.is_none()
}

/// How many connections are in which room.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    counts: Mutex<Counts>,
    limits: Limits,
    /// What is kept for all rooms of all connections, roughly.
    memory: AtomicUsize,
}

#[derive(Debug, Default)]
struct Counts {
    rooms: BTreeMap<String, usize>,
    /// Of all rooms of a resource together, by the name of its class room.
    classes: HashMap<String, usize>,
    /// The filters that are followed of a resource, by the name of its class room.
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

    /// Says how much more or less is kept for the rooms of a connection than before.
    pub(crate) fn resize(&self, before: usize, now: usize) {
        self.memory.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// What is kept for all rooms of all connections, roughly.
    pub(crate) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Whether one more connection may follow a filter, which is one of these users.
    pub(crate) fn check_filter(
        &self,
        counted: &str,
        room: &Room,
        users: &[User],
    ) -> Result<(), Limit> {
        let is_indexed = room.scope().is_some_and(|scope| is_indexed(scope.filter()));
        let Counts { filters, filter_users, .. } = &mut *self.counts();
        filter_users.check(counted, users, is_indexed, self.limits.filters_per_client)?;
        let Some(index) = filters.get(class_of(counted)) else { return Ok(()) };
        let (all, unindexed) = index.counts();
        match index.contains(counted) {
            true => Ok(()),
            false if all >= self.limits.filters_per_resource => Err(Limit::FiltersPerResource),
            false if !is_indexed && unindexed >= self.limits.unindexed_filters_per_resource => {
                Err(Limit::UnindexedFiltersPerResource)
            }
            false => Ok(()),
        }
    }

    /// One connection more.
    pub(crate) fn add(&self, counted: &str, room: &Room) {
        // It takes a while to read it.
        let filter = is_filter(room).then(|| FollowedFilter::of(room)).flatten();
        let Counts { rooms, classes, filters, .. } = &mut *self.counts();
        let count = rooms.entry(counted.to_owned()).or_default();
        *count += 1;
        *classes.entry(class_of(counted).to_owned()).or_default() += 1;
        if let Some(filter) = filter.filter(|_| *count == 1) {
            filters.entry(class_of(counted).to_owned()).or_default().insert(counted, filter);
        }
    }

    /// The same of a filter, and who follows it.
    pub(crate) fn add_filter(&self, counted: &str, room: &Room, users: &[User]) {
        self.add(counted, room);
        let is_indexed = room.scope().is_some_and(|scope| is_indexed(scope.filter()));
        self.counts().filter_users.add(counted, users, is_indexed);
    }

    pub(crate) fn remove_filter(&self, counted: &str, users: &[User]) {
        self.remove(counted);
        self.counts().filter_users.remove(counted, users);
    }

    /// One connection fewer.
    pub(crate) fn remove(&self, counted: &str) {
        let Counts { rooms, classes, filters, .. } = &mut *self.counts();
        let Some(count) = rooms.get_mut(counted) else { return };
        *count -= 1;
        let class = class_of(counted);
        if *count == 0 {
            rooms.remove(counted);
            if let Some(index) = filters.get_mut(class) {
                index.remove(counted);
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

    /// How many would hear.
    pub(crate) fn count(&self, counted: &str) -> usize {
        self.counts().rooms.get(counted).copied().unwrap_or(0)
    }

    /// Whether anybody is in any room of a resource.
    pub(crate) fn has_any(&self, dialect: Dialect, resource: &Resource) -> bool {
        let counts = self.counts();
        // Nothing is spelled out for nobody.
        !counts.classes.is_empty()
            && counts.classes.contains_key(&format!("{}:{resource}", prefix(dialect)))
    }

    /// The filters of a resource that anybody follows and that changes of it may concern. Never too few.
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

    /// All filters of a resource that anybody follows.
    pub(crate) fn filters_of(
        &self,
        dialect: Dialect,
        resource: &Resource,
    ) -> Vec<Arc<FollowedFilter>> {
        let class = name(dialect, &Room::class(resource.clone()));
        self.counts().filters.get(&class).map(FilterIndex::all).unwrap_or_default()
    }

    /// Whether anybody follows a filter of a resource.
    pub(crate) fn has_filters(&self, dialect: Dialect, resource: &Resource) -> bool {
        let counts = self.counts();
        !counts.filters.is_empty()
            && counts.filters.contains_key(&name(dialect, &Room::class(resource.clone())))
    }

    /// Rooms of parts that are one record, and that anybody is in, as they are written.
    pub(crate) fn of_one(&self, dialect: Dialect, resource: &Resource, id: &Id) -> Vec<String> {
        self.starting(dialect, resource, &format!("?{}", Scope::start_of_one(id)))
    }

    /// The same of those in a collection.
    pub(crate) fn of_members(
        &self,
        dialect: Dialect,
        resource: &Resource,
        of: &(String, Id, String),
    ) -> Vec<String> {
        self.starting(dialect, resource, &format!("?{}", Scope::start_of_members(of)))
    }

    fn starting(&self, dialect: Dialect, resource: &Resource, start: &str) -> Vec<String> {
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
    fn the_dialects_do_not_share_rooms() {
        let room = Room::parse("todo/7").unwrap();
        assert_eq!(name(Dialect::Runtime, &room), "b:todo/7");
        assert_eq!(name(Dialect::Sails, &room), "s:todo/7");
        assert_eq!(name(Dialect::Sails09, &room), "o:todo/7");
        assert_eq!(name(Dialect::Node, &room), "i:todo/7");
        assert_eq!(counted_as(Dialect::Runtime, &room), "b:todo/7");
        assert_eq!(counted_as(Dialect::Sails, &room), "s:todo");
    }

    #[test]
    fn rooms_of_scopes_are_found_by_their_resource() {
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
    fn a_resource_is_heard_as_long_as_any_of_its_rooms_is() {
        let (presence, todo) = (Presence::default(), Resource::parse("todo").unwrap());
        let scoped = Room::scoped(todo.clone(), &Scope::Whole(Filter::Any(Vec::new()))).unwrap();
        let is_heard = || Dialect::ALL.map(|dialect| presence.has_any(dialect, &todo));
        for room in [scoped, Room::parse("todo/7/8").unwrap(), Room::class(todo.clone())] {
            let name = name(Dialect::Runtime, &room);
            presence.add("b:todos", &Room::parse("todos").unwrap());
            presence.add(&name, &room);
            presence.add(&name, &room);
            presence.remove(&name);
            assert_eq!(is_heard(), [true, false, false, false], "{name}");
            presence.remove(&name);
            presence.remove(&name);
            assert_eq!(is_heard(), [false; 4], "{name}");
        }
    }

    #[test]
    fn a_room_is_empty_when_the_last_one_has_left() {
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
