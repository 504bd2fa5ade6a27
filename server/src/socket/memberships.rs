//! The rooms that one connection is in, and what the server keeps for them.

use std::collections::{HashMap, HashSet};

use backwire_records::change::Id;

/// How often the name of a room is kept: here, in [`Presence`](crate::rooms::Presence) and twice by Socket.IO.
const COPIES: usize = 4;

/// What is kept of a room beside its name, roughly.
const BESIDE_NAME: usize = 200;

/// The same of the room of a record that a stock client is in. Its name is kept once for each connection.
const BESIDE_NAME_OF_RECORD: usize = 64;

/// The rooms of one connection.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    /// What its memberships are counted under.
    counted: HashSet<String>,
    /// The filters among them, with who had signed in when it joined.
    filters: HashMap<String, Option<Id>>,
    /// Bytes of names.
    bytes: usize,
    /// What is kept for them in memory, roughly.
    memory: usize,
    records: Records,
}

/// The rooms of records that a stock client is in. It may count some of them twice until it looks at all of
/// them, because a second set of them would take as much memory as the first.
#[derive(Debug, Default, Clone, Copy)]
struct Records {
    count: usize,
    bytes: usize,
    /// How many there were when all of them were looked at.
    counted: usize,
}

/// How much one connection may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    pub(super) rooms: usize,
    pub(super) bytes: usize,
}

impl Memberships {
    pub(super) fn contains(&self, counted: &str) -> bool {
        self.counted.contains(counted)
    }

    pub(super) fn filters(&self) -> usize {
        self.filters.len()
    }

    /// What is kept for all of them in memory, roughly.
    pub(super) fn memory(&self) -> usize {
        self.memory + self.records.memory()
    }

    /// Whether there is room for one more.
    pub(super) fn has_room_for(&self, name: &str, capacity: Capacity) -> bool {
        self.counted.len() + self.records.count < capacity.rooms
            && self.bytes + self.records.bytes + cost(name) <= capacity.bytes
    }

    /// The same for the rooms of so many records, whose names have so many bytes.
    pub(super) fn has_room_for_records(
        &self,
        count: usize,
        bytes: usize,
        capacity: Capacity,
    ) -> bool {
        self.counted.len() + self.records.count + count <= capacity.rooms
            && self.bytes + self.records.bytes + bytes <= capacity.bytes
    }

    /// `false` if it was there.
    pub(super) fn insert(&mut self, counted: &str) -> bool {
        let is_new = self.counted.insert(counted.to_owned());
        if is_new {
            self.bytes += cost(counted);
            self.memory += cost(counted) + BESIDE_NAME;
        }
        is_new
    }

    pub(super) fn insert_filter(&mut self, counted: &str, person: Option<Id>) {
        self.filters.insert(counted.to_owned(), person);
    }

    /// `false` if it was not there.
    pub(super) fn remove(&mut self, counted: &str) -> bool {
        let was_there = self.counted.remove(counted);
        if was_there {
            self.bytes -= cost(counted);
            self.memory -= cost(counted) + BESIDE_NAME;
        }
        was_there
    }

    /// Who had signed in when it joined a filter, if it is one.
    pub(super) fn remove_filter(&mut self, counted: &str) -> Option<Option<Id>> {
        self.filters.remove(counted)
    }

    /// Counts the room of a record in.
    pub(super) fn add_record(&mut self, name: &str) {
        self.records.count += 1;
        self.records.bytes += name.len();
    }

    /// Whether so many were added since all were looked at that it is time to look at them again.
    pub(super) fn records_are_uncertain(&self) -> bool {
        self.records.count > 2 * self.records.counted + 64
    }

    /// All the rooms of records that it is in.
    pub(super) fn set_records(&mut self, count: usize, bytes: usize) {
        self.records = Records { count, bytes, counted: count };
    }

    /// All that are counted.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.counted.iter().map(String::as_str)
    }
}

impl Records {
    fn memory(self) -> usize {
        self.bytes + self.count * BESIDE_NAME_OF_RECORD
    }
}

/// Bytes of the name of a room wherever it is kept.
fn cost(name: &str) -> usize {
    name.len() * COPIES
}
