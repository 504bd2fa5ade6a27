//! The cleanup in each commit: changes outside of the window, and expired keys of messages.
//!
//! Each commit drops a little more than it adds, and reads no more than it drops.

use backwire_records::change::{Resource, Verb};
use rusqlite::{Connection, Result};

use super::row;
use crate::counters::{CHANGE_BYTES, Counters};
use crate::sqlite::row::Column;
use crate::{Window, ledger};

/// Drops some expired keys of messages after one was added.
pub(super) fn post(connection: &Connection, cutoff: u64) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM posts WHERE at < ?1 AND rowid IN
             (SELECT rowid FROM posts ORDER BY rowid LIMIT ?2)",
        )?
        .execute((cutoff.cast_signed(), ledger::DROPPED_PER_WRITE))?;
    Ok(())
}

/// Returns the new floor of a log, and the bytes of the changes up to it. The oldest changes are
/// dropped as long as they are too many, too large together or too old.
pub(super) fn floor(
    connection: &Connection,
    resource: &Resource,
    counters: &Counters,
    window: &Window,
    now: u64,
) -> Result<(u64, u64)> {
    let by_count = counters.floor_by_count(window);
    let (excess, cutoff) = (counters.excess_bytes(window), window.cutoff(now));
    let mut statement = connection.prepare_cached(
        "SELECT offset, at, ?3 + octet_length(attributes) + ifnull(octet_length(before), 0)
                + ifnull(octet_length(after), 0) AS bytes
         FROM log WHERE resource = ?1 AND offset > ?2 ORDER BY offset",
    )?;
    let from = (Column(resource), counters.floor.cast_signed(), CHANGE_BYTES.cast_signed());
    let mut rows = statement.query(from)?;
    let (mut floor, mut bytes) = (by_count, 0);
    while let Some(row) = rows.next()? {
        let offset = row::unsigned(row, "offset")?;
        if offset > by_count && bytes >= excess && row::unsigned(row, "at")? >= cutoff {
            break;
        }
        bytes += row::unsigned(row, "bytes")?;
        floor = offset.max(by_count);
    }
    Ok((floor, bytes))
}

/// Drops the changes up to a new floor, and the rows of records that do not exist and have no later
/// changes. The ledger's table has to have the keys of these changes already.
pub(super) fn changes(
    connection: &Connection,
    resource: &Resource,
    from: u64,
    floor: u64,
) -> Result<()> {
    let (from, floor) = (from.cast_signed(), floor.cast_signed());
    connection
        .prepare_cached(
            "DELETE FROM records WHERE resource = ?1 AND json IS NULL AND offset <= ?3 AND id IN
             (SELECT id FROM log WHERE resource = ?1 AND offset > ?2 AND offset <= ?3
              AND (verb = ?4 OR published))",
        )?
        .execute((Column(resource), from, floor, Column(&Verb::Destroy)))?;
    connection
        .prepare_cached("DELETE FROM log WHERE resource = ?1 AND offset > ?2 AND offset <= ?3")?
        .execute((Column(resource), from, floor))?;
    Ok(())
}
