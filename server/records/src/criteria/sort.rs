//! In which order.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bad::{Bad, Problem, attribute_name};
use super::{Look, SIZE, parameters};

/// Attributes to sort by, the first before the others. Whoever is equal in all stays in the order of
/// the ids.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sort(pub Vec<(String, Direction)>);

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// The smallest.
    Ascending,
    /// The greatest.
    Descending,
}

const FORMS: Problem =
    Problem::Expected("\"attribute\", \"attribute DESC\", {\"attribute\":\"DESC\"} or a list");

impl Sort {
    pub(super) fn read(at: &str, value: Value) -> Result<Self, Bad> {
        let sort = match value {
            Value::String(text) if text.trim_start().starts_with(['[', '{']) => {
                terms(at, parameters::json(at, &text)?)?
            }
            value => terms(at, value)?,
        };
        match sort.len() {
            ..=SIZE => Ok(Self(each_once(sort))),
            _ => Err(Bad::new(at, Problem::TooMany(SIZE))),
        }
    }

    /// Is there nothing but the ids to sort by?
    pub fn is_by_id(&self) -> bool {
        self.0.is_empty()
    }

    /// The attributes that are looked at.
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Brings records in order. Each is asked once for what it is sorted by.
    pub fn sort<R: Look>(&self, records: Vec<R>) -> impl Iterator<Item = R> {
        let terms = self.0.len();
        let key = |record| self.0.iter().map(move |(name, _)| R::look(record, name));
        let keys: Vec<_> = records.iter().flat_map(key).collect();
        let key = |place: usize| &keys[place * terms..][..terms];
        let mut order: Vec<_> = (0..records.len()).collect();
        order.sort_by(|a, b| self.compare(key(*a), key(*b)));
        let mut records: Vec<_> = records.into_iter().map(Some).collect();
        order.into_iter().filter_map(move |place| records[place].take())
    }

    /// The bytes that [`sort`](Self::sort) takes for one record, beside the record.
    pub(super) fn bytes_of_keys<R>(&self) -> usize {
        size_of::<usize>() + size_of::<Option<R>>() + self.0.len() * size_of::<&Value>()
    }

    fn compare(&self, a: &[&Value], b: &[&Value]) -> Ordering {
        let mut orders = self.0.iter().zip(a.iter().zip(b)).map(|((_, direction), (a, b))| {
            let order = values(a, b);
            match direction {
                Direction::Ascending => order,
                Direction::Descending => order.reverse(),
            }
        });
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

type Term = (String, Direction);

/// Records that are equal in an attribute are so in either direction, so its first term decides.
fn each_once(sort: Vec<Term>) -> Vec<Term> {
    let mut names = HashSet::new();
    let is_first: Vec<_> = sort.iter().map(|(name, _)| names.insert(name.clone())).collect();
    sort.into_iter().zip(is_first).filter_map(|(term, is_first)| is_first.then_some(term)).collect()
}

fn terms(at: &str, value: Value) -> Result<Vec<Term>, Bad> {
    match value {
        Value::String(text) => text.split(',').map(|term| spoken(at, term)).collect(),
        Value::Object(object) => {
            object.into_iter().map(|(name, way)| pair(at, name, &way)).collect()
        }
        Value::Array(list) => {
            let terms = list.into_iter().map(|item| match item {
                Value::String(term) => spoken(at, &term).map(|term| vec![term]),
                Value::Object(_) => terms(at, item),
                _ => Err(Bad::new(at, FORMS)),
            });
            Ok(terms.collect::<Result<Vec<_>, _>>()?.concat())
        }
        _ => Err(Bad::new(at, FORMS)),
    }
}

/// `attribute` or `attribute DESC`.
fn spoken(at: &str, term: &str) -> Result<Term, Bad> {
    let mut words = term.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(name), _, _) if name.starts_with('-') => {
            Err(Bad::new(at, Problem::Expected("\"attribute DESC\" rather than \"-attribute\"")))
        }
        (Some(name), None, _) => pair(at, name.to_owned(), &Value::from("asc")),
        (Some(name), Some(way), None) => pair(at, name.to_owned(), &Value::from(way)),
        _ => Err(Bad::new(at, FORMS)),
    }
}

fn pair(at: &str, name: String, way: &Value) -> Result<Term, Bad> {
    attribute_name(&name)?;
    let way = way.as_str().map_or_else(|| way.to_string(), str::to_ascii_lowercase);
    match &*way {
        "asc" | "1" => Ok((name, Direction::Ascending)),
        "desc" | "-1" => Ok((name, Direction::Descending)),
        _ => Err(Bad::new(at, Problem::Expected("ASC, DESC, 1 or -1 after the attribute"))),
    }
}

/// Numbers by value, strings by their bytes, and else by what they are.
fn values(a: &Value, b: &Value) -> Ordering {
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
