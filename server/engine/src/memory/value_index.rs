//! An index of the values of unique attributes, so that the check for a duplicate does not scan all
//! records.

use std::collections::BTreeSet;

use backwire_environment::HashMap;
use backwire_records::change::{Attributes, Id};
use serde_json::Value;

/// The ids of the records with a value, for the attributes that have been checked once.
#[derive(Debug, Default, Clone)]
pub(super) struct ValueIndex(HashMap<String, HashMap<EqualityKey, BTreeSet<Id>>>);

/// A key that equal values share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum EqualityKey {
    Bool(bool),
    Number(u64),
    Text(String),
    /// Lists and objects. All of them share this key, because there are few.
    Composed,
}

impl EqualityKey {
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(bool) => Self::Bool(*bool),
            // In JavaScript, -0 equals 0.
            Value::Number(number) => Self::Number((number.as_f64()? + 0.0).to_bits()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(_) | Value::Object(_) => Self::Composed,
        })
    }
}

impl ValueIndex {
    /// Adds an attribute to the index, unless it is indexed.
    pub(super) fn add_attribute<'r>(
        &mut self,
        name: &str,
        records: impl Iterator<Item = (&'r Id, &'r Attributes)>,
    ) {
        if self.0.contains_key(name) {
            return;
        }
        let mut holders: HashMap<EqualityKey, BTreeSet<Id>> = HashMap::default();
        for (id, record) in records {
            if let Some(key) = record.get(name).and_then(EqualityKey::of) {
                holders.entry(key).or_default().insert(id.clone());
            }
        }
        self.0.insert(name.to_owned(), holders);
    }

    /// Returns the records that may have a value in an indexed attribute.
    pub(super) fn holders(&self, name: &str, value: &Value) -> impl Iterator<Item = &Id> {
        let holders = EqualityKey::of(value).and_then(|key| self.0.get(name)?.get(&key));
        holders.into_iter().flatten()
    }

    /// Updates the index after a change of a record.
    pub(super) fn update(
        &mut self,
        id: &Id,
        before: Option<&Attributes>,
        after: Option<&Attributes>,
    ) {
        for (name, holders) in &mut self.0 {
            let key = |record: Option<&Attributes>| record?.get(name).and_then(EqualityKey::of);
            let (before, after) = (key(before), key(after));
            if before == after {
                continue;
            }
            if let Some(key) = before
                && let Some(ids) = holders.get_mut(&key)
            {
                ids.remove(id);
                if ids.is_empty() {
                    holders.remove(&key);
                }
            }
            if let Some(key) = after {
                holders.entry(key).or_default().insert(id.clone());
            }
        }
    }
}
