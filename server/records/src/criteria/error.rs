//! The error of criteria that cannot be parsed.

use crate::change::is_attribute_name;

/// The error of criteria that are not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct CriteriaError {
    /// The name of the parameter or the attribute.
    pub at: String,
    /// The problem with it.
    pub problem: Problem,
}

/// A problem with a parameter or an attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The value has the wrong type or form.
    #[error("this has to be {0}")]
    Expected(&'static str),
    /// The value is not of the declared type of the attribute, and cannot be coerced to it.
    #[error("{value} is not {expected}, which is the type of the attribute")]
    Type {
        /// The value as JSON, perhaps shortened.
        value: String,
        /// The declared type.
        expected: &'static str,
    },
    /// Values of the declared type are not compared with `<` and `>`.
    #[error("the attribute is {0}, and is not compared with < <= > >=")]
    NoOrder(&'static str),
    /// Values of the declared type are not searched.
    #[error("the attribute is {0}, and is not searched by like, contains, startsWith and endsWith")]
    NoSearch(&'static str),
    /// The string is not valid JSON.
    #[error("this is not JSON: {0}")]
    NotJson(String),
    /// The modifier is unknown.
    #[error("the modifier {0} is not understood")]
    Modifier(String),
    /// The resource has no association with the name in `populate`.
    #[error("there is no association {0}{1}")]
    NoAssociation(String, String),
    /// The attribute is not declared, and the resource refuses undeclared ones.
    #[error("this is not declared{}", .0.as_ref().map(|it| format!("; did you mean {it}?")).unwrap_or_default())]
    Undeclared(Option<String>),
    /// The name is neither that of an attribute nor that of a parameter.
    #[error("this is neither an attribute nor a parameter{}", .0.as_ref().map(|it| format!("; did you mean {it}?")).unwrap_or_default())]
    Unknown(Option<String>),
    /// No attribute can have such a name.
    #[error("the name of an attribute has no control characters")]
    ControlCharacter,
    /// No record can have such an id.
    #[error("an id has no control characters")]
    ControlCharacterInId,
    /// The parameter is not allowed here.
    #[error("{0}")]
    Misplaced(&'static str),
    /// `and`, `or` and `not` are nested too deep.
    #[error("nested deeper than the {0} levels that are allowed")]
    TooDeep(usize),
    /// There are too many attributes, modifiers, values or names.
    #[error("more than the {0} attributes, modifiers and values that are allowed")]
    TooMany(usize),
}

impl CriteriaError {
    /// Returns the error of a problem with this parameter or attribute.
    pub fn new(at: &str, problem: Problem) -> Self {
        Self { at: escaped_name(at), problem }
    }

    /// Returns the limit that was exceeded, if the problem is about one.
    pub fn limit(&self) -> Option<usize> {
        match self.problem {
            Problem::TooDeep(limit) | Problem::TooMany(limit) => Some(limit),
            _ => None,
        }
    }
}

/// Checks the name of an attribute.
pub(super) fn attribute_name(name: &str) -> Result<(), CriteriaError> {
    match is_attribute_name(name) {
        true => Ok(()),
        false => Err(CriteriaError::new(name, Problem::ControlCharacter)),
    }
}

/// Returns a name of the client as error messages repeat it: shortened, with its control characters
/// escaped.
pub fn escaped_name(name: &str) -> String {
    const MAX_CHARS: usize = 64;
    let escaped = name.chars().take(MAX_CHARS).map(|char| match char {
        _ if char.is_control() => format!("\\u{:04x}", u32::from(char)),
        _ => char.to_string(),
    });
    escaped.collect()
}
