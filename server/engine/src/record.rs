//! A record in an answer of many.

use std::collections::BTreeSet;
use std::sync::Arc;

use backwire_records::change::{Attributes, Id};
use backwire_records::criteria::HasAttributes;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Error;
use super::partial_record::PartialRecord;

/// A record as the engine stores it. A record that is JSON is not parsed only to be written again:
/// in memory a parsed record has many times the size of its JSON.
#[derive(Debug, Clone)]
pub enum Record {
    /// Parsed attributes, which others share.
    Attributes(Arc<Attributes>),
    /// A JSON object.
    Json(Arc<RawValue>),
}

impl Record {
    /// Returns a record with this JSON, which has to be an object.
    pub(super) fn of_json(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str::<Box<RawValue>>(json).map(|json| Self::Json(json.into()))
    }

    /// Returns the value of an attribute; null if it is missing.
    pub fn get(&self, name: &str) -> Value {
        match self {
            Self::Attributes(attributes) => attributes.attribute(name).clone(),
            Self::Json(json) => {
                let partial = PartialRecord::read(json.get(), &BTreeSet::from([name]));
                partial.map_or(Value::Null, |partial| partial.attribute(name).clone())
            }
        }
    }

    /// Returns the id in an attribute.
    pub fn id(&self, name: &str) -> Option<Id> {
        Id::from_json(&self.get(name))
    }

    /// Returns the bytes of its JSON; 0 if others share the record.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Attributes(_) => 0,
            Self::Json(json) => json.get().len(),
        }
    }

    /// Returns all attributes.
    pub fn attributes(&self) -> Result<Arc<Attributes>, Error> {
        match self {
            Self::Attributes(attributes) => Ok(Arc::clone(attributes)),
            Self::Json(json) => {
                let attributes = serde_json::from_str(json.get());
                attributes.map(Arc::new).map_err(|error| Error::Unavailable(error.to_string()))
            }
        }
    }
}

impl From<Arc<Attributes>> for Record {
    fn from(attributes: Arc<Attributes>) -> Self {
        Self::Attributes(attributes)
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Attributes(attributes) => attributes.serialize(to),
            Self::Json(json) => json.serialize(to),
        }
    }
}
