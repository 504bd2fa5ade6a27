//! Reads of lists, with the plan that reads the fewest records.
//!
//! SQLite skips records that it knows do not match. The criteria decide, so they mean the same in
//! every engine. A read ends if its answer is too large or it takes too long: no more is in memory
//! than an answer may have.

use backwire_records::criteria::{HasAttributes, TopRecords};
use rusqlite::{Result, Row, Rows, Transaction, params_from_iter};
use serde_json::Value;

use super::index_scan::IndexScan;
use super::prefilter::Clause;
use super::reading::{Answer, Reading, RecordRow, fetch};
use super::statement;
use crate::Record;
use crate::partial_record::PartialRecord;

/// If an index leaves no more than this many candidates, all of them are read, instead of a scan in
/// the order of another index until there are enough.
const MAX_INDEXED_CANDIDATES: u32 = 1_000;

/// Returns the records that the criteria pick.
pub(super) fn read(snapshot: &Transaction<'_>, reading: Reading<'_>) -> Result<Vec<Record>> {
    let prefilter = reading.prefilter;
    let scan = IndexScan::of(reading).filter(|_| !reading.depends_on_cascades());
    let Some(scan) = scan else {
        return all(snapshot, reading, None);
    };
    for (index, clause) in prefilter.indexed() {
        if !scan.is_bounded(&index) && are_few(snapshot, &index, &clause)? {
            return all(snapshot, reading, Some(index));
        }
    }
    scan.read(snapshot)
}

/// Reads all records that may match.
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

/// Reads records that are already in the order of the answer.
fn in_order(mut rows: Rows<'_>, reading: Reading<'_>) -> Result<Vec<Record>> {
    let criteria = reading.prefilter.criteria;
    let names = reading.names();
    let is_everything = criteria.is_everything() && reading.cascades.is_empty();
    let mut answer = Answer::new(reading);
    while !answer.is_full()
        && let Some(row) = rows.next()?
    {
        reading.bounds.control.check()?;
        let stored = RecordRow::of(row)?;
        let is_meant = |partial: PartialRecord<'_>| criteria.matches(&partial);
        if is_everything || reading.partial_record(stored, &names)?.is_some_and(is_meant) {
            answer.add(stored)?;
        }
    }
    Ok(answer.records)
}

/// A record that may be in the answer.
struct Candidate<'n> {
    row: i64,
    /// The attributes that it is sorted by.
    partial: PartialRecord<'n>,
}

impl HasAttributes for Candidate<'_> {
    fn attribute(&self, name: &str) -> &Value {
        self.partial.attribute(name)
    }
}

/// Sorts all matching records. Only the attributes that they are sorted by are in memory.
fn sorted(
    snapshot: &Transaction<'_>,
    mut rows: Rows<'_>,
    reading: Reading<'_>,
) -> Result<Vec<Record>> {
    let criteria = reading.prefilter.criteria;
    let (names, sorted_by) = (reading.names(), criteria.sort.names());
    let bytes = |it: &Candidate<'_>| size_of::<i64>() + it.partial.bytes();
    let mut top = TopRecords::new(&criteria.sort, criteria.needed_records(), bytes);
    let mut answer = Answer::new(reading);
    while let Some(row) = rows.next()? {
        reading.bounds.control.check()?;
        let partial = reading.partial_record(RecordRow::of(row)?, &names)?;
        if let Some(mut partial) = partial.filter(|partial| criteria.matches(partial)) {
            partial.keep(&sorted_by);
            top.push(Candidate { row: row.get("rowid")?, partial });
            reading.check_sort_memory(&mut top, 0)?;
            answer.check_count(top.count())?;
        }
    }
    let mut fetch = fetch(snapshot, reading)?;
    for candidate in top.finish() {
        reading.bounds.control.check()?;
        fetch.query_row([candidate.row], |row| answer.add(RecordRow::of(row)?))?;
    }
    Ok(answer.records)
}

fn are_few(snapshot: &Transaction<'_>, index: &str, clause: &Clause) -> Result<bool> {
    let Clause { sql, values, .. } = clause;
    let limit = MAX_INDEXED_CANDIDATES + 1;
    let sql = format!(
        "SELECT count(*) FROM
         (SELECT 1 FROM records INDEXED BY \"{index}\" WHERE {sql} LIMIT {limit})"
    );
    statement::prepared(snapshot, &sql, |statement| {
        let count = |row: &Row<'_>| row.get::<_, u32>(0);
        Ok(statement.query_row(params_from_iter(values), count)? <= MAX_INDEXED_CANDIDATES)
    })
}
