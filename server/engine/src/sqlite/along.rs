//! Reading records in the order of an index, from one end to where there are enough.
//!
//! Invariant: the order is that of the criteria, exactly. What SQLite sees in another order is put right
//! here: to it false and true are 0 and 1, and a list or an object is its JSON text. So each kind of value
//! is read by itself, from the part of the index where all of its kind are, and what else is there
//! is passed over. Those that might be in another order make a run, which is sorted.

use std::collections::BTreeSet;
use std::mem;

use backwire_records::change::Id;
use backwire_records::criteria::{Best, Comparison, Direction, Look, Operand, Rank};
use rusqlite::types::Value as Sql;
use rusqlite::{CachedStatement, Result, Row, Transaction, params_from_iter};
use serde_json::Value;

use super::column::Column;
use super::prefilter::{Clause, around};
use super::reading::{Answer, Reading, Stored, fetch};
use super::statement;
use crate::Record;
use crate::sketch::Sketch;
use crate::sqlite::row::get;

/// A way through the records of a resource.
pub(super) struct Along<'a> {
    reading: Reading<'a>,
    /// What is sorted by first.
    name: &'a str,
    column: Column,
    index: String,
    direction: Direction,
    /// What it is compared with.
    bounds: Vec<(Comparison, &'a Operand)>,
    /// How many are needed.
    reach: usize,
}

/// What an index has of a record.
struct Entry {
    row: i64,
    id: Id,
    value: Sql,
}

/// What has been found on the way.
struct Found<'a, 's> {
    /// The first of those that the criteria mean, in their order.
    answer: Answer<'a>,
    /// What comes after them, in no order.
    run: Vec<Entry>,
    /// About the bytes of the run in memory.
    run_bytes: usize,
    fetch: CachedStatement<'s>,
}

/// A record of a run that the criteria mean.
struct Candidate<'n> {
    sketch: Sketch<'n>,
    json: String,
    changed: u64,
}

impl Candidate<'_> {
    fn stored(&self) -> Stored<'_> {
        Stored { json: &self.json, changed: self.changed }
    }
}

impl Look for Candidate<'_> {
    fn look(&self, name: &str) -> &Value {
        self.sketch.look(name)
    }
}

impl<'a> Along<'a> {
    /// The way in the order of the criteria, if only a part of the list is wanted and there is an index.
    pub(super) fn of(reading: Reading<'a>) -> Option<Self> {
        let prefilter = reading.prefilter;
        let reach = prefilter.criteria.reach()?;
        let (name, direction) = prefilter.criteria.first();
        let column = prefilter.column(name)?;
        let index = column.index.clone()?;
        let bounds = prefilter.bounds(name);
        Some(Self { reading, name, column, index, direction, bounds, reach })
    }

    /// Whether it begins or ends in this index where the criteria say.
    pub(super) fn is_bounded(&self, index: &str) -> bool {
        self.index == index && !self.bounds.is_empty()
    }

    /// The part that the criteria pick.
    pub(super) fn read(&self, snapshot: &Transaction<'_>) -> Result<Vec<Record>> {
        let fetch = fetch(snapshot, self.reading)?;
        let answer = Answer::new(self.reading);
        let mut found = Found { answer, run: Vec::new(), run_bytes: 0, fetch };
        for rank in self.ranks() {
            for range in self.ranges(rank) {
                self.walk(snapshot, rank, &range, &mut found)?;
            }
            self.settle(rank, &mut found)?;
        }
        Ok(found.answer.records)
    }

    fn walk(
        &self,
        snapshot: &Transaction<'_>,
        rank: Rank,
        range: &str,
        found: &mut Found<'_, '_>,
    ) -> Result<()> {
        if self.is_enough(found) {
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
            while let (false, Some(row)) = (self.is_enough(found), rows.next()?) {
                self.reading.bounds.control.check()?;
                let entry = Entry::read(row)?;
                if found.run.last().is_some_and(|last| self.is_apart(rank, last, &entry)) {
                    self.settle(rank, found)?;
                }
                found.run_bytes += entry.bytes();
                found.run.push(entry);
                self.reading.may_hold_bytes(found.run_bytes)?;
            }
            Ok(())
        })
    }

    /// Brings a run in order, and adds it to what comes before it.
    fn settle(&self, rank: Rank, found: &mut Found<'_, '_>) -> Result<()> {
        let mut run = mem::take(&mut found.run);
        let run_bytes = mem::take(&mut found.run_bytes);
        let are_alike =
            self.has_one_term() && run.windows(2).all(|two| are_alike(&two[0], &two[1]));
        run.sort_by(|one, other| one.id.cmp(&other.id));
        let names = self.names();
        let mut best = self.best(self.reach.saturating_sub(found.answer.count()));
        for entry in run {
            let is_enough = found.answer.count() + best.count() >= self.reach;
            if is_enough && (are_alike || best.count() == 0) {
                break;
            }
            self.reading.bounds.control.check()?;
            let candidate = found.fetch.query_row([entry.row], |row| {
                let stored = Stored::of(row)?;
                let sketch = self.reading.sketch(stored, &names)?;
                let sketch = sketch.filter(|sketch| self.is_meant(rank, sketch));
                Ok(sketch.map(|sketch| Candidate {
                    sketch,
                    json: stored.json.to_owned(),
                    changed: stored.changed,
                }))
            })?;
            if let Some(candidate) = candidate {
                best.push(candidate);
                self.reading.may_hold(&mut best, run_bytes)?;
            }
        }
        best.finish().iter().try_for_each(|candidate| found.answer.add(candidate.stored()))
    }

    fn best<'n>(&self, reach: usize) -> Best<'a, Candidate<'n>> {
        let bytes = |it: &Candidate<'_>| it.sketch.bytes() + it.json.len();
        Best::new(&self.reading.prefilter.criteria.sort, Some(reach), bytes)
    }

    /// The attributes that are looked at.
    fn names(&self) -> BTreeSet<&'a str> {
        let mut names = self.reading.names();
        names.insert(self.name);
        names
    }

    fn is_meant(&self, rank: Rank, sketch: &Sketch<'_>) -> bool {
        Rank::of(sketch.look(self.name)) == rank && self.reading.prefilter.criteria.matches(sketch)
    }

    fn is_enough(&self, found: &Found<'_, '_>) -> bool {
        found.answer.count() >= self.reach
    }

    fn has_one_term(&self) -> bool {
        self.reading.prefilter.criteria.sort.0.len() < 2
    }

    /// What there may be, in its order. A value that is compared with a number is one.
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

    /// Where all values of a kind are. An end that the criteria have set already is not set once more, as
    /// SQLite would go by either.
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
            // The index has equal ones in the other order, too.
            (Rank::Number | Rank::Text, Direction::Descending) => format!("{column} DESC"),
            _ => "id".to_owned(),
        }
    }

    /// Whether an entry, and all that come after it, are certainly after another.
    fn is_apart(&self, rank: Rank, one: &Entry, next: &Entry) -> bool {
        // Where those of the same value come in the order of their ids.
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

/// Whether two entries are certainly of records with the same value, if these are of the same kind.
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

    /// About its bytes in memory.
    fn bytes(&self) -> usize {
        let text = match &self.value {
            Sql::Text(text) => text.len(),
            _ => 0,
        };
        size_of::<Self>() + text
    }
}
