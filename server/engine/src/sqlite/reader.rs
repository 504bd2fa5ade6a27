//! Reads, each in one transaction.
//!
//! Invariant: the result of a read and the position with it are of the same snapshot.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room};
use rusqlite::{OptionalExtension, Row, Transaction};

use super::prefilter::Prefilter;
use super::reading::{Bounds, Reading};
use super::{cascades, epochs, list, row};
use crate::sqlite::row::{Column, get};
use crate::{AnswerMemory, ChangesSince, Error, ReadOptions, Record, Snapshot};

/// Returns the records of a resource that the criteria pick.
pub(super) fn find(
    snapshot: &Transaction<'_>,
    epoch: u64,
    prefilter: Prefilter<'_>,
    bounds: Bounds<'_>,
) -> rusqlite::Result<Snapshot<Vec<Record>>> {
    let position = head(snapshot, epoch, prefilter.resource)?;
    let cascades = &cascades::of(snapshot, prefilter.resource)?;
    let reading = Reading { prefilter, cascades, bounds };
    Ok(Snapshot { value: list::read(snapshot, reading)?, position })
}

fn unwrap(row::Json(record): row::Json<Arc<Attributes>>) -> Arc<Attributes> {
    record
}

/// Returns the name of the primary key, by resource. Resources without any written record are left
/// out.
pub(super) fn keys(snapshot: &Transaction<'_>) -> rusqlite::Result<BTreeMap<Resource, String>> {
    let mut statement = snapshot
        .prepare_cached("SELECT name, key_name FROM resources WHERE key_name IS NOT NULL")?;
    let keys = statement.query_map((), |row| Ok((get(row, "name")?, row.get("key_name")?)))?;
    keys.collect()
}

/// Returns the head of the log of a resource.
pub(super) fn head(
    snapshot: &Transaction<'_>,
    epoch: u64,
    resource: &Resource,
) -> rusqlite::Result<Position> {
    Ok(row::counters(snapshot, resource)?.position(epoch))
}

/// Returns one record, if there is memory for it.
pub(super) fn find_one(
    snapshot: &Transaction<'_>,
    epoch: u64,
    resource: &Resource,
    id: &Id,
    memory: &AnswerMemory,
) -> rusqlite::Result<Result<Snapshot<Option<Arc<Attributes>>>, Error>> {
    let position = head(snapshot, epoch, resource)?;
    let mut statement = snapshot.prepare_cached(
        "SELECT json, coalesce(changed, offset) AS changed FROM records
         WHERE resource = ?1 AND id = ?2 AND json IS NOT NULL",
    )?;
    let record = statement.query_row((Column(resource), Column(id)), |row| {
        if let Err(error) = memory.add(row::parsed_bytes(row, "json")?) {
            return Ok(Err(error.into()));
        }
        Ok(Ok((unwrap(row.get("json")?), row::unsigned(row, "changed")?)))
    });
    let record = match record.optional()?.transpose() {
        Ok(record) => record,
        Err(error) => return Ok(Err(error)),
    };
    let cascades = cascades::of(snapshot, resource)?;
    let value = record.and_then(|(record, changed)| cascades.resolve(record, changed));
    Ok(Ok(Snapshot { value, position }))
}

/// The maximum bytes of the changes that are read at a time. They are all in memory at once. A
/// client that missed more reads the records instead.
const MAX_SINCE_BYTES: usize = 16 << 20;

/// The maximum memory of these changes.
const MAX_SINCE_PARSED: usize = 64 << 20;

/// The size of the changes in one read of a log.
struct SinceSize<'a> {
    options: &'a ReadOptions,
    changes: usize,
    bytes: usize,
    parsed: usize,
}

impl<'a> SinceSize<'a> {
    fn new(options: &'a ReadOptions) -> Self {
        Self { options, changes: 0, bytes: 0, parsed: 0 }
    }

