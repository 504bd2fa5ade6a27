//! The ledger of a file.
//!
//! A write stores its entry in the row of its change, so it needs no extra row and no insert among
//! keys that are in random order. Entries of recent writes are also kept in memory, and are rebuilt
//! when the file is opened. They are moved to the table `ledger` in batches, at the latest before
//! the log drops them. A write that changed nothing has no row in the log, so its entry is put
//! there at once.
//!
//! Invariant: an entry is in one commit with its change, and is found in memory or in the table
//! from then on. If both have a key, the entry in memory is newer.

use backwire_environment::HashMap;
use backwire_records::change::{Change, Resource};
use backwire_records::write::Key;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::row;
use crate::ledger::{
    DROPPED_PER_WRITE, Entry, KeyHash, Kind, LedgerLimits, Written, bytes, stored,
};
use crate::sqlite::row::{Column, get};

/// The number of recent entries that are moved to the table together: enough for the entries of one
/// client to share a page.
const MAX_RECENT_ENTRIES: usize = 1024;

/// The entries, in the order of `n`, are in the order in which they were added. The oldest are
/// dropped first. The bytes of all of them are in `meta`.
pub(super) const TABLE: &str = "
    -- key: hash of identity and key. offset: in the log, which may have forgotten it.
    -- kind: 0 changed its record, 1 was only published, 2 changed nothing.
    CREATE TABLE ledger (
        n INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        fingerprint INTEGER NOT NULL,
        resource TEXT NOT NULL,
        id NOT NULL,
        offset INTEGER NOT NULL,
        verb INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        at INTEGER NOT NULL
    );

    INSERT INTO meta (name, value) VALUES ('ledger_bytes', 0);
";

/// Makes the table of the tenth version from those of the ninth. That had keys that lead to the
/// log, which kept whole changes for them, and whole records of writes that changed nothing.
pub(super) const UPGRADE: &str = "
    DROP TABLE ledger;
    CREATE TABLE ledger (
        n INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        fingerprint INTEGER NOT NULL,
        resource TEXT NOT NULL,
        id NOT NULL,
        offset INTEGER NOT NULL,
        verb INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        at INTEGER NOT NULL
    );
    INSERT OR REPLACE INTO ledger (key, fingerprint, resource, id, offset, verb, kind, at)
        SELECT key_hash(identity, key), fingerprint, resource, id, offset, verb, kind, at FROM (
            SELECT identity, key, fingerprint, resource, id, offset, verb, published AS kind, at
                FROM log WHERE key IS NOT NULL
            UNION ALL
            SELECT identity, key, fingerprint, resource, id, offset, 2, 2, at FROM unchanged
        ) ORDER BY at, offset;
    INSERT INTO meta (name, value)
        SELECT 'ledger_bytes', coalesce(sum(entry_bytes(resource, id)), 0) FROM ledger;
    DROP TABLE unchanged;
    DELETE FROM log WHERE offset <= (SELECT floor FROM resources WHERE name = resource);
    UPDATE resources SET moved = head;
";

/// Gives a connection the functions that [`UPGRADE`] calls.
pub(super) fn add_functions(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("key_hash", 2, flags, |call| {
        let (identity, key): (String, String) = (call.get(0)?, call.get(1)?);
        Ok(KeyHash::of(&identity, &key))
    })?;
    connection.create_scalar_function("entry_bytes", 2, flags, |call| {
        let (Column(resource), Column(id)) = (call.get(0)?, call.get(1)?);
        Ok(bytes(&resource, &id).cast_signed())
    })
}

/// The entries that the table does not have.
#[derive(Debug, Default)]
pub(super) struct RecentEntries {
    entries: HashMap<KeyHash, Entry<Written>>,
    /// The smallest offset of an entry in the log, by resource.
    firsts: HashMap<Resource, u64>,
    /// Whether an entry is not in the log.
    has_unlogged: bool,
}

