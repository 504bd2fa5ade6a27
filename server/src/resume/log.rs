//! The part of a resource's log that one resume needs.
//!
//! Each part is read once for all rooms of the resource, from the oldest of their positions on. The
//! changes of few records are read separately, because each change of a record leads to the one
//! before it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use backwire_engine::{ChangesSince, Engine, Error};
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use serde_json::Value;

use super::SharedLogs;
use super::answers::Entry;

/// The maximum number of records whose changes are read separately. For more it is faster to read
/// all of the log.
const MAX_SEPARATE_RECORDS: usize = 32;

/// The bytes of text that a filter checks in the time in which it checks a change without text.
const TEXT_UNIT: u64 = 1024;

/// Changes in commit order, to the head of the log.
#[derive(Debug)]
pub(super) struct Range {
    /// The range has everything after this offset.
    pub(super) from: u64,
    pub(super) head: Position,
    pub(super) changes: Vec<Arc<Change>>,
    /// The total sizes: the entry at an index is that of as many changes.
    sums: Vec<Size>,
}

/// The size of changes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Size {
    /// The work of a filter with one condition that checks the changes.
    pub(super) work: u64,
    /// The approximate size of the changes in an answer, in bytes.
    pub(super) bytes: u64,
}

impl Range {
    pub(super) fn new(from: u64, head: Position, changes: Vec<Arc<Change>>) -> Self {
        let range = Self { from, head, changes: Vec::new(), sums: vec![Size::default()] };
        range.extended(changes, head)
    }

    /// Returns the range with the changes that came after it.
    pub(super) fn extended(&self, changes: Vec<Arc<Change>>, head: Position) -> Self {
        let (mut all, mut sums) = (self.changes.clone(), self.sums.clone());
        for change in changes {
            let (last, size) = (sums.last().copied().unwrap_or_default(), Size::of(&change));
            sums.push(Size { work: last.work + size.work, bytes: last.bytes + size.bytes });
            all.push(change);
        }
        Self { from: self.from, head, changes: all, sums }
    }

    /// Returns the index of the first change after an offset.
    pub(super) fn start(&self, offset: u64) -> usize {
        self.changes.partition_point(|change| change.position.offset <= offset)
    }

    /// Returns the size of the changes from an index on.
    pub(super) fn size_from(&self, start: usize) -> Size {
        let [begin, end] = [start, self.changes.len()].map(|index| self.sums[index]);
        Size { work: end.work - begin.work, bytes: end.bytes - begin.bytes }
    }

    /// Returns the size of the change with this offset.
    pub(super) fn size_of(&self, offset: u64) -> Size {
        let [begin, end] = [self.start(offset - 1), self.start(offset)].map(|it| self.sums[it]);
        Size { work: end.work - begin.work, bytes: end.bytes - begin.bytes }
    }

    /// Returns the changes of each of these records.
    fn of_each(&self, ids: HashSet<&Id>) -> HashMap<Id, Self> {
        let mut changes: HashMap<&Id, Vec<Arc<Change>>> =
            ids.into_iter().map(|id| (id, Vec::new())).collect();
        for change in &self.changes {
            if let Some(changes) = changes.get_mut(&change.id) {
                changes.push(Arc::clone(change));
            }
        }
        let range_of =
            |(id, changes): (&Id, _)| (id.clone(), Self::new(self.from, self.head, changes));
        changes.into_iter().map(range_of).collect()
    }
}

impl Size {
    fn of(change: &Change) -> Self {
        let Change { before, after, .. } = change;
        let text: u64 = [before, after].into_iter().flatten().map(|record| text(record)).sum();
        let sent = match change.verb {
            Verb::Create => change.after.as_deref(),
            Verb::Update => Some(&change.set),
            Verb::Destroy => None,
        };
        Self { work: 1 + text / TEXT_UNIT, bytes: 16 + sent.map_or(0, bytes_of_record) }
    }
}

/// Returns the bytes of the texts that a filter may check. It checks no other values for their
/// size.
fn text(record: &Attributes) -> u64 {
    record.values().filter_map(Value::as_str).map(|text| text.len() as u64).sum()
}

fn bytes_of_record(record: &Attributes) -> u64 {
    record.iter().map(|(name, value)| name.len() as u64 + 4 + bytes_of(value)).sum()
}