    /// Adds a change, and claims its memory. Returns `false` if the changes are too large.
    fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<bool> {
        self.changes += 1;
        if self.options.check_records(self.changes).is_err() {
            return Ok(false);
        }
        self.bytes += row::change_bytes(row)?;
        let [before, after] = [row::parsed_bytes(row, "before")?, row::parsed_bytes(row, "after")?];
        self.parsed += before + after;
        // The values that were set are copies of those after the change.
        let memory = size_of::<Change>() + before + 2 * after;
        Ok(self.bytes <= MAX_SINCE_BYTES
            && self.parsed <= MAX_SINCE_PARSED
            && self.options.memory.add(memory).is_ok())
    }
}

/// Returns the changes of a room after a position.
pub(super) fn since(
    snapshot: &Transaction<'_>,
    epoch: u64,
    room: &Room,
    position: Position,
    options: &ReadOptions,
) -> rusqlite::Result<ChangesSince> {
    let resource = room.resource();
    let counters = row::counters(snapshot, resource)?;
    let is_reached =
        counters.reaches(position.offset) && epochs::is_valid(snapshot, resource, position, epoch)?;
    if !is_reached {
        return Ok(ChangesSince::OutOfReach);
    }
    let position = Position { epoch, ..position };
    let changes = match room.id() {
        None => class_since(snapshot, resource, position, options)?,
        Some(id) => instance_since(snapshot, (resource, id), position, options)?,
    };
    Ok(match changes {
        Some(changes) => ChangesSince::Changes { changes, head: counters.position(epoch) },
        None => ChangesSince::OutOfReach,
    })
}

/// Whether the log has everything after each of these positions.
pub(super) fn reaches(
    snapshot: &Transaction<'_>,
    epoch: u64,
    resource: &Resource,
    positions: &[Position],
) -> rusqlite::Result<Vec<bool>> {
    let counters = row::counters(snapshot, resource)?;
    let is_reached = |position: &Position| {
        Ok(counters.reaches(position.offset)
            && epochs::is_valid(snapshot, resource, *position, epoch)?)
    };
    positions.iter().map(is_reached).collect()
}

fn class_since(
    snapshot: &Transaction<'_>,
    resource: &Resource,
    position: Position,
    options: &ReadOptions,
) -> rusqlite::Result<Option<Vec<Arc<Change>>>> {
    let mut statement = snapshot
        .prepare_cached("SELECT * FROM log WHERE resource = ?1 AND offset > ?2 ORDER BY offset")?;
    let mut rows = statement.query((Column(resource), position.offset.cast_signed()))?;
    let (mut changes, mut size) = (Vec::new(), SinceSize::new(options));
    while let Some(row) = rows.next()? {
        if !size.add(row)? {
            return Ok(None);
        }
        changes.push(row::change(row, position.epoch, resource)?);
    }
    Ok(Some(changes))
}

/// Returns the changes of a record. It follows the chain back from the record's last change.
fn instance_since(
    snapshot: &Transaction<'_>,
    (resource, id): (&Resource, &Id),
    position: Position,
    options: &ReadOptions,
) -> rusqlite::Result<Option<Vec<Arc<Change>>>> {
    let last: Option<i64> = snapshot
        .prepare_cached("SELECT offset FROM records WHERE resource = ?1 AND id = ?2")?
        .query_row((Column(resource), Column(id)), |row| row.get("offset"))
        .optional()?;
    let mut statement =
        snapshot.prepare_cached("SELECT * FROM log WHERE resource = ?1 AND offset = ?2")?;
    let (mut changes, mut size) = (VecDeque::new(), SinceSize::new(options));
    let mut offset = last.map_or(0, i64::cast_unsigned);
    while offset > position.offset {
        let change = statement.query_row((Column(resource), offset.cast_signed()), |row| {
            let is_little = size.add(row)?;
            is_little.then(|| row::change(row, position.epoch, resource)).transpose()
        })?;
        let Some(change) = change else { return Ok(None) };
        offset = change.previous;
        changes.push_front(change);
    }
    Ok(Some(changes.into()))
}
