//! How the query language was spelled over the years.

use std::borrow::Cow;

/// Whether `Milk` is `milk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Case {
    /// No.
    #[default]
    Sensitive,
    /// Yes, as in Sails 0.9.
    Ignored,
}

impl Case {
    pub(super) fn fold(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Sensitive => text.into(),
            Self::Ignored => text.to_lowercase().into(),
        }
    }
}

/// The ways a query language was spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Sails 1.x and our own clients.
    Current,
    /// Case does not matter, a string that looks like a number is that number, `offset` is `skip`,
    /// `order` is `sort`, and `limit=0` is no limit.
    Sails09,
}

impl Language {
    pub(super) fn case(self) -> Case {
        match self {
            Self::Current => Case::Sensitive,
            Self::Sails09 => Case::Ignored,
        }
    }
}
