//! The order of records.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use ahash::HashSet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{CriteriaError, Problem, attribute_name};
use super::{HasAttributes, MAX_CRITERIA_SIZE, parameters};

/// The attributes to sort by, the first before the others. Records that are equal in all of them
/// stay in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sort(pub Vec<(String, Direction)>);

/// The direction of a sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// The smallest value comes first.
    Ascending,
    /// The greatest value comes first.
    Descending,
}

const FORMS: Problem =
    Problem::Expected("\"attribute\", \"attribute DESC\", {\"attribute\":\"DESC\"} or a list");

impl Sort {
    pub(super) fn read(at: &str, value: Value) -> Result<Self, CriteriaError> {
        let sort = match value {
            Value::String(text) if text.trim_start().starts_with(['[', '{']) => {
                terms(at, parameters::json(at, &text)?)?
            }
            value => terms(at, value)?,
        };
        match sort.len() {
            ..=MAX_CRITERIA_SIZE => Ok(Self(without_duplicates(sort))),
            _ => Err(CriteriaError::new(at, Problem::TooMany(MAX_CRITERIA_SIZE))),
        }
    }

    /// Whether records are sorted by nothing but their ids.
    pub fn is_by_id(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the attributes that the sort reads.
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Sorts records. It reads the attributes of each record once.
    pub fn sort<R: HasAttributes>(&self, records: Vec<R>) -> impl Iterator<Item = R> {
        let terms = self.0.len();
        let key = |record| self.0.iter().map(move |(name, _)| R::attribute(record, name));
        let keys: Vec<_> = records.iter().flat_map(key).collect();
        let key = |place: usize| &keys[place * terms..][..terms];
        let mut order: Vec<_> = (0..records.len()).collect();
        order.sort_by(|a, b| self.compare(key(*a), key(*b)));
        let mut records: Vec<_> = records.into_iter().map(Some).collect();
        order.into_iter().filter_map(move |place| records[place].take())
    }

    /// Returns the bytes that [`sort`](Self::sort) takes for one record, beside the record.
    pub(super) fn bytes_of_keys<R>(&self) -> usize {
        size_of::<usize>() + size_of::<Option<R>>() + self.0.len() * size_of::<&Value>()
    }

    fn compare(&self, a: &[&Value], b: &[&Value]) -> Ordering {
        let mut orders = self.0.iter().zip(a.iter().zip(b)).map(|((_, direction), (a, b))| {
            let order = compare_values(a, b);
            match direction {
                Direction::Ascending => order,
                Direction::Descending => order.reverse(),
            }
        });
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

type Term = (String, Direction);

/// Removes duplicate attributes. Records that are equal in an attribute are equal in either
/// direction, so the first term of an attribute decides.
fn without_duplicates(sort: Vec<Term>) -> Vec<Term> {
    let mut names = HashSet::default();
    let is_first: Vec<_> = sort.iter().map(|(name, _)| names.insert(name.clone())).collect();
    sort.into_iter().zip(is_first).filter_map(|(term, is_first)| is_first.then_some(term)).collect()
}

fn terms(at: &str, value: Value) -> Result<Vec<Term>, CriteriaError> {
    match value {
        Value::String(text) => text.split(',').map(|term| parse_term(at, term)).collect(),
        Value::Object(object) => {
            object.into_iter().map(|(name, direction)| term(at, name, &direction)).collect()
        }
        Value::Array(list) => {
            let terms = list.into_iter().map(|item| match item {
                Value::String(term) => parse_term(at, &term).map(|term| vec![term]),
                Value::Object(_) => terms(at, item),
                _ => Err(CriteriaError::new(at, FORMS)),
            });
            Ok(terms.collect::<Result<Vec<_>, _>>()?.concat())
        }
        _ => Err(CriteriaError::new(at, FORMS)),
    }
}

/// Parses `attribute` or `attribute DESC`.
fn parse_term(at: &str, text: &str) -> Result<Term, CriteriaError> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(name), _, _) if name.starts_with('-') => Err(CriteriaError::new(
            at,
            Problem::Expected("\"attribute DESC\" rather than \"-attribute\""),
        )),
        (Some(name), None, _) => term(at, name.to_owned(), &Value::from("asc")),
        (Some(name), Some(direction), None) => term(at, name.to_owned(), &Value::from(direction)),
        _ => Err(CriteriaError::new(at, FORMS)),
    }
}

fn term(at: &str, name: String, direction: &Value) -> Result<Term, CriteriaError> {
    attribute_name(&name)?;
    let direction =
        direction.as_str().map_or_else(|| direction.to_string(), str::to_ascii_lowercase);
    match &*direction {
        "asc" | "1" => Ok((name, Direction::Ascending)),
        "desc" | "-1" => Ok((name, Direction::Descending)),
        _ => {
            Err(CriteriaError::new(at, Problem::Expected("ASC, DESC, 1 or -1 after the attribute")))
        }
    }
}

/// Compares numbers by value, strings by their bytes, and all other values by their rank.
fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        // As in JavaScript; none of them is NaN.
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => Rank::of(a).cmp(&Rank::of(b)),
    }
}

/// The kinds of values, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Null. A missing attribute counts as null.
    Null,
    /// `false`.
    False,
    /// `true`.
    True,
    /// A number.
    Number,
    /// A string.
    Text,
    /// A list or an object. All of them are equal in the order.
    Composed,
}

impl Rank {
    /// All of them, in their order.
    pub const ALL: [Self; 6] =
        [Self::Null, Self::False, Self::True, Self::Number, Self::Text, Self::Composed];

    /// The kind of a value.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(false) => Self::False,
            Value::Bool(true) => Self::True,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(_) | Value::Object(_) => Self::Composed,
        }
    }
}
