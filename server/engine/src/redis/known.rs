//! The indexes and cascades that a node knows of each resource, each with a version. Scripts
//! compare the versions, so no decision depends on outdated ones.

use backwire_environment::HashMap;
use std::sync::Arc;

use backwire_records::change::{Attributes, Resource};
use backwire_records::dangling::Dangling;
use parking_lot::Mutex;

use super::handshake::Epoch;
use super::reply::Reply;
use super::stored;
use crate::Error;
use crate::cascades::ResourceCascades;

/// The resources that a node knows.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Versions are comparable only within an epoch.
    epoch: Option<Epoch>,
    resources: HashMap<Resource, KnownResource>,
}

/// The known metadata of a resource.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownResource {
    pub(super) indexes: Option<Versioned<Vec<Index>>>,
    pub(super) cascades: Option<Versioned<ResourceCascades>>,
}

/// A value and its version.
#[derive(Debug)]
pub(super) struct Versioned<T> {
    pub(super) version: String,
    pub(super) value: Arc<T>,
}

impl<T> Clone for Versioned<T> {
    fn clone(&self) -> Self {
        Self { version: self.version.clone(), value: Arc::clone(&self.value) }
    }
}

/// An index of the values of an attribute.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) attribute: String,
    /// Whether it has all records. Writes keep it up to date also before that.
    pub(super) is_ready: bool,
}

impl Known {
    /// Returns what is known of a resource in an epoch.
    pub(super) fn of(&self, resource: &Resource, epoch: Epoch) -> KnownResource {
        let mut state = self.0.lock();
        state.begin(epoch);
        state.resources.get(resource).cloned().unwrap_or_default()
    }

    /// Reads the version and the list of the indexes of a resource. The list is not sent if it is
    /// the one that was `used` in the question.
    pub(super) fn read_indexes(
        &self,
        resource: &Resource,
        epoch: Epoch,
        used: &KnownResource,
        reply: &mut Reply,
    ) -> Result<Option<Versioned<Vec<Index>>>, Error> {
        let (version, list) = (reply.text()?, reply.optional_list()?);
        let Some(mut list) = list else { return Ok(used.indexes.clone()) };
        let mut indexes = Vec::new();
        while let Ok(attribute) = list.text() {
            indexes.push(Index { attribute, is_ready: list.text()? == "ready" });
        }
        let indexes = Some(Versioned { version, value: Arc::new(indexes) });
        let mut state = self.0.lock();
        state.begin(epoch);
        state.resources.entry(resource.clone()).or_default().indexes.clone_from(&indexes);
        Ok(indexes)
    }

    /// The same for the cascades.
    pub(super) fn read_cascades(
        &self,
        resource: &Resource,
        epoch: Epoch,
        used: &KnownResource,
        reply: &mut Reply,
    ) -> Result<Option<Versioned<ResourceCascades>>, Error> {
        let (version, list) = (reply.text()?, reply.optional_list()?);
        let Some(list) = list else { return Ok(used.cascades.clone()) };
        let cascades = stored::cascades(resource, list)?;
        let cascades = Some(Versioned { version, value: Arc::new(cascades) });
        let mut state = self.0.lock();
        state.begin(epoch);
        state.resources.entry(resource.clone()).or_default().cascades.clone_from(&cascades);
        Ok(cascades)
    }

    /// Forgets the indexes of a resource, because one is being made.
    pub(super) fn forget_indexes(&self, resource: &Resource) {
        if let Some(known) = self.0.lock().resources.get_mut(resource) {
            known.indexes = None;
        }
    }
}

impl State {
    fn begin(&mut self, epoch: Epoch) {
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.resources.clear();
        }
    }
}

impl KnownResource {
    pub(super) fn indexes_version(&self) -> &str {
        self.indexes.as_ref().map_or("", |indexes| &indexes.version)
    }

    pub(super) fn cascades_version(&self) -> &str {
        self.cascades.as_ref().map_or("", |cascades| &cascades.version)
    }

    /// Returns the dangling references of a record that was changed last at this offset.
    pub(super) fn dangling(&self, record: &Attributes, changed: u64) -> Dangling {
        let cascades = self.cascades.as_ref();
        cascades.map(|cascades| cascades.value.dangling(record, changed)).unwrap_or_default()
    }

    /// Whether an attribute has an index with all records.
    pub(super) fn has_index(&self, attribute: &str) -> bool {
        let indexes = self.indexes.iter().flat_map(|indexes| indexes.value.iter());
        let mut ready = indexes.filter(|index| index.is_ready);
        ready.any(|index| index.attribute == attribute)
    }
}
