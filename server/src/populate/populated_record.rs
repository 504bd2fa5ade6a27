//! A record with its associated records.

use backwire_engine::Record;
use backwire_records::change::Id;
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};

/// A record, and the records that take the place of some attributes. They are combined only when
/// they are serialized.
#[derive(Debug)]
pub(crate) struct PopulatedRecord {
    record: Record,
    associations: Vec<(String, Content)>,
}

/// The associated records of one association. Other records may have the same.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Content {
    One(Option<Record>),
    Many(Vec<Record>),
}

impl PopulatedRecord {
    pub(super) fn new(record: Record) -> Self {
        Self { record, associations: Vec::new() }
    }

    /// Returns the id in an attribute.
    pub(super) fn id(&self, name: &str) -> Option<Id> {
        self.record.id(name)
    }

    /// Adds an association.
    pub(super) fn add(&mut self, name: &str, content: Content) {
        self.associations.push((name.to_owned(), content));
    }

    /// Returns the number of its associated records, and one for itself.
    pub(super) fn count(&self) -> usize {
        let count = |(_, content): &(_, Content)| match content {
            Content::One(other) => usize::from(other.is_some()),
            Content::Many(others) => others.len(),
        };
        1 + self.associations.iter().map(count).sum::<usize>()
    }

    fn content(&self, name: &str) -> Option<&Content> {
        self.associations
            .iter()
            .find(|(association, _)| association == name)
            .map(|(_, content)| content)
    }
}

/// Associated records take the place of their attribute, or come at the end if the record has no
/// such attribute.
impl Serialize for PopulatedRecord {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.associations.is_empty() {
            return self.record.serialize(to);
        }
        let attributes = self.record.attributes().map_err(S::Error::custom)?;
        let mut map = to.serialize_map(None)?;
        for (name, value) in &*attributes {
            match self.content(name) {
                Some(content) => map.serialize_entry(name, content)?,
                None => map.serialize_entry(name, value)?,
            }
        }
        let others = self.associations.iter().filter(|(name, _)| !attributes.contains_key(name));
        for (name, content) in others {
            map.serialize_entry(name, content)?;
        }
        map.end()
    }
}
