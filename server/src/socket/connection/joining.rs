//! The rooms that a client joins and leaves.

use backwire_environment::HashSet;
use backwire_records::change::{Id, Room};

use super::super::memberships::{Capacity, Memberships};
use super::{Client, Connection};
use crate::dialect::Dialect;
use crate::rooms::{self, FollowedFilter, User};
use crate::settings::Limit;

/// Each connection may have this fraction of the memory for its subscriptions, whatever the other
/// connections use: one part of so many.
const RESERVED_PART: usize = 64;

impl Client {
    /// The rooms that the client is in, by their internal names in Socket.IO.
    pub fn rooms(&self) -> Vec<String> {
        self.socket.rooms().into_iter().map(Into::into).collect()
    }

    /// Joins a named room, to which [`Publisher::broadcast`](crate::Publisher::broadcast) sends
    /// events.
    pub fn listen(&self, room: &str) {
        let memberships = self.connection.memberships.lock();
        if memberships.is_some() {
            self.socket.join(rooms::custom_name(room));
        }
    }

    /// Leaves a named room.
    pub fn stop_listening(&self, room: &str) {
        let _guard = self.connection.memberships.lock();
        self.socket.leave(rooms::custom_name(room));
    }

    /// Checks whether the client may join a room, or is in it already. At a limit, a client has to
    /// leave one room to join another.
    ///
    /// Each change is compared with the filters that it may concern, so a client may have only few
    /// of them. Scopes of one record are checked only when that record changes.
    pub(crate) fn may_join(&self, room: &Room) -> Result<(), Limit> {
        let mut memberships = self.connection.memberships.lock();
        let Some(memberships) = memberships.as_mut() else {
            return Ok(());
        };
        let (counted, presence) =
            (rooms::counted_room(self.dialect(), room), &self.connection.presence);
        if memberships.contains(&counted) {
            return Ok(());
        }
        if !memberships.has_room_for(&counted, self.capacity()) {
            self.recount_records(memberships);
        }
        if !memberships.has_room_for(&counted, self.capacity()) {
            let unlimited = Capacity { bytes: usize::MAX, ..self.capacity() };
            let has_room = memberships.has_room_for(&counted, unlimited);
            return Err(if has_room {
                Limit::SubscriptionBytes
            } else {
                Limit::RoomsPerConnection
            });
        }
        self.has_memory(memberships)?;
        let Some(filter) = list_filter(room) else { return Ok(()) };
        if memberships.filters() >= presence.limits().filters_per_connection {
            return Err(Limit::FiltersPerConnection);
        }
        presence.check_filter(self.dialect(), &filter, &self.connection.users(self.person()))
    }

    /// Checks whether a stock client may join the rooms of these records as well.
    pub(crate) fn may_join_records(&self, rooms: &[Room]) -> Result<(), Limit> {
        let mut memberships = self.connection.memberships.lock();
        let Some(memberships) = memberships.as_mut() else {
            return Ok(());
        };
        let mut names: HashSet<_> =
            rooms.iter().map(|room| rooms::name(self.dialect(), room)).collect();
        let has_room = |memberships: &Memberships, names: &HashSet<String>| {
            let bytes = names.iter().map(String::len).sum();
            memberships.has_room_for_records(names.len(), bytes, self.capacity())
        };
        if !has_room(memberships, &names) {
            self.recount_records(memberships);
            let known: HashSet<_> = self.rooms().into_iter().collect();
            names.retain(|name| !known.contains(name));
        }
        if !has_room(memberships, &names) {
            let is_many = !memberships.has_room_for_records(
                names.len(),
                0,
                Capacity { bytes: usize::MAX, ..self.capacity() },
            );
            return Err(if is_many { Limit::RoomsPerConnection } else { Limit::SubscriptionBytes });
        }
        self.has_memory(memberships)
    }

