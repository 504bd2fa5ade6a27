//! A record with those it is associated with.

use backwire_engine::Record;
use backwire_records::change::Id;
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};

/// A record, and in place of some attributes the records that they stand for. They are put together only
/// when they are written.
#[derive(Debug)]
pub(crate) struct Filled {
    record: Record,
    with: Vec<(String, Content)>,
}

/// What an association comes to. Others may have the same records.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Content {
    One(Option<Record>),
    Many(Vec<Record>),
}

impl Filled {
    pub(super) fn new(record: Record) -> Self {
        Self { record, with: Vec::new() }
    }

    /// The id in an attribute.
    pub(super) fn id(&self, name: &str) -> Option<Id> {
        self.record.id(name)
    }

    /// Fills in an association.
    pub(super) fn add(&mut self, name: &str, content: Content) {
        self.with.push((name.to_owned(), content));
    }

    /// The records it has with it, and itself.
    pub(super) fn count(&self) -> usize {
        let count = |(_, content): &(_, Content)| match content {
            Content::One(other) => usize::from(other.is_some()),
            Content::Many(others) => others.len(),
        };
        1 + self.with.iter().map(count).sum::<usize>()
    }

    fn content(&self, name: &str) -> Option<&Content> {
        self.with.iter().find(|(with, _)| with == name).map(|(_, content)| content)
    }
}

/// What is filled in stands in the place of its attribute, or at the end if the record has none.
impl Serialize for Filled {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.with.is_empty() {
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
        let others = self.with.iter().filter(|(name, _)| !attributes.contains_key(name));
        for (name, content) in others {
            map.serialize_entry(name, content)?;
        }
        map.end()
    }
}
