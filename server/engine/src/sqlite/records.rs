//! The rows of records.
//!
//! Rows that were written last are cached, because a record is often written several times.
//!
//! Invariant: the cache has what the transaction would read.

use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Id, Resource};
use backwire_records::json_size::JsonSize;
use hashlink::LruCache;
use rusqlite::{Connection, OptionalExtension, Result};

use super::row;
use crate::sqlite::row::Column;

/// The maximum number of cached records.
const MAX_CACHED_RECORDS: usize = 1024;

/// The maximum bytes of the JSON of a cached record.
const MAX_CACHED_JSON_BYTES: usize = 4096;

/// The maximum bytes of the parsed values of a cached record.
const MAX_CACHED_PARSED_BYTES: usize = 32 << 10;

/// The row of a record.
#[derive(Debug)]
pub(super) struct StoredRecord {
    row: i64,
    /// The offset of its last entry in the log.
    pub(super) offset: u64,
    /// The offset of its last change, which is smaller if something was only published of it since.
    pub(super) changed: u64,
    /// The record as text; `None` if the record does not exist.
    pub(super) json: Option<String>,
    /// The parsed record; `None` if the record does not exist.
    pub(super) record: Option<Arc<Attributes>>,
}

/// The rows of all records.
#[derive(Debug)]
pub(super) struct Records {
    cache: LruCache<(Resource, Id), StoredRecord>,
    /// The version of the data in the file, which changes with writes over other connections.
    version: i64,
}

impl Records {
    pub(super) fn new() -> Self {
        Self { cache: LruCache::new(MAX_CACHED_RECORDS), version: 0 }
    }

    /// Empties the cache, after writes that were not committed.
    pub(super) fn clear(&mut self) {
        self.cache.clear();
    }

    /// Empties the cache if somebody else has written to the file. A transaction has to be open.
    pub(super) fn refresh(&mut self, connection: &Connection) -> Result<()> {
        let version = connection
            .prepare_cached("PRAGMA data_version")?
            .query_row((), |row| row.get("data_version"))?;
        if version != self.version {
            self.clear();
            self.version = version;
        }
        Ok(())
    }

    /// Returns a record and the offset of its last change, for the answer to a repeat.
    pub(super) fn look(
        &mut self,
        connection: &Connection,
        resource: &Resource,
        id: &Id,
    ) -> Result<Option<(Arc<Attributes>, u64)>> {
        let look = |stored: &StoredRecord| Some((stored.record.clone()?, stored.changed));
        match self.cache.get(&(resource.clone(), id.clone())) {
            Some(stored) => Ok(look(stored)),
            None => Ok(read(connection, resource, id)?.as_ref().and_then(look)),
        }
    }

    /// Removes the row of a record from the cache, or reads it. The caller is about to write the
    /// record.
    pub(super) fn take(
        &mut self,
        connection: &Connection,
        resource: &Resource,
        id: &Id,
    ) -> Result<Option<StoredRecord>> {
        match self.cache.remove(&(resource.clone(), id.clone())) {
            Some(stored) => Ok(Some(stored)),
            None => read(connection, resource, id),
        }
    }

    /// Stores the record after a change, and its JSON. The row of a destroyed record stays until
    /// the log drops the destroy. The same holds for a record that never existed, but has a
    /// publication.
    pub(super) fn store(
        &mut self,
        connection: &Connection,
        stored: Option<StoredRecord>,
        change: &Change,
        after: Option<String>,
    ) -> Result<()> {
        let row = write(connection, stored.map(|stored| stored.row), change, after.as_deref())?;
        let is_small = |json: &String| {
            json.len() <= MAX_CACHED_JSON_BYTES
                && JsonSize::rough(json, MAX_CACHED_PARSED_BYTES, usize::MAX).parsed_bytes()
                    <= MAX_CACHED_PARSED_BYTES
        };
        let is_kept = !change.published && after.as_ref().is_some_and(is_small);
        if is_kept {
            let (offset, record) = (change.position.offset, change.after.clone());
            let stored = StoredRecord { row, offset, changed: offset, json: after, record };
            self.cache.insert((change.resource.clone(), change.id.clone()), stored);
        }
        Ok(())
    }
}

fn read(connection: &Connection, resource: &Resource, id: &Id) -> Result<Option<StoredRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT rowid, json, offset, coalesce(changed, offset) FROM records
         WHERE resource = ?1 AND id = ?2",
    )?;
    let stored = statement.query_row((Column(resource), Column(id)), |row| {
        let (json, record) = (row.get(1)?, row::record(row, 1)?);
        let (offset, changed) = (row::unsigned(row, 2)?, row::unsigned(row, 3)?);
        Ok(StoredRecord { row: row.get(0)?, offset, changed, json, record })
    });
    stored.optional()
}

fn write(
    connection: &Connection,
    row: Option<i64>,
    change: &Change,
    after: Option<&str>,
) -> Result<i64> {
    let offset = change.position.offset.cast_signed();
    let Some(row) = row else {
        let json = after.filter(|_| !change.published);
        return connection
            .prepare_cached(
                "INSERT INTO records (resource, id, offset, json) VALUES (?1, ?2, ?3, ?4)",
            )?
            .insert((&Column(&change.resource), &Column(&change.id), offset, json));
    };
    if change.published {
        connection
            .prepare_cached(
                "UPDATE records SET changed = coalesce(changed, offset), offset = ?2 WHERE rowid = ?1",
            )?
            .execute((row, offset))?;
    } else {
        connection
            .prepare_cached(
                "UPDATE records SET offset = ?2, changed = NULL, json = ?3 WHERE rowid = ?1",
            )?
            .execute((row, offset, after))?;
    }
    Ok(row)
}
