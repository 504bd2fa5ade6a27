//! Conditions on one attribute.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Case;
use super::error::{Problem, escaped_name};
use super::pattern::Pattern;
use crate::change::Id;

/// A condition that the value of an attribute fulfils or not. A missing attribute is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// The value equals one of these.
    OneOf(Vec<Operand>),
    /// The value equals none of these.
    NoneOf(Vec<Operand>),
    /// The value compares to this as stated. Numbers are compared with numbers and strings with
    /// strings; all other comparisons are false.
    Is(Comparison, Operand),
    /// The value is a string that matches this.
    Like(Pattern),
    /// The value fulfils this, or if it is a list, one of its elements does, as in `sails-disk` and
    /// MongoDB.
    Element(Box<Condition>),
}

/// The declared type of an attribute, which the operands of its conditions must have.
pub trait OperandType {
    /// Coerces an operand; `None` if it cannot be of this type.
    fn coerce(&self, operand: Value) -> Option<Value>;

    /// Returns the name in error messages.
    fn name(&self) -> &'static str;

    /// Whether values are compared with `<` and `>`.
    fn has_order(&self) -> bool;

    /// Whether values are searched for patterns.
    fn is_searched(&self) -> bool;

    /// Whether a list fulfils a condition if one of its elements does. Then operands have any type,
    /// and a text is nothing but a text.
    fn has_elements(&self) -> bool;
}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A value that an attribute is compared with. Numbers are doubles, as in JavaScript. The
/// serialized form is short, because names of rooms may contain hundreds of operands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Operand {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(String),
    /// A value from a text, where a number, `true`, `false` and a string look alike. It equals any
    /// of them.
    #[serde(with = "listed")]
    Loose(String),
    /// A list or an object, which equals those with equal values.
    Composed {
        /// The list or the object.
        json: Value,
    },
}

/// Serializes an [`Operand::Loose`] as a list with one string, which distinguishes it from an
/// [`Operand::Text`].
mod listed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &String, to: S) -> Result<S::Ok, S::Error> {
        [text].serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        <[String; 1]>::deserialize(from).map(|[text]| text)
    }
}

impl From<&Id> for Operand {
    fn from(id: &Id) -> Self {
        match id {
            // The integers of ids are exact in JavaScript, and so as doubles.
            Id::Integer(integer) => Self::Number(*integer as f64),
            Id::Text(text) => Self::Text(text.to_string()),
        }
    }
}

impl Condition {
    /// Whether a value fulfils the condition.
    pub fn holds(&self, value: &Value, case: Case) -> bool {
        let is = |operand: &Operand| operand.is(value, case);
        match self {
            Self::OneOf(operands) => operands.iter().any(is),
            Self::NoneOf(operands) => !operands.iter().any(is),
            Self::Is(comparison, operand) => {
                operand.order(value, case).is_some_and(|order| comparison.allows(order))
            }
            Self::Like(pattern) => {
                value.as_str().is_some_and(|text| pattern.matches(&case.fold(text)))
            }
            Self::Element(condition) => match (value, &**condition) {
                // Sails leaves out `nin: []`, and an empty list is not null.
                (Value::Array(_), Self::NoneOf(operands)) if operands.is_empty() => true,
                (Value::Array(list), Self::NoneOf(operands)) if list.is_empty() => {
                    operands.contains(&Operand::Null)
                }
                _ => condition.holds_for_element(value, case),
            },
        }
    }

    fn holds_for_element(&self, value: &Value, case: Case) -> bool {
        match value {
            Value::Array(list) => list.iter().any(|it| self.holds_for_element(it, case)),
            value => self.holds(value, case),
        }
    }

    /// Returns the number of comparisons.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::OneOf(operands) | Self::NoneOf(operands) => {
                operands.iter().map(Operand::size).sum::<usize>().max(1)
            }
            Self::Is(..) | Self::Like(_) => 1,
            Self::Element(condition) => condition.size(),
        }
    }

    /// Whether the condition searches a text for a pattern.
    pub(super) fn is_search(&self) -> bool {
        match self {
            Self::Like(_) => true,
            Self::Element(condition) => condition.is_search(),
            Self::OneOf(_) | Self::NoneOf(_) | Self::Is(..) => false,
        }
    }

    /// Coerces the operands to the type of their attribute.
    pub(super) fn coerced(self, to: &impl OperandType) -> Result<Self, Problem> {
        let each = |operands: Vec<Operand>| {
            operands.into_iter().map(|operand| operand.coerced(to)).collect::<Result<_, _>>()
        };
        if to.has_elements() {
            return Ok(Self::Element(Box::new(self.into_strict())));
        }
        Ok(match self {
            Self::Element(_) => self,
            Self::OneOf(operands) => Self::OneOf(each(operands)?),
            Self::NoneOf(operands) => Self::NoneOf(each(operands)?),
            Self::Is(..) if !to.has_order() => return Err(Problem::NoOrder(to.name())),
            Self::Is(comparison, operand) => Self::Is(comparison, operand.coerced(to)?),
            Self::Like(_) if !to.is_searched() => return Err(Problem::NoSearch(to.name())),
            Self::Like(pattern) => Self::Like(pattern),
        })
    }
}

