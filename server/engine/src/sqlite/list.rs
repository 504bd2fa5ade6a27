//! Reading a list in the way that looks at the fewest records.
//!
//! SQLite passes over what it can tell is not among them; it is the criteria that decide, so they mean the
//! same everywhere. What is read ends where there is too much of it, or it takes too long: no more is in
//! memory than an answer may have.

use std::collections::BTreeSet;

use backwire_records::change::Attributes;
use rusqlite::types::FromSqlError;
use rusqlite::{CachedStatement, Result, Row, Rows, Transaction, params_from_iter};
use serde_json::Value;
use serde_json::value::to_raw_value;

use super::along::Along;
use super::control::ReadControl;
use super::prefilter::{Clause, Prefilter};
use super::{reader, row};
use crate::cascades::{Dangling, ResourceCascades};
use crate::sketch::Sketch;
use crate::{Error, ReadOptions, Record};

pub use backwire_records::criteria::{Best, Look, Projection, Window};

/// Where an index leaves no more than so many, they are looked at one and all rather than in the order
/// of another until there are enough.
const FEW: u32 = 1_000;

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
    fn is_concerned(&self) -> bool {
        self.cascades.has_one_of(self.prefilter.criteria.names().into_iter())
    }

    /// What all have that may be meant, in the file.
    fn all(&self) -> Clause {
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

/// The records that the criteria pick.
pub(super) fn read(snapshot: &Transaction<'_>, reading: Reading<'_>) -> Result<Vec<Record>> {
    let prefilter = reading.prefilter;
    let along = Along::of(reading).filter(|_| !reading.is_concerned());
    let Some(along) = along else {
        return all(snapshot, reading, None);
    };
    for (index, clause) in prefilter.indexed() {
        if !along.is_bounded(&index) && are_few(snapshot, &index, &clause)? {
            return all(snapshot, reading, Some(index));
        }
    }
    along.read(snapshot)
}

/// Looks at all that may be meant.
fn all(
    snapshot: &Transaction<'_>,
    reading: Reading<'_>,
    index: Option<String>,
) -> Result<Vec<Record>> {
    let Clause { sql, values, .. } = reading.all();
    let columns = reading.columns();
    let by = index.map(|index| format!("INDEXED BY \"{index}\"")).unwrap_or_default();
    let sql = format!("SELECT rowid, {columns} FROM records {by} WHERE {sql} ORDER BY id");
    reader::prepared(snapshot, &sql, |statement| {
        let rows = statement.query(params_from_iter(values))?;
        match reading.prefilter.criteria.sort.is_by_id() {
            true => in_order(rows, reading),
            false => sorted(snapshot, rows, reading),
        }
    })
}

/// Those that come in the order they are wanted in.
fn in_order(mut rows: Rows<'_>, reading: Reading<'_>) -> Result<Vec<Record>> {
    let criteria = reading.prefilter.criteria;
    let names = reading.names();
    let is_everything = criteria.is_everything() && reading.cascades.is_empty();
    let mut answer = Answer::new(reading);
    while !answer.is_full()
        && let Some(row) = rows.next()?
    {
        reading.bounds.control.check()?;
        let stored = Stored::of(row)?;
        let is_meant = |sketch: Sketch<'_>| criteria.matches(&sketch);
        if is_everything || reading.sketch(stored, &names)?.is_some_and(is_meant) {
            answer.add(stored)?;
        }
    }
    Ok(answer.records)
}

/// A record that may be among those that are wanted.
struct Candidate<'n> {
    row: i64,
    /// What it is sorted by.
    sketch: Sketch<'n>,
}

impl Look for Candidate<'_> {
    fn look(&self, name: &str) -> &Value {
        self.sketch.look(name)
    }
}

/// Sorts all that are meant, with no more of each in memory than it takes to sort.
fn sorted(
    snapshot: &Transaction<'_>,
    mut rows: Rows<'_>,
    reading: Reading<'_>,
) -> Result<Vec<Record>> {
    let criteria = reading.prefilter.criteria;
    let (names, sorted_by) = (reading.names(), criteria.sort.names());
    let bytes = |it: &Candidate<'_>| size_of::<i64>() + it.sketch.bytes();
    let mut best = Best::new(&criteria.sort, criteria.reach(), bytes);
    let mut answer = Answer::new(reading);
    while let Some(row) = rows.next()? {
        reading.bounds.control.check()?;
        let sketch = reading.sketch(Stored::of(row)?, &names)?;
        if let Some(mut sketch) = sketch.filter(|sketch| criteria.matches(sketch)) {
            sketch.keep(&sorted_by);
            best.push(Candidate { row: row.get("rowid")?, sketch });
            reading.may_hold(&mut best, 0)?;
            answer.may_have(best.count())?;
        }
    }
    let mut fetch = fetch(snapshot, reading)?;
    for candidate in best.finish() {
        reading.bounds.control.check()?;
        fetch.query_row([candidate.row], |row| answer.add(Stored::of(row)?))?;
    }
    Ok(answer.records)
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

    fn is_full(&self) -> bool {
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
    fn may_have(&self, count: usize) -> Result<()> {
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

fn are_few(snapshot: &Transaction<'_>, index: &str, clause: &Clause) -> Result<bool> {
    let Clause { sql, values, .. } = clause;
    let limit = FEW + 1;
    let sql = format!(
        "SELECT count(*) FROM
         (SELECT 1 FROM records INDEXED BY \"{index}\" WHERE {sql} LIMIT {limit})"
    );
    reader::prepared(snapshot, &sql, |statement| {
        let count = |row: &Row<'_>| row.get::<_, u32>(0);
        Ok(statement.query_row(params_from_iter(values), count)? <= FEW)
    })
}
