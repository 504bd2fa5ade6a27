//! Memberships in collections that a change adds or removes.

use crate::change::{Id, Resource};
use crate::criteria::CollectionKey;

/// A record is added to a collection of another record, or removed from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The resource of the record that has the collection.
    pub resource: Resource,
    /// The record that has the collection.
    pub id: Id,
    /// The attribute with the collection.
    pub attribute: String,
    /// The record that is added or removed.
    pub member: Id,
    /// Whether it is added.
    pub is_new: bool,
}

impl Membership {
    /// Returns the collection, as [`Collection::of`](crate::criteria::Collection::of).
    pub fn collection(&self) -> CollectionKey {
        CollectionKey {
            resource: self.resource.to_string(),
            id: self.id.clone(),
            attribute: self.attribute.clone(),
        }
    }
}
