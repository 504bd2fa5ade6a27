//! The prefilter: the part of the criteria that SQLite can evaluate.
//!
//! Invariant: every record that fulfils the criteria fulfils the clause made from them. The
//! converse need not hold: selected records are checked again. So the clause leaves out whatever
//! SQLite may evaluate differently: the case of letters, the last digits of a number, the order of
//! the pieces of a pattern. A clause that selects too many records is not negated, because its
//! negation would select too few.

use backwire_records::change::{Id, Resource};
use backwire_records::criteria::{Case, Comparison, Condition, Criteria, Filter, Operand};
use rusqlite::types::Value;

use super::column::Column;
use super::expression;
use super::indexes::Indexes;
use crate::cascades::ResourceCascades;

/// The maximum number of pieces of a pattern in a clause. The other parts of criteria have their
/// own limits, and SQLite accepts a clause of twice their depth.
const MAX_PIECES: usize = 8;

/// The maximum bytes of a piece in a clause. SQLite's `instr` compares the piece with the text at
/// each position, which takes the product of both lengths and cannot be interrupted. The check in
/// Rust takes the sum.
const MAX_PIECE_BYTES: usize = 64;

/// The maximum number of values in a clause. A statement may have 32,766, and a few are added to a
/// clause.
const MAX_VALUES: usize = 32_000;

/// The criteria of a read, and what is needed to translate them to SQL.
#[derive(Clone, Copy)]
pub(super) struct Prefilter<'a> {
    pub(super) resource: &'a Resource,
    pub(super) criteria: &'a Criteria,
    pub(super) indexes: &'a Indexes,
}

impl<'a> Prefilter<'a> {
    /// Returns a clause that every matching record fulfils.
    pub(super) fn all(&self) -> Clause {
        let filters = self.filters().filter_map(|filter| self.of(filter));
        self.of_resource(filters)
    }

    /// Returns a clause for the records of the resource that fulfil these clauses. If they have
    /// more values than SQLite accepts, it selects all records.
    fn of_resource(&self, clauses: impl Iterator<Item = Clause>) -> Clause {
        let all = || Clause::new(expression::resource(self.resource), []);
        Some(clauses.fold(all(), Clause::and))
            .filter(|clause| clause.values.len() <= MAX_VALUES)
            .unwrap_or_else(all)
    }

    /// Returns a clause that every record fulfils which matches with its dangling references as
    /// null.
    pub(super) fn all_or_dangling(&self, cascades: &ResourceCascades) -> Clause {
        let stored = self.filters().filter_map(|filter| self.of(filter));
        let Some(stored) = Clause::joined("AND", stored.collect()) else { return self.all() };
        let dangling = cascades.ids().filter(|(name, _)| self.may_be_null(name));
        let dangling = dangling.filter_map(|(name, ids)| {
            let forms = |(id, _): (&Id, u64)| [Operand::from(id), Operand::Text(id.to_string())];
            Some(one_of(&self.column(name)?, &Vec::from_iter(ids.flat_map(forms))))
        });
        let any = [stored].into_iter().chain(dangling).map(Some);
        self.of_resource(Clause::any(any).into_iter())
    }

    /// Whether records in which an attribute is null may match.
    fn may_be_null(&self, name: &str) -> bool {
        let mut conditions = self.conditions().into_iter().filter(|(other, _)| *other == name);
        conditions.all(|(_, condition)| condition.holds(&serde_json::Value::Null, Case::Sensitive))
    }

    /// Returns each condition of all matching records that an index can evaluate, with its index.
    pub(super) fn indexed(&self) -> impl Iterator<Item = (String, Clause)> {
        self.conditions().into_iter().filter_map(|(name, condition)| {
            let column = self.column(name)?;
            let clause = condition_of(&column, condition).filter(|clause| clause.is_range)?;
            let is_short = clause.values.len() <= MAX_VALUES;
            is_short.then_some((column.index?, self.of_resource([clause].into_iter())))
        })
    }

    /// Returns the comparisons of an attribute.
    pub(super) fn bounds(&self, name: &str) -> Vec<(Comparison, &'a Operand)> {
        let conditions = self.conditions().into_iter().filter(|(other, _)| *other == name);
        let bounds = conditions.filter_map(|(_, condition)| match condition {
            Condition::Is(comparison, operand) => Some((*comparison, operand)),
            _ => None,
        });
        bounds.collect()
    }

    /// Returns the conditions that every matching record fulfils.
    fn conditions(&self) -> Vec<(&'a str, &'a Condition)> {
        self.filters().flat_map(conjoined).collect()
    }

    pub(super) fn column(&self, name: &str) -> Option<Column> {
        Column::of(name, &self.criteria.key, self.resource, self.indexes)
    }

    /// Returns the filters that are case-sensitive. SQLite does not evaluate others.
    fn filters(&self) -> impl Iterator<Item = &'a Filter> + use<'a> {
        let criteria = self.criteria;
        let sensitive = (criteria.case == Case::Sensitive).then_some(&criteria.filter);
        [&criteria.within].into_iter().chain(sensitive)
    }

