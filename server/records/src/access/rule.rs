//! A rule: the callers that an operation is allowed to.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A group of callers that an operation is allowed to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grant {
    /// Every caller.
    Everyone,
    /// Callers that have signed in.
    SignedIn,
    /// The caller whose id is in the record, in the attribute that
    /// [`Access::owner`](super::Access::owner) names.
    Owner,
    /// Callers that have a role.
    Role(String),
    /// No caller. Only the server's own code may do it.
    Nobody,
}

/// The grants of a rule. One of them is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(pub Vec<Grant>);

impl<'de> Deserialize<'de> for Rule {
    /// Accepts one grant or a list of them.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum RawRule {
            One(Grant),
            Any(Vec<Grant>),
        }
        const EXPECTED: &str =
            "expected everyone, signedIn, owner, nobody, {role: name}, or a list of these";
        let raw = RawRule::deserialize(deserializer).map_err(|_| D::Error::custom(EXPECTED))?;
        Ok(Self(match raw {
            RawRule::One(grant) => vec![grant],
            RawRule::Any(grants) => grants,
        }))
    }
}
