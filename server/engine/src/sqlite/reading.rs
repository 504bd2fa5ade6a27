//! One read of a list: its limits, and the answer that it builds.

use std::collections::BTreeSet;

use backwire_records::change::Attributes;
use backwire_records::criteria::{HasAttributes, Projection, TopRecords, Window};
use backwire_records::dangling::Dangling;
use rusqlite::types::FromSqlError;
use rusqlite::{CachedStatement, Result, Row, Transaction};
use serde_json::value::to_raw_value;

use super::control::ReadControl;
use super::prefilter::{Clause, Prefilter};
use super::row;
use crate::cascades::ResourceCascades;
use crate::partial_record::PartialRecord;
use crate::{Error, ReadOptions, Record};

/// A read of a list, with its limits.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) prefilter: Prefilter<'a>,
    /// The cascades: dangling references are read as null, and dangling pairs are left out.
    pub(super) cascades: &'a ResourceCascades,
    pub(super) bounds: Bounds<'a>,
}

/// The limits of a read: the size of the answer, and the time.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) options: &'a ReadOptions,
    pub(super) control: &'a ReadControl,
}

/// The row of a record.
#[derive(Clone, Copy)]
pub(super) struct RecordRow<'r> {
    pub(super) json: &'r str,
    /// The offset of its last change. Only needed if there are cascades.
    pub(super) changed: u64,
}

impl<'a> Reading<'a> {
    /// Returns the columns to select. They are after the JSON in the file, so columns that are not
    /// needed are not read.
    pub(super) fn columns(&self) -> &'static str {
        match self.cascades.is_empty() {
            true => "json, 0 AS changed",
            false => "json, coalesce(changed, offset) AS changed",
        }
    }

    /// Returns the attributes that the criteria and the cascades read.
    pub(super) fn names(&self) -> BTreeSet<&'a str> {
        self.prefilter.criteria.names().into_iter().chain(self.cascades.names()).collect()
    }

    /// Whether the selected records depend on the cascades.
    pub(super) fn depends_on_cascades(&self) -> bool {
        self.cascades.has_one_of(self.prefilter.criteria.names().into_iter())
    }

    /// Returns a clause that every selected record fulfils.
    pub(super) fn all(&self) -> Clause {
        match self.depends_on_cascades() {
            true => self.prefilter.all_or_dangling(self.cascades),
            false => self.prefilter.all(),
        }
    }

    /// Parses these attributes of a record, without dangling references. Returns `None` for a
    /// dangling pair.
    pub(super) fn partial_record<'n>(
        &self,
        stored: RecordRow<'_>,
        names: &BTreeSet<&'n str>,
    ) -> Result<Option<PartialRecord<'n>>> {
        let partial = PartialRecord::read(stored.json, names).map_err(FromSqlError::other)?;
        let dangling = self.cascades.dangling(&partial, stored.changed);
        Ok(partial.resolve(&dangling))
    }

    /// Returns the dangling references of a record.
    fn dangling(&self, stored: RecordRow<'_>) -> Result<Dangling> {
        if self.cascades.is_empty() {
            return Ok(Dangling::Nothing);
        }
        let names = self.cascades.names().collect();
        let partial = PartialRecord::read(stored.json, &names).map_err(FromSqlError::other)?;
        Ok(self.cascades.dangling(&partial, stored.changed))
    }

    /// Ends the read if a check failed.
    fn end_on_error(&self, check: std::result::Result<(), Error>) -> Result<()> {
        check.map_err(|error| self.bounds.control.refuse(error))
    }

    /// Ends the read if these records, beside this many other bytes, are too large to sort.
    pub(super) fn check_sort_memory<R: HasAttributes>(
        &self,
        top: &mut TopRecords<'_, R>,
        others: usize,
    ) -> Result<()> {
        let limit = self.bounds.options.sort_bytes;
        let has_room = top.bytes_at_most(limit.saturating_sub(others));
        self.end_on_error(has_room.then_some(()).ok_or(Error::TooMuchToSort(limit)))
    }

    /// Ends the read if this many bytes are too large to sort.
    pub(super) fn check_sort_bytes(&self, bytes: usize) -> Result<()> {
        let limit = self.bounds.options.sort_bytes;
        self.end_on_error((bytes <= limit).then_some(()).ok_or(Error::TooMuchToSort(limit)))
    }
}

