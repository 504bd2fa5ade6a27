//! The types of values, and what is coerced to them.
//!
//! The rules are those of Sails 1.x, for writes and for criteria. What JavaScript would write
//! without a loss is coerced: forms and urls have only texts. Coercion is idempotent.

use serde::Deserialize;
use serde_json::{Number, Value};

use crate::change::Id;
use crate::criteria::OperandType;

/// A type of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text.
    String,
    /// Any number.
    Number,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// Anything.
    Json,
}

impl Kind {
    /// Coerces a value to this type; `None` if it is none, and cannot be one.
    pub(super) fn coerce(self, value: Value) -> Option<Value> {
        match (self, value) {
            (Self::Json, value)
            | (Self::String, value @ Value::String(_))
            | (Self::Number, value @ Value::Number(_))
            | (Self::Boolean, value @ Value::Bool(_)) => Some(value),
            (Self::String, Value::Number(number)) => Some(Value::String(text_of(&number))),
            (Self::String, Value::Bool(value)) => Some(Value::String(value.to_string())),
            (Self::Number, Value::String(text)) => number_in(&text).map(Value::Number),
            (Self::Number, Value::Bool(value)) => Some(Value::from(i64::from(value))),
            (Self::Integer, value) => whole(Self::Number.coerce(value)?.as_number()?),
            (Self::Boolean, Value::Number(number)) if number.as_f64() == Some(1.0) => {
                Some(Value::Bool(true))
            }
            (Self::Boolean, Value::Number(number)) if number.as_f64() == Some(0.0) => {
                Some(Value::Bool(false))
            }
            (Self::Boolean, Value::String(text)) => match &*text {
                "true" | "1" => Some(Value::Bool(true)),
                "false" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the value of a record that has none, in Sails.
    pub(super) fn empty(self) -> Value {
        match self {
            Self::String => Value::from(""),
            Self::Number | Self::Integer => Value::from(0),
            Self::Boolean => Value::from(false),
            Self::Json => Value::Null,
        }
    }

    /// Returns the type in the words of an error message.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Number => "a number",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Json => "anything",
        }
    }
}

/// The type of an attribute in criteria.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CriteriaType {
    Kind(Kind),
    /// Ids of any kind: a string that reads as an integer is that integer.
    Id,
    /// Anything, and a list fulfils a condition if one of its elements does.
    Elements,
}

impl OperandType for CriteriaType {
    fn coerce(&self, operand: Value) -> Option<Value> {
        match self {
            Self::Kind(kind) => kind.coerce(operand),
            Self::Id => Some(Id::from_json(&operand).map_or(operand, |id| id.to_json())),
            Self::Elements => Some(operand),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.name(),
            Self::Id => "an id",
            Self::Elements => Kind::Json.name(),
        }
    }

    fn has_order(&self) -> bool {
        *self != Self::Kind(Kind::Boolean)
    }

    fn is_searched(&self) -> bool {
        matches!(self, Self::Kind(Kind::String) | Self::Id | Self::Elements)
    }

    fn has_elements(&self) -> bool {
        *self == Self::Elements
    }
}

/// Reads a number as JavaScript's `Number` does, except that blanks are not allowed.
fn number_in(text: &str) -> Option<Number> {
    let digits = |radix: u32| {
        let digits = text.get(2..).filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u64::from_str_radix(digits, radix).ok()
    };
    let integer = match text.get(..2) {
        Some("0x" | "0X") => Some(digits(16)?),
        Some("0o" | "0O") => Some(digits(8)?),
        Some("0b" | "0B") => Some(digits(2)?),
        _ => None,
    };
    if let Some(integer) = integer {
        return Some(Number::from(integer));
    }
    // `inf` and `NaN` would be numbers for Rust.
    if text.bytes().any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E')) {
        return None;
    }
    if let Ok(exact) = text.parse::<i64>() {
        return Some(Number::from(exact));
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    match exact_integer(number) {
        Some(integer) => Some(Number::from(integer)),
        None => Number::from_f64(number),
    }
}

/// Returns a number as JavaScript writes it.
fn text_of(number: &Number) -> String {
    /// From here on JavaScript writes an exponent.
    const LARGE: f64 = 1e21;
    const SMALL: f64 = 1e-6;
    let Some(double) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    let size = double.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if (SMALL..LARGE).contains(&size) {
        return double.to_string();
    }
    let text = format!("{double:e}");
    if text.contains("e-") { text } else { text.replace('e', "e+") }
}

