//! What SQLite can tell of criteria.
//!
//! Invariant: every record that fulfils the criteria fulfils the clause made from them. The other way
//! round need not be: what is let through is looked at once more. So whatever the two might see
//! differently is left out here: the case of letters, the last digits of a number, the order of the
//! pieces of a pattern. And of what lets too much through, the negation would let too little.

use rusqlite::types::Value;

use super::column;
use crate::change::Resource;
use crate::criteria::{Case, Comparison, Condition, Criteria, Filter, Operand};

/// How many pieces of a pattern are looked for. Of all else criteria have no more than their own
/// limit, and SQLite understands a clause of twice that depth.
const PIECES: usize = 8;

/// A query for all that may be meant, in the order of the ids.
pub(super) struct Prefilter {
    pub(super) sql: String,
    /// What its question marks stand for, in their order.
    pub(super) values: Vec<Value>,
}

impl Prefilter {
    pub(super) fn of(resource: &Resource, criteria: &Criteria) -> Self {
        let clause = match criteria.case {
            Case::Sensitive => of_filter(&criteria.filter, &criteria.key),
            Case::Ignored => None,
        };
        let within = of_filter(&criteria.within, &criteria.key);
        let of = column::resource(resource);
        let all = Clause::new(format!("{of} AND json IS NOT NULL"), []);
        let Clause { sql, values } =
            clause.into_iter().chain(within).fold(all, |all, more| all.and("AND", more));
        Self { sql: format!("SELECT json FROM records WHERE {sql} ORDER BY id"), values }
    }
}

/// A condition in SQL. None at all, as a `None`, is one that is always fulfilled.
struct Clause {
    sql: String,
    values: Vec<Value>,
}

impl Clause {
    fn new(sql: impl Into<String>, values: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), values: values.into() }
    }

    fn and(mut self, word: &str, other: Self) -> Self {
        self.sql = format!("{} {word} {}", self.sql, other.sql);
        self.values.extend(other.values);
        self
    }

    fn joined(word: &str, clauses: Vec<Self>) -> Option<Self> {
        let joined = clauses.into_iter().reduce(|all, next| all.and(word, next))?;
        Some(Self { sql: format!("({})", joined.sql), ..joined })
    }

    /// One of these, if all are known.
    fn any(clauses: impl Iterator<Item = Option<Self>>) -> Option<Self> {
        let clauses = clauses.collect::<Option<Vec<_>>>()?;
        Self::joined("OR", clauses).or_else(|| Some(Self::new("FALSE", [])))
    }
}

fn of_filter(filter: &Filter, key: &str) -> Option<Clause> {
    match filter {
        Filter::All(parts) => {
            Clause::joined("AND", parts.iter().filter_map(|part| of_filter(part, key)).collect())
        }
        Filter::Any(parts) => Clause::any(parts.iter().map(|part| of_filter(part, key))),
        Filter::Not(_) => None,
        Filter::Attribute(name, condition) => of_condition(&Column::of(name, key)?, condition),
    }
}

fn of_condition(column: &Column, condition: &Condition) -> Option<Clause> {
    match condition {
        Condition::OneOf(operands) if column.is_id && operands.len() > 1 => {
            column.is_one_of(operands)
        }
        Condition::OneOf(operands) => {
            Clause::any(operands.iter().map(|operand| column.is(operand)))
        }
        Condition::NoneOf(_) => None,
        Condition::Is(comparison, operand) => column.compares(*comparison, operand),
        Condition::Like(pattern) => {
            let has = |piece: &String| {
                let piece = Value::from(piece.clone());
                Clause::new(format!("instr({}, ?) > 0", column.sql), [piece])
            };
            let pieces = pattern.pieces().iter().filter(|piece| !piece.is_empty());
            Clause::joined("AND", pieces.take(PIECES).map(has).collect())
        }
    }
}

/// An attribute.
struct Column {
    sql: String,
    is_id: bool,
}

impl Column {
    fn of(name: &str, key: &str) -> Option<Self> {
        let is_id = name == key;
        Some(Self { sql: if is_id { "id".to_owned() } else { column::of(name)? }, is_id })
    }

    fn is(&self, operand: &Operand) -> Option<Clause> {
        let column = &self.sql;
        if matches!(operand, Operand::Null) {
            return Some(Clause::new(format!("{column} IS NULL"), []));
        }
        let mut either = Vec::new();
        if let Some(bool) = operand.bool() {
            either.push(Clause::new(format!("{column} = ?"), [Value::from(bool)]));
        }
        if let Some(number) = operand.number() {
            either.push(match self.is_id {
                // Ids are exact, and so are found by the index.
                true => Clause::new("id = ?", [Value::from(number)]),
                false => {
                    let (low, high) = around(number);
                    let between = format!("({column} BETWEEN ? AND ?)");
                    Clause::new(between, [Value::from(low), Value::from(high)])
                }
            });
        }
        if let Some(text) = operand.text() {
            either.push(Clause::new(format!("{column} = ?"), [Value::from(text.to_owned())]));
        }
        Clause::joined("OR", either)
    }

    /// For lists of ids, which may be longer than criteria of a request can make them.
    fn is_one_of(&self, operands: &[Operand]) -> Option<Clause> {
        let mut values = Vec::with_capacity(operands.len());
        for operand in operands {
            values.extend(operand.number().map(Value::from));
            values.extend(operand.text().map(|text| Value::from(text.to_owned())));
        }
        let places = vec!["?"; values.len()].join(", ");
        // More SQLite does not take.
        const MOST: usize = 32_000;
        (values.len() <= MOST).then(|| Clause::new(format!("{} IN ({places})", self.sql), values))
    }

    fn compares(&self, comparison: Comparison, operand: &Operand) -> Option<Clause> {
        let is_less = matches!(comparison, Comparison::Less | Comparison::LessOrEqual);
        let value = match operand {
            Operand::Number(number) => {
                let (low, high) = around(*number);
                Value::from(if is_less { high } else { low })
            }
            Operand::Text(text) => Value::from(text.clone()),
            _ => return None,
        };
        let word = if is_less { "<=" } else { ">=" };
        Some(Clause::new(format!("{} {word} ?", self.sql), [value]))
    }
}

/// What SQLite may make of the digits of a number, generously.
fn around(number: f64) -> (f64, f64) {
    let margin = number.abs() * 1e-9 + 1e-300;
    (number - margin, number + margin)
}
