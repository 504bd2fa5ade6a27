//! Assembles the parts of the server that answer requests and send changes.
//!
//! Invariant: the logic reaches the world only through what is passed to it: an environment, an
//! engine, an adapter for connections, and a client for HTTP. So two runs in a simulation with one
//! seed send the same packets at the same times. clippy refuses clocks, random numbers, tasks,
//! sockets and files in the modules of the logic.

use std::sync::Arc;

use backwire_engine::{self as engine, Engine, Environment, ResourceFilter};
use backwire_environment::Task;
use backwire_records::change::Change;
use backwire_records::model::Models;
use backwire_records::write::RecordLimits;
use tokio::sync::{Notify, mpsc};

use crate::address_quota::AddressQuota;
use crate::announcements::Announcer;
use crate::answers::Answers;
use crate::caller;
use crate::cascade;
use crate::csrf_tokens::CsrfTokens;
use crate::delivery::delivery_queue::SendRequest;
use crate::delivery::service::DeliveryService;
use crate::destroyed_records::DestroyedRecords;
use crate::fanout::Fanout;
use crate::http::cookies::Cookies;
use crate::http::uploads::UploadMemory;
use crate::limit_monitor::LimitMonitor;
use crate::log_once::LogOnce;
use crate::parse_claim::ParseLimits;
use crate::push_backlog::PushBacklog;
use crate::push_barriers::PushBarriers;
use crate::resume::SharedLogs;
use crate::route::Routing;
use crate::router::{Files, Routes, SocketRoutes};
use crate::settings::Settings;
use crate::shared::{SessionPolicy, Shared};
use crate::sites::HttpClient;
use crate::socket::adapter::Adapter;
use crate::socket::{OutputBudget, Sockets};
use crate::store_events;
use crate::undeclared_resources::UndeclaredResources;
use crate::uuids::Uuids;

/// Changes that may wait for the fan-out. If there are more, writers wait.
pub(crate) const MAX_WAITING_CHANGES: usize = 1024;

/// Log lines about ignored parameters. They are bounded because callers choose the names of
/// undeclared resources.
const MAX_IGNORED_PARAMETERS: usize = 1_000;

/// The four things that the logic reaches the world through.
pub(crate) struct World {
    pub(crate) environment: Environment,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) http: HttpClient,
}

/// The counters of limits, and the budgets of requests and of answers. The logic shares them with
/// the edges.
#[derive(Clone)]
pub(crate) struct Budgets {
    pub(crate) limits: Arc<LimitMonitor>,
    pub(crate) requests: Arc<UploadMemory>,
    pub(crate) output: Arc<OutputBudget>,
}

/// The server without its edges.
pub(crate) struct Logic {
    pub(crate) shared: Arc<Shared>,
    pub(crate) budgets: Budgets,
    pub(crate) delivery_service: DeliveryService,
    pub(crate) parse_limits: Arc<ParseLimits>,
    searched_bytes: usize,
}

/// The tasks that run as long as the server.
pub(crate) struct Tasks {
    pub(crate) fanout: Task,
    pub(crate) delivery: Task,
    pub(crate) session_watch: Task,
    pub(crate) site_updates: Task,
    /// Only if several servers share the store.
    pub(crate) store_events: Option<Task>,
    /// Cascades that are not completed are completed after the next start.
    pub(crate) cascades: Task,
}

impl Budgets {
    pub(crate) fn new(environment: &Environment, settings: &Settings) -> Self {
        let limits = Arc::new(LimitMonitor::new(environment.clone()));
        let (environment, max) = (environment.clone(), settings.limits.total_request_bytes);
        Self {
            requests: UploadMemory::new(
                environment,
                max,
                settings.limits.upload_speed,
                Arc::clone(&limits),
            ),
            limits,
            output: OutputBudget::new(settings.limits.total_unread_bytes),
        }
    }
}

