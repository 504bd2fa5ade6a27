//! Parses JSON into a filter, within limits.

use ahash::HashSet;
use serde_json::Value;

use super::condition::{Comparison, Condition, Operand, values_in};
use super::error::{CriteriaError, Problem, attribute_name, escaped_name};
use super::filter::Filter;
use super::parameters::{self, Parameter, Parameters};
use super::pattern::Pattern;
use super::{Language, MAX_CRITERIA_SIZE, MAX_FILTER_DEPTH};
use crate::change::{Attributes, Id, has_control_characters};

/// The parser of one filter.
pub(super) struct FilterParser<'k> {
    /// The name of the primary key.
    key: &'k str,
    language: Language,
    /// The number of attributes, modifiers and values that are still allowed.
    left: usize,
    /// Whether the value is from a query, which has only texts.
    is_text: bool,
}

const SCALAR: Problem = Problem::Expected("a string, a number, true, false or null");

impl<'k> FilterParser<'k> {
    pub(super) fn new(key: &'k str, language: Language) -> Self {
        Self { key, language, left: MAX_CRITERIA_SIZE, is_text: false }
    }

    /// Parses `where`, or else all parameters as conditions on attributes.
    pub(super) fn filter(mut self, mut parameters: Parameters) -> Result<Filter, CriteriaError> {
        let Some(wanted) = parameters.take_parameter("where") else {
            let rest = parameters.into_rest().into_iter();
            let parts = rest.map(|parameter| self.parameter(parameter));
            return parts.collect::<Result<_, _>>().map(Filter::All);
        };
        let wanted = match wanted {
            Parameter { value: Value::String(text), .. } => parameters::json("where", &text)?,
            Parameter { value, is_text, .. } => {
                self.is_text = is_text;
                value
            }
        };
        match wanted {
            Value::Object(object) => self.all(object, 0),
            _ => Err(CriteriaError::new("where", Problem::Expected("an object"))),
        }
    }

    /// Parses a condition on an attribute that is a parameter of its own.
    fn parameter(&mut self, parameter: Parameter) -> Result<Filter, CriteriaError> {
        let Parameter { name, value, is_text } = parameter;
        if !is_text {
            self.is_text = false;
            return self.entry(name, value, 0);
        }
        if matches!(&*name, "and" | "or" | "not") {
            return Err(CriteriaError::new(
                &name,
                Problem::Misplaced("this goes into where, as JSON"),
            ));
        }
        self.is_text = true;
        self.entry(name, value, 0)
    }

    fn all(&mut self, object: Attributes, depth: usize) -> Result<Filter, CriteriaError> {
        let parts = object.into_iter().map(|(name, value)| self.entry(name, value, depth));
        parts.collect::<Result<_, _>>().map(Filter::All)
    }

    fn entry(&mut self, name: String, value: Value, depth: usize) -> Result<Filter, CriteriaError> {
        self.count(&name)?;
        attribute_name(&name)?;
        match (&*name, value) {
            ("and", Value::Array(parts)) => self.each(&name, parts, depth).map(Filter::All),
            ("or", Value::Array(parts)) => self.each(&name, parts, depth).map(Filter::Any),
            ("not", Value::Object(part)) => {
                let part = self.deeper(&name, part, depth)?;
                Ok(Filter::Not(Box::new(part)))
            }
            ("and" | "or", _) => {
                Err(CriteriaError::new(&name, Problem::Expected("a list of objects")))
            }
            ("not", _) => Err(CriteriaError::new(&name, Problem::Expected("an object"))),
            ("like", Value::Object(patterns)) if self.language == Language::Sails09 => {
                let like = |(name, pattern): (String, Value)| {
                    attribute_name(&name)?;
                    self.modifiers(name, [("like".to_owned(), pattern)])
                };
                patterns.into_iter().map(like).collect::<Result<_, _>>().map(Filter::All)
            }
            (_, Value::Object(modifiers)) if modifiers.is_empty() => {
                Err(CriteriaError::new(&name, Problem::Expected("a value, a list or modifiers")))
            }
            (_, Value::Object(modifiers)) => self.modifiers(name, modifiers),
            (_, value) => {
                let operands = self.operands(&name, value)?;
                Ok(Filter::Attribute(name, Condition::OneOf(operands)))
            }
        }
    }

    fn each(
        &mut self,
        at: &str,
        parts: Vec<Value>,
        depth: usize,
    ) -> Result<Vec<Filter>, CriteriaError> {
        let parts = parts.into_iter().map(|part| {
            self.count(at)?;
            match part {
                Value::Object(part) => self.deeper(at, part, depth),
                _ => Err(CriteriaError::new(at, Problem::Expected("a list of objects"))),
            }
        });
        parts.collect()
    }

    fn deeper(
        &mut self,
        at: &str,
        part: Attributes,
        depth: usize,
    ) -> Result<Filter, CriteriaError> {
        match depth {
            ..MAX_FILTER_DEPTH => self.all(part, depth + 1),
            _ => Err(CriteriaError::new(at, Problem::TooDeep(MAX_FILTER_DEPTH))),
        }
    }

