//! The records that this node has written last, and the counters of ids after that. Other nodes may
//! have changed both: the commit script finds out.

use backwire_environment::HashMap;
use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Id, Resource};
use hashlink::LruCache;

use super::handshake::Epoch;

/// The maximum number of cached records.
const MAX_CACHED_RECORDS: usize = 4096;

/// The maximum bytes of the parsed values of a cached record.
const MAX_CACHED_BYTES: usize = 32 << 10;

/// A cached record.
#[derive(Debug, Clone)]
pub(super) struct CachedRecord {
    pub(super) offset: u64,
    pub(super) changed: u64,
    pub(super) record: Arc<Attributes>,
    /// The bytes of the parsed record.
    pub(super) bytes: usize,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    epoch: Option<Epoch>,
    records: LruCache<(Resource, Id), CachedRecord>,
    next: HashMap<Resource, i64>,
}

impl Cache {
    pub(super) fn new() -> Self {
        let records = LruCache::new(MAX_CACHED_RECORDS);
        Self { epoch: None, records, next: HashMap::default() }
    }

    /// Empties the cache if it is of another epoch.
    pub(super) fn begin(&mut self, epoch: Epoch) {
        if self.epoch != Some(epoch) {
            self.clear();
            self.epoch = Some(epoch);
        }
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.next.clear();
    }

    pub(super) fn record(&self, resource: &Resource, id: &Id) -> Option<&CachedRecord> {
        self.records.peek(&(resource.clone(), id.clone()))
    }

    /// Returns the id that a create without an id gets.
    pub(super) fn next(&self, resource: &Resource) -> Option<i64> {
        self.next.get(resource).copied()
    }

    pub(super) fn forget(&mut self, resource: &Resource, id: &Id) {
        self.records.remove(&(resource.clone(), id.clone()));
    }

    pub(super) fn forget_next(&mut self, resource: &Resource) {
        self.next.remove(resource);
    }

    /// Remembers the record of a committed change, and the counter of ids after it.
    pub(super) fn remember(&mut self, change: &Change, next: i64, bytes: usize) {
        let (place, offset) =
            ((change.resource.clone(), change.id.clone()), change.position.offset);
        self.next.insert(change.resource.clone(), next);
        match &change.after {
            Some(record) if !change.published && bytes <= MAX_CACHED_BYTES => {
                let record = Arc::clone(record);
                let cached = CachedRecord { offset, changed: offset, record, bytes };
                self.records.insert(place, cached);
            }
            _ => drop(self.records.remove(&place)),
        }
    }
}
