//! The writes of a page. They are kept until they are answered, also when the page is reloaded.

use std::collections::BTreeMap;

use backwire_protocol::{Request, RequestKind, Verb};
use backwire_records::change::Id;
use serde_json::{Value, json};

use super::{Page, Purpose};
use crate::json::Json;
use crate::view::{Kind, Record};
use crate::world::World;

/// What a browser keeps of a page.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    pub person: String,
    /// The unanswered writes, in the order in which the page made them.
    writes: BTreeMap<u64, KeptWrite>,
}

#[derive(Debug, Clone)]
pub(super) struct KeptWrite {
    pub(super) verb: Verb,
    pub(super) kind: Kind,
    pub(super) id: Option<Id>,
    body: Value,
    pub(super) key: String,
    not_before: u64,
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

impl<W: World> Page<W> {
    /// Makes a write. `pick` decides which of the known records it concerns.
    pub fn write(&mut self, kind: Kind, write: &WriteKind, pick: Pick) {
        let number = self.network.writes.next();
        let mut body = Record::new();
        // Each write makes a version of its record that no other write makes.
        body.insert("stamp".into(), json!(number));
        let (verb, is_of_record) = match write {
            WriteKind::Create { done, rank } => {
                body.insert("done".into(), json!(done));
                body.insert("rank".into(), json!(rank));
                (Verb::Post, false)
            }
            WriteKind::Update { done, rank, is_patch } => {
                done.map(|done| body.insert("done".into(), json!(done)));
                rank.map(|rank| body.insert("rank".into(), json!(rank)));
                (if *is_patch { Verb::Patch } else { Verb::Put }, true)
            }
            WriteKind::Destroy => (Verb::Delete, true),
        };
        let id = is_of_record.then(|| self.pick(kind, pick));
        let Some(id) = id.map_or(Some(None), |id| id.map(Some)) else { return };
        let key = format!("{}-{number}", self.name);
        self.network.writes.made(&self.tab, &self.person, number, &key);
        self.network.written(number);
        let not_before = self.history.answered(kind);
        let body = Value::Object(body);
        self.storage.writes.insert(number, KeptWrite { verb, kind, id, body, key, not_before });
        self.send_write(number, RequestKind::New);
    }

    /// Sends the writes that former pages have left.
    pub(super) fn restore_writes(&mut self) {
        let numbers: Vec<u64> = self.storage.writes.keys().copied().collect();
        for number in numbers {
            self.send_write(number, RequestKind::Restored);
        }
    }

    /// Checks that a change is not one that the page has made and waits for the answer of: the page
    /// would have a new record twice.
    pub(super) fn check_echo(&self, mark: Option<u64>) {
        let waits = self.requests.values().filter_map(|pending| match pending.purpose {
            Purpose::Write(number) => Some(&self.storage.get(number).key),
            _ => None,
        });
        let echo = waits.into_iter().find(|key| Some(backwire_protocol::mark(key)) == mark);
        if let Some(key) = echo {
            self.history.violated(format!("{key} was pushed to its page before its answer"));
        }
    }

    fn send_write(&mut self, number: u64, kind: RequestKind) {
        let write = self.storage.get(number);
        let name = write.kind.name();
        let url =
            write.id.as_ref().map_or_else(|| format!("/{name}"), |id| format!("/{name}/{id}"));
        let body = (write.verb != Verb::Delete).then(|| Json::from(write.body.clone()));
        let key = Some(write.key.clone());
        let not_before = write.not_before;
        let request = Request { body, key, kind, ..Request::new(write.verb, url) };
        self.send_not_before(request, Purpose::Write(number), not_before);
    }
}