/// Converts `3` and `3.0`, but neither `3.5` nor numbers that JavaScript cannot represent exactly.
fn whole(number: &Number) -> Option<Value> {
    exact_integer(number.as_f64()?).map(Value::from)
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn exact_integer(number: f64) -> Option<i64> {
    const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
    (number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The expected values are those that Sails 1.5.18 stores and returns; `null` stands for a
    /// value that it refuses.
    #[test]
    fn values_are_coerced_as_in_sails() {
        let numbers = json!([
            [true, 1],
            [false, 0],
            ["1", 1],
            ["05", 5],
            ["5.0", 5],
            ["5.50", 5.5],
            ["0x5", 5],
            ["1e3", 1000],
            ["+5", 5],
            ["-5", -5],
            ["-0", 0],
            [".5", 0.5],
            ["5.", 5],
            [1.5, 1.5],
            ["", null],
            [" ", null],
            [" 5 ", null],
            ["true", null],
            ["5a", null],
            ["abc", null],
            ["Infinity", null],
            ["inf", null],
            ["NaN", null],
            ["1,000", null],
            ["1e400", null],
            ["0x", null],
            ["-0x5", null],
            ["0x5g", null],
            [[], null],
            [[1], null],
            [{}, null],
            ["123456789012345678901234567890", 1.2345678901234568e29],
        ]);
        let booleans = json!([
            [1, true],
            [0, false],
            [1.0, true],
            ["1", true],
            ["0", false],
            ["true", true],
            ["false", false],
            [2, null],
            [-1, null],
            [1.5, null],
            ["2", null],
            ["TRUE", null],
            ["True", null],
            ["yes", null],
            ["on", null],
            ["", null],
            [" true ", null],
            [[], null],
            ["05", null],
            [{}, null],
        ]);
        let strings = json!([
            [1, "1"],
            [-1, "-1"],
            [1.5, "1.5"],
            [5.0, "5"],
            [true, "true"],
            [false, "false"],
            [1e300, "1e+300"],
            [1e-7, "1e-7"],
            [1.5e21, "1.5e+21"],
            [0.000001, "0.000001"],
            [123456789012345680000.0, "123456789012345680000"],
            [" x ", " x "],
            [[], null],
            [{}, null],
            [-0.0, "0"],
        ]);
        let integers = json!([
            ["5.0", 5],
            [3.0, 3],
            [true, 1],
            ["0x10", 16],
            [4.5, null],
            ["4.5", null],
            [9007199254740993_i64, null],
            ["1e16", null],
        ]);
        for (kind, table) in [
            (Kind::Number, numbers),
            (Kind::Boolean, booleans),
            (Kind::String, strings),
            (Kind::Integer, integers),
        ] {
            for row in table.as_array().unwrap() {
                let coerced = kind.coerce(row[0].clone()).unwrap_or_default();
                assert_eq!(coerced, row[1], "{kind:?} {}", row[0]);
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[-+.0-9eExXa]{0,6}".prop_map(Value::from),
            any::<i32>().prop_map(|it| it.to_string().into()),
            any::<f64>().prop_map(|it| it.to_string().into()),
        ]
    }

    proptest! {
        #[test]
        fn coercion_is_idempotent_and_has_the_type(value in value()) {
            for kind in [Kind::String, Kind::Number, Kind::Integer, Kind::Boolean, Kind::Json] {
                let Some(once) = kind.coerce(value.clone()) else { continue };
                prop_assert_eq!(kind.coerce(once.clone()), Some(once.clone()), "{:?}", kind);
                let has_type = match kind {
                    Kind::String => once.is_string(),
                    Kind::Number => once.is_number(),
                    Kind::Integer => once.as_i64().is_some(),
                    Kind::Boolean => once.is_boolean(),
                    Kind::Json => once == value,
                };
                prop_assert!(has_type, "{:?} {}", kind, once);
            }
        }

        #[test]
        fn text_of_a_number_is_that_number_again(number in any::<f64>()) {
            let Some(number) = Number::from_f64(number) else { return Ok(()) };
            let text = Kind::String.coerce(Value::Number(number.clone())).unwrap();
            let back = Kind::Number.coerce(text).unwrap();
            prop_assert_eq!(back.as_f64(), number.as_f64().map(|it| it + 0.0));
        }
    }
}
