//! Which attribute holds the ids of a resource that nobody declared.
//!
//! The first record decides: if it has `_id` and no `id`, as documents of MongoDB do, `_id` is the key from
//! then on. The engine stores the name with the record, so this is what the engine said when the server
//! started, and what first records have said since.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use serde_json::Value;

use crate::change::{Attributes, Id, Resource};

/// The key that a first record may bring instead of `id`.
pub(super) const ALTERNATIVE: &str = "_id";

/// Whether the key is `_id`, by resource. One that is not here has never had a record.
#[derive(Debug, Default)]
pub(super) struct UndeclaredKeys(RwLock<HashMap<Resource, bool>>);

impl UndeclaredKeys {
    /// What the engine knows.
    pub(super) fn new(keys: HashMap<Resource, String>) -> Self {
        let keys = keys.into_iter().map(|(resource, key)| (resource, key == ALTERNATIVE));
        Self(RwLock::new(keys.collect()))
    }

    /// Whether the key of a resource is `_id`.
    pub(super) fn is_alternative(&self, resource: &Resource) -> bool {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(resource).copied().unwrap_or_default()
    }

    /// Learns the key from a record that is about to be created, if it is the first. It counts before it is
    /// committed, so that two records that come at once agree; should the store fail now, the choice holds
    /// until the next start. A record that is going to be refused decides nothing; `false` if it is this that
    /// is wrong with it.
    pub(super) fn learn(&self, resource: &Resource, record: &Attributes) -> bool {
        let is_known = |keys: &HashMap<Resource, bool>| keys.contains_key(resource);
        if is_known(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return true;
        }
        let has_none = record.get("id").is_none_or(Value::is_null);
        let is_alternative = has_none && record.contains_key(ALTERNATIVE);
        let id = record.get(if is_alternative { ALTERNATIVE } else { "id" });
        let is_valid = id.is_none_or(|id| id.is_null() || Id::from_json(id).is_some());
        if is_valid {
            let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
            keys.entry(resource.clone()).or_insert(is_alternative);
        }
        is_valid
    }
}
