//! Pairs of ids: who belongs together where both sides are collections.
//!
//! They are records of a resource of their own, the join. No path leads to it, and no other can have its name.

use super::{Attribute, Ids, Membership, Model, Timestamps};
use crate::change::{Attributes, Change, Id, Resource};

/// Both sides, resource and attribute, in an order that does not depend on who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join([(Resource, String); 2]);

/// A place in a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The side that comes first in the order of their names.
    First,
    /// The other side.
    Second,
}

/// Two records that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Made of the two others, so that there is only one such pair.
    pub id: Id,
    first: Id,
    second: Id,
}

/// The key of a pair.
const KEY: &str = "id";

impl Join {
    /// The join of two collections, and the side of the first.
    pub(super) fn of(own: (&Resource, &str), other: (&Resource, &str)) -> (Self, Side) {
        let side = if own <= other { Side::First } else { Side::Second };
        let (first, second) = if own <= other { (own, other) } else { (other, own) };
        let sides = [first, second].map(|(resource, name)| (resource.clone(), name.to_owned()));
        (Self(sides), side)
    }

    /// Whose records the pairs are.
    pub fn resource(&self) -> Resource {
        let [(first, name), (second, other)] = &self.0;
        Resource::internal(&format!("{first}.{name}.{second}.{other}"))
    }

    /// What they are like.
    pub(super) fn model() -> Model {
        let model = Model { ids: Ids::Client, timestamps: Timestamps::Off, ..Model::default() };
        let side = || Attribute { required: true, indexed: true, ..Attribute::default() };
        let sides = [Side::First, Side::Second].into_iter();
        sides.fold(model, |model, it| model.attribute(it.name(), side()))
    }

    /// A pair that is made or undone is told to both sides.
    pub(super) fn memberships(&self, change: &Change) -> Vec<Membership> {
        let pair = change.after.as_deref().or(change.before.as_deref());
        let id = |side: Side| Id::from_json(pair?.get(side.name())?);
        let Some((first, second)) = id(Side::First).zip(id(Side::Second)) else {
            return Vec::new();
        };
        let [one, other] = &self.0;
        let ends = [(one, &first, &second), (other, &second, &first)];
        let told = ends.map(|((resource, attribute), id, member)| Membership {
            resource: resource.clone(),
            id: id.clone(),
            attribute: attribute.clone(),
            member: member.clone(),
            is_new: change.after.is_some(),
        });
        told.into()
    }
}

impl Side {
    /// The attribute of a pair.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }

    /// The other side of the pair.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// The pair of this side's id and the other's; `None` if both together are too long.
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
    /// Its record.
    pub fn attributes(&self) -> Attributes {
        let of = |name: &str, id: &Id| (name.to_owned(), id.to_json());
        let sides = [(Side::First, &self.first), (Side::Second, &self.second)];
        let sides = sides.map(|(side, id)| of(side.name(), id));
        [of(KEY, &self.id)].into_iter().chain(sides).collect()
    }
}
