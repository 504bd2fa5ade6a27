//! The log of a resource, and its counters.

use backwire_records::change::{Change, Resource};
use backwire_records::write::Key;
use rusqlite::{Connection, Result};

use super::row::{self, Column};
use crate::counters::{Counters, change_bytes};

/// Stores the counters of a resource. The first record decides the name of the key.
pub(super) fn store_counters(
    connection: &Connection,
    resource: &Resource,
    counters: Counters,
    key: Option<&str>,
) -> Result<()> {
    let Counters { head, floor, next_id, records, log_bytes } = counters;
    connection
        .prepare_cached(
            "INSERT INTO resources (name, head, floor, next_id, key_name, records, log_bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (name) DO UPDATE
             SET head = ?2, floor = ?3, next_id = ?4, key_name = coalesce(key_name, ?5),
                 records = ?6, log_bytes = ?7",
        )?
        .execute((
            Column(resource),
            head.cast_signed(),
            floor.cast_signed(),
            next_id,
            key,
            records.cast_signed(),
            log_bytes.cast_signed(),
        ))?;
    Ok(())
}

/// Appends a change to the log, with its idempotency key. Returns the bytes that it takes there.
pub(super) fn append(
    connection: &Connection,
    change: &Change,
    [before, after]: [Option<&str>; 2],
    key: Option<&Key>,
) -> Result<u64> {
    let names = row::names(&change.set);
    connection
        .prepare_cached(
            "INSERT INTO log (resource, offset, previous, verb, id, before, after, attributes,
                              mark, published, origin, at, identity, key, fingerprint)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute((
            &Column(&change.resource),
            change.position.offset.cast_signed(),
            change.previous.cast_signed(),
            Column(&change.verb),
            &Column(&change.id),
            before,
            after,
            &names,
            change.mark.cast_signed(),
            change.published,
            &change.origin,
            change.at.cast_signed(),
            key.map(|key| &key.identity),
            key.map(|key| &key.key),
            key.map(|key| key.fingerprint.cast_signed()),
        ))?;
    Ok(change_bytes([before.map_or(0, str::len), after.map_or(0, str::len), names.len()]))
}
