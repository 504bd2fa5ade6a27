//! Reading a list in the way that looks at the fewest records.
//!
//! SQLite passes over what it can tell is not among them; it is the criteria that decide, so they mean the
//! same everywhere. What is read ends where there is too much of it, or it takes too long: no more is in
//! memory than an answer may have.

use backwire_records::criteria::{Best, Look};
use rusqlite::{Result, Row, Rows, Transaction, params_from_iter};
use serde_json::Value;

use super::along::Along;
use super::prefilter::Clause;
use super::reading::{Answer, Reading, Stored, fetch};
use super::statement;
use crate::Record;
use crate::sketch::Sketch;

/// Where an index leaves no more than so many, they are looked at one and all rather than in the order
/// of another until there are enough.
const FEW: u32 = 1_000;

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
    statement::prepared(snapshot, &sql, |statement| {
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

fn are_few(snapshot: &Transaction<'_>, index: &str, clause: &Clause) -> Result<bool> {
    let Clause { sql, values, .. } = clause;
    let limit = FEW + 1;
    let sql = format!(
        "SELECT count(*) FROM
         (SELECT 1 FROM records INDEXED BY \"{index}\" WHERE {sql} LIMIT {limit})"
    );
    statement::prepared(snapshot, &sql, |statement| {
        let count = |row: &Row<'_>| row.get::<_, u32>(0);
        Ok(statement.query_row(params_from_iter(values), count)? <= FEW)
    })
}
