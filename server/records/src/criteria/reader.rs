//! From JSON to a filter, within limits.

use std::collections::HashSet;

use serde_json::Value;

use super::bad::{Bad, Problem, attribute_name, shown};
use super::condition::{Comparison, Condition, Operand};
use super::filter::Filter;
use super::parameters::{self, Parameter, Parameters};
use super::pattern::Pattern;
use super::{DEPTH, Language, SIZE};
use crate::change::{Attributes, Id};

/// Reads one filter.
pub(super) struct Reader<'k> {
    /// The name of the primary key.
    key: &'k str,
    language: Language,
    /// How many attributes, modifiers and values there may still be.
    left: usize,
    /// What is read was said in a query, in texts.
    is_text: bool,
}

const SCALAR: Problem = Problem::Expected("a string, a number, true, false or null");

impl<'k> Reader<'k> {
    pub(super) fn new(key: &'k str, language: Language) -> Self {
        Self { key, language, left: SIZE, is_text: false }
    }

    /// `where`, or else what is said of attributes beside it.
    pub(super) fn filter(mut self, mut parameters: Parameters) -> Result<Filter, Bad> {
        let Some(wanted) = parameters.take_said("where") else {
            let said = parameters.into_rest().into_iter().map(|said| self.beside(said));
            return said.collect::<Result<_, _>>().map(Filter::All);
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
            _ => Err(Bad::new("where", Problem::Expected("an object"))),
        }
    }

    /// Something said of an attribute without a `where`.
    fn beside(&mut self, said: Parameter) -> Result<Filter, Bad> {
        let Parameter { name, value, is_text } = said;
        if !is_text {
            self.is_text = false;
            return self.entry(name, value, 0);
        }
        if matches!(&*name, "and" | "or" | "not") {
            return Err(Bad::new(&name, Problem::Misplaced("this goes into where, as JSON")));
        }
        self.is_text = true;
        self.entry(name, value, 0)
    }

    fn all(&mut self, object: Attributes, depth: usize) -> Result<Filter, Bad> {
        let parts = object.into_iter().map(|(name, value)| self.entry(name, value, depth));
        parts.collect::<Result<_, _>>().map(Filter::All)
    }

    fn entry(&mut self, name: String, value: Value, depth: usize) -> Result<Filter, Bad> {
        self.count(&name)?;
        attribute_name(&name)?;
        match (&*name, value) {
            ("and", Value::Array(parts)) => self.each(&name, parts, depth).map(Filter::All),
            ("or", Value::Array(parts)) => self.each(&name, parts, depth).map(Filter::Any),
            ("not", Value::Object(part)) => {
                let part = self.deeper(&name, part, depth)?;
                Ok(Filter::Not(Box::new(part)))
            }
            ("and" | "or", _) => Err(Bad::new(&name, Problem::Expected("a list of objects"))),
            ("not", _) => Err(Bad::new(&name, Problem::Expected("an object"))),
            ("like", Value::Object(patterns)) if self.language == Language::Sails09 => {
                let like = |(name, pattern): (String, Value)| {
                    attribute_name(&name)?;
                    self.modified(name, [("like".to_owned(), pattern)])
                };
                patterns.into_iter().map(like).collect::<Result<_, _>>().map(Filter::All)
            }
            (_, Value::Object(modifiers)) if modifiers.is_empty() => {
                Err(Bad::new(&name, Problem::Expected("a value, a list or modifiers")))
            }
            (_, Value::Object(modifiers)) => self.modified(name, modifiers),
            (_, value) => {
                let operands = self.operands(&name, value)?;
                Ok(Filter::Attribute(name, Condition::OneOf(operands)))
            }
        }
    }

    fn each(&mut self, at: &str, parts: Vec<Value>, depth: usize) -> Result<Vec<Filter>, Bad> {
        let parts = parts.into_iter().map(|part| {
            self.count(at)?;
            match part {
                Value::Object(part) => self.deeper(at, part, depth),
                _ => Err(Bad::new(at, Problem::Expected("a list of objects"))),
            }
        });
        parts.collect()
    }

    fn deeper(&mut self, at: &str, part: Attributes, depth: usize) -> Result<Filter, Bad> {
        match depth {
            ..DEPTH => self.all(part, depth + 1),
            _ => Err(Bad::new(at, Problem::TooDeep(DEPTH))),
        }
    }

