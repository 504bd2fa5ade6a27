//! The records that the access rules allow a caller.

use serde_json::Value;

use backwire_protocol::planted;

use crate::change::{Attributes, Room};
use crate::criteria::{Case, CriteriaError, Filter, Scope};

/// The records of a resource on which a caller may do an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessScope {
    /// All records.
    Whole,
    /// The records that fulfil this filter.
    Part(Filter),
    /// No records. The caller may know that.
    Nothing,
}

impl AccessScope {
    /// Returns the records that fulfil a `where`, as in a request: `{"team": "red"}`.
    ///
    /// ```
    /// use backwire_records::access::AccessScope;
    ///
    /// let red = AccessScope::matching(serde_json::json!({ "team": ["red", "orange"] }))?;
    /// # Ok::<_, backwire_records::criteria::CriteriaError>(())
    /// ```
    pub fn matching(fulfil: Value) -> Result<Self, CriteriaError> {
        Filter::read(fulfil).map(Self::Part)
    }

    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole, _) | (_, Self::Whole) => Self::Whole,
            (Self::Nothing, other) => other,
            (own, Self::Nothing) => own,
            (Self::Part(own), Self::Part(other)) => Self::Part(Filter::Any(vec![own, other])),
        }
    }

    /// Returns the records that are in both.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (Self::Whole, other) => other,
            (own, Self::Whole) => own,
            (Self::Part(own), Self::Part(other)) => Self::Part(own.and(other)),
        }
    }

    /// Returns the filter that the records fulfil.
    pub fn filter(&self) -> Filter {
        match self {
            Self::Whole => Filter::default(),
            Self::Part(part) => part.clone(),
            Self::Nothing => Filter::Any(Vec::new()),
        }
    }

    /// Whether a record is in the scope.
    pub fn includes(&self, record: &Attributes) -> bool {
        match self {
            Self::Whole => true,
            Self::Part(part) => part.matches(record, Case::Sensitive),
            Self::Nothing => false,
        }
    }

    /// Whether a caller with this access may be in a room: it has only changes of records in this
    /// scope, and all those that the caller may see of what they have read. The room of one record
    /// has no filter, so a part never covers it. A room that was joined with another access may
    /// lack records.
    pub fn covers(&self, room: &Room) -> bool {
        let narrowed = room.scope().and_then(Scope::access);
        match self {
            Self::Whole => narrowed.is_none() || planted::has("narrowed-room-after-grant"),
            Self::Part(part) => {
                room.scope().is_some_and(|scope| scope.filter().implies(part))
                    && narrowed.is_none_or(|access| access == part.mark())
            }
            Self::Nothing => false,
        }
    }
}
