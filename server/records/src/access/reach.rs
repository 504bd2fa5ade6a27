//! How far somebody's hands reach.

use serde_json::Value;

use crate::change::{Attributes, Room};
use crate::criteria::{Bad, Case, Filter};

/// What is left of a resource to a caller.
#[derive(Debug, Clone, PartialEq)]
pub enum Reach {
    /// All records.
    Whole,
    /// Those that fulfil this.
    Part(Filter),
    /// None, and that may be said.
    Nothing,
}

impl Reach {
    /// Those records that fulfil a `where`, as in a request: `{"team": "red"}`.
    ///
    /// ```
    /// use backwire_records::access::Reach;
    ///
    /// let red = Reach::those(serde_json::json!({ "team": ["red", "orange"] }))?;
    /// # Ok::<_, backwire_records::criteria::Bad>(())
    /// ```
    pub fn those(fulfil: Value) -> Result<Self, Bad> {
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

    /// The records that are in both.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (Self::Whole, other) => other,
            (own, Self::Whole) => own,
            (Self::Part(own), Self::Part(other)) => Self::Part(own.and(other)),
        }
    }

    /// What its records fulfil.
    pub fn filter(&self) -> Filter {
        match self {
            Self::Whole => Filter::default(),
            Self::Part(part) => part.clone(),
            Self::Nothing => Filter::Any(Vec::new()),
        }
    }

    /// Whether a record is among them.
    pub fn includes(&self, record: &Attributes) -> bool {
        match self {
            Self::Whole => true,
            Self::Part(part) => part.matches(record, Case::Sensitive),
            Self::Nothing => false,
        }
    }

    /// Whether a room tells of nothing beyond it. That cannot be seen of the room of a record: it has
    /// no filter.
    pub fn covers(&self, room: &Room) -> bool {
        match self {
            Self::Whole => true,
            Self::Part(part) => room.scope().is_some_and(|scope| scope.filter().demands(part)),
            Self::Nothing => false,
        }
    }
}
