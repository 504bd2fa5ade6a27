//! What the page knows of each record, as the store of the shim does.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::criteria::Record;

/// A record as of the last change that the page knows of.
#[derive(Debug, Default)]
struct Known {
    offset: usize,
    /// Nothing if it was destroyed.
    record: Option<Record>,
}

/// All records, by id.
#[derive(Debug, Default)]
pub struct Records(BTreeMap<String, Known>);

impl Records {
    /// Remembers a record, unless something later is known of it, and returns what differs.
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

    /// Remembers that a record is gone; false if something later is known of it.
    pub fn destroy(&mut self, id: &str, offset: usize) -> bool {
        let known = self.0.entry(id.into()).or_default();
        let is_news = known.offset <= offset;
        if is_news {
            *known = Known { offset, record: None };
        }
        is_news
    }

    /// Whether a record is known to be gone at some later time.
    pub fn is_gone(&self, id: &str, offset: usize) -> bool {
        self.0.get(id).is_some_and(|known| known.offset > offset && known.record.is_none())
    }
}
