//! Index scans: reads of records in the order of an index, until there are enough.
//!
//! Invariant: the order is exactly that of the criteria. SQLite sees some values in another order:
//! to it false and true are 0 and 1, and a list or an object is its JSON text. So each kind of
//! value is read by itself, from the part of the index with all values of its kind, and values of
//! other kinds in that part are skipped. Entries that might be in another order make a run, which
//! is sorted.

use std::collections::BTreeSet;
use std::mem;

use backwire_records::change::Id;
use backwire_records::criteria::{Comparison, Direction, HasAttributes, Operand, Rank, TopRecords};
use rusqlite::types::Value as Sql;
use rusqlite::{CachedStatement, Result, Row, Transaction, params_from_iter};
use serde_json::Value;

use super::column::Column;
use super::prefilter::{Clause, around};
use super::reading::{Answer, Reading, RecordRow, fetch};
use super::statement;
use crate::Record;
use crate::partial_record::PartialRecord;
use crate::sqlite::row::get;

/// A scan of the records of a resource in the order of an index.
pub(super) struct IndexScan<'a> {
    reading: Reading<'a>,
    /// The first attribute of the sort.
    name: &'a str,
    column: Column,
    index: String,
    direction: Direction,
    /// The comparisons of the attribute in the criteria.
    bounds: Vec<(Comparison, &'a Operand)>,
    /// The number of records that are needed.
    needed: usize,
}

/// The entry of a record in an index.
struct Entry {
    row: i64,
    id: Id,
    value: Sql,
}

/// The state of a scan.
struct ScanState<'a, 's> {
    /// The first records that match, in their order.
    answer: Answer<'a>,
    /// The entries after them, whose order is not known yet.
    run: Vec<Entry>,
    /// The approximate bytes of the run in memory.
    run_bytes: usize,
    fetch: CachedStatement<'s>,
}

/// A record of a run that matches the criteria.
struct Candidate<'n> {
    partial: PartialRecord<'n>,
    json: String,
    changed: u64,
}

impl Candidate<'_> {
    fn stored(&self) -> RecordRow<'_> {
        RecordRow { json: &self.json, changed: self.changed }
    }
}

impl HasAttributes for Candidate<'_> {
    fn attribute(&self, name: &str) -> &Value {
        self.partial.attribute(name)
    }
}

impl<'a> IndexScan<'a> {
    /// Returns the scan in the order of the criteria, if only a part of the list is needed and
    /// there is an index.
    pub(super) fn of(reading: Reading<'a>) -> Option<Self> {
        let prefilter = reading.prefilter;
        let needed = prefilter.criteria.needed_records()?;
        let (name, direction) = prefilter.criteria.first();
        let column = prefilter.column(name)?;
        let index = column.index.clone()?;
        let bounds = prefilter.bounds(name);
        Some(Self { reading, name, column, index, direction, bounds, needed })
    }

    /// Whether the scan uses this index and the criteria limit its range.
    pub(super) fn is_bounded(&self, index: &str) -> bool {
        self.index == index && !self.bounds.is_empty()
    }

    /// Returns the records that the criteria pick.
    pub(super) fn read(&self, snapshot: &Transaction<'_>) -> Result<Vec<Record>> {
        let fetch = fetch(snapshot, self.reading)?;
        let answer = Answer::new(self.reading);
        let mut state = ScanState { answer, run: Vec::new(), run_bytes: 0, fetch };
        for rank in self.ranks() {
            for range in self.ranges(rank) {
                self.scan_range(snapshot, rank, &range, &mut state)?;
            }
            self.flush_run(rank, &mut state)?;
        }
        Ok(state.answer.records)
    }

    fn scan_range(
        &self,
        snapshot: &Transaction<'_>,
        rank: Rank,
        range: &str,
        state: &mut ScanState<'_, '_>,
    ) -> Result<()> {
        if self.is_enough(state) {
            return Ok(());
        }
        let Clause { sql, values, .. } = Clause::new(range, []).and(self.reading.prefilter.all());
        let (column, index, order) = (&self.column.sql, &self.index, self.order(rank));
        let sql = format!(
            "SELECT rowid, id, {column} AS value FROM records INDEXED BY \"{index}\"
             WHERE {sql} ORDER BY {order}"
        );
        statement::prepared(snapshot, &sql, |statement| {
            let mut rows = statement.query(params_from_iter(values))?;
            while let (false, Some(row)) = (self.is_enough(state), rows.next()?) {
                self.reading.bounds.control.check()?;
                let entry = Entry::read(row)?;
                if state.run.last().is_some_and(|last| self.is_apart(rank, last, &entry)) {
                    self.flush_run(rank, state)?;
                }
                state.run_bytes += entry.bytes();
                state.run.push(entry);
                self.reading.check_sort_bytes(state.run_bytes)?;
            }
            Ok(())
        })
    }

