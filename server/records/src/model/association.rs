//! Associations between records: one to one, many to one, many to many.
//!
//! A model declares its own side, `owner: {model: user}` or `pets: {collection: pet, via: owner}`.
//! When all models are declared, the two sides are combined once; see `declaration`.
//!
//! A record holds the id of the record that it belongs to. A collection is not stored: its members
//! are the records that hold this record's id or, if both sides are collections, the records that
//! are in a pair with it; see `pair`.

use super::membership::Membership;
use super::pair::{Join, Side};
use crate::change::{Attributes, Change, Id, Resource};

/// An association of an attribute with the records of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// The resource of the other records.
    pub target: Resource,
    /// The place where the ids are stored.
    pub link: Link,
}

/// The place where the ids of an association are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// The attribute itself holds the id of the other record.
    Holds {
        /// Whether the attribute is required.
        required: bool,
        /// The collections of the other record that this record becomes a member of.
        collections: Vec<String>,
    },
    /// This attribute of the other records holds the id.
    HeldBy(String),
    /// Pairs hold the ids.
    Paired {
        /// The join that has the pairs.
        join: Join,
        /// The side of this record in the pairs.
        own: Side,
    },
}

impl Association {
    /// Returns the memberships that a change adds or removes, if the attribute with this name holds
    /// an id.
    pub(super) fn memberships(&self, name: &str, change: &Change) -> Vec<Membership> {
        let Link::Holds { collections, .. } = &self.link else { return Vec::new() };
        let held = |record: Option<&Attributes>| Id::from_json(record?.get(name)?);
        let (before, after) = (held(change.before.as_deref()), held(change.after.as_deref()));
        if before == after {
            return Vec::new();
        }
        let ends = [(after, true), (before, false)].into_iter();
        let ends = ends.filter_map(|(id, is_new)| Some((id?, is_new)));
        let in_each = |(id, is_new): (Id, bool)| {
            collections.iter().map(move |attribute| Membership {
                resource: self.target.clone(),
                id: id.clone(),
                attribute: attribute.clone(),
                member: change.id.clone(),
                is_new,
            })
        };
        ends.flat_map(in_each).collect()
    }
}
