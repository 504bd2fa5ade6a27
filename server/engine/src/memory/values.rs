//! Which records have which value of an attribute, so that a claim need not ask each of them.

use std::collections::{BTreeSet, HashMap};

use backwire_records::change::{Attributes, Id};
use serde_json::Value;

/// Of the attributes that somebody has asked about.
#[derive(Debug, Default)]
pub(super) struct Values(HashMap<String, HashMap<Kin, BTreeSet<Id>>>);

/// What all values have in common that are the same.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Kin {
    Bool(bool),
    Number(u64),
    Text(String),
    /// Lists and objects; there are few, and each is looked at.
    Composed,
}

impl Kin {
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(bool) => Self::Bool(*bool),
            // To JavaScript -0 is 0.
            Value::Number(number) => Self::Number((number.as_f64()? + 0.0).to_bits()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(_) | Value::Object(_) => Self::Composed,
        })
    }
}

impl Values {
    /// Knows of an attribute from now on.
    pub(super) fn learn<'r>(
        &mut self,
        name: &str,
        records: impl Iterator<Item = (&'r Id, &'r Attributes)>,
    ) {
        if self.0.contains_key(name) {
            return;
        }
        let mut holders: HashMap<Kin, BTreeSet<Id>> = HashMap::new();
        for (id, record) in records {
            if let Some(kin) = record.get(name).and_then(Kin::of) {
                holders.entry(kin).or_default().insert(id.clone());
            }
        }
        self.0.insert(name.to_owned(), holders);
    }

    /// The records that may have a value, of an attribute that is known.
    pub(super) fn holders(&self, name: &str, value: &Value) -> impl Iterator<Item = &Id> {
        let holders = Kin::of(value).and_then(|kin| self.0.get(name)?.get(&kin));
        holders.into_iter().flatten()
    }

    /// Takes note of what has become of a record.
    pub(super) fn note(
        &mut self,
        id: &Id,
        before: Option<&Attributes>,
        after: Option<&Attributes>,
    ) {
        for (name, holders) in &mut self.0 {
            let kin = |record: Option<&Attributes>| record?.get(name).and_then(Kin::of);
            let (before, after) = (kin(before), kin(after));
            if before == after {
                continue;
            }
            if let Some(kin) = before
                && let Some(ids) = holders.get_mut(&kin)
            {
                ids.remove(id);
                if ids.is_empty() {
                    holders.remove(&kin);
                }
            }
            if let Some(kin) = after {
                holders.entry(kin).or_default().insert(id.clone());
            }
        }
    }
}
