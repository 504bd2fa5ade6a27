//! The versions of the query language.

use std::borrow::Cow;

/// Whether comparisons of strings are case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Case {
    /// `Milk` is not `milk`.
    #[default]
    Sensitive,
    /// `Milk` is `milk`, as in Sails 0.9.
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

/// A version of the query language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Of Sails 1.x and our own clients.
    Current,
    /// Of Sails 0.9: case does not matter, a string that looks like a number is that number,
    /// `offset` is `skip`, `order` is `sort`, and `limit=0` is no limit.
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
