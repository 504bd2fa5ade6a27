//! References to records that were destroyed.

use std::sync::Arc;

use serde_json::Value;

use crate::change::{Attributes, Resource};

/// An attribute in which the records of a resource hold the id of another record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The resource of the records that hold the id.
    pub resource: Resource,
    /// The attribute with the id.
    pub attribute: String,
    /// Whether the records are pairs, which exist only to hold ids. Pairs are destroyed instead of
    /// changed.
    pub is_pair: bool,
}

/// The dangling references of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Dangling {
    /// No reference dangles.
    #[default]
    Nothing,
    /// The references in these attributes dangle.
    Attributes(Vec<String>),
    /// The record is a pair of a destroyed record, so it counts as destroyed.
    Pair,
}

impl Dangling {
    /// Sets the dangling attributes to null in an update, unless the update sets them.
    pub fn remove_unset(&self, set: &mut Attributes) {
        if let Self::Attributes(names) = self {
            for name in names {
                set.entry(name.as_str()).or_insert(Value::Null);
            }
        }
    }

    /// Returns the record without its dangling references; `None` for a dangling pair.
    pub fn resolve(&self, record: Arc<Attributes>) -> Option<Arc<Attributes>> {
        match self {
            Self::Nothing => Some(record),
            Self::Pair => None,
            Self::Attributes(names) => {
                let mut record = Attributes::clone(&record);
                record.extend(names.iter().map(|name| (name.clone(), Value::Null)));
                Some(Arc::new(record))
            }
        }
    }
}