impl RecentEntries {
    /// Reads the entries of a file.
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let mut recent = Self::default();
        // If a key occurs twice, the earlier entry has expired, and the later one replaces it.
        let mut statement = connection.prepare(
            "SELECT log.identity, log.key, fingerprint, resource, id, offset, verb,
                    published AS kind, at
             FROM resources CROSS JOIN log ON log.resource = name AND offset > moved
             WHERE key IS NOT NULL ORDER BY at, offset",
        )?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let (identity, key): (String, String) = (row.get("identity")?, row.get("key")?);
            recent.add(KeyHash::of(&identity, &key), entry(row)?);
        }
        Ok(recent)
    }

    /// Adds the outcome of the request that used a key.
    pub(super) fn remember(&mut self, key: &Key, outcome: Written) {
        self.add(key.into(), Entry { fingerprint: key.fingerprint, outcome });
    }

    fn add(&mut self, key: KeyHash, entry: Entry<Written>) {
        let Written { resource, offset, .. } = &entry.outcome;
        match entry.outcome.was_logged() {
            true => self.add_first(resource.clone(), *offset),
            false => self.has_unlogged = true,
        }
        self.entries.insert(key, entry);
    }

    /// Entries come in the order of their time, which is not that of the log if the clock was set
    /// back.
    fn add_first(&mut self, resource: Resource, offset: u64) {
        let first = self.firsts.entry(resource).or_insert(offset);
        *first = offset.min(*first);
    }

    /// Adds later entries.
    pub(super) fn append(&mut self, later: Self) {
        self.entries.extend(later.entries);
        for (resource, offset) in later.firsts {
            self.add_first(resource, offset);
        }
        self.has_unlogged |= later.has_unlogged;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the entries have to be moved to the table, together with later ones.
    pub(super) fn are_due(&self, later: &Self) -> bool {
        self.has_unlogged
            || later.has_unlogged
            || self.entries.len() + later.entries.len() >= MAX_RECENT_ENTRIES
    }

    /// Whether an entry is at or below an offset of a log.
    pub(super) fn reaches(&self, resource: &Resource, offset: u64) -> bool {
        self.firsts.get(resource).is_some_and(|first| *first <= offset)
    }
}

/// Returns the entry of a key, if the ledger has it. The entries of `recent[1]` are newer than
/// those of `recent[0]`.
pub(super) fn recall(
    connection: &Connection,
    recent: [&RecentEntries; 2],
    key: &Key,
    cutoff: u64,
) -> Result<Option<Entry<Written>>> {
    let key = KeyHash::from(key);
    // If a key occurs twice, the earlier entry has expired.
    let known = recent.into_iter().rev().find_map(|recent| recent.entries.get(&key).cloned());
    let known = known.map_or_else(|| find_in_table(connection, &key), |known| Ok(Some(known)))?;
    Ok(known.filter(|entry| entry.outcome.at >= cutoff))
}

/// Looks a key up in the table.
fn find_in_table(connection: &Connection, key: &KeyHash) -> Result<Option<Entry<Written>>> {
    connection
        .prepare_cached("SELECT * FROM ledger WHERE key = ?1")?
        .query_row([key], entry)
        .optional()
}

/// Returns the stored reply to a write, if the log still has its change.
pub(super) fn reply(
    connection: &Connection,
    written: &Written,
    epoch: u64,
) -> Result<Option<Change>> {
    if !written.was_logged() {
        return Ok(None);
    }
    connection
        .prepare_cached("SELECT * FROM log WHERE resource = ?1 AND offset = ?2")?
        .query_row((&Column(&written.resource), written.offset.cast_signed()), |row| {
            Ok(stored(&*row::change(row, epoch, &written.resource)?))
        })
        .optional()
}

