//! The records that requests are destroying, as the pushes for clients of Sails show them.

use std::collections::VecDeque;
use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Id, Resource};
use parking_lot::Mutex;
use serde::Serialize;

/// The maximum number of destroyed records that are kept for their pushes.
const MAX_DESTROYED: usize = 256;

/// The maximum size of such a record, in bytes of JSON.
const MAX_BYTES: usize = 64 << 10;

/// The destroyed records, populated. The oldest of many is dropped, and its push has the ids of the
/// associated records.
#[derive(Debug, Default)]
pub(crate) struct DestroyedRecords(Mutex<VecDeque<(Resource, Id, Arc<Attributes>)>>);

impl DestroyedRecords {
    /// Adds a record before it is destroyed.
    pub(crate) fn add(&self, resource: &Resource, id: &Id, record: &impl Serialize) {
        let json = serde_json::to_vec(record).unwrap_or_default();
        if json.len() > MAX_BYTES {
            return;
        }
        let Ok(record) = serde_json::from_slice(&json) else { return };
        let mut all = self.0.lock();
        if all.len() >= MAX_DESTROYED {
            all.pop_front();
        }
        all.push_back((resource.clone(), id.clone(), Arc::new(record)));
    }

    /// Takes the record of a destroy. Former requests to destroy it may have failed.
    pub(crate) fn take(&self, change: &Change) -> Option<Arc<Attributes>> {
        let mut all = self.0.lock();
        let mut taken = None;
        all.retain(|(resource, id, record)| {
            let is_it = *resource == change.resource && *id == change.id;
            if is_it {
                taken = Some(Arc::clone(record));
            }
            !is_it
        });
        taken
    }
}
