//! What a commit leaves behind: changes outside the window, and keys of posts that are too old.
//!
//! Each commit forgets a little more than it adds and looks at no more than it forgets.

use rusqlite::{Connection, OptionalExtension, Result};

use crate::change::{Resource, Verb};
use crate::engine::counters::Counters;
use crate::engine::{Window, ledger};

/// Drops old posts after one was added.
pub(super) fn post(connection: &Connection, cutoff: u64) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM posts WHERE at < ?1 AND rowid IN
             (SELECT rowid FROM posts ORDER BY rowid LIMIT ?2)",
        )?
        .execute((cutoff.cast_signed(), ledger::DROPPED_PER_WRITE))?;
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

/// Drops the changes up to a new floor, and with them the last trace of the records that are not there.
/// The ledger's table has the keys that some of them came with.
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
        .execute((resource, from, floor, Verb::Destroy))?;
    connection
        .prepare_cached("DELETE FROM log WHERE resource = ?1 AND offset > ?2 AND offset <= ?3")?
        .execute((resource, from, floor))?;
    Ok(())
}