    /// Parses all modifiers of an attribute.
    fn modifiers(
        &mut self,
        name: String,
        modifiers: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Filter, CriteriaError> {
        let conditions = modifiers.into_iter().map(|(modifier, value)| {
            self.count(&name)?;
            let condition = self.condition(&name, &modifier, value)?;
            Ok(Filter::Attribute(name.clone(), condition))
        });
        conditions.collect::<Result<_, _>>().map(Filter::All)
    }

    fn condition(
        &mut self,
        name: &str,
        modifier: &str,
        value: Value,
    ) -> Result<Condition, CriteriaError> {
        use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
        Ok(match modifier {
            "in" | "nin" if !value.is_array() => {
                return Err(CriteriaError::new(name, Problem::Expected("a list after in and nin")));
            }
            "=" | "equals" | "in" => Condition::OneOf(self.operands(name, value)?),
            "!=" | "!" | "not" | "nin" => Condition::NoneOf(self.operands(name, value)?),
            "<" | "lessThan" => Condition::Is(Less, self.comparable(name, value)?),
            "<=" | "lessThanOrEqual" => Condition::Is(LessOrEqual, self.comparable(name, value)?),
            ">" | "greaterThan" => Condition::Is(Greater, self.comparable(name, value)?),
            ">=" | "greaterThanOrEqual" => {
                Condition::Is(GreaterOrEqual, self.comparable(name, value)?)
            }
            "like" => Condition::Like(Pattern::like(&self.text(name, &value)?)),
            "contains" => Condition::Like(Pattern::contains(&self.text(name, &value)?)),
            "startsWith" => Condition::Like(Pattern::starts_with(&self.text(name, &value)?)),
            "endsWith" => Condition::Like(Pattern::ends_with(&self.text(name, &value)?)),
            _ => return Err(CriteriaError::new(name, Problem::Modifier(escaped_name(modifier)))),
        })
    }

    /// Parses a value or a list of them.
    fn operands(&mut self, name: &str, value: Value) -> Result<Vec<Operand>, CriteriaError> {
        match value {
            Value::Array(list) => {
                let operands = list.into_iter().map(|value| self.operand(name, value));
                operands.collect::<Result<_, _>>().map(without_duplicates)
            }
            value => Ok(vec![self.operand(name, value)?]),
        }
    }

    fn operand(&mut self, name: &str, value: Value) -> Result<Operand, CriteriaError> {
        self.count(name)?;
        let number = |number: &serde_json::Number| number.as_f64();
        let operand = match value {
            Value::Null => Operand::Null,
            Value::Bool(value) => Operand::Bool(value),
            Value::Number(value) => {
                Operand::Number(number(&value).ok_or(CriteriaError::new(name, SCALAR))?)
            }
            // An id that is a string and reads as an integer is that integer.
            Value::String(text) if name == self.key && has_control_characters(&text) => {
                return Err(CriteriaError::new(name, Problem::ControlCharacterInId));
            }
            Value::String(text) if name == self.key => {
                match Id::parse(&text).map(|id| id.to_json()) {
                    Some(Value::Number(value)) => {
                        Operand::Number(number(&value).ok_or(CriteriaError::new(name, SCALAR))?)
                    }
                    _ => Operand::Text(self.folded(&text)),
                }
            }
            Value::String(text) => Operand::Text(self.folded(&text)),
            // The values in a query are texts, so no list or object in it equals a stored one.
            Value::Array(_) | Value::Object(_) if self.is_text || name == self.key => {
                return Err(CriteriaError::new(name, SCALAR));
            }
            json => {
                (1..values_in(&json)).try_for_each(|_| self.count(name))?;
                Operand::Composed { json }
            }
        };
        Ok(match self.language {
            Language::Current if !self.is_text => operand,
            Language::Current | Language::Sails09 => operand.into_loose(),
        })
    }

    fn comparable(&mut self, name: &str, value: Value) -> Result<Operand, CriteriaError> {
        match value {
            Value::Number(_) | Value::String(_) => self.operand(name, value),
            _ => Err(CriteriaError::new(
                name,
                Problem::Expected("a number or a string after < <= > >="),
            )),
        }
    }

    fn text(&mut self, name: &str, value: &Value) -> Result<String, CriteriaError> {
        let problem = Problem::Expected("a string after like, contains, startsWith and endsWith");
        value.as_str().map(|text| self.folded(text)).ok_or(CriteriaError::new(name, problem))
    }

    fn folded(&self, text: &str) -> String {
        self.language.case().fold(text).into_owned()
    }

    fn count(&mut self, at: &str) -> Result<(), CriteriaError> {
        let left = self.left.checked_sub(1);
        self.left =
            left.ok_or_else(|| CriteriaError::new(at, Problem::TooMany(MAX_CRITERIA_SIZE)))?;
        Ok(())
    }
}

/// Removes duplicates. A record is compared with each operand, so a duplicate would cost twice.
fn without_duplicates(operands: Vec<Operand>) -> Vec<Operand> {
    let mut texts = HashSet::default();
    operands.into_iter().filter(|operand| texts.insert(format!("{operand:?}"))).collect()
}

impl Operand {
    /// Converts an operand from a text, where numbers and strings look alike.
    fn into_loose(self) -> Self {
        match self {
            Self::Text(text) => Self::Loose(text),
            Self::Number(number) => Self::Loose(number.to_string()),
            other => other,
        }
    }
}

impl Filter {
    /// Parses a `where` as in a request.
    pub fn read(fulfil: Value) -> Result<Self, CriteriaError> {
        let data = Attributes::from_iter([("where".to_owned(), fulfil)]);
        let parameters = Parameters::read(Vec::new(), data)?;
        FilterParser::new("id", Language::Current).filter(parameters)
    }
}
