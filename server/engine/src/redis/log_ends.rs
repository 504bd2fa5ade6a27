//! A cache of the ends of logs: the heads, and the last changes. Many clients that come back at the
//! same time ask for the same, and Redis is asked once for all.
//!
//! Invariant: a cached end is invalid as soon as a newer change has reached the node's tail. So a
//! client that has joined its rooms misses nothing: a change that the end lacks reaches the tail
//! afterwards, and then the rooms.

use std::sync::Arc;
use std::time::Duration;

use backwire_environment::HashMap;
use backwire_records::change::{Change, Id, Position, Resource};
use parking_lot::Mutex;

use super::handshake::Epoch;
use super::runtime::Moment;

/// How long an end is used. Afterwards, a read fails if Redis is not reachable.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The maximum number of resources, and of epochs of each. Clients choose both.
const MAX_RESOURCES: usize = 1024;
const MAX_EPOCHS: usize = 64;

/// The number of epochs in which the newest read is known. The tail may be behind some of them.
const MAX_READ_EPOCHS: usize = 4;

/// The maximum bytes of the changes that are kept, once they are parsed.
const MAX_BYTES: usize = 4 << 20;

/// A change, and the bytes that it takes in memory.
pub(super) type SizedChange = (Arc<Change>, usize);

/// The ends of logs, by their resources.
#[derive(Debug, Default)]
pub(super) struct LogEnds(Mutex<HashMap<Resource, CachedLog>>);

#[derive(Debug, Default)]
struct CachedLog {
    end: Option<LogEnd>,
    /// The last change that has reached the tail.
    tail: Option<Position>,
    /// The newest position that a read has returned in each of the last epochs.
    read: Vec<Position>,
}

/// The end of a log.
#[derive(Debug, Clone)]
pub(super) struct LogEnd {
    /// When the read began.
    pub(super) read: Moment,
    pub(super) epoch: Epoch,
    pub(super) head: u64,
    pub(super) floor: u64,
    /// The first offset after each epoch that was asked for.
    pub(super) ends: HashMap<u64, Option<u64>>,
    pub(super) changes: Option<LastChanges>,
}

/// All changes after an offset, up to the head.
#[derive(Debug, Clone)]
pub(super) struct LastChanges {
    pub(super) after: u64,
    pub(super) changes: Arc<Vec<SizedChange>>,
}

impl LastChanges {
    fn bytes(&self) -> usize {
        self.changes.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl LogEnd {
    /// Whether it may still be used, and has the same positions as a later one.
    fn has_same_positions(&self, later: &Self) -> bool {
        let positions = |it: &Self| (it.epoch, it.head, it.floor);
        self.read.elapsed() < MAX_AGE && positions(self) == positions(later)
    }

    /// Adds the results of a former read with the same positions.
    fn add(&mut self, former: Self) {
        // The ends of other epochs are as old as the former read.
        self.read = former.read;
        self.ends.extend(former.ends);
        let after = |changes: &LastChanges| changes.after;
        let begins_later = |former| self.changes.as_ref().is_none_or(|it| former < it.after);
        if former.changes.as_ref().map(after).is_some_and(begins_later) {
            self.changes = former.changes;
        }
    }

    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch.epoch, offset: self.head }
    }

    /// Whether the log has everything after a position. A position is valid if no later epoch has
    /// committed a change at its offset or before.
    pub(super) fn reaches(&self, position: &Position) -> bool {
        let Some(end) = self.ends.get(&position.epoch) else { return false };
        (self.floor..=self.head).contains(&position.offset)
            && end.is_none_or(|end| position.offset < end)
    }
}

impl LogEnds {
    /// Records that a change has reached the tail.
    pub(super) fn passed(&self, resource: &Resource, position: Position) {
        self.0.lock().entry(resource.clone()).or_default().tail = Some(position);
    }

    /// Records that a read has returned a position.
    pub(super) fn returned(&self, resource: &Resource, position: Position) {
        // Without any change there is nothing to lose.
        if position.offset > 0 {
            let mut all = self.0.lock();
            match all.get_mut(resource) {
                Some(known) => known.returned(position),
                None => all.entry(resource.clone()).or_default().returned(position),
            }
        }
    }

    /// Returns the highest offset that a read has returned in an epoch.
    pub(super) fn highest_read(&self, resource: &Resource, epoch: u64) -> u64 {
        let all = self.0.lock();
        let read = all.get(resource).into_iter().flat_map(|known| &known.read);
        read.filter(|it| it.epoch == epoch).map(|it| it.offset).max().unwrap_or_default()
    }

    /// Records the result of a read.
    pub(super) fn remember(&self, resource: &Resource, mut end: LogEnd) {
        let mut all = self.0.lock();
        if all.len() >= MAX_RESOURCES && !all.contains_key(resource) {
            // Those with changes stay, and their number is limited elsewhere.
            all.retain(|_, known| known.tail.is_some() || !known.read.is_empty());
        }
        let known = all.entry(resource.clone()).or_default();
        if end.head > 0 {
            known.returned(end.position());
        }
        if let Some(former) = known.end.take().filter(|it| it.has_same_positions(&end)) {
            end.add(former);
        }
        if end.ends.len() > MAX_EPOCHS {
            return;
        }
        known.end = Some(end);
        let last = all.values().filter_map(|known| known.end.as_ref()?.changes.as_ref());
        if last.map(LastChanges::bytes).sum::<usize>() > MAX_BYTES {
            all.values_mut().filter_map(|it| it.end.as_mut()).for_each(|end| end.changes = None);
        }
    }

    /// Whether a log is known to have everything after a position.
    pub(super) fn reaches(&self, resource: &Resource, epoch: Epoch, position: &Position) -> bool {
        let all = self.0.lock();
        all.get(resource).and_then(|it| it.current(epoch)).is_some_and(|end| end.reaches(position))
    }

    /// Returns the changes of a record, or of all, after a position, and the head, if both are
    /// known.
    pub(super) fn changes(
        &self,
        (resource, id): (&Resource, Option<&Id>),
        epoch: Epoch,
        position: Position,
    ) -> Option<(Vec<SizedChange>, Position)> {
        let all = self.0.lock();
        let end = all.get(resource)?.current(epoch).filter(|end| end.reaches(&position))?;
        if end.head == position.offset {
            return Some((Vec::new(), end.position()));
        }
        let last = end.changes.as_ref().filter(|last| last.after <= position.offset)?;
        let start = last.changes.partition_point(|(it, _)| it.position.offset <= position.offset);
        let is_meant = |(change, _): &&SizedChange| id.is_none_or(|id| change.id == *id);
        let changes = last.changes[start..].iter().filter(is_meant).cloned();
        Some((changes.collect(), end.position()))
    }
}

impl CachedLog {
    fn returned(&mut self, position: Position) {
        match self.read.iter_mut().find(|it| it.epoch == position.epoch) {
            Some(read) => read.offset = read.offset.max(position.offset),
            None => {
                self.read.truncate(MAX_READ_EPOCHS - 1);
                self.read.insert(0, position);
            }
        }
    }

    /// Returns the end if it may be used.
    fn current(&self, epoch: Epoch) -> Option<&LogEnd> {
        let end = self.end.as_ref()?;
        let is_passed = |tail: Position| tail.epoch == epoch.epoch && tail.offset > end.head;
        let is_current = end.epoch == epoch && end.read.elapsed() < MAX_AGE;
        (is_current && !self.tail.is_some_and(is_passed)).then_some(end)
    }
}
