//! A server whose program is tested: what the crate `backwire-testing` needs. It may change in any
//! version.
//!
//! The records are in memory. They are changed by ordinary commits, so clients are told.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use backwire_engine::{self as engine, Engine, Environment, Memory};
use backwire_records::change::{Attributes, Change, Resource, ToId};
use backwire_records::criteria::Criteria;
use backwire_records::write::{Action, Write, WriteError};
use futures_util::FutureExt;
use http::StatusCode;

use super::start::{OpenEngine, Started};
use crate::cascade;
use crate::context::with_uuid;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::shared::Shared;

/// The additional parts of a builder whose server is tested.
pub(super) struct Tested {
    environment: Environment,
    records: Records,
    engine: Arc<OnceLock<Weak<Memory>>>,
}

/// The records of a server, whatever the access rules say. It keeps no server from stopping, and
/// refuses everything before its start.
#[derive(Clone, Default)]
pub struct Records(Arc<OnceLock<(Weak<Shared>, Weak<Memory>)>>);

impl Tested {
    pub(super) fn new(environment: Environment, records: Records) -> Self {
        Self { environment, records, engine: Arc::default() }
    }

    pub(super) fn environment(&self) -> Environment {
        self.environment.clone()
    }

    /// Returns the function that opens the store, which is in memory.
    pub(super) fn open(&self, settings: &Settings) -> OpenEngine {
        let (environment, opened) = (self.environment.clone(), Arc::clone(&self.engine));
        let (window, deadline) = (settings.window(), settings.limits.read_deadline);
        Box::new(move |tail| {
            let memory = Memory::in_environment(environment, window, tail);
            let memory = Arc::new(memory.with_read_deadline(deadline));
            // It is opened once.
            let _ = opened.set(Arc::downgrade(&memory));
            async { Ok(memory as Arc<dyn Engine>) }.boxed()
        })
    }

    /// Gives the records of the server to the test.
    pub(super) fn has_started(self, started: &Started) {
        let engine = self.engine.get().cloned().unwrap_or_default();
        // The builder is started once.
        let _ = self.records.0.set((Arc::downgrade(&started.shared), engine));
    }
}

impl Records {
    /// Returns the resources that have had a record, also those of the pairs of associations.
    pub fn resources(&self) -> Result<Vec<Resource>> {
        let mut resources = self.engine()?.resources();
        resources.sort();
        Ok(resources)
    }

    /// Returns all records of a resource in the order of their ids.
    pub async fn all(&self, resource: &Resource) -> Result<Vec<Attributes>> {
        let found = self.engine()?.find(resource, &Criteria::default()).await?;
        Ok(found.value.iter().map(|record| Attributes::clone(record)).collect())
    }

    /// Commits a write that is nobody's.
    pub async fn commit(&self, resource: &Resource, action: Action) -> Result<Arc<Change>> {
        let shared = self.shared()?;
        let model = shared.model(resource)?;
        if let Action::Create(record) = &action
            && !shared.models.learn_key(resource, record)
        {
            return Err(WriteError::BadId.into());
        }
        let references = cascade::references(&shared, resource, &action);
        let has_references = !references.is_empty();
        let action = with_uuid(action, &model, &shared.uuids);
        let (limits, at) = (shared.record_limits, shared.environment.unix_millis());
        let write = Write { model, references, limits, ..Write::new(resource.clone(), action, at) };
        let permit = shared.push_permit(resource, 1, None).await;
        let committed = shared.commit(permit, write).await?;
        if has_references {
            shared.cascades.notify_one();
        }
        Ok(committed.change)
    }

    /// Destroys all records of a resource, one after the other.
    pub async fn destroy_all(&self, resource: &Resource) -> Result<()> {
        let model = self.shared()?.model(resource)?;
        for record in self.all(resource).await? {
            let id = record.get(&model.key).and_then(ToId::to_id).ok_or(WriteError::BadId)?;
            match self.commit(resource, Action::Destroy(id)).await {
                // It was destroyed together with another one.
                Ok(_) => {}
                Err(error) if error.status() == StatusCode::NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether references to destroyed records are still to be removed.
    pub async fn has_dangling_references(&self) -> Result<bool> {
        Ok(!self.engine()?.cascades().unfinished().await?.is_empty())
    }

    /// Lets the ids of a resource without records begin at 1 again.
    pub fn renumber(&self, resource: &Resource) -> Result<()> {
        self.engine()?.renumber(resource);
        Ok(())
    }

    /// Forgets all idempotency keys.
    pub fn forget_keys(&self) -> Result<()> {
        self.engine()?.forget_keys();
        Ok(())
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        self.0.get().and_then(|(shared, _)| shared.upgrade()).ok_or_else(stopped)
    }

    fn engine(&self) -> Result<Arc<Memory>> {
        self.0.get().and_then(|(_, engine)| engine.upgrade()).ok_or_else(stopped)
    }
}

fn stopped() -> Error {
    engine::Error::Unavailable("the server does not run".to_owned()).into()
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}
