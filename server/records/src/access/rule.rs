//! A rule: whom an act is allowed.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Whom something is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grant {
    /// Whoever asks.
    Everyone,
    /// Whoever has signed in.
    SignedIn,
    /// Whose id stands in the record, in the attribute that [`Access::owner`](super::Access::owner) names.
    Owner,
    /// Who has a role.
    Role(String),
    /// Nobody: the server's own code alone.
    Nobody,
}

/// Any of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(pub Vec<Grant>);

impl<'de> Deserialize<'de> for Rule {
    /// One grant or a list of them.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            One(Grant),
            Any(Vec<Grant>),
        }
        const EXPECTED: &str =
            "expected everyone, signedIn, owner, nobody, {role: name}, or a list of these";
        let said = Said::deserialize(deserializer).map_err(|_| D::Error::custom(EXPECTED))?;
        Ok(Self(match said {
            Said::One(grant) => vec![grant],
            Said::Any(grants) => grants,
        }))
    }
}