    /// Joins a stock client to the room of a record with this name, unless its connection is gone.
    /// If the client is in too many rooms, the connection ends: the client would not notice that it
    /// misses changes of the record. The memory that other clients use is no reason for that.
    pub(in crate::socket) fn join_record(&self, name: &str) -> Result<(), Limit> {
        let mut guard = self.connection.memberships.lock();
        let Some(memberships) = guard.as_mut() else {
            return Ok(());
        };
        let has_room = |it: &Memberships| it.has_room_for_records(1, name.len(), self.capacity());
        // The rooms of destroyed records are still counted.
        if !has_room(memberships) || memberships.needs_record_recount() {
            self.recount_records(memberships);
        }
        if !has_room(memberships) {
            drop(guard);
            self.disconnect();
            return Err(Limit::RoomsPerConnection);
        }
        let before = memberships.memory();
        memberships.end_reads(name);
        memberships.add_record(name);
        self.connection.resize(before, memberships);
        // Under the lock: a connection that goes now would not leave a room that it joins later.
        self.socket.join(name.to_owned());
        Ok(())
    }

    fn add_records(&self, memberships: &mut Memberships, names: Vec<String>) {
        let before = memberships.memory();
        names.iter().for_each(|name| memberships.add_record(name));
        self.connection.resize(before, memberships);
        self.socket.join_all(names);
        if memberships.needs_record_recount() {
            self.recount_records(memberships);
        }
    }

    /// Counts all rooms of records that the client is in.
    fn recount_records(&self, memberships: &mut Memberships) {
        if !self.dialect().is_stock() {
            return;
        }
        let before = memberships.memory();
        let rooms = self.socket.rooms();
        let records = rooms.iter().filter(|name| rooms::is_instance_name(self.dialect(), name));
        let (count, bytes) = records.fold((0, 0), |(n, bytes), name| (n + 1, bytes + name.len()));
        memberships.set_records(count, bytes);
        self.connection.resize(before, memberships);
    }

    fn has_memory(&self, memberships: &Memberships) -> Result<(), Limit> {
        let (presence, limits) = (&self.connection.presence, self.connection.presence.limits());
        let has_memory = presence.has_memory(self.connection.address)
            || memberships.memory() < limits.subscription_bytes / RESERVED_PART;
        has_memory.then_some(()).ok_or(Limit::SubscriptionBytesTotal)
    }

    fn capacity(&self) -> Capacity {
        let limits = self.connection.presence.limits();
        Capacity { rooms: limits.rooms_per_connection, bytes: limits.subscription_bytes }
    }

    /// Returns the value of a limit of rooms.
    pub(crate) fn limit(&self, which: Limit) -> usize {
        let limits = self.connection.presence.limits();
        match which {
            Limit::SubscriptionBytesTotal => limits.subscription_bytes_total,
            Limit::SubscriptionBytes => limits.subscription_bytes,
            _ => limits.rooms_per_connection,
        }
    }

    /// Returns the person who has signed in, as far as it is known.
    fn person(&self) -> Option<Id> {
        self.principal().0?.principal.person
    }

    /// Joins rooms of records. Returns `true` if one of them is new to the client. A connection
    /// that is gone joins nothing.
    pub fn join(&self, rooms: impl IntoIterator<Item = Room>) -> bool {
        // The iterator of the caller may call this client, so it runs before the lock.
        let rooms: Vec<_> = rooms.into_iter().collect();
        let mut memberships = self.connection.memberships.lock();
        let Some(memberships) = memberships.as_mut() else {
            return false;
        };
        for room in &rooms {
            memberships.end_reads(&rooms::name(self.dialect(), room));
        }
        self.add_memberships(memberships, rooms)
    }

    /// Adds rooms. Returns `true` if one of them is new to the client.
    pub(super) fn add_memberships(&self, memberships: &mut Memberships, rooms: Vec<Room>) -> bool {
        let mut is_new = false;
        let (mut names, mut records) = (Vec::new(), Vec::new());
        let before = memberships.memory();
        for room in rooms {
            let name = rooms::name(self.dialect(), &room);
            let counted = rooms::counted_room(self.dialect(), &room);
            if counted == room {
                names.push(name)
            } else {
                records.push(name)
            }
            is_new |= self.add_membership(memberships, counted);
        }
        self.connection.resize(before, memberships);
        if self.polls() {
            self.connection.presence.set_polling();
            names.extend(names.iter().map(|name| rooms::polling_name(name)).collect::<Vec<_>>());
        }
        self.socket.join_all(names);
        if !records.is_empty() {
            self.add_records(memberships, records);
        }
        is_new
    }

