//! The conventions that a server follows where clients can tell the difference.

use std::fmt;
use std::str::FromStr;

/// The conventions of a server. They decide what a model leaves open, and the form of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conventions {
    /// Those of Backwire.
    #[default]
    Backwire,
    /// Those of Sails 1.x, for clients that rely on what Sails answers.
    Sails,
}

impl Conventions {
    /// Whether these are the conventions of Sails.
    pub fn are_of_sails(self) -> bool {
        self == Self::Sails
    }
}

impl FromStr for Conventions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "backwire" => Ok(Self::Backwire),
            "sails" => Ok(Self::Sails),
            _ => Err(format!("unknown conventions {text:?}; expected backwire or sails")),
        }
    }
}

impl fmt::Display for Conventions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backwire => "backwire",
            Self::Sails => "sails",
        })
    }
}
