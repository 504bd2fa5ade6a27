//! Which records belong together: one to one, many to one, many to many.
//!
//! A model only says its own half, `owner: {model: user}` or `pets: {collection: pet, via: owner}`. When all
//! are declared, the halves are put together, once; see `half`.
//!
//! A record holds the id of the one it belongs to. A collection is not stored: it is those who hold this
//! record's id or, where both sides are collections, those it is in a pair with; see `pair`.

use super::membership::Membership;
use super::pair::{Join, Side};
use crate::change::{Attributes, Change, Id, Resource};

/// What an attribute has to do with the records of some resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// The resource of the other records.
    pub target: Resource,
    /// Where the ids are.
    pub link: Link,
}

/// Where the ids are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// In the attribute itself: that of the one other record.
    Holds {
        /// Whether there has to be one.
        required: bool,
        /// Of which collections of the other it makes this record a part.
        collections: Vec<String>,
    },
    /// In this attribute of the others.
    HeldBy(String),
    /// In pairs.
    Paired {
        /// Where the pairs are.
        join: Join,
        /// Where in them this side's id is.
        own: Side,
    },
}

impl Association {
    /// What a change of the attribute that holds an id makes its record part of.
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
