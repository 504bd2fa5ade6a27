//! The plan of a read: the ranges of sorted sets that have all records that the criteria select.
//!
//! Invariant: every record that matches is in one of the ranges, with its value as it is stored.
//! The converse need not hold: the records that are found are checked again.

use backwire_records::change::Id;
use backwire_records::criteria::{
    Case, Comparison, Condition, Criteria, Direction, Filter, Operand, Rank,
};
use serde_json::Value;

use super::encoding;
use super::known::KnownResource;
use crate::cascades::ResourceCascades;

/// The maximum number of ranges of a plan.
const MAX_RANGES: usize = 1000;

/// A range of the ids of a resource or of the index of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    /// The attribute; empty for the ids.
    pub(super) attribute: String,
    pub(super) low: Vec<u8>,
    pub(super) high: Vec<u8>,
}

/// The ranges to read, and the order of the records in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) ranges: Vec<Range>,
    pub(super) order: Order,
    /// Whether the ranges are read from their ends.
    pub(super) is_reverse: bool,
}

/// The order of the records in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// All records, in the order of their ids.
    Ids,
    /// All records, in the order of the index of this attribute.
    Index(String),
    /// Some records, in any order.
    Any,
}

impl Plan {
    /// Returns the plan that reads all records.
    pub(super) fn everything() -> Self {
        Self { ranges: whole(""), order: Order::Ids, is_reverse: false }
    }

    /// Whether it reads records that no index has selected.
    pub(super) fn is_scan(&self) -> bool {
        self.order != Order::Any
    }

    /// Whether it reads records in the order of the criteria, at least by the first term.
    pub(super) fn has_order_of(&self, criteria: &Criteria) -> bool {
        let (name, direction) = criteria.first();
        match self.order {
            Order::Ids => {
                *name == *criteria.key && self.is_reverse == (direction == Direction::Descending)
            }
            Order::Index(_) => true,
            Order::Any => false,
        }
    }

    /// Returns the member at which the plan goes on; `None` if it has read everything.
    pub(super) fn frontier(&self) -> Option<&[u8]> {
        let next = self.ranges.first()?;
        let bound = if self.is_reverse { &next.high } else { &next.low };
        Some(&bound[1..])
    }

    /// Goes on in a range, counted from 1, at a member.
    pub(super) fn continue_at(&mut self, range: usize, member: &[u8]) {
        self.ranges.drain(..range.saturating_sub(1));
        if let Some(next) = self.ranges.first_mut() {
            let bound = if self.is_reverse { &mut next.high } else { &mut next.low };
            *bound = [b"[", member].concat();
        }
    }

    /// Whether it has read a record with this value, if the record is in one of its ranges.
    pub(super) fn has_read(&self, value: &[u8], id: &Id) -> bool {
        let Some(frontier) = self.frontier().filter(|_| self.is_scan()) else { return true };
        let member = [value, &encoding::id(id)].concat();
        if self.is_reverse { member[..] > *frontier } else { member[..] < *frontier }
    }
}

fn whole(attribute: &str) -> Vec<Range> {
    vec![Range { attribute: attribute.to_owned(), low: b"-".to_vec(), high: b"+".to_vec() }]
}

/// Returns the plan that reads records in the order of the criteria, if only the first of them are
/// needed and there is an index.
pub(super) fn scan(criteria: &Criteria, known: &KnownResource) -> Option<Plan> {
    criteria.needed_records().filter(|_| !criteria.sort.is_by_id())?;
    let (name, direction) = criteria.first();
    let cascades = known.cascades.as_ref();
    // The index has dangling references, which are null in the order of the criteria.
    let dangles = cascades.is_some_and(|it| it.value.has_one_of([name].into_iter()));
    let is_reverse = direction == Direction::Descending;
    let order = match name == &*criteria.key {
        true => Order::Ids,
        false if known.has_index(name) && !dangles => Order::Index(name.to_owned()),
        false => return None,
    };
    let attribute = if order == Order::Ids { "" } else { name };
    // The order of ids is read to its end if there are other terms, which is not worth it.
    let is_exact = order != Order::Ids || criteria.sort.0.len() == 1;
    is_exact.then(|| Plan { ranges: whole(attribute), order: order.clone(), is_reverse })
}

/// Returns a plan for each condition that an index can evaluate.
pub(super) fn candidates(criteria: &Criteria, known: &KnownResource) -> Vec<Plan> {
    let no_cascades = ResourceCascades::default();
    let cascades = known.cascades.as_ref().map_or(&no_cascades, |cascades| &*cascades.value);
    let mut plans = Vec::new();
    for (name, condition) in conditions(criteria) {
        let ranges = match *name == *criteria.key {
            true => ids(condition),
            false if known.has_index(name) => {
                let ranges = values(name, condition);
                ranges.map(|ranges| with_dangling(ranges, name, condition, cascades))
            }
            false => None,
        };
        let ranges = ranges.filter(|ranges| ranges.len() <= MAX_RANGES);
        plans.extend(ranges.map(|ranges| Plan { ranges, order: Order::Any, is_reverse: false }));
    }
    plans
}

