//! The part of a resource's log that one resume needs.
//!
//! Each part is read once for all rooms of the resource, from the oldest of their positions on. The
//! changes of few records are read separately, because each change of a record leads to the one
//! before it.

use std::sync::Arc;

use backwire_engine::{ChangesSince, Engine, Error};
use backwire_environment::{HashMap, HashSet};
use backwire_records::change::{Id, Position, Resource, Room};
use tokio::task::consume_budget;

use super::entry::Entry;
use super::log_memory::LogMemory;
use super::range::Range;
use super::shared_logs::SharedLogs;

/// The maximum number of records whose changes are read separately. For more it is faster to read
/// all of the log.
const MAX_SEPARATE_RECORDS: usize = 32;

/// The part of the log of a resource that one resume needs.
#[derive(Default)]
pub(super) struct Log {
    /// The positions that the log has.
    reached: HashSet<Position>,
    all: Option<Arc<Range>>,
    of_records: HashMap<Id, Range>,
}

impl Log {
    /// Reads the changes that these entries need, which are all of one resource. Those for which
    /// there is no memory are left out.
    pub(super) async fn read(
        engine: &dyn Engine,
        (logs, memory): (&SharedLogs, &LogMemory),
        resource: &Resource,
        entries: &[(Option<&Id>, &Entry)],
    ) -> Result<Self, Error> {
        if memory.refused().is_some() {
            return Ok(Self::default());
        }
        let positions: HashSet<_> =
            entries.iter().flat_map(|(_, entry)| entry.positions()).collect();
        let reached = reached(engine, resource, positions).await?;
        let has =
            |(_, entry): &&(Option<&Id>, &Entry)| entry.positions().all(|it| reached.contains(&it));
        let wanted: Vec<_> =
            entries.iter().filter(has).map(|(id, it)| (*id, it.seen.position)).collect();
        let mut log = Self { reached, ..Self::default() };
        log.read_since(engine, (logs, memory), resource, &wanted).await?;
        Ok(log)
    }

    /// Reads the changes after each of these positions of a record, or of all records.
    async fn read_since(
        &mut self,
        engine: &dyn Engine,
        (logs, memory): (&SharedLogs, &LogMemory),
        resource: &Resource,
        wanted: &[(Option<&Id>, Position)],
    ) -> Result<(), Error> {
        let oldest =
            |one: Position, other: Position| if other.offset < one.offset { other } else { one };
        let of_all = wanted.iter().filter(|(id, _)| id.is_none()).map(|(_, at)| *at);
        let mut from = of_all.reduce(oldest);
        let mut separate: HashMap<&Id, Position> = HashMap::default();
        for (id, at) in wanted.iter().filter_map(|(id, at)| Some((id.as_ref()?, *at))) {
            if from.is_none_or(|from| at.offset < from.offset) {
                separate.entry(id).and_modify(|it| *it = oldest(*it, at)).or_insert(at);
            }
        }
        if separate.len() > MAX_SEPARATE_RECORDS {
            from = separate.drain().map(|(_, at)| at).chain(from).reduce(oldest);
        }
        if let Some(from) = from {
            self.all = logs.read(engine, resource, from, memory).await?;
        }
        if let Some(all) = &self.all {
            let ids = wanted.iter().filter_map(|(id, _)| *id);
            self.of_records = all.of_each(ids.filter(|id| !separate.contains_key(id)).collect());
        }
        for (id, at) in separate {
            if memory.refused().is_some() {
                break;
            }
            let room = Room::instance(resource.clone(), id.clone());
            let (options, claim) = memory.begin_read();
            let since = logs.changes_since(engine, &room, at, &options).await?;
            if let ChangesSince::Changes { changes, head } = since {
                let range = Range::new(at.offset, head, changes, Some(claim));
                self.of_records.insert(id.clone(), range);
            }
            consume_budget().await;
        }
        Ok(())
    }

    /// Returns the changes of all records, if some entry needs them.
    pub(super) fn all(&self) -> Option<&Range> {
        self.all.as_deref()
    }

    /// Returns the bytes of the texts of all changes in memory.
    #[cfg(test)]
    pub(super) fn text_bytes(&self) -> usize {
        let separate = self.of_records.values().filter(|range| range.has_claim());
        separate.chain(self.all()).map(Range::text_bytes).sum()
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