fn bytes_of(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() as u64 + 2,
        Value::Array(items) => items.iter().map(|item| 1 + bytes_of(item)).sum(),
        Value::Object(record) => bytes_of_record(record),
    }
}

/// The part of the log of a resource that one resume needs.
#[derive(Default)]
pub(super) struct Log {
    /// The positions that the log has.
    reached: HashSet<Position>,
    all: Option<Arc<Range>>,
    of_records: HashMap<Id, Range>,
}

impl Log {
    /// Reads the changes that these entries need, which are all of one resource.
    pub(super) async fn read(
        engine: &dyn Engine,
        logs: &SharedLogs,
        resource: &Resource,
        entries: &[(Option<&Id>, &Entry)],
    ) -> Result<Self, Error> {
        let positions: HashSet<_> =
            entries.iter().flat_map(|(_, entry)| entry.positions()).collect();
        let reached = reached(engine, resource, positions).await?;
        let has =
            |(_, entry): &&(Option<&Id>, &Entry)| entry.positions().all(|it| reached.contains(&it));
        let wanted: Vec<_> =
            entries.iter().filter(has).map(|(id, it)| (*id, it.seen.position)).collect();
        let mut log = Self { reached, ..Self::default() };
        log.read_since(engine, logs, resource, &wanted).await?;
        Ok(log)
    }

    /// Reads the changes after each of these positions of a record, or of all records.
    async fn read_since(
        &mut self,
        engine: &dyn Engine,
        logs: &SharedLogs,
        resource: &Resource,
        wanted: &[(Option<&Id>, Position)],
    ) -> Result<(), Error> {
        let oldest =
            |one: Position, other: Position| if other.offset < one.offset { other } else { one };
        let of_all = wanted.iter().filter(|(id, _)| id.is_none()).map(|(_, at)| *at);
        let mut from = of_all.reduce(oldest);
        let mut separate: HashMap<&Id, Position> = HashMap::new();
        for (id, at) in wanted.iter().filter_map(|(id, at)| Some((id.as_ref()?, *at))) {
            if from.is_none_or(|from| at.offset < from.offset) {
                separate.entry(id).and_modify(|it| *it = oldest(*it, at)).or_insert(at);
            }
        }
        if separate.len() > MAX_SEPARATE_RECORDS {
            from = separate.drain().map(|(_, at)| at).chain(from).reduce(oldest);
        }
        if let Some(from) = from {
            self.all = logs.read(engine, resource, from).await?;
        }
        if let Some(all) = &self.all {
            let ids = wanted.iter().filter_map(|(id, _)| *id);
            self.of_records = all.of_each(ids.filter(|id| !separate.contains_key(id)).collect());
        }
        for (id, at) in separate {
            let room = Room::instance(resource.clone(), id.clone());
            if let ChangesSince::Changes { changes, head } = engine.changes_since(&room, at).await?
            {
                self.of_records.insert(id.clone(), Range::new(at.offset, head, changes));
            }
        }
        Ok(())
    }

    /// Returns the changes of all records, if some entry needs them.
    pub(super) fn all(&self) -> Option<&Range> {
        self.all.as_deref()
    }

    /// Returns the changes of a record, or of all records, that the client of an entry has not
    /// received: a range, and the index of the first change. `None` if the log does not have them.
    pub(super) fn since(&self, id: Option<&Id>, entry: &Entry) -> Option<(&Range, usize)> {
        let offset = entry.seen.position.offset;
        let is_reached = entry.positions().all(|position| self.reached.contains(&position));
        let range = match id {
            Some(id) => self.of_records.get(id),
            None => self.all.as_deref(),
        };
        let range = range.filter(|range| is_reached && range.from <= offset)?;
        Some((range, range.start(offset)))
    }
}

async fn reached(
    engine: &dyn Engine,
    resource: &Resource,
    positions: HashSet<Position>,
) -> Result<HashSet<Position>, Error> {
    let positions: Vec<_> = positions.into_iter().collect();
    let answers = engine.reaches(resource, &positions).await?;
    let reached = positions.into_iter().zip(answers).filter(|(_, is_reached)| *is_reached);
    Ok(reached.map(|(position, _)| position).collect())
}