    /// Sorts the run, and adds its records to the answer.
    fn flush_run(&self, rank: Rank, state: &mut ScanState<'_, '_>) -> Result<()> {
        let mut run = mem::take(&mut state.run);
        let run_bytes = mem::take(&mut state.run_bytes);
        let are_alike =
            self.has_one_term() && run.windows(2).all(|two| are_alike(&two[0], &two[1]));
        run.sort_by(|one, other| one.id.cmp(&other.id));
        let names = self.names();
        let mut top = self.top_records(self.needed.saturating_sub(state.answer.count()));
        for entry in run {
            let is_enough = state.answer.count() + top.count() >= self.needed;
            if is_enough && (are_alike || top.count() == 0) {
                break;
            }
            self.reading.bounds.control.check()?;
            let candidate = state.fetch.query_row([entry.row], |row| {
                let stored = RecordRow::of(row)?;
                let partial = self.reading.partial_record(stored, &names)?;
                let partial = partial.filter(|partial| self.matches(rank, partial));
                Ok(partial.map(|partial| Candidate {
                    partial,
                    json: stored.json.to_owned(),
                    changed: stored.changed,
                }))
            })?;
            if let Some(candidate) = candidate {
                top.push(candidate);
                self.reading.check_sort_memory(&mut top, run_bytes)?;
            }
        }
        top.finish().iter().try_for_each(|candidate| state.answer.add(candidate.stored()))
    }

    fn top_records<'n>(&self, needed: usize) -> TopRecords<'a, Candidate<'n>> {
        let bytes = |it: &Candidate<'_>| it.partial.bytes() + it.json.len();
        TopRecords::new(&self.reading.prefilter.criteria.sort, Some(needed), bytes)
    }

    /// Returns the attributes that the scan reads.
    fn names(&self) -> BTreeSet<&'a str> {
        let mut names = self.reading.names();
        names.insert(self.name);
        names
    }

    fn matches(&self, rank: Rank, partial: &PartialRecord<'_>) -> bool {
        Rank::of(partial.attribute(self.name)) == rank
            && self.reading.prefilter.criteria.matches(partial)
    }

    fn is_enough(&self, state: &ScanState<'_, '_>) -> bool {
        state.answer.count() >= self.needed
    }

    fn has_one_term(&self) -> bool {
        self.reading.prefilter.criteria.sort.0.len() < 2
    }

    /// Returns the kinds of values that may match, in their order. A value that is compared with a
    /// number has to be a number.
    fn ranks(&self) -> Vec<Rank> {
        let is_number = |(_, operand): &(_, &Operand)| matches!(operand, Operand::Number(_));
        let is_text = |(_, operand): &(_, &Operand)| matches!(operand, Operand::Text(_));
        let mut ranks = match self.column.is_id {
            _ if self.bounds.iter().any(is_number) => vec![Rank::Number],
            _ if self.bounds.iter().any(is_text) => vec![Rank::Text],
            true => vec![Rank::Number, Rank::Text],
            false => Rank::ALL.to_vec(),
        };
        if self.direction == Direction::Descending {
            ranks.reverse();
        }
        ranks
    }

    /// Returns the ranges of the index with all values of a kind. An end that the criteria set
    /// already is not set again, because SQLite would use only one of both.
    fn ranges(&self, rank: Rank) -> Vec<String> {
        let column = &self.column.sql;
        let has_end = |is_less| self.bounds.iter().any(|(end, _)| end.is_less() == is_less);
        let between = |low, high| format!("{column} >= '{low}' AND {column} < '{high}'");
        match rank {
            Rank::Null => vec![format!("{column} IS NULL")],
            Rank::False => vec![format!("{column} = 0")],
            Rank::True => vec![format!("{column} = 1")],
            Rank::Number if has_end(true) => vec!["TRUE".to_owned()],
            Rank::Number => vec![format!("{column} < ''")],
            Rank::Text if has_end(false) => vec!["TRUE".to_owned()],
            Rank::Text => vec![format!("{column} >= ''")],
            Rank::Composed => vec![between('[', '\\'), between('{', '|')],
        }
    }

    fn order(&self, rank: Rank) -> String {
        let column = &self.column.sql;
        match (rank, self.direction) {
            (Rank::Number | Rank::Text, Direction::Ascending) => format!("{column}, id"),
            // The index has equal values in descending order of the ids, too.
            (Rank::Number | Rank::Text, Direction::Descending) => format!("{column} DESC"),
            _ => "id".to_owned(),
        }
    }

    /// Whether an entry, and all entries after it, are certainly after another.
    fn is_apart(&self, rank: Rank, one: &Entry, next: &Entry) -> bool {
        // Then entries with the same value are in the order of their ids.
        let is_ordered = self.has_one_term() && self.direction == Direction::Ascending;
        match (rank, &one.value, &next.value) {
            (Rank::Null | Rank::False | Rank::True, ..) => self.has_one_term(),
            (Rank::Text, one, next) => one != next || is_ordered,
            (Rank::Number, one, next) => {
                number(one).zip(number(next)).is_some_and(|(one, next)| {
                    let (low, high) = around(one);
                    next < low || next > high
                })
            }
            (Rank::Composed, ..) => false,
        }
    }
}

/// Whether two entries certainly have the same value, if both values are of the same kind.
fn are_alike(one: &Entry, other: &Entry) -> bool {
    one.value == other.value && !matches!(one.value, Sql::Real(_))
}

fn number(value: &Sql) -> Option<f64> {
    match value {
        Sql::Integer(integer) => Some(*integer as f64),
        Sql::Real(real) => Some(*real),
        _ => None,
    }
}

impl Entry {
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self { row: row.get("rowid")?, id: get(row, "id")?, value: row.get("value")? })
    }

    /// Returns its approximate bytes in memory.
    fn bytes(&self) -> usize {
        let text = match &self.value {
            Sql::Text(text) => text.len(),
            _ => 0,
        };
        size_of::<Self>() + text
    }
}
