//! Reading records in the order of an index, from one end to where there are enough.
//!
//! Invariant: the order is that of the criteria, exactly. What SQLite sees in another order is put right
//! here: to it false and true are 0 and 1, and a list or an object is its JSON text. So each kind of value
//! is read by itself, from the part of the index where all of its kind are, and what else is there
//! is passed over. Those that might be in another order are all read, and sorted.

use std::sync::Arc;

use rusqlite::{Result, Row, Transaction, params_from_iter};
use serde_json::Value;

use super::column::Column;
use super::prefilter::{Clause, Prefilter, around};
use super::{reader, row};
use crate::change::{Attributes, Id};
use crate::criteria::{Comparison, Direction, Operand, Rank};

/// A way through the records of a resource.
pub(super) struct Along<'a> {
    prefilter: Prefilter<'a>,
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

type Found = Vec<(Id, Arc<Attributes>)>;

impl<'a> Along<'a> {
    /// The way in the order of the criteria, if only a part of the list is wanted and there is an index.
    pub(super) fn of(prefilter: Prefilter<'a>) -> Option<Self> {
        let reach = prefilter.criteria.reach()?;
        let (name, direction) = prefilter.criteria.first();
        let column = prefilter.column(name)?;
        let index = column.index.clone()?;
        let bounds = prefilter.bounds(name);
        Some(Self { prefilter, name, column, index, direction, bounds, reach })
    }

    /// Whether it begins or ends in this index where the criteria say.
    pub(super) fn is_bounded(&self, index: &str) -> bool {
        self.index == index && !self.bounds.is_empty()
    }

    /// The first of those that the criteria mean, as many as are needed if there are so many.
    pub(super) fn read(&self, snapshot: &Transaction<'_>) -> Result<Vec<Arc<Attributes>>> {
        let mut found = Vec::new();
        for rank in self.ranks() {
            if found.len() >= self.reach {
                break;
            }
            let start = found.len();
            for range in self.ranges(rank) {
                self.read_range(snapshot, rank, &range, &mut found)?;
            }
            let sort = &self.prefilter.criteria.sort;
            found[start..].sort_by(|(id, record), (other_id, other)| {
                sort.compare(record, other).then_with(|| id.cmp(other_id))
            });
        }
        Ok(found.into_iter().map(|(_, record)| record).collect())
    }

    fn read_range(
        &self,
        snapshot: &Transaction<'_>,
        rank: Rank,
        range: &str,
        found: &mut Found,
    ) -> Result<()> {
        let Clause { sql, values, .. } = Clause::new(range, []).and(self.prefilter.all());
        let (index, order) = (&self.index, self.order(rank));
        let sql = format!(
            "SELECT id, json FROM records INDEXED BY \"{index}\" WHERE {sql} ORDER BY {order}"
        );
        reader::prepared(snapshot, &sql, |statement| {
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                let (id, record) = read(row)?;
                let value = self.value(&record);
                if Rank::of(value) != rank || !self.prefilter.criteria.matches(&record) {
                    continue;
                }
                let last = found.get(self.reach - 1).map(|(_, record)| self.value(record));
                let is_done = last.is_some_and(|last| self.is_past(rank, last, value));
                found.push((id, record));
                if is_done {
                    break;
                }
            }
            Ok(())
        })
    }

    fn value<'r>(&self, record: &'r Attributes) -> &'r Value {
        record.get(self.name).unwrap_or(&Value::Null)
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

    /// Whether all that come after a value are certainly after the last that is needed.
    fn is_past(&self, rank: Rank, last: &Value, value: &Value) -> bool {
        let equal_are_in_order = self.prefilter.criteria.sort.0.len() < 2;
        match rank {
            Rank::Null | Rank::False | Rank::True => equal_are_in_order,
            Rank::Number => is_apart(last, value),
            Rank::Text => {
                last != value || equal_are_in_order && self.direction == Direction::Ascending
            }
            Rank::Composed => false,
        }
    }
}

fn read(row: &Row<'_>) -> Result<(Id, Arc<Attributes>)> {
    let row::Json(record) = row.get("json")?;
    Ok((row.get("id")?, record))
}

/// Whether SQLite can not have taken either of two numbers for the other.
fn is_apart(one: &Value, other: &Value) -> bool {
    let [one, other] = [one, other].map(|value| value.as_f64().unwrap_or(f64::NAN));
    let (low, high) = around(one);
    other < low || other > high
}