/// Prepares the statement that reads the record in a row.
pub(super) fn fetch<'s>(
    snapshot: &'s Transaction<'_>,
    reading: Reading<'_>,
) -> Result<CachedStatement<'s>> {
    let columns = reading.columns();
    snapshot.prepare_cached(&format!("SELECT {columns} FROM records WHERE rowid = ?1"))
}

impl<'r> RecordRow<'r> {
    pub(super) fn of(row: &'r Row<'_>) -> Result<Self> {
        let changed = row::unsigned(row, "changed")?;
        Ok(Self { json: row.get_ref("json")?.as_str()?, changed })
    }
}

/// The records of an answer. The selected records are added in their order.
pub(super) struct Answer<'a> {
    reading: Reading<'a>,
    window: Window,
    /// The number of records that were skipped.
    skipped: usize,
    pub(super) records: Vec<Record>,
    bytes: usize,
}

impl<'a> Answer<'a> {
    pub(super) fn new(reading: Reading<'a>) -> Self {
        let window = reading.prefilter.criteria.window();
        Self { reading, window, skipped: 0, records: Vec::new(), bytes: 0 }
    }

    /// Returns the number of records that have been added, including skipped ones.
    pub(super) fn count(&self) -> usize {
        self.skipped + self.records.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.window.limit.is_some_and(|limit| self.records.len() >= limit)
    }

    /// Adds the next record, or skips it.
    pub(super) fn add(&mut self, stored: RecordRow<'_>) -> Result<()> {
        if self.skipped < self.window.skip {
            self.skipped += 1;
            return Ok(());
        }
        let record = self.project(stored)?;
        self.records.extend(record);
        Ok(())
    }

    /// Ends the read if the answer may not have one more record of this size. Its bytes are claimed
    /// before they are held.
    fn claim_next(&mut self, bytes: usize) -> Result<()> {
        let options = self.reading.bounds.options;
        self.bytes = self.bytes.saturating_add(bytes);
        self.reading.end_on_error(options.check_records(self.records.len() + 1))?;
        self.reading.end_on_error(options.check_bytes(self.bytes))?;
        self.reading.end_on_error(options.memory.add(bytes).map_err(Error::from))
    }

    /// Ends the read if the answer would have too many records: without a limit it has all that
    /// match.
    pub(super) fn check_count(&self, count: usize) -> Result<()> {
        match self.window.limit {
            Some(_) => Ok(()),
            None => {
                let count = count.saturating_sub(self.window.skip);
                self.reading.end_on_error(self.reading.bounds.options.check_records(count))
            }
        }
    }

    /// Returns the part of a record that the answer contains.
    fn project(&mut self, stored: RecordRow<'_>) -> Result<Option<Record>> {
        let (json, projection) = (stored.json, &self.reading.prefilter.criteria.projection);
        let dangling = self.reading.dangling(stored)?;
        if *projection == Projection::Whole && dangling == Dangling::Nothing {
            self.claim_next(json.len())?;
            return Ok(Some(Record::of_json(json).map_err(FromSqlError::other)?));
        }
        let record: Attributes = serde_json::from_str(json).map_err(FromSqlError::other)?;
        let Some(record) = dangling.resolve(record.into()) else { return Ok(None) };
        let projected = to_raw_value(&projection.of(record)).map_err(FromSqlError::other)?;
        self.claim_next(projected.get().len())?;
        Ok(Some(Record::Json(projected.into())))
    }
}
