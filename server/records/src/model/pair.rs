//! Pairs of ids, which store associations whose two sides are collections.
//!
//! Pairs are records of a resource of their own, the join. No path leads to it, and no other
//! resource can have its name.

use super::{Attribute, Ids, Membership, Model, Timestamps};
use crate::change::{Attributes, Change, Id, Resource};

/// The two sides of a many-to-many association, resource and attribute. Their order is the same
/// from either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join([(Resource, String); 2]);

/// A side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The side that comes first in the order of their names.
    First,
    /// The other side.
    Second,
}

/// Two records that are associated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The id of the pair. It is made of the ids of both records, so that there is only one such
    /// pair.
    pub id: Id,
    first: Id,
    second: Id,
}

/// The key of a pair.
const KEY: &str = "id";

impl Join {
    /// Returns the join of two collections, and the side of `own`.
    pub(super) fn of(own: (&Resource, &str), other: (&Resource, &str)) -> (Self, Side) {
        let side = if own <= other { Side::First } else { Side::Second };
        let (first, second) = if own <= other { (own, other) } else { (other, own) };
        let sides = [first, second].map(|(resource, name)| (resource.clone(), name.to_owned()));
        (Self(sides), side)
    }

    /// Returns the resource whose records are the pairs.
    pub fn resource(&self) -> Resource {
        let [(first, name), (second, other)] = &self.0;
        Resource::internal(&format!("{first}.{name}.{second}.{other}"))
    }

    /// Returns the model of the pairs.
    pub(super) fn model() -> Model {
        let model = Model { ids: Ids::Client, timestamps: Timestamps::Off, ..Model::default() };
        let side = || Attribute { required: true, indexed: true, ..Attribute::default() };
        let sides = [Side::First, Side::Second].into_iter();
        sides.fold(model, |model, it| model.attribute(it.name(), side()))
    }

    /// Returns the memberships that a created or destroyed pair adds or removes, on both sides.
    pub(super) fn memberships(&self, change: &Change) -> Vec<Membership> {
        let pair = change.after.as_deref().or(change.before.as_deref());
        let id = |side: Side| Id::from_json(pair?.get(side.name())?);
        let Some((first, second)) = id(Side::First).zip(id(Side::Second)) else {
            return Vec::new();
        };
        let [one, other] = &self.0;
        let ends = [(one, &first, &second), (other, &second, &first)];
        let memberships = ends.map(|((resource, attribute), id, member)| Membership {
            resource: resource.clone(),
            id: id.clone(),
            attribute: attribute.clone(),
            member: member.clone(),
            is_new: change.after.is_some(),
        });
        memberships.into()
    }
}

impl Side {
    /// Returns the attribute of a pair with the id of this side.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }

    /// Returns the other side of the pair.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Returns the pair of an id on this side and an id on the other; `None` if both together are
    /// too long.
    pub fn pair(self, own: &Id, other: &Id) -> Option<Pair> {
        let (first, second) = match self {
            Self::First => (own, other),
            Self::Second => (other, own),
        };
        let id = Id::parse(&serde_json::to_string(&[first, second]).ok()?)?;
        Some(Pair { id, first: first.clone(), second: second.clone() })
    }
}

impl Pair {
    /// Returns the record of the pair.
    pub fn attributes(&self) -> Attributes {
        let of = |name: &str, id: &Id| (name.to_owned(), id.to_json());
        let sides = [(Side::First, &self.first), (Side::Second, &self.second)];
        let sides = sides.map(|(side, id)| of(side.name(), id));
        [of(KEY, &self.id)].into_iter().chain(sides).collect()
    }
}
