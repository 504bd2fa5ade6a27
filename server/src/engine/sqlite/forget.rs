//! What a commit leaves behind: changes outside the window, and keys of last week.
//!
//! Each commit forgets a little more than it adds and looks at no more than it forgets.

use rusqlite::{Connection, OptionalExtension, Result};

use crate::change::{Resource, Verb};
use crate::engine::counters::Counters;
use crate::engine::{Window, ledger};

/// Drops old entries of a table of keys after so many were added.
pub(super) fn keys(connection: &Connection, table: &str, added: u32, now: u64) -> Result<()> {
    connection
        .prepare_cached(&format!(
            "DELETE FROM {table} WHERE at < ?1 AND rowid IN
             (SELECT rowid FROM {table} ORDER BY rowid LIMIT ?2)"
        ))?
        .execute((ledger::cutoff(now).cast_signed(), added * ledger::DROPPED_PER_WRITE))?;
    Ok(())
}

/// The change before the first that is young enough to be kept.
pub(super) fn floor(
    connection: &Connection,
    resource: &Resource,
    counters: &Counters,
    window: &Window,
    now: u64,
) -> Result<u64> {
    let floor = counters.floor_by_count(window).cast_signed();
    let cutoff = window.cutoff(now).cast_signed();
    let first: Option<i64> = connection
        .prepare_cached(
            "SELECT offset FROM log WHERE resource = ?1 AND offset > ?2 AND at >= ?3
             ORDER BY offset LIMIT 1",
        )?
        .query_row((resource, floor, cutoff), |row| row.get("offset"))
        .optional()?;
    Ok(first.map_or(counters.head, |first| first.cast_unsigned() - 1))
}

/// Drops the log up to an offset, and with it the last trace of the records that are not there.
pub(super) fn changes(connection: &Connection, resource: &Resource, floor: u64) -> Result<()> {
    let floor = floor.cast_signed();
    connection
        .prepare_cached(
            "DELETE FROM records WHERE resource = ?1 AND json IS NULL AND offset <= ?2 AND id IN
             (SELECT id FROM log WHERE resource = ?1 AND offset <= ?2 AND (verb = ?3 OR published))",
        )?
        .execute((resource, floor, Verb::Destroy))?;
    connection
        .prepare_cached("DELETE FROM log WHERE resource = ?1 AND offset <= ?2")?
        .execute((resource, floor))?;
    Ok(())
}
