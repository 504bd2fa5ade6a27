//! Keys by which the filters that a record may fulfil are found.
//!
//! Most filters demand that an attribute has one of a few values: `{"owner": 7}`. A record that
//! fulfils such a filter has one of its keys. So the filters that a record may fulfil are found by
//! the keys of the record.
//!
//! Invariant: each record that fulfils a filter has a key of each set of the filter's keys. The
//! converse does not hold: keys are hashes, and a filter demands other things as well. So the
//! caller has to check whether a filter that was found matches.

use std::sync::OnceLock;

use ahash::RandomState;
use serde_json::Value;

use super::condition::{Condition, Operand};
use super::filter::Filter;
use crate::change::Attributes;

/// The maximum number of keys in a set. More would take much memory.
const MAX_KEYS: usize = 64;

/// The maximum number of sets for one filter. More parts of it are ignored.
const MAX_SETS: usize = 16;

/// A value that is compared for equality.
#[derive(Hash)]
enum Comparable<'a> {
    Bool(bool),
    /// The bits of a number, without the sign of zero.
    Number(u64),
    Text(&'a str),
}

/// Returns the keys of a filter: a set for each part of it that demands one of a few values. A
/// record that fulfils the filter has a key of each set. If there is no set, any record may fulfil
/// it.
pub fn keys_of_filter(filter: &Filter) -> Vec<Vec<u64>> {
    match filter {
        Filter::All(parts) => parts.iter().flat_map(keys_of_filter).take(MAX_SETS).collect(),
        Filter::Any(parts) => {
            let fewest = |part| keys_of_filter(part).into_iter().min_by_key(Vec::len);
            let all = parts.iter().map(fewest).collect::<Option<Vec<_>>>();
            let all = all.map(|all| all.concat()).filter(|keys| keys.len() <= MAX_KEYS);
            all.into_iter().collect()
        }
        Filter::Attribute(name, Condition::OneOf(operands)) if operands.len() <= MAX_KEYS => {
            let all = operands.iter().map(|operand| keys_of_operand(name, operand));
            let all = all.collect::<Option<Vec<_>>>();
            all.map(|all| all.concat()).into_iter().collect()
        }
        Filter::Attribute(..) | Filter::Not(_) => Vec::new(),
    }
}

/// Returns the keys of a record. An attribute that is null has none, because a missing attribute is
/// null, too.
pub fn keys_of_record(record: &Attributes) -> impl Iterator<Item = u64> {
    record.iter().filter_map(|(name, value)| {
        let value = match value {
            Value::Bool(value) => Comparable::Bool(*value),
            Value::Number(value) => number(value.as_f64()?),
            Value::String(text) => Comparable::Text(text),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some(key(name, &value))
    })
}

/// Returns the keys of all values that equal an operand; `None` if a value without a key does.
fn keys_of_operand(name: &str, operand: &Operand) -> Option<Vec<u64>> {
    let values = match operand {
        // A list or an object of a record has no key.
        Operand::Null | Operand::Composed { .. } => return None,
        Operand::Bool(value) => vec![Comparable::Bool(*value)],
        Operand::Number(value) => vec![number(*value)],
        Operand::Text(text) => vec![Comparable::Text(text)],
        Operand::Loose(text) => {
            let [number, bool] =
                [operand.number().map(number), operand.bool().map(Comparable::Bool)];
            [Some(Comparable::Text(text)), number, bool].into_iter().flatten().collect()
        }
    };
    Some(values.iter().map(|value| key(name, value)).collect())
}

fn number(number: f64) -> Comparable<'static> {
    Comparable::Number(if number == 0.0 { 0 } else { number.to_bits() })
}

/// Returns the key of a value. Clients do not know the seed, so they cannot choose filters with
/// equal keys.
fn key(name: &str, value: &Comparable<'_>) -> u64 {
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    HASHER.get_or_init(RandomState::new).hash_one((name, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::criteria::Case;

    fn keys(filter: Value) -> Vec<usize> {
        keys_of_filter(&Filter::read(filter).unwrap()).iter().map(Vec::len).collect()
    }

    #[test]
    fn filters_have_keys_if_they_demand_one_of_a_few_values() {
        for (filter, expected) in [
            (json!({ "a": 1 }), &[1][..]),
            (json!({ "a": [1, "x", true] }), &[3]),
            (json!({ "a": [1, 2], "b": 1, "c": { ">": 1 } }), &[2, 1]),
            (json!({ "or": [{ "a": 1 }, { "b": [1, 2] }] }), &[3]),
            (json!({ "or": [{ "a": 1 }, { "b": { ">": 2 } }] }), &[]),
            (json!({ "a": null }), &[]),
            (json!({ "a": [1, null] }), &[]),
            (json!({ "not": { "a": 1 } }), &[]),
            (json!({ "a": { "contains": "x" } }), &[]),
            (json!({ "a": Vec::from_iter(0..65) }), &[]),
            (json!({}), &[]),
        ] {
            assert_eq!(keys(filter.clone()), expected, "{filter}");
        }
    }

    #[test]
    fn records_that_fulfil_a_filter_have_one_of_its_keys() {
        let values = json!([0, -0.0, 1, 1.0, 1.5, -1, 1e300, 9_007_199_254_740_993_u64, true, false, null,
            "", "1", "1.0", "01", "true", "null", "A", "a", "é", "e\u{301}", [1], [], { "a": 1 }, "NaN", "inf"]);
        let values = values.as_array().unwrap();
        let filters: Vec<_> = values
            .iter()
            .filter(|value| !value.is_array() && !value.is_object())
            .map(|value| Filter::read(json!({ "a": value })).unwrap())
            .chain(values.iter().filter_map(|value| {
                let loose = Operand::Loose(value.as_str()?.to_owned());
                Some(Filter::Attribute("a".to_owned(), Condition::OneOf(vec![loose])))
            }))
            .collect();
        for value in values {
            let record: Attributes = json!({ "a": value, "b": 1 }).as_object().unwrap().clone();
            let has: Vec<_> = keys_of_record(&record).collect();
            for filter in &filters {
                let Some(keys) = keys_of_filter(filter).pop() else { continue };
                let is_found = keys.iter().any(|key| has.contains(key));
                assert_eq!(
                    is_found,
                    filter.matches(&record, Case::Sensitive),
                    "{value} {filter:?}"
                );
            }
        }
    }
}