impl Logic {
    /// Assembles the logic of a server. It accepts connections of clients from now on.
    pub(crate) async fn new(
        World { environment, engine, adapter, http }: World,
        settings: &Settings,
        routes: &Routes,
        budgets: Budgets,
    ) -> Result<Self, engine::Error> {
        let sessions = session_policy(&environment, settings, &*engine).await?;
        engine.queues().begin(settings.node(), environment.unix_millis()).await?;
        let announcer = Announcer::new(environment.clone(), &engine);
        let delivery_service = DeliveryService::new(
            environment.clone(),
            engine.clone(),
            announcer.clone(),
            settings.sites.clone(),
            http,
            settings.ttl(),
        );
        let Budgets { limits, requests, output } = budgets.clone();
        let budgets_of_sockets = (Arc::clone(requests.budget()), Arc::clone(&output));
        let sockets = Sockets::new(adapter, settings, Arc::clone(&limits), budgets_of_sockets);
        let models = Arc::new(settings.models.clone());
        let routing = Routing::new(settings.paths(), Arc::clone(&models));
        let shared = Arc::new(Shared {
            environment: environment.clone(),
            engine,
            sockets: sockets.clone(),
            backlog: PushBacklog::new(settings.limits.unsent_packets, Arc::clone(&limits)),
            barriers: PushBarriers::default(),
            announcer,
            models,
            conventions: settings.compat,
            routing: routes.register_overrides(routing),
            sessions,
            cascades: Notify::new(),
            destroyed: DestroyedRecords::default(),
            limits,
            output_budget: output,
            shared_logs: SharedLogs::new(environment.clone(), &settings.limits),
            max_rooms: settings.limits.rooms_per_connection,
            resume_work: settings.limits.resume_work,
            body_limit: settings.body_limit,
            reads: settings.limits.reads(),
            undeclared: UndeclaredResources::new(
                settings.models.undeclared_resources(),
                &settings.limits,
            ),
            uuids: Uuids::new(environment.clone()),
            new_sessions: AddressQuota::new(settings.limits.sessions_per_address),
            max_sessions: settings.limits.sessions,
            record_limits: RecordLimits {
                total: settings.limits.records as u64,
                per_resource: settings.limits.records_per_resource as u64,
            },
            ignored_parameters: LogOnce::new(MAX_IGNORED_PARAMETERS),
        });
        let parse_limits = ParseLimits::new(environment, &settings.limits);
        let hooks = routes.hooks.clone();
        let routes = SocketRoutes::new(routes, Files::new(settings), &shared);
        let answers = Answers::new(routes, Arc::clone(&shared), Arc::clone(&parse_limits));
        sockets.open(answers, hooks, delivery_service.clone());
        let searched_bytes = settings.limits.searched_bytes;
        Ok(Self { shared, budgets, delivery_service, parse_limits, searched_bytes })
    }

    /// Starts the tasks that send the changes of the engine and the messages of back ends.
    pub(crate) fn start(
        &self,
        settings: &Settings,
        changes: mpsc::Receiver<Arc<Change>>,
        messages: mpsc::Receiver<SendRequest>,
    ) -> Tasks {
        let Shared { environment, engine, sockets, models, backlog, .. } = &*self.shared;
        let fanout = Fanout::new(&self.shared).with_searched_bytes(self.searched_bytes);
        engine.set_resource_filter(needed_resources(
            sockets,
            Arc::clone(models),
            Arc::clone(backlog),
        ));
        let delivery_service = &self.delivery_service;
        let site_updates =
            delivery_service.clone().follow_sites(sockets.clone(), settings.sites.changes());
        let store_events = engine.events().map(|events| {
            delivery_service.use_events();
            self.shared.announcer.begin();
            let service = delivery_service.clone();
            let events = store_events::follow(Arc::clone(&self.shared), service, events);
            environment.spawn_with_handle(events)
        });
        Tasks {
            store_events,
            fanout: environment.spawn_with_handle(fanout.follow(changes, engine.missed_changes())),
            delivery: environment.spawn_with_handle(delivery_service.clone().deliver(messages)),
            session_watch: environment
                .spawn_with_handle(caller::watch_sessions(Arc::clone(&self.shared))),
            site_updates: environment.spawn_with_handle(site_updates),
            cascades: environment.spawn_with_handle(cascade::run(Arc::clone(&self.shared))),
        }
    }
}

/// Returns the filter of the resources whose changes the fan-out needs.
fn needed_resources(
    sockets: &Sockets,
    models: Arc<Models>,
    backlog: Arc<PushBacklog>,
) -> ResourceFilter {
    let has_subscribers = sockets.subscribed_resources();
    // A membership is sent to the clients of another resource.
    let may_concern_others =
        move |resource: &_| models.associations().may_have_memberships(resource);
    Arc::new(move |resource| {
        let is_needed = has_subscribers(resource) || may_concern_others(resource);
        if !is_needed {
            backlog.skipped(resource);
        }
        is_needed
    })
}

/// Returns the settings of sessions. Cookies are signed with the secret of the settings, or else
/// with the engine's own, so that they are valid after a restart.
async fn session_policy(
    environment: &Environment,
    settings: &Settings,
    engine: &dyn Engine,
) -> Result<SessionPolicy, engine::Error> {
    let secret = match &settings.session_secret {
        Some(secret) => secret.clone(),
        None => engine.sessions().secret().await?.into(),
    };
    let has_origins = settings.origins.iter().any(|origin| !origin.is_any());
    let cookies = Cookies::new(environment.clone(), &secret, has_origins);
    let csrf_tokens = settings.csrf.then(|| CsrfTokens::new(environment.clone(), &secret));
    Ok(SessionPolicy::new(Arc::new(cookies), settings.session_age, csrf_tokens))
}
