//! The part of a resource's log that one resume needs.
//!
//! Each part is read once for all rooms of the resource: from the oldest of their positions on. The changes
//! of few records are looked up by themselves, because there each record's last change leads to the one before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use backwire_engine::{Engine, Error, Since};
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use serde_json::Value;

use super::SharedLogs;
use super::answers::Entry;

/// Records whose changes are looked up by themselves. For more it is quicker to read all of the log.
const FEW_RECORDS: usize = 32;

/// Text that is looked at in the time in which a filter looks at a change without any.
const TEXT_UNIT: u64 = 1024;

/// Changes in commit order, to the head of the log.
#[derive(Debug)]
pub(super) struct Range {
    /// It has everything after this offset.
    pub(super) from: u64,
    pub(super) head: Position,
    pub(super) changes: Vec<Arc<Change>>,
    /// Of as many changes as the index says.
    sums: Vec<Size>,
}

/// How large changes are.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Size {
    /// The work of a filter with one condition that looks at them.
    pub(super) work: u64,
    /// Bytes of what is said of them, roughly.
    pub(super) bytes: u64,
}

impl Range {
    pub(super) fn new(from: u64, head: Position, changes: Vec<Arc<Change>>) -> Self {
        let range = Self { from, head, changes: Vec::new(), sums: vec![Size::default()] };
        range.extended(changes, head)
    }

    /// The same with what came after it.
    pub(super) fn extended(&self, changes: Vec<Arc<Change>>, head: Position) -> Self {
        let (mut all, mut sums) = (self.changes.clone(), self.sums.clone());
        for change in changes {
            let (last, size) = (sums.last().copied().unwrap_or_default(), Size::of(&change));
            sums.push(Size { work: last.work + size.work, bytes: last.bytes + size.bytes });
            all.push(change);
        }
        Self { from: self.from, head, changes: all, sums }
    }

    /// The index of the first change after an offset.
    pub(super) fn start(&self, offset: u64) -> usize {
        self.changes.partition_point(|change| change.position.offset <= offset)
    }

    /// How large the changes are from an index on.
    pub(super) fn size_from(&self, start: usize) -> Size {
        let [begin, end] = [start, self.changes.len()].map(|index| self.sums[index]);
        Size { work: end.work - begin.work, bytes: end.bytes - begin.bytes }
    }

    /// How large the change with this offset is.
    pub(super) fn size_of(&self, offset: u64) -> Size {
        let [begin, end] = [self.start(offset - 1), self.start(offset)].map(|it| self.sums[it]);
        Size { work: end.work - begin.work, bytes: end.bytes - begin.bytes }
    }

    /// The changes of some records.
    fn of_each(&self, ids: HashSet<&Id>) -> HashMap<Id, Self> {
        let mut changes: HashMap<&Id, Vec<Arc<Change>>> =
            ids.into_iter().map(|id| (id, Vec::new())).collect();
        for change in &self.changes {
            if let Some(changes) = changes.get_mut(&change.id) {
                changes.push(Arc::clone(change));
            }
        }
        let of_one =
            |(id, changes): (&Id, _)| (id.clone(), Self::new(self.from, self.head, changes));
        changes.into_iter().map(of_one).collect()
    }
}

impl Size {
    fn of(change: &Change) -> Self {
        let Change { before, after, .. } = change;
        let text: u64 = [before, after].into_iter().flatten().map(|record| text(record)).sum();
        let said = match change.verb {
            Verb::Create => change.after.as_deref(),
            Verb::Update => Some(&change.set),
            Verb::Destroy => None,
        };
        Self { work: 1 + text / TEXT_UNIT, bytes: 16 + said.map_or(0, bytes_of_record) }
    }
}

/// Bytes of the texts that a filter may look at: it looks into nothing else.
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

/// What one resume needs of the log of a resource.
#[derive(Default)]
pub(super) struct Log {
    /// Positions whose changes the log has.
    reached: HashSet<Position>,
    all: Option<Arc<Range>>,
    of_records: HashMap<Id, Range>,
}

impl Log {
    /// Reads what these entries need, which are all of one resource.
    pub(super) async fn read(
        engine: &dyn Engine,
        logs: &SharedLogs,
        resource: &Resource,
        entries: &[(Option<&Id>, &Entry)],
    ) -> Result<Self, Error> {
        let asked: HashSet<_> = entries.iter().flat_map(|(_, entry)| entry.positions()).collect();
        let reached = reached(engine, resource, asked).await?;
        let has =
            |(_, entry): &&(Option<&Id>, &Entry)| entry.positions().all(|it| reached.contains(&it));
        let wanted: Vec<_> =
            entries.iter().filter(has).map(|(id, it)| (*id, it.seen.position)).collect();
        let mut log = Self { reached, ..Self::default() };
        log.read_since(engine, logs, resource, &wanted).await?;
        Ok(log)
    }

    /// Reads what happened after each of these positions to a record, or to all of them.
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
        let mut alone: HashMap<&Id, Position> = HashMap::new();
        for (id, at) in wanted.iter().filter_map(|(id, at)| Some((id.as_ref()?, *at))) {
            if from.is_none_or(|from| at.offset < from.offset) {
                alone.entry(id).and_modify(|it| *it = oldest(*it, at)).or_insert(at);
            }
        }
        if alone.len() > FEW_RECORDS {
            from = alone.drain().map(|(_, at)| at).chain(from).reduce(oldest);
        }
        if let Some(from) = from {
            self.all = logs.read(engine, resource, from).await?;
        }
        if let Some(all) = &self.all {
            let ids = wanted.iter().filter_map(|(id, _)| *id);
            self.of_records = all.of_each(ids.filter(|id| !alone.contains_key(id)).collect());
        }
        for (id, at) in alone {
            let room = Room::instance(resource.clone(), id.clone());
            if let Since::Changes { changes, head } = engine.since(&room, at).await? {
                self.of_records.insert(id.clone(), Range::new(at.offset, head, changes));
            }
        }
        Ok(())
    }

    /// The part of the log that all who follow more than a record need.
    pub(super) fn all(&self) -> Option<&Range> {
        self.all.as_deref()
    }

    /// What happened after what an entry has seen, to a record or to all: the changes from an index on. `None` if the
    /// log does not have that.
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
    asked: HashSet<Position>,
) -> Result<HashSet<Position>, Error> {
    let asked: Vec<_> = asked.into_iter().collect();
    let answers = engine.reaches(resource, &asked).await?;
    let reached = asked.into_iter().zip(answers).filter(|(_, is_reached)| *is_reached);
    Ok(reached.map(|(position, _)| position).collect())
}
