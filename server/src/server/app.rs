//! Assembles the layers, routes and services that requests pass through, in their order.

use std::sync::Arc;

use axum::routing::get;
use axum::{Router, middleware};

use super::logic::{Budgets, Logic};
use crate::delivery::delivery_queue::DeliveryQueue;
use crate::http::admission::{self, Admission};
use crate::http::budget::RequestBudget;
use crate::http::connections::Addresses;
use crate::http::cookies;
use crate::http::host::{self, Hosts};
use crate::http::metrics::{self, MetricsSources};
use crate::http::origin::Origins;
use crate::http::security_headers::SecurityHeaders;
use crate::http::{
    assets, budget, client_address, csrf, emulation, handshake, health, limit, origin, publish,
    revoke, security_headers, send, socket_path, values, websocket,
};
use crate::limit_monitor;
use crate::router::{self, Files, Routes};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::socket::{CompatLayer, Limits};

/// Returns the routes of the user and the resources. With `csrf`, their writes need a token.
fn with_csrf(csrf: bool, routes: &Routes, resources: Router, shared: &Arc<Shared>) -> Router {
    if !csrf {
        return routes.before(resources, shared);
    }
    let check = middleware::from_fn_with_state(Arc::clone(shared), csrf::layer);
    routes.before(csrf::before(resources), shared).layer(check)
}

/// Returns the whole app. A request passes, in this order: another path of Socket.IO, the check of
/// the host, the layer that detaches handshakes from their buffer, CORS, the origin check, the
/// stock client, Socket.IO, the layer that sets cookies, and the check of a back end's key. Then it
/// gets to the server's own routes, the user's routes, files and resources.
pub(super) fn assemble(
    settings: &Settings,
    routes: &Routes,
    logic: &Logic,
    delivery_queue: DeliveryQueue,
    addresses: &Arc<Addresses>,
    socket_layer: CompatLayer,
) -> Router {
    let Logic { shared, budgets, delivery_service, parse_limits, .. } = logic;
    let Shared { environment, engine, .. } = &**shared;
    let Budgets { limits, requests, output } = budgets;
    let requests = RequestBudget {
        memory: Arc::clone(requests),
        max_body_bytes: Limits::of(settings).message,
        timeout: settings.limits.body_deadline,
    };
    let files = Files::new(settings);
    let resources = files.map_or_else(router::resources, |it| it.serve(router::resources()));
    let app = with_csrf(settings.csrf, routes, resources, shared);
    let metrics_sources = MetricsSources {
        limits: Arc::clone(limits),
        output: Arc::clone(output),
        resumes: Arc::clone(shared.shared_logs.budget()),
        resume_counts: Arc::clone(shared.shared_logs.counts()),
        backlog: Arc::clone(&shared.backlog),
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
    let over_http = router::with_layers(services, shared)
        .fallback_service(app)
        .layer(middleware::from_fn_with_state(settings.body_limit, emulation::layer))
        .layer(middleware::from_fn_with_state(Arc::clone(parse_limits), values::check))
        .layer(middleware::from_fn_with_state(settings.body_limit, limit::check))
        .layer(middleware::from_fn_with_state(Arc::clone(output), budget::claim_answer))
        .layer(middleware::from_fn_with_state(admission, admission::check));
    let hosts = Hosts::new(&settings.allowed_hosts);
    let headers = SecurityHeaders::new(&settings.frame_ancestors);
    let addresses = (Arc::clone(addresses), Arc::clone(limits));
    let origins = Origins::new(&settings.origins, settings.sites.clone());
    let checks = Arc::new(health::HealthCheck::new(environment.clone(), engine.clone()));
    let app = assets::router()
        .route("/health", get(async move || checks.report().await))
        .route("/health/live", get(async || health::live()))
        .fallback_service(over_http.layer(middleware::from_fn(security_headers::keep_private)))
        .layer(middleware::from_fn_with_state(
            shared.sessions.cookies().clone(),
            cookies::set_cookies,
        ))
        .layer(socket_layer)
        .layer(middleware::from_fn_with_state(requests, budget::claim_request))
        .layer(middleware::from_fn(websocket::check))
        .route(assets::STOCK_CLIENT, assets::stock_client())
        .layer(middleware::from_fn_with_state(origins.clone(), origin::check));
    let app = app
        .clone()
        .layer(origins.cors())
        .layer(middleware::from_fn_with_state(app, origin::bypass_cors))
        .layer(middleware::from_fn_with_state(Arc::clone(limits), limit_monitor::watch))
        .layer(middleware::from_fn_with_state(addresses, client_address::attach))
        .layer(middleware::from_fn(handshake::read))
        .layer(middleware::from_fn_with_state(hosts, host::check))
        .layer(middleware::from_fn_with_state(headers, security_headers::attach));
    socket_path::with_custom_path(settings.socket_io.path.as_str(), app)
}
