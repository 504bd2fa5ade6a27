//! Assembles the layers, routes and services that requests pass through, in their order.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use axum::{Router, middleware};
use backwire_engine::{self as engine, Engine, Environment};
use backwire_records::write::RecordLimits;
use tokio::sync::Notify;

use crate::address_quota::AddressQuota;
use crate::answers::Answers;
use crate::delivery::service::{DeliveryQueue, DeliveryService};
use crate::http::admission::{self, Admission};
use crate::http::budget::RequestBudget;
use crate::http::connections::Connections;
use crate::http::cookies::{self, Cookies};
use crate::http::host::{self, Hosts};
use crate::http::metrics::{self, MetricsSources};
use crate::http::origin::Origins;
use crate::http::security_headers::SecurityHeaders;
use crate::http::{
    assets, budget, client_address, emulation, handshake, health, limit, origin, publish, revoke,
    security_headers, send, socket_path, values, websocket,
};
use crate::limit_monitor;
use crate::log_once::LogOnce;
use crate::memory_budget::MemoryBudget;
use crate::parse_claim::ParseLimits;
use crate::resume::SharedLogs;
use crate::route::Routing;
use crate::router::{self, Files, Routes};
use crate::settings::Settings;
use crate::shared::{SessionPolicy, Shared};
use crate::socket::{Limits, OutputBudget, Sockets};
use crate::undeclared_resources::UndeclaredResources;
use crate::uuids::Uuids;

/// Log lines about ignored parameters. They are bounded because callers choose the names of
/// undeclared resources.
const MAX_IGNORED_PARAMETERS: usize = 1_000;

/// Returns the settings of sessions. Cookies are signed with the secret of the settings, or else
/// with the engine's own, so that they are valid after a restart.
pub(super) async fn session_policy(
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
    Ok(SessionPolicy::new(Arc::new(cookies), settings.session_age))
}

/// Returns the whole app. A request passes, in this order: another path of Socket.IO, the check of
/// the host, the layer that detaches handshakes from their buffer, CORS, the origin check, the
/// stock client, Socket.IO, the layer that sets cookies, and the check of a back end's key. Then it
/// gets to the server's own routes, the user's routes, files and resources.
pub(super) fn assemble(
    settings: &Settings,
    addr: SocketAddr,
    routes: &Routes,
    sessions: SessionPolicy,
    delivery_service: &DeliveryService,
    delivery_queue: DeliveryQueue,
    connections: &Connections,
) -> (Router, Arc<Shared>) {
    let limits = Arc::clone(connections.limits());
    let environment = delivery_service.environment();
    let engine = delivery_service.engine().clone();
    let requests = MemoryBudget::new(settings.limits.total_request_bytes);
    let output_budget = OutputBudget::new(settings.limits.total_unread_bytes);
    let socket_limits = Limits::of(settings);
    let budgets = (Arc::clone(&requests), Arc::clone(&output_budget));
    let (sockets, socket_layer) =
        Sockets::new(environment.clone(), settings, Arc::clone(&limits), budgets);
    let requests = RequestBudget {
        budget: requests,
        max_body_bytes: socket_limits.message,
        timeout: settings.limits.body_deadline,
    };
    let cookies = sessions.cookies().clone();
    let models = Arc::new(settings.models.clone());
    let routing = routes.register_overrides(Routing::new(settings.paths(), Arc::clone(&models)));
    let shared = Arc::new(Shared {
        environment: environment.clone(),
        engine: engine.clone(),
        sockets: sockets.clone(),
        models,
        routing: routing.clone(),
        sessions,
        cascades: Notify::new(),
        limits: Arc::clone(&limits),
        output_budget: Arc::clone(&output_budget),
        shared_logs: SharedLogs::default(),
        max_rooms: settings.limits.rooms_per_connection,
        resume_work: settings.limits.resume_work,
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
    let with_layers =
        |routes| router::with_layers(routes, Arc::clone(&shared), settings.body_limit);
    let with_fallback = |fallback| {
        with_layers(routes.normalize_urls(routes.router().fallback_service(fallback), &routing))
    };
    let files = Files::new(settings);
    let over_sockets = with_fallback(router::resources_for_sockets(files.clone()));
    let with_pages = files.map(|files| {
        let routed = routes.router().fallback_service(files.serve(router::resources()));
        with_layers(routes.normalize_urls(routed, &routing))
    });
    let parse_limits = ParseLimits::new(environment.clone(), &settings.limits);
    let answers = Answers::new(
        over_sockets.clone(),
        Arc::clone(&shared),
        settings.body_limit,
        Arc::clone(&parse_limits),
    );
    sockets.open(answers, delivery_service.clone());
    let metrics_sources = MetricsSources {
        limits: Arc::clone(&limits),
        output: Arc::clone(&output_budget),
        engine: engine.clone(),
    };
    let services = publish::router(settings.api_key.clone())
        .merge(metrics::router(settings.api_key.clone(), metrics_sources))
        .merge(revoke::router(settings.sites.clone(), delivery_service.clone()))
        .merge(send::router(
            settings.sites.clone(),
            settings.body_limit,
            delivery_queue.enqueue_function(),
        ));
    let admission = Admission { sites: settings.sites.clone(), api_key: settings.api_key.clone() };
    let over_http = with_layers(services)
        .fallback_service(with_pages.unwrap_or(over_sockets))
        .layer(middleware::from_fn_with_state(settings.body_limit, emulation::layer))
        .layer(middleware::from_fn_with_state(parse_limits, values::check))
        .layer(middleware::from_fn_with_state(settings.body_limit, limit::check))
        .layer(middleware::from_fn_with_state(Arc::clone(&output_budget), budget::claim_answer))
        .layer(middleware::from_fn_with_state(admission, admission::check));
    let hosts = Hosts::new(&settings.allowed_hosts, addr);
    let headers = SecurityHeaders::new(&settings.frame_ancestors);
    let addresses = (Arc::clone(connections.addresses()), Arc::clone(&limits));
    let origins = Origins::new(&settings.origins, settings.sites.clone());
    let checks = Arc::new(health::HealthCheck::new(environment.clone(), engine));
    let app = assets::router()
        .route("/health", get(async move || checks.report().await))
        .route("/health/live", get(async || health::live()))
        .fallback_service(over_http.layer(middleware::from_fn(security_headers::keep_private)))
        .layer(middleware::from_fn_with_state(cookies, cookies::set_cookies))
        .layer(socket_layer)
        .layer(middleware::from_fn_with_state(requests, budget::claim_request))
        .layer(middleware::from_fn(websocket::check))
        .route(assets::STOCK_CLIENT, assets::stock_client())
        .layer(middleware::from_fn_with_state(origins.clone(), origin::check));
    let app = app
        .clone()
        .layer(origins.cors())
        .layer(middleware::from_fn_with_state(app, origin::bypass_cors))
        .layer(middleware::from_fn_with_state(limits, limit_monitor::watch))
        .layer(middleware::from_fn_with_state(addresses, client_address::attach))
        .layer(middleware::from_fn(handshake::read))
        .layer(middleware::from_fn_with_state(hosts, host::check))
        .layer(middleware::from_fn_with_state(headers, security_headers::attach));
    (socket_path::with_custom_path(settings.socket_io.path.as_str(), app), shared)
}
