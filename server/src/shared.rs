//! The state that all requests share. Extractors and handlers use it.

mod session_policy;

use std::net::IpAddr;
use std::sync::Arc;

use backwire_engine::{self as engine, CommitOutcome, Engine, Environment, ReadOptions};
use backwire_records::change::Resource;
use backwire_records::model::{Conventions, Model, Models};
use backwire_records::write::{RecordLimits, Write};
use http::request::Parts;
use tokio::sync::Notify;

use crate::address_quota::AddressQuota;
use crate::announcements::Announcer;
use crate::destroyed_records::DestroyedRecords;
use crate::error::{Error, Result};
use crate::limit_monitor::LimitMonitor;
use crate::log_once::LogOnce;
use crate::push_backlog::{PushBacklog, PushPermit};
use crate::push_barriers::PushBarriers;
use crate::resume::SharedLogs;
use crate::route::Routing;
use crate::socket::{OutputBudget, Sockets};
use crate::undeclared_resources::UndeclaredResources;
use crate::uuids::Uuids;

pub(crate) use session_policy::SessionPolicy;

/// The state that every request carries, so that a [`Context`](crate::Context) can be extracted.
pub(crate) struct Shared {
    pub(crate) environment: Environment,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) sockets: Sockets,
    pub(crate) backlog: Arc<PushBacklog>,
    pub(crate) barriers: PushBarriers,
    pub(crate) announcer: Announcer,
    pub(crate) models: Arc<Models>,
    pub(crate) conventions: Conventions,
    pub(crate) routing: Routing,
    pub(crate) sessions: SessionPolicy,
    /// Wakes the task that removes references to destroyed records.
    pub(crate) cascades: Notify,
    pub(crate) destroyed: DestroyedRecords,
    pub(crate) limits: Arc<LimitMonitor>,
    pub(crate) output_budget: Arc<OutputBudget>,
    /// Parts of logs, read once for several clients that resume at the same time.
    pub(crate) shared_logs: SharedLogs,
    /// The rooms that one connection may be in.
    pub(crate) max_rooms: usize,
    /// The work of the filters of one resume.
    pub(crate) resume_work: usize,
    /// The maximum bytes of the body of a request.
    pub(crate) body_limit: usize,
    /// The limits of one answer.
    pub(crate) reads: ReadOptions,
    pub(crate) undeclared: UndeclaredResources,
    /// Makes the ids of new records.
    pub(crate) uuids: Uuids,
    /// How many sessions each address has begun.
    pub(crate) new_sessions: AddressQuota,
    /// How many sessions there may be.
    pub(crate) max_sessions: usize,
    /// How many records clients may create.
    pub(crate) record_limits: RecordLimits,
    /// The ignored parameters that were logged, by resource.
    pub(crate) ignored_parameters: LogOnce<(Resource, String)>,
}

impl Shared {
    pub(crate) fn of(parts: &Parts) -> &Arc<Self> {
        parts.extensions.get().expect("the server adds it to each request")
    }

    /// Returns the model of a resource, or an error if there is no such resource.
    pub(crate) fn model(&self, resource: &Resource) -> Result<Arc<Model>> {
        self.models.of(resource).ok_or_else(|| Error::NoRoute(format!("/{resource}")))
    }

    /// Waits until a client may commit some writes of a resource.
    pub(crate) async fn push_permit(
        &self,
        resource: &Resource,
        writes: usize,
        client: Option<IpAddr>,
    ) -> PushPermit {
        let stock_clients = self.sockets.count_stock_subscribers(resource);
        self.backlog.enter((resource, writes), stock_clients, client).await
    }

    /// Returns how many writes of a resource may have one [permit](Self::push_permit) together.
    pub(crate) fn writes_per_permit(&self, resource: &Resource) -> usize {
        let stock_clients = self.sockets.count_stock_subscribers(resource);
        self.backlog.writes_per_permit(resource, stock_clients)
    }

    /// Commits a write that has a permit.
    ///
    /// Invariant: the write is queued when this future is polled first.
    pub(crate) async fn commit(
        &self,
        permit: PushPermit,
        write: Write,
    ) -> std::result::Result<CommitOutcome, engine::Error> {
        permit.commit(&self.environment, Arc::clone(&self.engine), write).await
    }
}
