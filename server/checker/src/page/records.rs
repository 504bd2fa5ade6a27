//! The records that a page knows, each in its newest state.

use std::collections::BTreeMap;

use backwire_records::change::Id;
use serde_json::Value;

use crate::view::{Kind, Record};

/// A record in the last state that the page knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The offset up to which the page knows the changes of the record.
    pub(super) offset: u64,
    /// `None` if the record does not exist.
    pub(super) record: Option<Record>,
}

/// The known records, by resource and id.
#[derive(Debug, Default)]
pub(super) struct Records {
    all: BTreeMap<(Kind, Id), Known>,
    /// The epoch of the last answer to a read of each resource.
    epochs: BTreeMap<Kind, u64>,
    /// The offset of the last read of all records of each resource. Unknown records did not exist
    /// there.
    read: BTreeMap<Kind, u64>,
}

impl Records {
    /// Begins the epoch of an answer to a read at an offset. Its log may lack changes that the page
    /// knows. Then its offsets cannot be compared with theirs.
    pub(super) fn enter(&mut self, of: Kind, epoch: u64, offset: u64) {
        if self.epochs.insert(of, epoch) != Some(epoch) {
            let known = self.all.iter_mut().filter(|((kind, _), _)| *kind == of);
            let lost = known.filter(|(_, known)| known.offset > offset);
            lost.for_each(|(_, known)| known.offset = 0);
            self.read.remove(&of);
        }
    }

    /// Records that all records of a resource were read at an offset.
    pub(super) fn was_read(&mut self, kind: Kind, offset: u64) {
        self.read.insert(kind, offset);
    }

    /// Returns the epoch of the last answer to a read of a resource.
    pub(super) fn epoch(&self, of: Kind) -> Option<u64> {
        self.epochs.get(&of).copied()
    }

    /// Returns the offset up to which the page knows the changes of a record.
    fn known_until(&self, kind: Kind, id: &Id) -> u64 {
        let read = self.read.get(&kind).copied().unwrap_or_default();
        self.get(kind, id).map_or(read, |known| known.offset)
    }

    pub(super) fn get(&self, kind: Kind, id: &Id) -> Option<&Known> {
        self.all.get(&(kind, id.clone()))
    }

    /// Returns the ids of the existing records of a resource.
    pub(super) fn ids(&self, of: Kind) -> Vec<Id> {
        let existing = self.all.iter().filter(|(_, known)| known.record.is_some());
        existing.filter(|((kind, _), _)| *kind == of).map(|((_, id), _)| id.clone()).collect()
    }

    /// Stores attributes, unless a later state is known. Returns the names of the attributes that
    /// differ.
    pub(super) fn set(&mut self, kind: Kind, id: &Id, offset: u64, set: &Record) -> Vec<String> {
        if self.known_until(kind, id) > offset {
            return Vec::new();
        }
        let known = self.all.entry((kind, id.clone())).or_default();
        let record = known.record.get_or_insert_default();
        let differs = |(name, value): &(&String, &Value)| record.get(*name) != Some(value);
        let changed = set.iter().filter(differs).map(|(name, _)| name.clone()).collect();
        record.extend(set.clone());
        known.offset = offset;
        changed
    }

    /// Records that a record does not exist. Returns `false` if a later state is known.
    pub(super) fn destroy(&mut self, kind: Kind, id: &Id, offset: u64) -> bool {
        let is_news = self.known_until(kind, id) <= offset;
        if is_news {
            self.all.insert((kind, id.clone()), Known { offset, record: None });
        }
        is_news
    }

    /// Whether the record is known not to exist after this offset.
    pub(super) fn is_gone(&self, kind: Kind, id: &Id, offset: u64) -> bool {
        let exists = self.get(kind, id).is_some_and(|known| known.record.is_some());
        !exists && self.known_until(kind, id) > offset
    }
}
