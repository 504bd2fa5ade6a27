//! Which associations a read fills in.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};

/// Associations whose records come with the record, in place of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Populate {
    /// Each that is declared, as Sails 1.x does.
    All,
    /// These.
    These(BTreeSet<String>),
}

impl Default for Populate {
    /// None.
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Populate {
    /// Those that are named.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        let names = match self {
            Self::All => None,
            Self::These(names) => Some(names),
        };
        names.into_iter().flatten()
    }

    /// Whether this association is among them.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }
}

/// `true`, `false` or a list.
impl<'de> Deserialize<'de> for Populate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "true, false or a list of associations")]
        enum Said {
            All(bool),
            These(BTreeSet<String>),
        }
        Ok(match Said::deserialize(deserializer)? {
            Said::All(true) => Self::All,
            Said::All(false) => Self::default(),
            Said::These(names) => Self::These(names),
        })
    }
}
