//! The truth that everything is compared with: the changes that the engine has committed, in order,
//! and what clients have been answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backwire_protocol::mark;
use backwire_records::change::{Change, Id, Resource, Verb};
use parking_lot::Mutex;
use serde_json::Value;

use crate::log_position::LogPosition;
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
    /// The current logs.
    logs: BTreeMap<Kind, Log>,
    /// The logs of the lines before.
    former: Vec<BTreeMap<Kind, Log>>,
    /// The line of each epoch that does not belong to the first one.
    lines: BTreeMap<u64, usize>,
    lost: Lost,
    /// The observations of clients, while the logs are not known.
    observations: Option<Observations>,
    /// The changes of all resources, in order.
    all: Vec<Arc<Change>>,
    /// Each write sets another stamp.
    stamps: BTreeSet<u64>,
    /// The newest offset of each resource that any client has been answered with.
    answered: BTreeMap<Kind, LogPosition>,
    violations: Vec<Violation>,
}

/// The changes and records of earlier lines of the log that were lost.
#[derive(Debug, Default)]
struct Lost {
    /// When the change with a mark was lost, in milliseconds.
    marks: BTreeMap<u64, u64>,
    /// The records that nobody knows any more.
    created: BTreeSet<(Kind, Id)>,
    /// The resources of which everything was lost, so that their ids begin again.
    whole: BTreeSet<Kind>,
}

/// The log of a resource.
#[derive(Debug, Default, Clone)]
struct Log {
    /// The offset before its first change.
    base: u64,
    changes: Vec<Arc<Change>>,
    /// The records at some offset, from which those at a later one are made.
    snapshot: Snapshot,
}

#[derive(Debug, Default, Clone)]
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
        if change.verb == Verb::Create && state.lost.created.contains(&(kind, change.id.clone())) {
            let message = format!("{}/{} had a lost record", self.names.of(kind), change.id);
            state.violations.push(Violation::of(message, kind, &change.id));
        }
    }

    /// Begins a line in an epoch: the store has lost the changes after these offsets.
    pub fn lost(&self, epoch: u64, kept: &BTreeMap<Resource, u64>, now: u64) {
        let state = &mut *self.state.lock();
        let former = state.logs.clone();
        for (kind, log) in &mut state.logs {
            let kept = kept.iter().find(|(name, _)| name.as_str() == self.names.of(*kind));
            let count = log.until(kept.map_or(0, |(_, offset)| *offset)).len();
            for change in log.changes.drain(count..) {
                state.lost.marks.insert(change.mark, now);
                if let Some(stamp) = change.set.get("stamp").and_then(Value::as_u64) {
                    state.stamps.remove(&stamp);
                }
                if count == 0 {
                    state.lost.whole.insert(*kind);
                }
                if change.verb == Verb::Create && count > 0 {
                    state.lost.created.insert((*kind, change.id.clone()));
                }
                state.all.retain(|other| !Arc::ptr_eq(other, &change));
            }
            log.snapshot = Snapshot::default();
        }
        state.former.push(former);
        state.lines.insert(epoch, state.former.len());
    }

    /// Returns when the change with the mark of this key was lost, in milliseconds.
    pub fn lost_at(&self, key: &str) -> Option<u64> {
        self.state.lock().lost.marks.get(&mark(key)).copied()
    }

    /// Whether the store has lost nothing since it began this epoch.
    pub fn is_current(&self, epoch: Option<u64>) -> bool {
        let state = self.state.lock();
        let line = epoch.and_then(|epoch| state.lines.get(&epoch)).copied().unwrap_or_default();
        line == state.former.len()
    }

    /// Returns the place of a position.
    pub fn position(&self, epoch: u64, offset: u64) -> LogPosition {
        let line = self.state.lock().lines.get(&epoch).copied().unwrap_or_default();
        LogPosition { line, offset }
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

    /// Returns the newest place that any client has been answered with so far. A read that begins
    /// now must not see an older state.
    pub fn answered(&self, kind: Kind) -> LogPosition {
        self.state.lock().answered.get(&kind).copied().unwrap_or_default()
    }

    /// Records that a client has been answered with this place.
    pub fn answer(&self, kind: Kind, place: LogPosition) {
        let mut state = self.state.lock();
        let answered = state.answered.entry(kind).or_default();
        *answered = place.max(*answered);
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

    /// Whether the write with this key was committed to a resource whose ids have begun again. A
    /// server that sends it late commits it to another record than it was meant for.
    pub fn may_concern_another_record(&self, key: &str) -> bool {
        let (state, mark) = (self.state.lock(), mark(key));
        let is_of_restarted = |kind| state.lost.whole.contains(&kind);
        let mut committed = state.all.iter().filter(|change| change.mark == mark);
        committed.any(|it| self.names.parse(it.resource.as_str()).is_some_and(is_of_restarted))
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

    /// Whether a record was in a state at an offset, in any line.
    fn was(&self, kind: Kind, id: &Id, offset: u64, record: &Record) -> bool {
        let state = &mut *self.state.lock();
        let former = state.former.iter_mut().filter_map(|logs| logs.get_mut(&kind));
        former
            .filter(|log| offset <= log.head())
            .chain([state.logs.entry(kind).or_default()])
            .any(|log| log.at(offset).get(id) == Some(record))
    }

    /// Returns what a read at the head must return.
    pub fn read_now(&self, view: &View, person: &Person) -> Vec<(Id, Record)> {
        let line = self.state.lock().former.len();
        self.read(view, person, LogPosition { line, offset: self.head(view.kind) })
    }

    /// Returns what a read at a place must return.
    pub fn read(&self, view: &View, person: &Person, place: LogPosition) -> Vec<(Id, Record)> {
        let State { logs, former, .. } = &mut *self.state.lock();
        let logs = former.get_mut(place.line).unwrap_or(logs);
        let records = logs.entry(view.kind).or_default().at(place.offset);
        let ids = view.evaluate(records.iter(), person);
        ids.into_iter().map(|id| (id.clone(), records[&id].clone())).collect()
    }
}

impl Truth for History {
    /// Checks that a read has returned what the log has at its place, to one of the identities that
    /// the reader may have had.
    fn check_read(
        &self,
        client: &str,
        view: &View,
        place: LogPosition,
        people: &[Person],
        read: &[(Id, Record)],
    ) {
        if let Some(observations) = &mut self.state.lock().observations {
            return observations.add_read(client, view, place.offset, people, read);
        }
        if !people.iter().any(|person| self.read(view, person, place) == read) {
            let ids: Vec<_> = read.iter().map(|(id, _)| id.to_string()).collect();
            let url = view.url(&self.names);
            let message = format!("{client}: {url} at {place} was answered with {ids:?}");
            let expected = people.first().map(|person| self.read(view, person, place));
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
                    seen.client
                );
                state.violations.push(Violation::of(message, kind, id));
            }
            return;
        }
        drop(state);
        if !self.was(kind, id, offset, record) {
            let truth = self.record_at(kind, id, offset);
            let shown = Value::Object(record.clone());
            let truth = truth.map(|it| Value::Object(Record::clone(&it)));
            let (name, truth) = (self.names.of(kind), truth.unwrap_or_default());
            let message = format!(
                "{}: {name}/{id} at {offset} is shown as {shown} and was {truth}",
                seen.client
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
