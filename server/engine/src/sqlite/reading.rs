//! One read of a list: how much of it there may be, and the answer that grows from it.

use std::collections::BTreeSet;

use backwire_records::change::Attributes;
use backwire_records::criteria::{Best, Look, Projection, Window};
use backwire_records::dangling::Dangling;
use rusqlite::types::FromSqlError;
use rusqlite::{CachedStatement, Result, Row, Transaction};
use serde_json::value::to_raw_value;

use super::control::ReadControl;
use super::prefilter::{Clause, Prefilter};
use super::row;
use crate::cascades::ResourceCascades;
use crate::sketch::Sketch;
use crate::{Error, ReadOptions, Record};

/// What is read, and how long it may take.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) prefilter: Prefilter<'a>,
    /// References that dangle are read as null, and pairs that dangle are not there.
    pub(super) cascades: &'a ResourceCascades,
    pub(super) bounds: Bounds<'a>,
}

/// How much may be read, and how long it may take.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) options: &'a ReadOptions,
    pub(super) control: &'a ReadControl,
}

/// A row of a record.
#[derive(Clone, Copy)]
pub(super) struct Stored<'r> {
    pub(super) json: &'r str,
    /// Where it was changed last. Only needed where something dangles.
    pub(super) changed: u64,
}

impl<'a> Reading<'a> {
    /// The columns of a record. They are after its JSON in the file, so those that are not needed are not read.
    pub(super) fn columns(&self) -> &'static str {
        match self.cascades.is_empty() {
            true => "json, 0 AS changed",
            false => "json, coalesce(changed, offset) AS changed",
        }
    }

    /// The attributes that are looked at.
    pub(super) fn names(&self) -> BTreeSet<&'a str> {
        self.prefilter.criteria.names().into_iter().chain(self.cascades.names()).collect()
    }

    /// Whether which records are meant depends on what dangles.
    pub(super) fn is_concerned(&self) -> bool {
        self.cascades.has_one_of(self.prefilter.criteria.names().into_iter())
    }

    /// What all have that may be meant, in the file.
    pub(super) fn all(&self) -> Clause {
        match self.is_concerned() {
            true => self.prefilter.all_or_dangling(self.cascades),
            false => self.prefilter.all(),
        }
    }

    /// As much of a record as it takes to choose it, if it is there.
    pub(super) fn sketch<'n>(
        &self,
        stored: Stored<'_>,
        names: &BTreeSet<&'n str>,
    ) -> Result<Option<Sketch<'n>>> {
        let sketch = Sketch::read(stored.json, names).map_err(FromSqlError::other)?;
        let dangling = self.cascades.dangling(&sketch, stored.changed);
        Ok(sketch.resolve(&dangling))
    }

    /// What dangles in a record.
    fn dangling(&self, stored: Stored<'_>) -> Result<Dangling> {
        if self.cascades.is_empty() {
            return Ok(Dangling::Nothing);
        }
        let names = self.cascades.names().collect();
        let sketch = Sketch::read(stored.json, &names).map_err(FromSqlError::other)?;
        Ok(self.cascades.dangling(&sketch, stored.changed))
    }

    /// Ends the read where this is an error.
    fn may(&self, check: std::result::Result<(), Error>) -> Result<()> {
        check.map_err(|error| self.bounds.control.refuse(error))
    }

    /// Whether these may be held to sort them, beside so many other bytes.
    pub(super) fn may_hold<R: Look>(&self, best: &mut Best<'_, R>, others: usize) -> Result<()> {
        let limit = self.bounds.options.sort_bytes;
        let has_room = best.bytes_at_most(limit.saturating_sub(others));
        self.may(has_room.then_some(()).ok_or(Error::TooMuchToSort(limit)))
    }

    /// Whether so many bytes may be held to sort them.
    pub(super) fn may_hold_bytes(&self, bytes: usize) -> Result<()> {
        let limit = self.bounds.options.sort_bytes;
        self.may((bytes <= limit).then_some(()).ok_or(Error::TooMuchToSort(limit)))
    }
}

/// Reads the record in a row.
pub(super) fn fetch<'s>(
    snapshot: &'s Transaction<'_>,
    reading: Reading<'_>,
) -> Result<CachedStatement<'s>> {
    let columns = reading.columns();
    snapshot.prepare_cached(&format!("SELECT {columns} FROM records WHERE rowid = ?1"))
}

impl<'r> Stored<'r> {
    pub(super) fn of(row: &'r Row<'_>) -> Result<Self> {
        let changed = row::unsigned(row, "changed")?;
        Ok(Self { json: row.get_ref("json")?.as_str()?, changed })
    }
}

/// The records that are shown, of all that are meant in their order.
pub(super) struct Answer<'a> {
    reading: Reading<'a>,
    window: Window,
    /// How many were passed over.
    passed: usize,
    pub(super) records: Vec<Record>,
    bytes: usize,
}

impl<'a> Answer<'a> {
    pub(super) fn new(reading: Reading<'a>) -> Self {
        let window = reading.prefilter.criteria.window();
        Self { reading, window, passed: 0, records: Vec::new(), bytes: 0 }
    }

    /// How many have been added, with those that are passed over.
    pub(super) fn count(&self) -> usize {
        self.passed + self.records.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.window.limit.is_some_and(|limit| self.records.len() >= limit)
    }

    /// Adds the next record, as far as it is shown.
    pub(super) fn add(&mut self, stored: Stored<'_>) -> Result<()> {
        if self.passed < self.window.skip {
            self.passed += 1;
            return Ok(());
        }
        let record = self.shown(stored)?;
        self.records.extend(record);
        Ok(())
    }

    /// Whether the answer may have one record more, of this size. Its bytes are claimed before they are held.
    fn may_have_one(&mut self, bytes: usize) -> Result<()> {
        let options = self.reading.bounds.options;
        self.bytes = self.bytes.saturating_add(bytes);
        self.reading.may(options.check_records(self.records.len() + 1))?;
        self.reading.may(options.check_bytes(self.bytes))?;
        self.reading.may(options.memory.add(bytes).map_err(Error::from))
    }

    /// Whether the answer may have all that match so far: without a limit it will.
    pub(super) fn may_have(&self, count: usize) -> Result<()> {
        match self.window.limit {
            Some(_) => Ok(()),
            None => {
                let count = count.saturating_sub(self.window.skip);
                self.reading.may(self.reading.bounds.options.check_records(count))
            }
        }
    }

    /// What is shown of a record.
    fn shown(&mut self, stored: Stored<'_>) -> Result<Option<Record>> {
        let (json, projection) = (stored.json, &self.reading.prefilter.criteria.projection);
        let dangling = self.reading.dangling(stored)?;
        if *projection == Projection::Whole && dangling == Dangling::Nothing {
            self.may_have_one(json.len())?;
            return Ok(Some(Record::of_json(json).map_err(FromSqlError::other)?));
        }
        let record: Attributes = serde_json::from_str(json).map_err(FromSqlError::other)?;
        let Some(record) = dangling.resolve(record.into()) else { return Ok(None) };
        let shown = to_raw_value(&projection.of(record)).map_err(FromSqlError::other)?;
        self.may_have_one(shown.get().len())?;
        Ok(Some(Record::Json(shown.into())))
    }
}