impl Condition {
    /// Converts operands from a text to strings.
    fn into_strict(self) -> Self {
        let each = |operands: Vec<Operand>| operands.into_iter().map(Operand::into_strict);
        match self {
            Self::OneOf(operands) => Self::OneOf(each(operands).collect()),
            Self::NoneOf(operands) => Self::NoneOf(each(operands).collect()),
            Self::Is(comparison, operand) => Self::Is(comparison, operand.into_strict()),
            other => other,
        }
    }
}

impl Comparison {
    /// Whether it selects smaller values.
    pub fn is_less(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual)
    }

    fn allows(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Operand {
    fn is(&self, value: &Value, case: Case) -> bool {
        match (self, value) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(wanted), Value::Bool(value)) => wanted == value,
            (Self::Number(wanted), Value::Number(value)) => value.as_f64() == Some(*wanted),
            (Self::Text(wanted) | Self::Loose(wanted), Value::String(value)) => {
                case.fold(value) == wanted.as_str()
            }
            (Self::Loose(wanted), Value::Number(value)) => {
                value.as_f64().is_some_and(|value| number(wanted) == Some(value))
            }
            (Self::Loose(wanted), Value::Bool(value)) => bool(wanted) == Some(*value),
            (Self::Composed { json }, value) => are_equal(json, value),
            _ => false,
        }
    }

    /// Returns the number of comparisons.
    fn size(&self) -> usize {
        match self {
            Self::Composed { json } => values_in(json),
            _ => 1,
        }
    }

    fn into_strict(self) -> Self {
        match self {
            Self::Loose(text) => Self::Text(text),
            other => other,
        }
    }

    /// Whether it equals lists or objects.
    pub fn is_composed(&self) -> bool {
        matches!(self, Self::Composed { .. })
    }

    /// Compares a value to this operand.
    fn order(&self, value: &Value, case: Case) -> Option<Ordering> {
        match (self, value) {
            (Self::Number(wanted), Value::Number(value)) => value.as_f64()?.partial_cmp(wanted),
            (Self::Text(wanted), Value::String(value)) => {
                Some(case.fold(value).as_ref().cmp(wanted))
            }
            (Self::Loose(wanted), Value::Number(value)) => {
                value.as_f64()?.partial_cmp(&number(wanted)?)
            }
            (Self::Loose(wanted), Value::String(value)) => match (number(value), number(wanted)) {
                (Some(value), Some(wanted)) => value.partial_cmp(&wanted),
                _ => Some(case.fold(value).as_ref().cmp(wanted)),
            },
            _ => None,
        }
    }

    /// Coerces the operand to the type of its attribute. `null` fits any type.
    fn coerced(self, to: &impl OperandType) -> Result<Self, Problem> {
        let value = match self {
            Self::Null => return Ok(self),
            Self::Bool(value) => Value::Bool(value),
            Self::Number(number) => whole(number).map_or_else(|| number.into(), Value::from),
            Self::Text(text) | Self::Loose(text) => Value::String(text),
            Self::Composed { json } => json,
        };
        let shown = escaped_name(&value.to_string());
        let coerced = match to.coerce(value) {
            Some(Value::Number(number)) => number.as_f64().map(Self::Number),
            Some(Value::String(text)) => Some(Self::Text(text)),
            Some(Value::Bool(value)) => Some(Self::Bool(value)),
            _ => None,
        };
        coerced.ok_or(Problem::Type { value: shown, expected: to.name() })
    }

    /// Returns the operand as a number, if it may be one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Loose(text) => number(text),
            _ => None,
        }
    }

    /// Returns the operand as a boolean, if it may be one.
    pub fn bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Loose(text) => bool(text),
            _ => None,
        }
    }

    /// Returns the operand as a string, if it may be one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Loose(text) => Some(text),
            _ => None,
        }
    }
}

/// Returns the number of values in a value, with those of its lists and objects.
pub(super) fn values_in(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(values_in).sum::<usize>() + 1,
        Value::Object(object) => object.values().map(values_in).sum::<usize>() + 1,
        _ => 1,
    }
}

/// Whether two values are equal. Numbers are doubles, and the order of attributes does not matter.
fn are_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| are_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has_equal = |(name, value)| other.get(name).is_some_and(|it| are_equal(value, it));
            one.len() == other.len() && one.iter().all(has_equal)
        }
        (one, other) => one == other,
    }
}

/// Returns the number as an integer, if it is one.
fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "the result is compared below")]
    let integer = number as i64;
    #[expect(clippy::cast_precision_loss, reason = "the same")]
    (integer as f64 == number).then_some(integer)
}

/// Parses a finite number.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn bool(text: &str) -> Option<bool> {
    text.parse().ok()
}
