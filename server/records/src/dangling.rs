//! References to records that were destroyed.

use std::sync::Arc;

use serde_json::Value;

use crate::change::{Attributes, Resource};

/// Where records of a resource hold the id of another record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Whose records they are.
    pub resource: Resource,
    /// The attribute with the id.
    pub attribute: String,
    /// Whether they exist only to hold it: they are destroyed instead of changed.
    pub is_pair: bool,
}

/// The dangling references of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Dangling {
    /// Nothing.
    #[default]
    Nothing,
    /// These attributes.
    Attributes(Vec<String>),
    /// The record is a pair and has no meaning any more.
    Pair,
}

impl Dangling {
    /// Adds to what an update sets that these attributes are null, unless it sets them.
    pub fn remove_unset(&self, set: &mut Attributes) {
        if let Self::Attributes(names) = self {
            for name in names {
                set.entry(name.as_str()).or_insert(Value::Null);
            }
        }
    }

    /// The record without its dangling references.
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
