//! The ledger of a file.
//!
//! An entry is part of its change's row in the log: a write pays for no row more, and for no place
//! among keys that are in no order. A row stays there for as long as its key is remembered, also when the log
//! has forgotten the change. Where the newest are is known in memory, and found again when the
//! file is opened; many at a time, and in the order of their keys, that is put in a table.
//!
//! Invariant: an entry is in one commit with its change, and found in memory or by the table from then on.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::{forget, row};
use crate::change::{Attributes, Change, Position, Resource, Verb};
use crate::engine::ledger::{self, Entry};
use crate::write::Key;

/// Entries that are put in the table together: enough for neighbours to share a page.
const TOGETHER: usize = 1024;

/// Entries that the table does not have.
#[derive(Debug, Default)]
pub(super) struct Recent(HashMap<Name, Place>);

/// Key and identity.
type Name = (Arc<str>, Arc<str>);

/// A place in a log.
#[derive(Debug, Clone)]
struct Place {
    resource: Resource,
    offset: u64,
}

impl Recent {
    /// Those of a file.
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let mut recent = Self::default();
        // Of two with the same key, the first had its time.
        let mut statement = connection.prepare(
            "SELECT identity, key, resource, offset
             FROM resources CROSS JOIN log ON log.resource = name AND offset > moved
             WHERE key IS NOT NULL ORDER BY at, offset",
        )?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            recent.0.insert((row.get("key")?, row.get("identity")?), Place::read(row)?);
        }
        Ok(recent)
    }

    /// Remembers what a key was used for.
    pub(super) fn remember(&mut self, key: Key, change: &Change) {
        let (resource, offset) = (change.resource.clone(), change.position.offset);
        self.0.insert((key.key, key.identity), Place { resource, offset });
    }

    /// Adds those that came later.
    pub(super) fn append(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there are, with those that came later, as many as are put in the table together.
    pub(super) fn is_full(&self, later: &Self) -> bool {
        self.0.len() + later.0.len() >= TOGETHER
    }

    fn place(&self, key: &Key) -> Option<&Place> {
        self.0.get(&(Arc::clone(&key.key), Arc::clone(&key.identity)))
    }
}

impl Place {
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self { resource: row.get("resource")?, offset: row::unsigned(row, "offset")? })
    }
}

/// What came of the request that had this key, if it is remembered. Those that came later are in the second
/// of what the table does not have.
pub(super) fn recall(
    connection: &Connection,
    recent: [&Recent; 2],
    key: &Key,
    now: u64,
    epoch: u64,
) -> Result<Option<Entry<Arc<Change>>>> {
    // Of one key, the later counts: the earlier had its time.
    let known = recent.into_iter().rev().find_map(|recent| recent.place(key).cloned());
    let Some(place) = known.map_or_else(|| settled(connection, key), |place| Ok(Some(place)))?
    else {
        return Ok(None);
    };
    connection
        .prepare_cached(
            "SELECT *, coalesce(after, before) AS shown FROM log
             WHERE resource = ?1 AND offset = ?2 AND at >= ?3",
        )?
        .query_row((place.resource, place.offset.cast_signed(), since(now)), |row| {
            entry(row, epoch, row.get("verb")?, row::record(row, "shown")?)
        })
        .optional()
}

/// Where the table has a key.
fn settled(connection: &Connection, key: &Key) -> Result<Option<Place>> {
    connection
        .prepare_cached("SELECT resource, offset FROM ledger WHERE key = ?1 AND identity = ?2")?
        .query_row((&key.key, &key.identity), Place::read)
        .optional()
}

/// Puts all that the table does not have in it, where they replace those that were forgotten but
/// not dropped yet. The heads of all resources have been stored.
pub(super) fn settle(connection: &Connection, recent: [&Recent; 2], now: u64) -> Result<()> {
    let mut entries: Vec<_> = recent.into_iter().flat_map(|recent| &recent.0).collect();
    // Of one key, the later comes later.
    entries.sort_by_key(|(name, _)| *name);
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO ledger VALUES (?1, ?2, ?3, ?4)")?;
    for ((key, identity), Place { resource, offset }) in &entries {
        insert.execute((key, identity, resource, offset.cast_signed()))?;
    }
    connection
        .prepare_cached("UPDATE resources SET moved = head WHERE moved < head")?
        .execute(())?;
    forget::keyed(connection, entries.len(), now)
}

fn since(now: u64) -> i64 {
    ledger::cutoff(now).cast_signed()
}

/// The entry in a row, whose answer shows this record.
pub(super) fn entry(
    row: &Row<'_>,
    epoch: u64,
    verb: Verb,
    shown: Option<Arc<Attributes>>,
) -> Result<Entry<Arc<Change>>> {
    let (before, after) = ledger::sides(verb, shown);
    let outcome = Change {
        resource: row.get("resource")?,
        position: Position { epoch, offset: row::unsigned(row, "offset")? },
        previous: 0,
        verb,
        id: row.get("id")?,
        before,
        after,
        set: Attributes::new(),
        mark: row::unsigned(row, "mark")?,
        published: false,
        origin: None,
        at: row::unsigned(row, "at")?,
    };
    Ok(Entry { fingerprint: row::unsigned(row, "fingerprint")?, outcome: Arc::new(outcome) })
}
