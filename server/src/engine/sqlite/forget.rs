//! What a commit leaves behind: changes outside the window, and keys of last week.
//!
//! Each commit forgets a little more than it adds and looks at no more than it forgets.

use rusqlite::{Connection, OptionalExtension, Result};

use crate::change::{Resource, Verb};
use crate::engine::counters::Counters;
use crate::engine::{Window, ledger};

/// Drops old posts after one was added.
pub(super) fn post(connection: &Connection, now: u64) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM posts WHERE at < ?1 AND rowid IN
             (SELECT rowid FROM posts ORDER BY rowid LIMIT ?2)",
        )?
        .execute((ledger::cutoff(now).cast_signed(), ledger::DROPPED_PER_WRITE))?;
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
/// Those that came with a key stay for the ledger.
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
        .prepare_cached(
            "DELETE FROM log
             WHERE resource = ?1 AND offset > ?2 AND offset <= ?3 AND key IS NULL",
        )?
        .execute((resource, from, floor))?;
    Ok(())
}

/// Drops old keys after so many were added, and the changes below the floor that stayed for them.
pub(super) fn keyed(connection: &Connection, added: usize, now: u64) -> Result<()> {
    let mut room = added * ledger::DROPPED_PER_WRITE as usize;
    let mut resources = connection.prepare_cached("SELECT name, floor FROM resources")?;
    let mut rows = resources.query(())?;
    while let Some(row) = rows.next()? {
        let (resource, floor) = (row.get("name")?, row.get("floor")?);
        let old = old(connection, &resource, floor, ledger::cutoff(now), room)?;
        let Some(last) = old.last() else { continue };
        connection
            .prepare_cached(
                "DELETE FROM ledger WHERE resource = ?1 AND offset <= ?2 AND (key, identity) IN
                 (SELECT key, identity FROM log WHERE resource = ?1 AND offset <= ?2)",
            )?
            .execute((&resource, last))?;
        connection
            .prepare_cached("DELETE FROM log WHERE resource = ?1 AND offset <= ?2")?
            .execute((&resource, last))?;
        room -= old.len();
    }
    Ok(())
}

/// The first changes below the floor, as long as they are old.
fn old(
    connection: &Connection,
    resource: &Resource,
    floor: i64,
    cutoff: u64,
    most: usize,
) -> Result<Vec<i64>> {
    let cutoff = cutoff.cast_signed();
    connection
        .prepare_cached(
            "SELECT offset, at FROM log WHERE resource = ?1 AND offset <= ?2 ORDER BY offset",
        )?
        .query_map((resource, floor), |row| Ok((row.get("offset")?, row.get("at")?)))?
        .take(most)
        .take_while(|found| found.as_ref().map_or(true, |(_, at): &(i64, i64)| *at < cutoff))
        .map(|found| found.map(|(offset, _)| offset))
        .collect()
}