    /// All modifiers of an attribute.
    fn modified(
        &mut self,
        name: String,
        modifiers: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Filter, Bad> {
        let conditions = modifiers.into_iter().map(|(modifier, value)| {
            self.count(&name)?;
            let condition = self.condition(&name, &modifier, value)?;
            Ok(Filter::Attribute(name.clone(), condition))
        });
        conditions.collect::<Result<_, _>>().map(Filter::All)
    }

    fn condition(&mut self, name: &str, modifier: &str, value: Value) -> Result<Condition, Bad> {
        use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
        Ok(match modifier {
            "in" | "nin" if !value.is_array() => {
                return Err(Bad::new(name, Problem::Expected("a list after in and nin")));
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
            _ => return Err(Bad::new(name, Problem::Modifier(shown(modifier)))),
        })
    }

    /// A value or a list of them.
    fn operands(&mut self, name: &str, value: Value) -> Result<Vec<Operand>, Bad> {
        match value {
            Value::Array(list) => {
                let operands = list.into_iter().map(|value| self.operand(name, value));
                operands.collect::<Result<_, _>>().map(each_once)
            }
            value => Ok(vec![self.operand(name, value)?]),
        }
    }

    fn operand(&mut self, name: &str, value: Value) -> Result<Operand, Bad> {
        self.count(name)?;
        let number = |number: &serde_json::Number| number.as_f64();
        let operand = match value {
            Value::Null => Operand::Null,
            Value::Bool(value) => Operand::Bool(value),
            Value::Number(value) => Operand::Number(number(&value).ok_or(Bad::new(name, SCALAR))?),
            // A string that reads as an integer is that integer, in an id.
            Value::String(text) if name == self.key => {
                match Id::parse(&text).map(|id| id.to_json()) {
                    Some(Value::Number(value)) => {
                        Operand::Number(number(&value).ok_or(Bad::new(name, SCALAR))?)
                    }
                    _ => Operand::Text(self.folded(&text)),
                }
            }
            Value::String(text) => Operand::Text(self.folded(&text)),
            Value::Array(_) | Value::Object(_) => return Err(Bad::new(name, SCALAR)),
        };
        Ok(match self.language {
            Language::Current if !self.is_text => operand,
            Language::Current | Language::Sails09 => operand.loosened(),
        })
    }

    fn comparable(&mut self, name: &str, value: Value) -> Result<Operand, Bad> {
        match value {
            Value::Number(_) | Value::String(_) => self.operand(name, value),
            _ => Err(Bad::new(name, Problem::Expected("a number or a string after < <= > >="))),
        }
    }

    fn text(&mut self, name: &str, value: &Value) -> Result<String, Bad> {
        let problem = Problem::Expected("a string after like, contains, startsWith and endsWith");
        value.as_str().map(|text| self.folded(text)).ok_or(Bad::new(name, problem))
    }

    fn folded(&self, text: &str) -> String {
        self.language.case().fold(text).into_owned()
    }

    fn count(&mut self, at: &str) -> Result<(), Bad> {
        let left = self.left.checked_sub(1);
        self.left = left.ok_or_else(|| Bad::new(at, Problem::TooMany(SIZE)))?;
        Ok(())
    }
}

/// A record is compared with each operand, so one that is said twice would cost twice.
fn each_once(operands: Vec<Operand>) -> Vec<Operand> {
    let mut texts = HashSet::new();
    operands.into_iter().filter(|operand| texts.insert(format!("{operand:?}"))).collect()
}

impl Operand {
    /// As it is understood where numbers and strings look alike.
    fn loosened(self) -> Self {
        match self {
            Self::Text(text) => Self::Loose(text),
            Self::Number(number) => Self::Loose(number.to_string()),
            other => other,
        }
    }
}

impl Filter {
    /// Reads a `where` as it stands in a request.
    pub fn read(fulfil: Value) -> Result<Self, Bad> {
        let said = Attributes::from_iter([("where".to_owned(), fulfil)]);
        let parameters = Parameters::read(Vec::new(), said)?;
        Reader::new("id", Language::Current).filter(parameters)
    }
}
