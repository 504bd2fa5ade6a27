//! Which records are meant.

use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::{Case, Look};

/// Something a record fulfils or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    /// All of these; where there are none, nothing is asked.
    All(Vec<Filter>),
    /// One of these at least; where there are none, no record does.
    Any(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// This attribute is so.
    Attribute(String, Condition),
}

impl Default for Filter {
    /// Every record.
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl Filter {
    /// Does this record fulfil it?
    pub fn matches(&self, record: &impl Look, case: Case) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(record, case)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(record, case)),
            Self::Not(part) => !part.matches(record, case),
            Self::Attribute(name, condition) => condition.holds(record.look(name), case),
        }
    }

    /// The attributes it is about.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::names).collect(),
            Self::Not(part) => part.names(),
            Self::Attribute(name, _) => vec![name],
        }
    }
}
