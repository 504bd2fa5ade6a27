//! Cascades: the removal of references to destroyed records.
//!
//! A commit stores a destroy and its cascades together, so that the references cannot be forgotten.
//! They are removed later, a few at a time, by
//! [`Action::Detach`](backwire_records::write::Action::Detach). Until then an engine reads a
//! dangling reference as null, and a dangling pair as absent.
//!
//! Invariant: a reference dangles if its record has not changed since the destroy. A later write
//! removes it or replaces it. So a record that is created again with the same id has only
//! references made after that.

use std::sync::Arc;

use async_trait::async_trait;
use backwire_environment::HashMap;
use backwire_records::change::{Attributes, Id, Resource};
use backwire_records::criteria::HasAttributes;
use backwire_records::dangling::{Dangling, Reference};

use super::Error;

/// References to a destroyed record that are still to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cascade {
    /// The attribute that holds the references.
    pub reference: Reference,
    /// The id of the destroyed record.
    pub id: Id,
    /// The head of the log of the [reference's](Self::reference) resource when the record was
    /// destroyed. References in records that were changed after it do not dangle.
    pub until: u64,
    /// The connection that the destroy came from.
    pub origin: Option<Arc<str>>,
}

/// The cascades of a store.
#[async_trait]
pub trait Cascades: Send + Sync {
    /// Returns the cascades that have not ended, beginning with the oldest.
    async fn unfinished(&self) -> Result<Vec<Cascade>, Error>;

    /// Returns the ids of records whose reference still dangles, in their order, beginning after
    /// `after`.
    async fn dangling(
        &self,
        cascade: &Cascade,
        after: Option<&Id>,
        limit: usize,
    ) -> Result<Vec<Id>, Error>;

    /// Ends a cascade, unless a later destroy has extended it.
    async fn finish(&self, cascade: &Cascade) -> Result<(), Error>;
}

/// The cascades that concern the records of one resource.
#[derive(Debug, Clone, Default)]
pub(super) struct ResourceCascades(HashMap<String, AttributeCascades>);

/// The destroyed ids that an attribute may hold. A record with such an id dangles if it was changed
/// last at the id's offset in `until` or before.
#[derive(Debug, Clone, Default)]
struct AttributeCascades {
    is_pair: bool,
    until: HashMap<Id, u64>,
}

impl ResourceCascades {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, attribute: String, is_pair: bool, id: Id, until: u64) {
        let cascades = self.0.entry(attribute).or_default();
        cascades.is_pair = is_pair;
        cascades.until.insert(id, until);
    }

    fn remove(&mut self, attribute: &str, id: &Id) {
        if let Some(cascades) = self.0.get_mut(attribute) {
            cascades.until.remove(id);
        }
        self.0.retain(|_, cascades| !cascades.until.is_empty());
    }

    pub(super) fn until(&self, attribute: &str, id: &Id) -> Option<u64> {
        self.0.get(attribute)?.until.get(id).copied()
    }

    /// Returns the dangling references of a record that was changed last at this offset.
    pub(super) fn dangling(&self, record: &impl HasAttributes, changed: u64) -> Dangling {
        let mut names = Vec::new();
        for (name, is_pair) in self.dangling_attributes(record, changed) {
            if is_pair {
                return Dangling::Pair;
            }
            names.push(name.to_owned());
        }
        if names.is_empty() { Dangling::Nothing } else { Dangling::Attributes(names) }
    }

    fn dangling_attributes<'a>(
        &'a self,
        record: &'a impl HasAttributes,
        changed: u64,
    ) -> impl Iterator<Item = (&'a str, bool)> {
        self.0.iter().filter_map(move |(name, cascades)| {
            let until = cascades.until.get(&Id::from_json(record.attribute(name))?)?;
            (changed <= *until).then_some((name.as_str(), cascades.is_pair))
        })
    }

    /// Returns the record as it is read: without dangling references.
    pub(super) fn resolve(&self, record: Arc<Attributes>, changed: u64) -> Option<Arc<Attributes>> {
        if self.is_empty() {
            return Some(record);
        }
        self.dangling(&record, changed).resolve(record)
    }

    /// Whether criteria that read these attributes may select other records because of the
    /// cascades.
    pub(super) fn has_one_of<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> bool {
        names.any(|name| self.0.contains_key(name)) || self.0.values().any(|it| it.is_pair)
    }

    /// Returns the attributes whose references may dangle.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the attributes, and the destroyed ids in each. Pairs are left out.
    pub(super) fn ids(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (&Id, u64)>)> {
        self.0.iter().filter(|(_, cascades)| !cascades.is_pair).map(|(name, cascades)| {
            (name.as_str(), cascades.until.iter().map(|(id, until)| (id, *until)))
        })
    }
}

/// All cascades of a store, by the resource whose records they change.
#[derive(Debug, Default, Clone)]
pub(super) struct AllCascades(HashMap<Resource, ResourceCascades>);

impl AllCascades {
    pub(super) fn of(&self, resource: &Resource) -> Option<&ResourceCascades> {
        self.0.get(resource)
    }

    /// Adds a cascade, or extends the cascade of an earlier destroy.
    pub(super) fn insert(&mut self, cascade: &Cascade) {
        let Cascade { reference, id, until, .. } = cascade.clone();
        let cascades = self.0.entry(reference.resource).or_default();
        cascades.insert(reference.attribute, reference.is_pair, id, until);
    }

    /// Removes a cascade. Returns whether it existed.
    pub(super) fn remove(&mut self, cascade: &Cascade) -> bool {
        let Cascade { reference, id, until, .. } = cascade;
        let Some(cascades) = self.0.get_mut(&reference.resource) else { return false };
        let is_there = cascades.until(&reference.attribute, id) == Some(*until);
        if is_there {
            cascades.remove(&reference.attribute, id);
            if cascades.is_empty() {
                self.0.remove(&reference.resource);
            }
        }
        is_there
    }
}
