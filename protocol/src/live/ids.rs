//! Ids of records, and sets of them.
//!
//! A result may have many thousands of ids, and one id is in many results. So an id is text that is
//! shared, with a hash that makes comparing cheap.

use core::fmt;
use std::rc::Rc;

/// The id of a record as text: `7` and `"7"` are the same.
#[derive(Clone)]
pub struct Id {
    hash: u32,
    text: Rc<str>,
}

impl Id {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Id {
    /// Hashes with FNV-1a.
    fn from(text: &str) -> Self {
        const OFFSET_BASIS: u32 = 0x811c_9dc5;
        const PRIME: u32 = 0x0100_0193;
        let add = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME);
        Self { hash: text.bytes().fold(OFFSET_BASIS, add), text: text.into() }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for Id {}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A set of ids that others own: open addressing, at most half full.
struct IdSet<'a> {
    slots: Vec<Option<&'a Id>>,
}

impl<'a> IdSet<'a> {
    /// An empty set that has space for so many ids.
    fn with_capacity(capacity: usize) -> Self {
        Self { slots: vec![None; (capacity * 2 + 1).next_power_of_two()] }
    }

    fn of(ids: &'a [Id]) -> Self {
        let mut set = Self::with_capacity(ids.len());
        for id in ids {
            set.insert(id);
        }
        set
    }

    fn contains(&self, id: &Id) -> bool {
        self.slots[self.slot(id)].is_some()
    }

    /// Adds an id; false if it is there already.
    fn insert(&mut self, id: &'a Id) -> bool {
        let slot = self.slot(id);
        self.slots[slot].replace(id).is_none()
    }

    /// Where an id is, or would be.
    fn slot(&self, id: &Id) -> usize {
        let mut slot = id.hash as usize;
        loop {
            slot &= self.slots.len() - 1;
            match self.slots[slot] {
                Some(other) if other != id => slot += 1,
                _ => return slot,
            }
        }
    }
}

/// Keeps the first of each.
pub(super) fn deduplicate(ids: &mut Vec<Id>) {
    *ids = union(&[ids]);
}

/// The ids of several lists in their order, each once.
pub(super) fn union(lists: &[&[Id]]) -> Vec<Id> {
    let capacity = lists.iter().map(|list| list.len()).sum();
    let mut seen = IdSet::with_capacity(capacity);
    let mut union = Vec::with_capacity(capacity);
    for id in lists.iter().copied().flatten() {
        if seen.insert(id) {
            union.push(id.clone());
        }
    }
    union
}

/// The ids of one list that are not in another.
pub(super) fn difference(ids: &[Id], others: &[Id]) -> Vec<Id> {
    let others = IdSet::of(others);
    ids.iter().filter(|id| !others.contains(id)).cloned().collect()
}

/// Keeps the ids that are in another list.
pub(super) fn retain(ids: &mut Vec<Id>, others: &[Id]) {
    let others = IdSet::of(others);
    ids.retain(|id| others.contains(id));
}

/// Removes an id; false if it is not there.
pub(super) fn remove(ids: &mut Vec<Id>, id: &Id) -> bool {
    let at = ids.iter().position(|other| other == id);
    at.map(|at| ids.remove(at)).is_some()
}
