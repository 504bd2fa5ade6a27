//! The parameters of a request: the pairs of its query and the attributes of its data.

use ahash::{HashMap, HashSet};
use serde_json::Value;

use super::MAX_CRITERIA_SIZE;
use super::error::{CriteriaError, Problem};
use crate::brackets;
use crate::change::Attributes;
use crate::json_size::parse_small;

/// Parameters by name. Each is in the query or in the data, and not in both.
#[derive(Debug, Default)]
pub struct Parameters(Vec<Parameter>);

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) value: Value,
    /// Whether it is from a query, where `4` and `"4"` look the same.
    pub(super) is_text: bool,
}

impl Parameters {
    /// Reads the decoded pairs of a query, and the data. It ignores `_`, which jQuery adds so that
    /// nothing is cached, and `_csrf`, the token of a client of Sails.
    pub fn read(query: Vec<(String, String)>, data: Attributes) -> Result<Self, CriteriaError> {
        let mut parameters = Self::default();
        let (nested, plain): (Vec<_>, Vec<_>) =
            query.into_iter().partition(|(name, _)| is_nested(name));
        let mut places = HashMap::default();
        for (name, value) in plain {
            parameters.add_text(&mut places, name, value)?;
        }
        parameters.add_nested(nested)?;
        let in_url: HashSet<_> = parameters.names().map(str::to_owned).collect();
        for (name, value) in data {
            if in_url.contains(&name) {
                let problem = Problem::Misplaced("this is in the url and in the data");
                return Err(CriteriaError::new(&name, problem));
            }
            parameters.push(Parameter { name, value, is_text: false })?;
        }
        parameters.0.retain(|parameter| !matches!(&*parameter.name, "_" | "_csrf"));
        Ok(parameters)
    }

    /// Adds a parameter. Parameters are searched one by one, so their number is limited.
    fn push(&mut self, parameter: Parameter) -> Result<(), CriteriaError> {
        if self.0.len() > MAX_CRITERIA_SIZE {
            return Err(CriteriaError::new(&parameter.name, Problem::TooMany(MAX_CRITERIA_SIZE)));
        }
        self.0.push(parameter);
        Ok(())
    }

    /// Adds a parameter of the query. A repeated name makes a list, and so does jQuery's `name[]`.
    fn add_text(
        &mut self,
        places: &mut HashMap<String, usize>,
        name: String,
        value: String,
    ) -> Result<(), CriteriaError> {
        let plain = name.strip_suffix("[]").unwrap_or(&name);
        let place = places.get(plain).and_then(|place| self.0.get_mut(*place));
        match place.map(|other| &mut other.value) {
            Some(Value::Array(list)) => list.push(value.into()),
            Some(first) => *first = Value::Array(vec![first.take(), value.into()]),
            None => {
                places.insert(plain.to_owned(), self.0.len());
                let name = plain.to_owned();
                self.push(Parameter { name, value: value.into(), is_text: true })?;
            }
        }
        Ok(())
    }

    /// Adds objects, as jQuery writes them: `where[age][>]=18`.
    fn add_nested(&mut self, pairs: Vec<(String, String)>) -> Result<(), CriteriaError> {
        let Some((first, _)) = pairs.first() else { return Ok(()) };
        let first = first.clone();
        let nested = brackets::nested(pairs.into_iter().map(Ok));
        let ambiguous = Problem::Misplaced("names with brackets set this in more than one way");
        for (name, value) in nested.map_err(|_| CriteriaError::new(&first, ambiguous.clone()))? {
            if self.0.iter().any(|other| other.name == name) {
                return Err(CriteriaError::new(&name, ambiguous));
            }
            self.push(Parameter { name, value, is_text: true })?;
        }
        Ok(())
    }

    /// Refuses all parameters that are left.
    pub fn refuse(self, reason: &'static str) -> Result<(), CriteriaError> {
        match self.0.first() {
            Some(first) => Err(CriteriaError::new(&first.name, Problem::Misplaced(reason))),
            None => Ok(()),
        }
    }

    /// Returns the names of all parameters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|parameter| parameter.name.as_str())
    }

    /// Returns the value of a parameter.
    pub fn peek(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|parameter| parameter.name == name).map(|parameter| &parameter.value)
    }

    /// Adds a parameter whose value is JSON, not text from a url.
    pub fn add(&mut self, name: &str, value: impl Into<Value>) -> Result<(), CriteriaError> {
        self.refuse_second(name, name)?;
        let (name, value) = (name.to_owned(), value.into());
        self.0.push(Parameter { name, value, is_text: false });
        Ok(())
    }

    /// Renames a parameter, if it is there.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), CriteriaError> {
        let Some(parameter) = self.take_parameter(from) else { return Ok(()) };
        self.refuse_second(from, to)?;
        self.0.push(Parameter { name: to.to_owned(), ..parameter });
        Ok(())
    }

    /// Two names of one parameter could contradict each other.
    fn refuse_second(&self, at: &str, name: &str) -> Result<(), CriteriaError> {
        match self.peek(name) {
            Some(_) => {
                Err(CriteriaError::new(at, Problem::Misplaced("this is set by two parameters")))
            }
            None => Ok(()),
        }
    }

    /// Removes a parameter and returns its value.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.take_parameter(name).map(|parameter| parameter.value)
    }

    pub(super) fn take_parameter(&mut self, name: &str) -> Option<Parameter> {
        let place = self.0.iter().position(|parameter| parameter.name == name)?;
        Some(self.0.swap_remove(place))
    }

    /// Removes a parameter that may have its current or its old name. Returns the name and the
    /// value.
    pub(super) fn take_either(
        &mut self,
        name: &'static str,
        old: Option<&'static str>,
    ) -> Result<Option<(&'static str, Value)>, CriteriaError> {
        let named = self.take(name).map(|value| (name, value));
        let Some((old, value)) = old.and_then(|old| Some((old, self.take(old)?))) else {
            return Ok(named);
        };
        match named {
            None => Ok(Some((old, value))),
            Some(_) => {
                Err(CriteriaError::new(old, Problem::Misplaced("this is set by two parameters")))
            }
        }
    }

    /// Returns the parameters that are left.
    pub(super) fn into_rest(self) -> Vec<Parameter> {
        self.0
    }
}

fn is_nested(name: &str) -> bool {
    name.strip_suffix("[]").unwrap_or(name).contains('[')
}

/// Parses a parameter that is JSON text.
pub(super) fn json(at: &str, text: &str) -> Result<Value, CriteriaError> {
    parse_small(text).map_err(|error| CriteriaError::new(at, Problem::NotJson(error.to_string())))
}