/// Moves all entries in memory to the table, and drops some of the oldest. The heads of all
/// resources have to be stored before.
pub(super) fn move_to_table(
    connection: &Connection,
    recent: [&RecentEntries; 2],
    limits: LedgerLimits,
) -> Result<()> {
    let mut entries: Vec<_> = recent.into_iter().flat_map(|recent| &recent.entries).collect();
    // If a key occurs twice, the later entry replaces the earlier one.
    entries.sort_by_key(|(_, Entry { outcome, .. })| (outcome.at, outcome.offset));
    let mut bytes = stored_bytes(connection)?;
    for (key, entry) in &entries {
        if !insert(connection, key, entry)? {
            bytes -= remove(connection, key)?;
            insert(connection, key, entry)?;
        }
        bytes += entry.outcome.bytes();
    }
    connection
        .prepare_cached("UPDATE resources SET moved = head WHERE moved < head")?
        .execute(())?;
    bytes -= drop_oldest(connection, entries.len(), bytes, limits)?;
    connection
        .prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'ledger_bytes'")?
        .execute([bytes.cast_signed()])?;
    Ok(())
}

/// Adds an entry, unless there is one with its key.
fn insert(connection: &Connection, key: &KeyHash, entry: &Entry<Written>) -> Result<bool> {
    let Entry { fingerprint, outcome: Written { resource, id, offset, verb, kind, at } } = entry;
    let count = connection
        .prepare_cached(
            "INSERT INTO ledger (key, fingerprint, resource, id, offset, verb, kind, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (key) DO NOTHING",
        )?
        .execute((
            key,
            fingerprint.cast_signed(),
            Column(resource),
            Column(id),
            offset.cast_signed(),
            Column(verb),
            kind,
            at.cast_signed(),
        ))?;
    Ok(count > 0)
}

/// Removes the expired entry of a key that is used again, and returns its bytes.
fn remove(connection: &Connection, key: &KeyHash) -> Result<u64> {
    let mut delete =
        connection.prepare_cached("DELETE FROM ledger WHERE key = ?1 RETURNING resource, id")?;
    delete.query_row([key], cost)
}

/// Drops the oldest entries, as long as they are too old or all of them have too many bytes. It
/// drops at most a few more than were added. Returns their bytes.
fn drop_oldest(
    connection: &Connection,
    added: usize,
    bytes: u64,
    limits: LedgerLimits,
) -> Result<u64> {
    let room = i64::try_from(added).unwrap_or(i64::MAX).saturating_mul(DROPPED_PER_WRITE.into());
    let mut select =
        connection.prepare_cached("SELECT n, resource, id, at FROM ledger ORDER BY n LIMIT ?1")?;
    let mut rows = select.query([room])?;
    let (mut last, mut dropped) = (None, 0);
    while let Some(row) = rows.next()? {
        if row::unsigned(row, "at")? >= limits.cutoff && bytes - dropped <= limits.bytes {
            break;
        }
        dropped += cost(row)?;
        last = Some(row.get::<_, i64>("n")?);
    }
    if let Some(last) = last {
        connection.prepare_cached("DELETE FROM ledger WHERE n <= ?1")?.execute([last])?;
    }
    Ok(dropped)
}

/// Returns the bytes of all entries in the table.
fn stored_bytes(connection: &Connection) -> Result<u64> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = 'ledger_bytes'")?
        .query_row((), |row| row::unsigned(row, "value"))
}

fn cost(row: &Row<'_>) -> Result<u64> {
    Ok(bytes(&get(row, "resource")?, &get(row, "id")?))
}

fn entry(row: &Row<'_>) -> Result<Entry<Written>> {
    let outcome = Written {
        resource: get(row, "resource")?,
        id: get(row, "id")?,
        offset: row::unsigned(row, "offset")?,
        verb: get(row, "verb")?,
        kind: row.get("kind")?,
        at: row::unsigned(row, "at")?,
    };
    Ok(Entry { fingerprint: row::unsigned(row, "fingerprint")?, outcome })
}

impl ToSql for KeyHash {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_bytes()))
    }
}

impl ToSql for Kind {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self {
            Self::Changed => 0,
            Self::Published => 1,
            Self::Unchanged => 2,
        }))
    }
}

impl FromSql for Kind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(Self::Changed),
            1 => Ok(Self::Published),
            2 => Ok(Self::Unchanged),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}
