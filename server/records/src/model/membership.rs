//! What a change makes a record part of.

use crate::change::{Id, Resource};

/// One record becomes part of a collection of another, or is no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Whose collection it is.
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
    /// Whose members it changes: as [`Collection::of`](crate::criteria::Collection::of).
    pub fn collection(&self) -> (String, Id, String) {
        (self.resource.to_string(), self.id.clone(), self.attribute.clone())
    }
}
