//! The keys of writes that changed nothing: there is no change in the log whose row could hold them.
//!
//! Invariant: an entry is in one commit with its decision, and found from then on.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::row;
use crate::change::{Attributes, Change, Position, Verb};
use crate::engine::ledger::{self, Entry};
use crate::write::Key;

/// In the order of their rowids, the entries are in the order they were made.
pub(super) const TABLE: &str = "
    CREATE TABLE unchanged (
        key TEXT NOT NULL,
        identity TEXT NOT NULL,
        fingerprint INTEGER NOT NULL,
        resource TEXT NOT NULL,
        offset INTEGER NOT NULL,
        id NOT NULL,
        json TEXT NOT NULL,
        mark INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (key, identity)
    );
";

/// Whether there is any entry.
pub(super) fn are_there(connection: &Connection) -> Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM unchanged)", (), |row| row.get(0))
}

/// Remembers how the record was that a write did not change, and forgets keys of last week.
pub(super) fn remember(connection: &Connection, key: &Key, change: &Change) -> Result<()> {
    let json = change.after.as_deref().map(row::text);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO unchanged VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            &key.key,
            &key.identity,
            key.fingerprint.cast_signed(),
            &change.resource,
            change.position.offset.cast_signed(),
            &change.id,
            json,
            change.mark.cast_signed(),
            change.at.cast_signed(),
        ))?;
    connection
        .prepare_cached(
            "DELETE FROM unchanged WHERE at < ?1 AND rowid IN
             (SELECT rowid FROM unchanged ORDER BY rowid LIMIT ?2)",
        )?
        .execute((ledger::cutoff(change.at).cast_signed(), ledger::DROPPED_PER_WRITE))?;
    Ok(())
}

/// What was answered to the write that had this key, if it is remembered.
pub(super) fn recall(
    connection: &Connection,
    key: &Key,
    now: u64,
    epoch: u64,
) -> Result<Option<Entry<Arc<Change>>>> {
    connection
        .prepare_cached("SELECT * FROM unchanged WHERE key = ?1 AND identity = ?2 AND at >= ?3")?
        .query_row((&key.key, &key.identity, ledger::cutoff(now).cast_signed()), |row| {
            entry(row, epoch)
        })
        .optional()
}

fn entry(row: &Row<'_>, epoch: u64) -> Result<Entry<Arc<Change>>> {
    let outcome = Change {
        resource: row.get("resource")?,
        position: Position { epoch, offset: row::unsigned(row, "offset")? },
        previous: 0,
        verb: Verb::Update,
        id: row.get("id")?,
        before: None,
        after: row::record(row, "json")?,
        set: Attributes::new(),
        mark: row::unsigned(row, "mark")?,
        published: false,
        origin: None,
        at: row::unsigned(row, "at")?,
    };
    Ok(Entry { fingerprint: row::unsigned(row, "fingerprint")?, outcome: Arc::new(outcome) })
}
