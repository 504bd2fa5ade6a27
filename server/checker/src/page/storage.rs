//! The data of a page that a browser keeps: the writes that are not answered.

use std::collections::BTreeMap;

use backwire_protocol::Verb;
use backwire_records::change::Id;
use serde_json::Value;

use crate::log_position::LogPosition;
use crate::view::Kind;

/// The data of a page that a browser keeps.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    pub person: String,
    /// The unanswered writes, in the order in which the page made them.
    pub(super) writes: BTreeMap<u64, KeptWrite>,
}

#[derive(Debug, Clone)]
pub(super) struct KeptWrite {
    pub(super) verb: Verb,
    pub(super) kind: Kind,
    pub(super) id: Option<Id>,
    pub(super) body: Value,
    pub(super) key: String,
    pub(super) not_before: LogPosition,
}

/// A kind of write, and the attributes that it sets.
#[derive(Debug, Clone)]
pub enum WriteKind {
    Create { done: bool, rank: u8 },
    Update { done: Option<bool>, rank: Option<u8>, is_patch: bool },
    Destroy,
}

/// Which record a request concerns.
#[derive(Debug, Clone, Copy)]
pub enum Pick {
    /// One that the page knows.
    Known(usize),
    /// Any one, which the page may not know of.
    Guessed(usize),
}

impl Storage {
    pub fn of(person: &str) -> Self {
        Self { person: person.to_owned(), ..Self::default() }
    }

    pub(super) fn get(&self, number: u64) -> &KeptWrite {
        &self.writes[&number]
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<KeptWrite> {
        self.writes.remove(&number)
    }

    /// Forgets all writes, because another person has signed in. Returns their keys.
    pub fn clear(&mut self) -> Vec<String> {
        std::mem::take(&mut self.writes).into_values().map(|write| write.key).collect()
    }
}
