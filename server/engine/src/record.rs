//! A record among many.

use std::collections::BTreeSet;
use std::sync::Arc;

use backwire_records::change::{Attributes, Id};
use backwire_records::criteria::Look;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Error;
use super::sketch::Sketch;

/// A record as an engine has it. An answer of many records is not parsed to be written again: in memory
/// a record has many times the size of its JSON.
#[derive(Debug, Clone)]
pub enum Record {
    /// Its attributes, which others share.
    Attributes(Arc<Attributes>),
    /// Its JSON, which is an object.
    Json(Arc<RawValue>),
}

impl Record {
    /// From the JSON of an object.
    pub(super) fn of_json(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str::<Box<RawValue>>(json).map(|json| Self::Json(json.into()))
    }

    /// An attribute, or null.
    pub fn get(&self, name: &str) -> Value {
        match self {
            Self::Attributes(attributes) => attributes.look(name).clone(),
            Self::Json(json) => {
                let sketch = Sketch::read(json.get(), &BTreeSet::from([name]));
                sketch.map_or(Value::Null, |sketch| sketch.look(name).clone())
            }
        }
    }

    /// The id in an attribute.
    pub fn id(&self, name: &str) -> Option<Id> {
        Id::from_json(&self.get(name))
    }

    /// The bytes of its JSON that no other record shares.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Attributes(_) => 0,
            Self::Json(json) => json.get().len(),
        }
    }

    /// All attributes.
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
