//! The names of the primary keys of undeclared resources.
//!
//! The first record decides: if it has `_id` and no `id`, as documents of MongoDB do, `_id` is the
//! key from then on. The engine stores the name with the record and reports it when the server
//! starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use ahash::HashMap;
use serde_json::Value;

use crate::change::{Attributes, Id, Resource};

/// The key that a first record may have instead of `id`.
pub(super) const ALTERNATIVE: &str = "_id";

/// Whether the key is `_id`, by resource. A resource without an entry has never had a record.
#[derive(Debug, Default)]
pub(super) struct UndeclaredKeys(RwLock<HashMap<Resource, bool>>);

impl UndeclaredKeys {
    /// The keys that the engine reports.
    pub(super) fn new(keys: BTreeMap<Resource, String>) -> Self {
        let keys = keys.into_iter().map(|(resource, key)| (resource, key == ALTERNATIVE));
        Self(RwLock::new(keys.collect()))
    }

    /// The resources that have had a record.
    pub(super) fn resources(&self) -> BTreeSet<Resource> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Whether the key of a resource is `_id`.
    pub(super) fn is_alternative(&self, resource: &Resource) -> bool {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(resource).copied().unwrap_or_default()
    }

    /// Learns the key from the first record of a resource, before the engine commits it: so
    /// concurrent first records agree. If the commit fails, the choice holds until the server
    /// restarts. `false` means that the record has an invalid id; it is refused and decides
    /// nothing.
    pub(super) fn learn(&self, resource: &Resource, record: &Attributes) -> bool {
        let is_known = |keys: &HashMap<Resource, bool>| keys.contains_key(resource);
        if is_known(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return true;
        }
        let has_none = record.get("id").is_none_or(Value::is_null);
        let is_alternative = has_none && record.contains_key(ALTERNATIVE);
        let id = record.get(if is_alternative { ALTERNATIVE } else { "id" });
        let is_id = |id: &Value| Id::from_json(id).is_some_and(|id| id.is_exact());
        let is_valid = id.is_none_or(|id| id.is_null() || is_id(id));
        if is_valid {
            let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
            keys.entry(resource.clone()).or_insert(is_alternative);
        }
        is_valid
    }
}
