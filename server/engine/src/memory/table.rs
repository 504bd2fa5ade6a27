//! The records and the log of one resource, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use backwire_environment::HashMap;
use backwire_records::change::{Attributes, Change, Id, Position, Resource};
use backwire_records::model;
use backwire_records::write::{RecordCounts, StoredState, Write, WriteError};
use serde::Serialize;
use serde_json::Value;

use super::value_index::ValueIndex;
use crate::cascades::ResourceCascades;
use crate::counters::{Counters, MAX_COUNTED_ID, SKIPPED_IDS, change_bytes, first_free};
use crate::ledger::Written;
use crate::{Dangling, Window};

/// The records and the log of a resource.
#[derive(Debug, Default, Clone)]
pub(super) struct Table {
    pub(super) counters: Counters,
    /// The name of the primary key; the first record decides it.
    pub(super) key: Option<String>,
    pub(super) rows: BTreeMap<Id, Row>,
    /// The index of unique attributes.
    values: ValueIndex,
    /// The offset of the last change of each record that does not exist but is in the log.
    absent: HashMap<Id, u64>,
    pub(super) log: VecDeque<Arc<Change>>,
    /// The position of the first change of each start that has made one.
    pub(super) first_positions: Vec<Position>,
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) record: Arc<Attributes>,
    /// The offset of its last change.
    pub(super) offset: u64,
    /// The offset of its last change that was not only published.
    pub(super) changed: u64,
}

impl Row {
    pub(super) fn dangling(&self, cascades: Option<&ResourceCascades>) -> Dangling {
        cascades.map(|cascades| cascades.dangling(&self.record, self.changed)).unwrap_or_default()
    }

    /// Returns the record as it is read: without dangling references.
    pub(super) fn read(&self, cascades: Option<&ResourceCascades>) -> Option<Arc<Attributes>> {
        self.dangling(cascades).resolve(Arc::clone(&self.record))
    }
}

impl Table {
    pub(super) fn stored_state(
        &self,
        id: Option<Id>,
        write: &Write,
        epoch: u64,
        cascades: Option<&ResourceCascades>,
    ) -> Result<StoredState, WriteError> {
        let next_id = match &id {
            Some(_) => self.counters.next_id,
            None => self.free_id(&write.resource)?,
        };
        let id = id.unwrap_or(Id::Integer(next_id));
        let row = self.rows.get(&id);
        let last = row.map(|row| row.offset).or_else(|| self.absent.get(&id).copied());
        let own = row.map(|row| &*row.record);
        let is_taken = |(name, value): &(String, Value)| {
            let others = self.values.holders(name, value).filter(|other| **other != id);
            let others = others.filter_map(|other| self.rows.get(other)?.read(cascades));
            let mut rivals = others.filter(|other| write.conflicts_with(other, own));
            rivals.any(|other| other.get(name).is_some_and(|other| model::is_same(other, value)))
        };
        let taken = write.unique_values(own).into_iter().find(is_taken).map(|(name, _)| name);
        Ok(StoredState {
            record: row.map(|row| Arc::clone(&row.record)),
            dangling: row.map(|row| row.dangling(cascades)).unwrap_or_default(),
            previous: last.unwrap_or(self.counters.floor),
            position: self.counters.next_position(epoch),
            taken,
            next_id,
            records: RecordCounts { total: 0, of_resource: self.counters.records },
        })
    }

    /// Returns the id that a create without an id gets.
    fn free_id(&self, resource: &Resource) -> Result<i64, WriteError> {
        let Ok(free) = self.counters.free_id(|range| {
            let ids = Id::Integer(*range.start())..;
            let taken = self.rows.range(ids).map_while(|(id, _)| match id {
                Id::Integer(id) => Some(Ok::<_, Infallible>(*id)),
                Id::Text(_) => None,
            });
            first_free(&range, taken)
        });
        free.ok_or_else(|| WriteError::NoIdLeft { resource: resource.clone() })
    }

