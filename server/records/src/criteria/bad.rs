//! What is wrong with criteria, and where.

use crate::change::is_attribute_name;

/// Criteria that are not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct Bad {
    /// The parameter or the attribute it is about.
    pub at: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Something else has to stand there.
    #[error("this has to be {0}")]
    Expected(&'static str),
    /// A string that should be JSON.
    #[error("this is not JSON: {0}")]
    NotJson(String),
    /// Nobody knows this modifier.
    #[error("the modifier {0} is not understood")]
    Modifier(String),
    /// What is to be filled in is no association of the resource.
    #[error("there is no association {0}{1}")]
    NoAssociation(String, String),
    /// The resource has no such attribute, and takes no others than it has.
    #[error("this is not declared{}", .0.as_ref().map(|it| format!("; did you mean {it}?")).unwrap_or_default())]
    Undeclared(Option<String>),
    /// The name is neither that of an attribute nor that of a parameter.
    #[error("this is neither an attribute nor a parameter{}", .0.as_ref().map(|it| format!("; did you mean {it}?")).unwrap_or_default())]
    Unknown(Option<String>),
    /// No attribute can have such a name.
    #[error("the name of an attribute has no control characters")]
    ControlCharacter,
    /// It has no place here.
    #[error("{0}")]
    Misplaced(&'static str),
    /// `and`, `or` and `not` in one another.
    #[error("nested deeper than the {0} levels that are allowed")]
    TooDeep(usize),
    /// Attributes, modifiers, values or names.
    #[error("more than the {0} attributes, modifiers and values that are allowed")]
    TooMany(usize),
}

impl Bad {
    /// A problem with the parameter of this name.
    pub fn new(at: &str, problem: Problem) -> Self {
        Self { at: shown(at), problem }
    }

    /// The limit that was passed, if it is about one.
    pub fn limit(&self) -> Option<usize> {
        match self.problem {
            Problem::TooDeep(limit) | Problem::TooMany(limit) => Some(limit),
            _ => None,
        }
    }
}

/// The name of an attribute, if it may be one.
pub(super) fn attribute_name(name: &str) -> Result<(), Bad> {
    match is_attribute_name(name) {
        true => Ok(()),
        false => Err(Bad::new(name, Problem::ControlCharacter)),
    }
}

/// A foreign name as it is repeated in the refusal: shortened, and with its control characters escaped.
pub fn shown(name: &str) -> String {
    const MOST: usize = 64;
    let escaped = name.chars().take(MOST).map(|char| match char {
        _ if char.is_control() => format!("\\u{:04x}", u32::from(char)),
        _ => char.to_string(),
    });
    escaped.collect()
}