/// Returns the attributes whose indexes would narrow the read.
pub(super) fn missing_indexes<'c>(criteria: &'c Criteria, known: &KnownResource) -> Vec<&'c str> {
    let names = criteria.names().into_iter();
    names.filter(|name| **name != *criteria.key && !known.has_index(name)).collect()
}

/// Returns the conditions that every matching record fulfils and that are case-sensitive.
fn conditions(criteria: &Criteria) -> Vec<(&str, &Condition)> {
    let sensitive = (criteria.case == Case::Sensitive).then_some(&criteria.filter);
    [&criteria.within].into_iter().chain(sensitive).flat_map(conjoined).collect()
}

fn conjoined(filter: &Filter) -> Vec<(&str, &Condition)> {
    match filter {
        Filter::All(parts) => parts.iter().flat_map(conjoined).collect(),
        Filter::Attribute(name, condition) => vec![(name, condition)],
        Filter::Any(_) | Filter::Not(_) => Vec::new(),
    }
}

/// Returns the ranges of ids for a condition on the id.
fn ids(condition: &Condition) -> Option<Vec<Range>> {
    let Condition::OneOf(operands) = condition else { return None };
    let range = |id: &Id| {
        let bound = [b"[", &encoding::id(id)[..]].concat();
        Range { attribute: String::new(), low: bound.clone(), high: bound }
    };
    let ids = operands.iter().flat_map(|operand| {
        #[expect(clippy::cast_possible_truncation, reason = "ids are exact as doubles")]
        let number = operand.number().map(|number| Id::Integer(number as i64));
        let text = operand.text().and_then(Id::parse);
        number.into_iter().chain(text)
    });
    Some(ids.map(|id| range(&id)).collect())
}

/// Returns the ranges of values for a condition.
fn values(name: &str, condition: &Condition) -> Option<Vec<Range>> {
    let exact = |value: Vec<u8>| exactly(name, &value);
    match condition {
        Condition::OneOf(operands) if operands.iter().any(Operand::is_composed) => None,
        Condition::OneOf(operands) => Some(operands.iter().flat_map(equal).map(exact).collect()),
        Condition::Is(comparison, operand) => compared(name, *comparison, operand),
        Condition::NoneOf(_) | Condition::Like(_) | Condition::Element(_) => None,
    }
}

fn exactly(name: &str, value: &[u8]) -> Range {
    let (low, high) = ([b"[", value].concat(), [b"(", value, b"u"].concat());
    Range { attribute: name.to_owned(), low, high }
}

/// Returns the encoded values that may equal an operand.
fn equal(operand: &Operand) -> Vec<Vec<u8>> {
    let null = matches!(operand, Operand::Null).then_some(Value::Null);
    let values = null.into_iter().chain(operand.bool().map(Value::from));
    let mut values: Vec<_> = values.map(|value| encoding::value(&value)).collect();
    values.extend(operand.number().map(encoding::number));
    values.extend(operand.text().map(encoding::text));
    values
}

/// Returns the range of values that compare to an operand. A loose operand compares with texts that
/// look like numbers, too, whose order is another one.
fn compared(name: &str, comparison: Comparison, operand: &Operand) -> Option<Vec<Range>> {
    let (value, rank, next) = match operand {
        Operand::Number(number) => (encoding::number(*number), Rank::Number, Rank::Text),
        Operand::Text(text) => (encoding::text(text), Rank::Text, Rank::Composed),
        _ => return None,
    };
    let (low, high) = match comparison.is_less() {
        true => ([&b"["[..], &encoding::rank(rank)].concat(), [&b"("[..], &value, b"u"].concat()),
        false => ([&b"["[..], &value].concat(), [&b"("[..], &encoding::rank(next)].concat()),
    };
    Some(vec![Range { attribute: name.to_owned(), low, high }])
}

/// Adds the records whose reference dangles, if the condition holds for null.
fn with_dangling(
    mut ranges: Vec<Range>,
    name: &str,
    condition: &Condition,
    cascades: &ResourceCascades,
) -> Vec<Range> {
    if condition.holds(&Value::Null, Case::Sensitive) {
        let ids = cascades.ids().filter(|(other, _)| *other == name).flat_map(|(_, ids)| ids);
        let forms = ids.flat_map(|(id, _)| encoding::forms(id));
        ranges.extend(forms.map(|form| exactly(name, &form)));
    }
    ranges
}
