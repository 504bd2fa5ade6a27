//! The rooms that one connection is in, and the memory that they take.

use std::sync::Arc;

use backwire_environment::{HashMap, HashSet};
use backwire_records::change::{Id, Room};

/// The bytes that are counted for each byte of the name of a room: Socket.IO keeps two names, and
/// the room has the text and the strings of its scope.
const NAME_COPIES: usize = 4;

/// The bytes of the prefix of a name that tells the dialect.
const PREFIX_BYTES: usize = 2;

/// The bytes of a value in a parsed scope, roughly.
const VALUE_BYTES: usize = 72;

/// The memory of a room beside its name, roughly.
const ROOM_OVERHEAD: usize = 200;

/// The same for the room of a record that a stock client is in. Its name is kept once for each
/// connection.
const RECORD_ROOM_OVERHEAD: usize = 64;

/// The rooms of one connection.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    /// Its rooms, as [`counted_room`](crate::rooms::counted_room) returns them.
    counted: HashSet<Room>,
    /// The filters among them, each with the person who had signed in when the connection joined.
    filters: HashMap<Room, Option<Id>>,
    /// Bytes of names.
    bytes: usize,
    /// Bytes of memory that they take, roughly.
    memory: usize,
    records: Records,
    /// The names of the rooms that the connection is in for reads only, each with a value that
    /// these reads share.
    read: HashMap<String, Arc<()>>,
}

/// The rooms of records that a stock client is in. Some of them may be counted twice until all of
/// them are counted again, because a second set of them would take as much memory as the first.
#[derive(Debug, Default, Clone, Copy)]
struct Records {
    count: usize,
    bytes: usize,
    /// The count when all of them were last counted.
    counted: usize,
}

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    pub(super) rooms: usize,
    pub(super) bytes: usize,
}

impl Memberships {
    pub(super) fn contains(&self, counted: &Room) -> bool {
        self.counted.contains(counted)
    }

    pub(super) fn filters(&self) -> usize {
        self.filters.len()
    }

    /// Bytes of memory that all memberships take, roughly.
    pub(super) fn memory(&self) -> usize {
        self.memory + self.records.memory()
    }

    /// Whether there is room for one more membership.
    pub(super) fn has_room_for(&self, counted: &Room, capacity: Capacity) -> bool {
        self.counted.len() + self.records.count < capacity.rooms
            && self.bytes + self.records.bytes + cost(counted) <= capacity.bytes
    }

    /// The same for the rooms of `count` records whose names have `bytes` bytes.
    pub(super) fn has_room_for_records(
        &self,
        count: usize,
        bytes: usize,
        capacity: Capacity,
    ) -> bool {
        self.counted.len() + self.records.count + count <= capacity.rooms
            && self.bytes + self.records.bytes + bytes <= capacity.bytes
    }

    /// Returns `false` if it was there already.
    pub(super) fn insert(&mut self, counted: &Room) -> bool {
        let is_new = self.counted.insert(counted.clone());
        if is_new {
            self.bytes += cost(counted);
            self.memory += memory(counted);
        }
        is_new
    }

    pub(super) fn insert_filter(&mut self, counted: Room, person: Option<Id>) {
        self.filters.insert(counted, person);
    }

    /// Returns `false` if it was not there.
    pub(super) fn remove(&mut self, counted: &Room) -> bool {
        let was_there = self.counted.remove(counted);
        if was_there {
            self.bytes -= cost(counted);
            self.memory -= memory(counted);
        }
        was_there
    }

    /// Removes a filter. Returns the person who had signed in when the connection joined, or `None`
    /// if it is not a filter.
    pub(super) fn remove_filter(&mut self, counted: &Room) -> Option<Option<Id>> {
        self.filters.remove(counted)
    }

    /// Counts the room of one more record.
    pub(super) fn add_record(&mut self, name: &str) {
        self.records.count += 1;
        self.records.bytes += name.len();
    }

    /// Whether so many rooms were added since the last full count that they have to be counted
    /// again.
    pub(super) fn needs_record_recount(&self) -> bool {
        self.records.count > 2 * self.records.counted + 64
    }

    /// Sets the result of a full count of the rooms of records.
    pub(super) fn set_records(&mut self, count: usize, bytes: usize) {
        self.records = Records { count, bytes, counted: count };
    }

    /// Counts a read of a room that is joined for it. Returns the value that all such reads share,
    /// or `None` if the connection is in the room for another reason.
    pub(super) fn join_to_read(&mut self, name: String, is_joined: bool) -> Option<Arc<()>> {
        if is_joined && !self.read.contains_key(&name) {
            return None;
        }
        Some(Arc::clone(self.read.entry(name).or_default()))
    }

    /// Counts a room as joined, whatever becomes of other reads of it.
    pub(super) fn keep_read(&mut self, name: &str, reads: &Arc<()>) {
        if self.is_read(name, reads) {
            self.end_reads(name);
        }
    }

    /// Ends a read that is not kept. Returns `true` if it was the last that the connection was in
    /// the room for.
    pub(super) fn end_read(&mut self, name: &str, reads: Arc<()>) -> bool {
        let is_read = self.is_read(name, &reads);
        drop(reads);
        let is_last = |reads: &Arc<()>| Arc::strong_count(reads) == 1;
        let is_last = is_read && self.read.get(name).is_some_and(is_last);
        if is_last {
            self.end_reads(name);
        }
        is_last
    }

    /// Takes no reads of a room into account any more: the connection has joined it for another
    /// reason, or has left it.
    pub(super) fn end_reads(&mut self, name: &str) {
        self.read.remove(name);
    }

    fn is_read(&self, name: &str, reads: &Arc<()>) -> bool {
        self.read.get(name).is_some_and(|known| Arc::ptr_eq(known, reads))
    }

    /// Returns its rooms.
    pub(super) fn all(&self) -> impl Iterator<Item = &Room> {
        self.counted.iter()
    }
}

impl Records {
    fn memory(self) -> usize {
        self.bytes + self.count * RECORD_ROOM_OVERHEAD
    }
}

/// Returns the bytes of all copies of the name of a room.
fn cost(room: &Room) -> usize {
    (PREFIX_BYTES + room.name_bytes()) * NAME_COPIES
}

/// Returns the bytes of memory that a room takes, roughly.
fn memory(room: &Room) -> usize {
    cost(room) + ROOM_OVERHEAD + room.scope_values() * VALUE_BYTES
}
