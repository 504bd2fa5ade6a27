//! The truth that everything is compared with: the changes that the engine has committed, in order,
//! and what clients have been answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backwire_protocol::mark;
use backwire_records::change::{Change, Id};
use parking_lot::Mutex;
use serde_json::Value;

use crate::observations::{Observations, Seen, Truth};
use crate::view::{Kind, Names, Person, Record, View};

/// The log of each resource, and what has been acknowledged.
#[derive(Debug, Default)]
pub struct History {
    names: Names,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<Kind, Log>,
    /// The observations of clients, while the logs are not known.
    observations: Option<Observations>,
    /// The changes of all resources, in order.
    all: Vec<Arc<Change>>,
    /// Each write sets another stamp.
    stamps: BTreeSet<u64>,
    /// The newest offset of each resource that any client has been answered with.
    answered: BTreeMap<Kind, u64>,
    violations: Vec<Violation>,
}

/// The log of a resource.
#[derive(Debug, Default)]
struct Log {
    /// The offset before its first change.
    base: u64,
    changes: Vec<Arc<Change>>,
    /// The records at some offset, from which those at a later one are made.
    snapshot: Snapshot,
}

#[derive(Debug, Default)]
struct Snapshot {
    changes: usize,
    records: BTreeMap<Id, Record>,
}

/// A violation of a guarantee, and the record that it is about.
#[derive(Debug, Clone)]
pub struct Violation {
    pub message: String,
    pub record: Option<(Kind, Id)>,
}

impl Log {
    fn head(&self) -> u64 {
        self.base + self.changes.len() as u64
    }

    /// Returns the changes up to an offset.
    fn until(&self, offset: u64) -> &[Arc<Change>] {
        let count = usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        &self.changes[..count.min(self.changes.len())]
    }

    /// Returns the records at an offset.
    fn at(&mut self, offset: u64) -> &BTreeMap<Id, Record> {
        let count = self.until(offset).len();
        if self.snapshot.changes > count {
            self.snapshot = Snapshot::default();
        }
        let records = &mut self.snapshot.records;
        for change in &self.changes[self.snapshot.changes..count] {
            match &change.after {
                _ if change.published => None,
                Some(after) => records.insert(change.id.clone(), Record::clone(after)),
                None => records.remove(&change.id),
            };
        }
        self.snapshot.changes = count;
        records
    }
}

impl History {
    /// Creates a history whose logs become known at the end of the run, by
    /// [`complete`](Self::complete). Until then it keeps what clients have seen.
    pub fn without_logs(names: Names) -> Self {
        let state = State { observations: Some(Observations::default()), ..State::default() };
        Self { names, state: Mutex::new(state) }
    }

    /// Returns the names of the resources.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Sets the offset at which the log of a resource begins.
    pub fn begin(&self, kind: Kind, base: u64) {
        self.state.lock().logs.entry(kind).or_default().base = base;
    }

    /// Checks everything that clients have seen against the logs. Returns how much that was.
    pub fn complete(&self) -> Option<Observations> {
        let observations = self.state.lock().observations.take()?;
        observations.check(self);
        Some(observations)
    }

    /// Adds a change that the engine has committed.
    pub fn committed(&self, change: &Arc<Change>) {
        let Some(kind) = self.names.parse(change.resource.as_str()) else { return };
        let mut state = self.state.lock();
        let log = state.logs.entry(kind).or_default();
        let expected = log.head() + 1;
        log.changes.push(Arc::clone(change));
        state.all.push(Arc::clone(change));
        let stamp = change.set.get("stamp").and_then(Value::as_u64);
        if let Some(stamp) = stamp.filter(|stamp| !state.stamps.insert(*stamp)) {
            let message = format!("the write with the stamp {stamp} was done twice");
            state.violations.push(Violation::of(message, kind, &change.id));
        }
        let offset = change.position.offset;
        if offset != expected {
            let (name, before) = (self.names.of(kind), expected - 1);
            let message = format!("{name} has a change at offset {offset} after {before}");
            state.violations.push(Violation::of(message, kind, &change.id));
        }
    }

    /// Records that a guarantee was broken.
    pub fn violated(&self, message: String) {
        self.state.lock().violations.push(Violation { message, record: None });
    }

    /// Records that a guarantee about a record was broken.
    pub fn violated_for(&self, kind: Kind, id: &Id, message: String) {
        self.state.lock().violations.push(Violation::of(message, kind, id));
    }

    /// Returns the first violation.
    pub fn violation(&self) -> Option<String> {
        self.state.lock().violations.first().map(|violation| violation.message.clone())
    }

