//! The ledger of a file.
//!
//! An entry begins as part of its change's row in the log: a write pays for no row more, and for no place
//! among keys that are in no order. Which rows those are is known in memory, and found again when the
//! file is opened. Many at a time and sorted by their keys, and in any case before the log forgets one of
//! them, they are put in a table of their own.
//!
//! Invariant: an entry is in one commit with its change, and in the log or in the table from then on.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::{forget, row};
use crate::change::{Attributes, Change, Position, Resource};
use crate::engine::ledger::{self, Entry};
use crate::write::Key;

/// Entries that are put in the table together: enough for neighbours to share a page.
const TOGETHER: usize = 1024;

/// Entries that stand in the log alone.
#[derive(Debug, Default)]
pub(super) struct Recent {
    places: HashMap<Name, Place>,
    /// The first of each resource.
    first: HashMap<Resource, u64>,
}

/// Identity and key.
type Name = (Arc<str>, Arc<str>);

/// A place in a log.
#[derive(Debug)]
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
            let place =
                Place { resource: row.get("resource")?, offset: row::unsigned(row, "offset")? };
            recent.add((row.get("identity")?, row.get("key")?), place);
        }
        Ok(recent)
    }

    /// Remembers what a key was used for.
    pub(super) fn remember(&mut self, key: Key, change: &Change) {
        let (resource, offset) = (change.resource.clone(), change.position.offset);
        self.add((key.identity, key.key), Place { resource, offset });
    }

    /// Adds those that came later.
    pub(super) fn append(&mut self, later: Self) {
        for (name, place) in later.places {
            self.add(name, place);
        }
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.first.clear();
    }

    /// Whether there are, with those that came later, as many as are put in the table together.
    pub(super) fn is_full(&self, later: &Self) -> bool {
        self.places.len() + later.places.len() >= TOGETHER
    }

    /// Whether one of them goes with the log of a resource up to an offset.
    pub(super) fn goes_with(&self, resource: &Resource, floor: u64) -> bool {
        self.first.get(resource).is_some_and(|first| *first <= floor)
    }

    /// What came of the request that had this key, if it is one of these.
    pub(super) fn recall(
        &self,
        connection: &Connection,
        key: &Key,
        now: u64,
        epoch: u64,
    ) -> Result<Option<Entry<Arc<Change>>>> {
        let name = (Arc::clone(&key.identity), Arc::clone(&key.key));
        let Some(Place { resource, offset }) = self.places.get(&name) else { return Ok(None) };
        connection
            .prepare_cached(
                "SELECT *, coalesce(after, before) AS shown FROM log
                 WHERE resource = ?1 AND offset = ?2 AND at >= ?3",
            )?
            .query_row((resource, offset.cast_signed(), since(now)), |row| entry(row, epoch))
            .optional()
    }

    fn add(&mut self, name: Name, place: Place) {
        let first = self.first.entry(place.resource.clone()).or_insert(place.offset);
        *first = (*first).min(place.offset);
        self.places.insert(name, place);
    }
}

/// What came of the request that had this key, if it is in the table.
pub(super) fn recall(
    connection: &Connection,
    key: &Key,
    now: u64,
    epoch: u64,
) -> Result<Option<Entry<Arc<Change>>>> {
    connection
        .prepare_cached("SELECT * FROM ledger WHERE identity = ?1 AND key = ?2 AND at >= ?3")?
        .query_row((&key.identity, &key.key, since(now)), |row| entry(row, epoch))
        .optional()
}

/// Puts all that stand in the log alone in the table, where they replace those that were forgotten but
/// not dropped yet. The heads of all resources have been stored.
pub(super) fn settle(connection: &Connection, now: u64) -> Result<()> {
    let added = connection
        .prepare_cached(
            "INSERT OR REPLACE INTO ledger (identity, key, fingerprint, resource, offset, verb, id,
                                            shown, mark, at)
             SELECT identity, key, fingerprint, resource, offset, verb, id,
                    coalesce(after, before), mark, at
             FROM resources CROSS JOIN log ON log.resource = name AND offset > moved
             WHERE key IS NOT NULL ORDER BY identity, key, at, offset",
        )?
        .execute(())?;
    connection
        .prepare_cached("UPDATE resources SET moved = head WHERE moved < head")?
        .execute(())?;
    forget::keys(connection, "ledger", u32::try_from(added).unwrap_or(u32::MAX / 2), now)
}

fn since(now: u64) -> i64 {
    ledger::cutoff(now).cast_signed()
}

fn entry(row: &Row<'_>, epoch: u64) -> Result<Entry<Arc<Change>>> {
    let verb = row.get("verb")?;
    let (before, after) = ledger::sides(verb, row::record(row, "shown")?);
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