    /// Adds a membership. Returns `false` if it is counted already.
    fn add_membership(&self, memberships: &mut Memberships, room: Room) -> bool {
        // Memberships are counted by the dialect, so it cannot change any more.
        let dialect = *self.connection.dialect.get_or_init(|| Dialect::Sails);
        let presence = &self.connection.presence;
        let room = presence.shared(dialect, room);
        if !memberships.insert(&room) {
            return false;
        }
        if let Some(filter) = list_filter(&room) {
            let person = self.person();
            presence.add_filter(dialect, filter, &self.connection.users(person.clone()));
            memberships.insert_filter(room, person);
        } else {
            presence.add(dialect, &room);
        }
        true
    }

    /// Leaves a room of records.
    pub fn leave(&self, room: &Room) {
        if let Some(memberships) = self.connection.memberships.lock().as_mut() {
            memberships.end_reads(&rooms::name(self.dialect(), room));
            self.leave_within(memberships, room);
        }
    }

    pub(super) fn leave_within(&self, memberships: &mut Memberships, room: &Room) {
        let name = rooms::name(self.dialect(), room);
        if self.dialect() == Dialect::Runtime {
            self.socket.leave(rooms::polling_name(&name));
        }
        self.socket.leave(name);
        // A Sails client counts for a resource until it disconnects, see `rooms::counted_room`.
        let is_counted_alone = self.dialect() == Dialect::Runtime || room.scope().is_some();
        let before = memberships.memory();
        if is_counted_alone && memberships.remove(room) {
            self.connection.remove_membership(memberships, room);
            self.connection.resize(before, memberships);
        }
    }

    /// Whether this is our runtime, and polls. The pushes to its rooms are counted, because no
    /// transport counts those that wait for a poll. Those to stock clients are counted anyway.
    pub(in crate::socket) fn polls(&self) -> bool {
        self.dialect() == Dialect::Runtime && !self.socket.is_websocket()
    }

    /// Leaves rooms of connections that poll.
    pub(in crate::socket) fn leave_polling(&self, names: &[String]) {
        let _guard = self.connection.memberships.lock();
        names.iter().for_each(|name| self.socket.leave(name.clone()));
    }

    /// Whether the client follows any records.
    pub(crate) fn follows_records(&self) -> bool {
        let memberships = self.connection.memberships.lock();
        memberships.as_ref().is_some_and(|memberships| memberships.all().next().is_some())
    }

    /// Returns the rooms of records that the client is in.
    pub(crate) fn record_rooms(&self) -> Vec<Room> {
        let memberships: HashSet<Room> = match self.connection.memberships.lock().as_ref() {
            Some(memberships) => memberships.all().cloned().collect(),
            None => return Vec::new(),
        };
        let (dialect, names) = (self.dialect(), self.socket.rooms());
        let joined: HashSet<&str> = names.iter().map(|name| &**name).collect();
        // A stock client counts for the class room, which it need not have joined.
        let is_joined = |room: &&Room| joined.contains(&*rooms::name(dialect, room));
        let records = names.iter().filter_map(|name| rooms::parse_instance_name(dialect, name));
        let records = records.filter(|room| !memberships.contains(room));
        let records: Vec<_> = records.collect();
        memberships.iter().filter(is_joined).cloned().chain(records).collect()
    }
}

impl Connection {
    /// Counts the bytes that are kept for the rooms, after they have changed.
    fn resize(&self, before: usize, memberships: &Memberships) {
        self.presence.resize(self.address, before, memberships.memory());
    }

    /// Removes a membership from the counts of all connections.
    pub(super) fn remove_membership(&self, memberships: &mut Memberships, room: &Room) {
        match memberships.remove_filter(room) {
            Some(person) => {
                self.presence.remove_filter(self.dialect(), room, &self.users(person));
            }
            None => self.presence.remove(self.dialect(), room),
        }
    }

    /// Returns the users that a filter of this connection counts for.
    fn users(&self, person: Option<Id>) -> Vec<User> {
        let address = self.address.map(User::Address);
        address.into_iter().chain(person.map(User::Person)).collect()
    }
}

/// Returns the filter of a room, if it is for a list and not for one record: each change of the
/// resource may concern it.
fn list_filter(room: &Room) -> Option<FollowedFilter> {
    FollowedFilter::of(room).filter(|filter| filter.scope().id().is_none())
}
