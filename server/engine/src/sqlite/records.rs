//! The rows of records.
//!
//! Those that were written last are in memory, too: who writes to a record often does so again.
//!
//! Invariant: what is in memory is what the transaction would read.

use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Id, Resource};
use backwire_records::json_size::JsonSize;
use hashlink::LruCache;
use rusqlite::{Connection, OptionalExtension, Result};

use super::row;
use crate::sqlite::row::Column;

/// Records in memory.
const MOST: usize = 1024;

/// How long the JSON of one may be, in bytes.
const LENGTH: usize = 4096;

/// How many bytes the values of one may take.
const PARSED: usize = 32 << 10;

/// A record's row.
#[derive(Debug)]
pub(super) struct Stored {
    row: i64,
    /// Where the log last speaks of it.
    pub(super) offset: u64,
    /// Where it last changed, which is earlier if something was only published of it since.
    pub(super) changed: u64,
    /// The record as text and as what that says; none where it is not there.
    pub(super) json: Option<String>,
    pub(super) record: Option<Arc<Attributes>>,
}

/// The rows of all records.
#[derive(Debug)]
pub(super) struct Records {
    lately: LruCache<(Resource, Id), Stored>,
    /// What the file is like, apart from what was written over this connection.
    version: i64,
}

impl Records {
    pub(super) fn new() -> Self {
        Self { lately: LruCache::new(MOST), version: 0 }
    }

    /// Forgets what is in memory: what was written was not committed.
    pub(super) fn clear(&mut self) {
        self.lately.clear();
    }

    /// Forgets it where somebody else has written to the file. A transaction has begun.
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

    /// A record and where it last changed, for the answer to a repeat.
    pub(super) fn look(
        &mut self,
        connection: &Connection,
        resource: &Resource,
        id: &Id,
    ) -> Result<Option<(Arc<Attributes>, u64)>> {
        let look = |stored: &Stored| Some((stored.record.clone()?, stored.changed));
        match self.lately.get(&(resource.clone(), id.clone())) {
            Some(stored) => Ok(look(stored)),
            None => Ok(read(connection, resource, id)?.as_ref().and_then(look)),
        }
    }

    /// A record's row, for whoever is about to write to it.
    pub(super) fn take(
        &mut self,
        connection: &Connection,
        resource: &Resource,
        id: &Id,
    ) -> Result<Option<Stored>> {
        match self.lately.remove(&(resource.clone(), id.clone())) {
            Some(stored) => Ok(Some(stored)),
            None => read(connection, resource, id),
        }
    }

    /// Stores what a change made of a record, and its JSON; one that was destroyed leaves its row until its
    /// destroy has left the log, and so does one that there never was but that something was published of.
    pub(super) fn store(
        &mut self,
        connection: &Connection,
        stored: Option<Stored>,
        change: &Change,
        after: Option<String>,
    ) -> Result<()> {
        let row = write(connection, stored.map(|stored| stored.row), change, after.as_deref())?;
        let is_small =
            |json: &String| json.len() <= LENGTH && JsonSize::of(json).parsed_bytes() <= PARSED;
        let is_kept = !change.published && after.as_ref().is_some_and(is_small);
        if is_kept {
            let (offset, record) = (change.position.offset, change.after.clone());
            let stored = Stored { row, offset, changed: offset, json: after, record };
            self.lately.insert((change.resource.clone(), change.id.clone()), stored);
        }
        Ok(())
    }
}

fn read(connection: &Connection, resource: &Resource, id: &Id) -> Result<Option<Stored>> {
    let mut statement = connection.prepare_cached(
        "SELECT rowid, json, offset, coalesce(changed, offset) AS changed FROM records
         WHERE resource = ?1 AND id = ?2",
    )?;
    let stored = statement.query_row((Column(resource), Column(id)), |row| {
        let (json, record) = (row.get("json")?, row::record(row, "json")?);
        let (offset, changed) = (row::unsigned(row, "offset")?, row::unsigned(row, "changed")?);
        Ok(Stored { row: row.get("rowid")?, offset, changed, json, record })
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
