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
}

impl Records {
    /// Begins the epoch of an answer to a read at an offset. Its log may lack changes that the page
    /// knows. Then its offsets cannot be compared with theirs.
    pub(super) fn enter(&mut self, of: Kind, epoch: u64, offset: u64) {
        if self.epochs.insert(of, epoch) != Some(epoch) {
            let known = self.all.iter_mut().filter(|((kind, _), _)| *kind == of);
            let lost = known.filter(|(_, known)| known.offset > offset);
            lost.for_each(|(_, known)| known.offset = 0);
        }
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
        let known = self.all.entry((kind, id.clone())).or_default();
        if known.offset > offset {
            return Vec::new();
        }
        let record = known.record.get_or_insert_default();
        let differs = |(name, value): &(&String, &Value)| record.get(*name) != Some(value);
        let changed = set.iter().filter(differs).map(|(name, _)| name.clone()).collect();
        record.extend(set.clone());
        known.offset = offset;
        changed
    }

    /// Records that a record does not exist. Returns `false` if a later state is known.
    pub(super) fn destroy(&mut self, kind: Kind, id: &Id, offset: u64) -> bool {
        let known = self.all.entry((kind, id.clone())).or_default();
        let is_news = known.offset <= offset;
        if is_news {
            *known = Known { offset, record: None };
        }
        is_news
    }

    /// Whether the record is known to be destroyed after this offset.
    pub(super) fn is_gone(&self, kind: Kind, id: &Id, offset: u64) -> bool {
        let known = self.get(kind, id);
        known.is_some_and(|known| known.offset > offset && known.record.is_none())
    }
}
