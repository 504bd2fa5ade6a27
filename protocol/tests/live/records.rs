//! The page's copy of each record, like the store of the shim.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::criteria::Record;

/// A record in the last state that the page knows.
#[derive(Debug, Default)]
struct Known {
    offset: usize,
    /// `None` if the record was destroyed.
    record: Option<Record>,
}

/// All records, by id.
#[derive(Debug, Default)]
pub struct Records(BTreeMap<String, Known>);

impl Records {
    /// Stores attributes, unless a later state is known. Returns the names of changed attributes.
    pub fn set(&mut self, id: &str, offset: usize, set: &Record) -> Vec<String> {
        let known = self.0.entry(id.into()).or_default();
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

    /// Marks a record as destroyed. Returns false if a later state is known.
    pub fn destroy(&mut self, id: &str, offset: usize) -> bool {
        let known = self.0.entry(id.into()).or_default();
        let is_news = known.offset <= offset;
        if is_news {
            *known = Known { offset, record: None };
        }
        is_news
    }

    /// Returns whether the record is known to be destroyed after this offset.
    pub fn is_gone(&self, id: &str, offset: usize) -> bool {
        self.0.get(id).is_some_and(|known| known.offset > offset && known.record.is_none())
    }
}