    pub(super) fn index_values(&mut self, values: &[(String, Value)]) {
        for (name, _) in values {
            self.values.add_attribute(name, self.rows.iter().map(|(id, row)| (id, &*row.record)));
        }
    }

    /// Records the first position of a start.
    pub(super) fn begin_epoch(&mut self, position: Position) {
        if self.first_positions.last().is_none_or(|last| last.epoch != position.epoch) {
            self.first_positions.push(position);
        }
    }

    pub(super) fn store(&mut self, change: &Arc<Change>, free: i64) {
        let (id, offset) = (change.id.clone(), change.position.offset);
        if !change.published {
            let before = self.rows.get(&id).map(|row| &*row.record);
            self.values.update(&id, before, change.after.as_deref());
            self.counters.count_record(before.is_some(), change.after.is_some());
        }
        match (&change.after, self.rows.get_mut(&id)) {
            (_, Some(row)) if change.published => row.offset = offset,
            (Some(record), _) if !change.published => {
                self.absent.remove(&id);
                self.rows.insert(id, Row { record: Arc::clone(record), offset, changed: offset });
            }
            _ => {
                self.rows.remove(&id);
                self.absent.insert(id, offset);
            }
        }
        self.counters.count(change, free);
        self.counters.log_bytes += bytes_of(change);
        self.log.push_back(Arc::clone(change));
    }

    /// Lets ids begin at 1 again, if there are no records.
    pub(super) fn renumber(&mut self) {
        if self.rows.is_empty() {
            self.counters.next_id = Counters::default().next_id;
        }
    }

    /// Skips ids that records may have had which are lost.
    pub(super) fn skip_ids(&mut self) {
        let next = &mut self.counters.next_id;
        if *next > 1 && *next + SKIPPED_IDS <= MAX_COUNTED_ID {
            *next += SKIPPED_IDS;
        }
    }

    /// Drops the changes that are outside of the window.
    pub(super) fn truncate(&mut self, window: &Window, now: u64) {
        let (floor, cutoff) = (self.counters.floor_by_count(window), window.cutoff(now));
        let kept_bytes = self.counters.log_bytes - self.counters.excess_bytes(window);
        let mut bytes = self.counters.log_bytes;
        while let Some(oldest) = self.log.pop_front_if(|oldest| {
            oldest.position.offset <= floor || oldest.at < cutoff || bytes > kept_bytes
        }) {
            bytes -= bytes_of(&oldest);
            self.counters.floor = oldest.position.offset;
            if self.absent.get(&oldest.id) == Some(&oldest.position.offset) {
                self.absent.remove(&oldest.id);
            }
        }
        self.counters.log_bytes = bytes;
    }

    /// Returns the change of a write, if the log still has it.
    pub(super) fn logged(&self, written: &Written) -> Option<&Change> {
        let offset = written.offset;
        let place = self.log.binary_search_by_key(&offset, |change| change.position.offset).ok()?;
        written.was_logged().then(|| &*self.log[place])
    }

    /// Returns the changes after an offset, at most as many as the limit.
    pub(super) fn since(&self, id: Option<&Id>, offset: u64, limit: usize) -> Vec<Arc<Change>> {
        let start = self.log.partition_point(|change| change.position.offset <= offset);
        let missed = self.log.range(start..);
        let missed = missed.filter(|change| id.is_none_or(|id| *id == change.id));
        missed.take(limit).cloned().collect()
    }
}

/// Returns the bytes that a change would take in the log of a file.
fn bytes_of(change: &Change) -> u64 {
    let record = |record: &Option<Arc<Attributes>>| record.as_deref().map_or(0, json_length);
    let names: Vec<_> = change.set.keys().collect();
    change_bytes([record(&change.before), record(&change.after), json_length(&names)])
}

fn json_length(value: &impl Serialize) -> usize {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value).expect("it is made of JSON");
    length.0
}

/// A writer that counts the bytes that are written to it.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
