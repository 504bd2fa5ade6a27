//! What all requests share: the ground that callers, handlers and extractors stand on.

mod keeper;

use std::sync::Arc;

use backwire_engine::{Engine, ReadOptions};
use backwire_records::change::Resource;
use backwire_records::model::{Model, Models};
use backwire_records::write::RecordLimits;
use http::request::Parts;
use tokio::sync::Notify;

use crate::address_quota::AddressQuota;
use crate::error::{Error, Result};
use crate::limit_monitor::LimitMonitor;
use crate::log_once::LogOnce;
use crate::resume::SharedLogs;
use crate::route::Routing;
use crate::socket::{OutputBudget, Sockets};
use crate::undeclared_resources::UndeclaredResources;

pub(crate) use keeper::Keeper;

/// What every request carries for a [`Context`](crate::Context) to be made of.
pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) sockets: Sockets,
    pub(crate) models: Arc<Models>,
    pub(crate) routing: Routing,
    pub(crate) sessions: Keeper,
    /// Wakes what removes references to destroyed records.
    pub(crate) cascades: Notify,
    pub(crate) limits: Arc<LimitMonitor>,
    pub(crate) output_budget: Arc<OutputBudget>,
    /// What clients that come back at a time need of logs.
    pub(crate) shared_logs: SharedLogs,
    /// The rooms that one connection may be in.
    pub(crate) max_rooms: usize,
    /// The work of the filters of one resume.
    pub(crate) resume_work: usize,
    /// How much one answer may have.
    pub(crate) reads: ReadOptions,
    pub(crate) undeclared: UndeclaredResources,
    /// Sessions that each address has begun.
    pub(crate) new_sessions: AddressQuota,
    /// Sessions that there may be.
    pub(crate) max_sessions: usize,
    /// How many records clients may create.
    pub(crate) record_limits: RecordLimits,
    /// The ignored parameters that were logged, by resource.
    pub(crate) ignored_parameters: LogOnce<(Resource, String)>,
}

impl Shared {
    pub(crate) fn of(parts: &Parts) -> &Arc<Self> {
        parts.extensions.get().expect("the server gives each request what they share")
    }

    /// What the records of a resource are like; an error if there is no such resource.
    pub(crate) fn model(&self, resource: &Resource) -> Result<Arc<Model>> {
        self.models.of(resource).ok_or_else(|| Error::NoRoute(format!("/{resource}")))
    }
}