    /// Returns the violations.
    pub fn violations(&self) -> Vec<Violation> {
        self.state.lock().violations.clone()
    }

    /// Returns the newest offset that any client has been answered with so far. A read that
    /// begins now must not see an older state.
    pub fn answered(&self, kind: Kind) -> u64 {
        self.state.lock().answered.get(&kind).copied().unwrap_or(0)
    }

    /// Records that a client has been answered with this offset.
    pub fn answer(&self, kind: Kind, offset: u64) {
        let mut state = self.state.lock();
        let answered = state.answered.entry(kind).or_default();
        *answered = offset.max(*answered);
    }

    /// Returns the offset of the last change.
    pub fn head(&self, kind: Kind) -> u64 {
        self.state.lock().logs.get(&kind).map_or(0, Log::head)
    }

    /// Returns all changes in the order in which they were committed.
    pub fn changes(&self) -> Vec<Arc<Change>> {
        self.state.lock().all.clone()
    }

    /// Returns how many changes have the mark of this key.
    pub fn commits(&self, key: &str) -> usize {
        let (state, mark) = (self.state.lock(), mark(key));
        state.all.iter().filter(|change| change.mark == mark).count()
    }

    /// Returns the records of a resource at an offset.
    pub fn records_at(&self, kind: Kind, offset: u64) -> BTreeMap<Id, Record> {
        self.state.lock().logs.entry(kind).or_default().at(offset).clone()
    }

    /// Returns a record at an offset.
    pub fn record_at(&self, kind: Kind, id: &Id, offset: u64) -> Option<Arc<Record>> {
        let mut state = self.state.lock();
        let log = state.logs.entry(kind).or_default();
        log.at(offset).get(id).cloned().map(Arc::new)
    }

    /// Returns what a read at an offset must return.
    pub fn read(&self, view: &View, person: &Person, offset: u64) -> Vec<(Id, Record)> {
        let mut state = self.state.lock();
        let records = state.logs.entry(view.kind).or_default().at(offset);
        let ids = view.evaluate(records.iter(), person);
        ids.into_iter().map(|id| (id.clone(), records[&id].clone())).collect()
    }
}

impl Truth for History {
    /// Checks that a read has returned what the log has at its offset, to one of the identities
    /// that the reader may have had.
    fn check_read(
        &self,
        who: &str,
        view: &View,
        offset: u64,
        people: &[Person],
        read: &[(Id, Record)],
    ) {
        if let Some(observations) = &mut self.state.lock().observations {
            return observations.add_read(who, view, offset, people, read);
        }
        if !people.iter().any(|person| self.read(view, person, offset) == read) {
            let ids: Vec<_> = read.iter().map(|(id, _)| id.to_string()).collect();
            let url = view.url(&self.names);
            let message = format!("{who}: {url} at {offset} was answered with {ids:?}");
            let expected = people.first().map(|person| self.read(view, person, offset));
            let differs = |(at, item): &(usize, &(Id, Record))| {
                expected.as_ref().and_then(|expected| expected.get(*at)) != Some(*item)
            };
            match read.iter().enumerate().find(differs) {
                Some((_, (id, _))) => self.violated_for(view.kind, id, message),
                None => self.violated(message),
            }
        }
    }

    /// Checks that a page shows a record as it was at an offset.
    fn check_shown(&self, seen: &Seen, kind: Kind, id: &Id, offset: u64, record: &Record) {
        let mut state = self.state.lock();
        if let Some(observations) = &mut state.observations {
            if let Some(other) = observations.add_shown(seen.clone(), kind, id, offset, record) {
                let (name, shown) = (self.names.of(kind), Value::Object(record.clone()));
                let message = format!(
                    "{}: {name}/{id} at {offset} is shown as {shown}, and {other}",
                    seen.who
                );
                state.violations.push(Violation::of(message, kind, id));
            }
            return;
        }
        drop(state);
        let truth = self.record_at(kind, id, offset);
        if truth.as_deref() != Some(record) {
            let shown = Value::Object(record.clone());
            let truth = truth.map(|it| Value::Object(Record::clone(&it)));
            let (name, truth) = (self.names.of(kind), truth.unwrap_or_default());
            let message = format!(
                "{}: {name}/{id} at {offset} is shown as {shown} and was {truth}",
                seen.who
            );
            self.violated_for(kind, id, message);
        }
    }
}
impl Violation {
    fn of(message: String, kind: Kind, id: &Id) -> Self {
        Self { message, record: Some((kind, id.clone())) }
    }
}
