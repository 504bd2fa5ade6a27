//! The members of collections that a request gives to a new record.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Id, Resource};

/// The relation of a change to the members of collections that its request gives to a new record.
/// Each member is a change of its own, after the new record. In Sails the push of the new record
/// has the members, and no push reports that they enter its collections. Each server needs to know
/// which these are, so they are in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NewMembers {
    /// The new record gets these members, by attribute.
    Of(Vec<(String, BTreeSet<Id>)>),
    /// A member is added to this collection of a new record, whose push has it.
    In {
        /// The resource of the new record.
        resource: String,
        /// The new record.
        id: Id,
        /// The attribute with the collection.
        attribute: String,
    },
}

impl NewMembers {
    /// Whether the push of a new record has a member that is added to this collection.
    pub fn include(&self, (of, record, collection): (&Resource, &Id, &str)) -> bool {
        let Self::In { resource, id, attribute } = self else { return false };
        (&**resource, id, &**attribute) == (of.as_str(), record, collection)
    }
}