    fn of(&self, filter: &Filter) -> Option<Clause> {
        match filter {
            Filter::All(parts) => {
                Clause::joined("AND", parts.iter().filter_map(|part| self.of(part)).collect())
            }
            Filter::Any(parts) => Clause::any(parts.iter().map(|part| self.of(part))),
            Filter::Not(_) => None,
            Filter::Attribute(name, condition) => condition_of(&self.column(name)?, condition),
        }
    }
}

fn conjoined(filter: &Filter) -> Vec<(&str, &Condition)> {
    match filter {
        Filter::All(parts) => parts.iter().flat_map(conjoined).collect(),
        Filter::Attribute(name, condition) => vec![(name, condition)],
        Filter::Any(_) | Filter::Not(_) => Vec::new(),
    }
}

/// A condition in SQL. Where a clause is optional, `None` is a condition that is always fulfilled.
pub(super) struct Clause {
    pub(super) sql: String,
    /// The values of its question marks, in their order.
    pub(super) values: Vec<Value>,
    /// Whether the records that fulfil it are together in an index.
    is_range: bool,
}

impl Clause {
    pub(super) fn new(sql: impl Into<String>, values: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), values: values.into(), is_range: false }
    }

    fn range(sql: impl Into<String>, values: impl Into<Vec<Value>>) -> Self {
        Self { is_range: true, ..Self::new(sql, values) }
    }

    pub(super) fn and(self, other: Self) -> Self {
        self.then("AND", other)
    }

    fn then(mut self, word: &str, other: Self) -> Self {
        self.values.extend(other.values);
        Self::new(format!("{} {word} {}", self.sql, other.sql), self.values)
    }

    /// Joins clauses with `AND` or `OR`. A single clause stays as it is.
    fn joined(word: &str, mut clauses: Vec<Self>) -> Option<Self> {
        if clauses.len() < 2 {
            return clauses.pop();
        }
        let joined = clauses.into_iter().reduce(|all, next| all.then(word, next))?;
        Some(Self { sql: format!("({})", joined.sql), ..joined })
    }

    /// Joins clauses with `OR`, if all of them are translated.
    fn any(clauses: impl Iterator<Item = Option<Self>>) -> Option<Self> {
        let clauses = clauses.collect::<Option<Vec<_>>>()?;
        Self::joined("OR", clauses).or_else(|| Some(Self::new("FALSE", [])))
    }
}

fn condition_of(column: &Column, condition: &Condition) -> Option<Clause> {
    match condition {
        Condition::OneOf(operands) if operands.iter().any(Operand::is_composed) => None,
        Condition::OneOf(operands) => Some(one_of(column, operands)),
        Condition::NoneOf(_) | Condition::Element(_) => None,
        Condition::Is(comparison, operand) => compares(column, *comparison, operand),
        Condition::Like(pattern) => {
            let has = |piece: &String| {
                let piece = Value::from(piece.clone());
                Clause::new(format!("instr({}, ?) > 0", column.sql), [piece])
            };
            let is_short = |piece: &&String| (1..=MAX_PIECE_BYTES).contains(&piece.len());
            let pieces = pattern.pieces().iter().filter(is_short);
            Clause::joined("AND", pieces.take(MAX_PIECES).map(has).collect())
        }
    }
}

/// Translates [`Condition::OneOf`]. Exact values are in one list, so that SQLite uses an index.
fn one_of(Column { sql, is_id, .. }: &Column, operands: &[Operand]) -> Clause {
    let (mut exact, mut others) = (Vec::new(), Vec::new());
    for operand in operands {
        if matches!(operand, Operand::Null) {
            others.push(Clause::range(format!("{sql} IS NULL"), []));
        }
        exact.extend(operand.bool().map(Value::from));
        exact.extend(operand.text().map(|text| Value::from(text.to_owned())));
        match operand.number() {
            Some(number) if *is_id || is_exact(number) => exact.push(Value::from(number)),
            Some(number) => {
                let (low, high) = around(number);
                let between = format!("({sql} BETWEEN ? AND ?)");
                others.push(Clause::range(between, [Value::from(low), Value::from(high)]));
            }
            None => {}
        }
    }
    if !exact.is_empty() {
        let marks = vec!["?"; exact.len()].join(",");
        others.push(Clause::range(format!("{sql} IN ({marks})"), exact));
    }
    Clause::joined("OR", others).unwrap_or_else(|| Clause::new("FALSE", []))
}

fn compares(column: &Column, comparison: Comparison, operand: &Operand) -> Option<Clause> {
    let value = match operand {
        Operand::Number(number) => {
            let (low, high) = around(*number);
            Value::from(if comparison.is_less() { high } else { low })
        }
        Operand::Text(text) => Value::from(text.clone()),
        _ => return None,
    };
    let word = if comparison.is_less() { "<=" } else { ">=" };
    Some(Clause::range(format!("{} {word} ?", column.sql), [value]))
}

/// Whether SQLite parses a number exactly: it is whole and not too large.
fn is_exact(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0
}

/// Returns the range in which SQLite may parse a number, with a margin: it is exact to fifteen
/// digits.
pub(super) fn around(number: f64) -> (f64, f64) {
    let margin = number.abs() * 4e-14 + 1e-300;
    (number - margin, number + margin)
}
