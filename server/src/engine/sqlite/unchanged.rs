//! The idempotency keys of writes that changed nothing. Such a write has no row in the log that
//! could hold its key.
//!
//! Invariant: the engine commits an entry together with its decision, and finds it from then on. An
//! entry is the latest use of its key: a later use in the log deletes it.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result};

use super::row;
use crate::change::{Change, Verb};
use crate::engine::ledger::{self, Entry};
use crate::write::Key;

/// The rowids are in the order in which the entries were added.
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

/// Whether the table has any entry.
pub(super) fn has_entries(connection: &Connection) -> Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM unchanged)", (), |row| row.get(0))
}

/// Stores the record that a write did not change under the write's key, and deletes a few expired
/// entries.
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

/// Deletes the entry of a key, which is used again.
pub(super) fn forget(connection: &Connection, key: &Key) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM unchanged WHERE key = ?1 AND identity = ?2")?
        .execute((&key.key, &key.identity))?;
    Ok(())
}

/// The time and the outcome of the write that had this key. No later write had it.
pub(super) fn recall(
    connection: &Connection,
    key: &Key,
    epoch: u64,
) -> Result<Option<(u64, Entry<Arc<Change>>)>> {
    connection
        .prepare_cached("SELECT * FROM unchanged WHERE key = ?1 AND identity = ?2")?
        .query_row((&key.key, &key.identity), |row| {
            let record = row::record(row, "json")?;
            let entry = super::ledger::entry(row, epoch, Verb::Update, record)?;
            Ok((row::unsigned(row, "at")?, entry))
        })
        .optional()
}
