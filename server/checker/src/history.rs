//! The truth that everything is compared with: the changes that the engine has committed, in order,
//! and what clients have been answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backwire_protocol::mark;
use backwire_records::change::{Change, Id};
use parking_lot::Mutex;
use serde_json::Value;

use crate::view::{Kind, Person, Record, View};

/// The log of each resource, and what has been acknowledged.
#[derive(Debug, Default)]
pub struct History(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<Kind, Vec<Arc<Change>>>,
    /// The changes of all resources, in order.
    all: Vec<Arc<Change>>,
    /// Each write sets another stamp.
    stamps: BTreeSet<u64>,
    /// The newest offset of each resource that any client has been answered with.
    answered: BTreeMap<Kind, u64>,
    violations: Vec<String>,
}

impl History {
    /// Adds a change that the engine has committed.
    pub fn committed(&self, change: &Arc<Change>) {
        let Some(kind) = Kind::parse(change.resource.as_str()) else { return };
        let mut state = self.0.lock();
        let log = state.logs.entry(kind).or_default();
        let expected = log.len() as u64 + 1;
        log.push(Arc::clone(change));
        state.all.push(Arc::clone(change));
        let stamp = change.set.get("stamp").and_then(Value::as_u64);
        if let Some(stamp) = stamp.filter(|stamp| !state.stamps.insert(*stamp)) {
            state.violations.push(format!("the write with the stamp {stamp} was done twice"));
        }
        let offset = change.position.offset;
        if offset != expected {
            state.violations.push(format!(
                "{} has a change at offset {offset} after {}",
                kind.name(),
                expected - 1
            ));
        }
    }

    /// Records that a promise was broken.
    pub fn violated(&self, message: String) {
        self.0.lock().violations.push(message);
    }

    /// Returns the first promise that was broken.
    pub fn violation(&self) -> Option<String> {
        self.0.lock().violations.first().cloned()
    }

    /// Returns the newest offset that any client has been answered with so far. What begins now
    /// must not see an older state.
    pub fn answered(&self, kind: Kind) -> u64 {
        self.0.lock().answered.get(&kind).copied().unwrap_or(0)
    }

    /// Records that a client has been answered with this offset.
    pub fn answer(&self, kind: Kind, offset: u64) {
        let mut state = self.0.lock();
        let answered = state.answered.entry(kind).or_default();
        *answered = offset.max(*answered);
    }

    /// Returns the offset of the last change.
    pub fn head(&self, kind: Kind) -> u64 {
        self.0.lock().logs.get(&kind).map_or(0, |log| log.len() as u64)
    }

    /// Returns all changes in the order in which they were committed.
    pub fn changes(&self) -> Vec<Arc<Change>> {
        self.0.lock().all.clone()
    }

    /// Returns how many changes have the mark of this key.
    pub fn commits(&self, key: &str) -> usize {
        let (state, mark) = (self.0.lock(), mark(key));
        state.logs.values().flatten().filter(|change| change.mark == mark).count()
    }

    /// Returns the records of a resource at an offset.
    pub fn records_at(&self, kind: Kind, offset: u64) -> BTreeMap<Id, Record> {
        let state = self.0.lock();
        let mut records = BTreeMap::new();
        for change in state.logs.get(&kind).into_iter().flatten().take(offset as usize) {
            let is_record = !change.published;
            match change.after.as_deref().filter(|_| is_record) {
                Some(after) => records.insert(change.id.clone(), after.clone()),
                None if is_record => records.remove(&change.id),
                None => None,
            };
        }
        records
    }

    /// Returns a record at an offset.
    pub fn record_at(&self, kind: Kind, id: &Id, offset: u64) -> Option<Arc<Record>> {
        let state = self.0.lock();
        let log = state.logs.get(&kind)?;
        let until = log.iter().take(offset as usize).rev();
        let of_record = |change: &&Arc<Change>| change.id == *id && !change.published;
        until.clone().find(of_record)?.after.clone()
    }

    /// Returns what a read at an offset must return.
    pub fn read(&self, view: &View, person: &Person, offset: u64) -> Vec<(Id, Record)> {
        let records = self.records_at(view.kind, offset);
        let ids = view.evaluate(records.iter(), person);
        ids.into_iter().map(|id| (id.clone(), records[&id].clone())).collect()
    }
}
