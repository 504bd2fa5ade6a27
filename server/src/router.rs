//! Routes requests to handlers. HTTP and sockets use one router: a route works over both.
//!
//! Routes of the user come first and resources last. Over HTTP, files come between them.

mod canonical_url;
#[expect(clippy::disallowed_methods, reason = "this reads files")]
mod files;
#[expect(clippy::disallowed_methods, reason = "this reads files")]
mod private;
mod socket_routes;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::{from_fn, map_request_with_state, map_response_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use backwire_records::model::Conventions;
use tower::util::MapResponseLayer;
use tower_http::catch_panic::CatchPanicLayer;

use crate::blueprints;
use crate::error::normalize_error;
use crate::hooks::Hooks;
use crate::route::Routing;
use crate::session;
use crate::shared::Shared;
use crate::socket::turn;

pub(crate) use files::Files;
pub(crate) use socket_routes::SocketRoutes;

/// Creates the routes of all resources: a path without another route is the path of a resource, or
/// gets a 404.
pub(crate) fn resources() -> Router {
    Router::new().fallback(blueprints::answer)
}

/// Adds the layers that every route has, over HTTP and over sockets.
pub(crate) fn with_layers(router: Router, shared: &Arc<Shared>) -> Router {
    // One call for all layers: each separate call costs every request an allocation or two.
    router.layer((
        map_response_with_state(shared.conventions, normalize_by),
        MapResponseLayer::new(IntoResponse::into_response),
        CatchPanicLayer::new(),
        Extension(Arc::clone(shared)),
        // Bodies are measured once, at the edge where they arrive.
        DefaultBodyLimit::disable(),
    ))
}

/// Gives error responses their shape. In Sails, texts of handlers stay as they are.
async fn normalize_by(State(conventions): State<Conventions>, response: Response) -> Response {
    match conventions {
        Conventions::Backwire => normalize_error(response).await,
        Conventions::Sails => response,
    }
}

/// Saves the session after the handler.
fn with_session(handler: MethodRouter) -> MethodRouter {
    handler.layer(from_fn(session::save_after_handler))
}

/// The routes and hooks of a user of the library.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router,
    /// Paths of all routes.
    paths: Vec<String>,
    /// Paths of the routes that override routes of resources.
    overridden: Vec<String>,
    pub(crate) hooks: Hooks,
}

impl Routes {
    pub(crate) fn add(self, path: &str, handler: MethodRouter) -> Self {
        self.add_handler(path, with_session(handler).layer(from_fn(turn::run_reads_concurrently)))
    }

    /// Adds handlers whose requests do not wait for each other, nor others for them.
    pub(crate) fn add_concurrent(self, path: &str, handler: MethodRouter) -> Self {
        self.add_handler(path, with_session(handler).layer(from_fn(turn::run_concurrently)))
    }

    fn add_handler(mut self, path: &str, handler: MethodRouter) -> Self {
        self.paths.push(path.to_owned());
        Self { router: self.router.route(path, handler), ..self }
    }

    /// Returns the paths of all routes.
    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Overrides some methods of a resource. The resource still answers the others. Their requests
    /// run alone, so that answers with records are sent in the order of the writes.
    pub(crate) fn add_override(mut self, path: &str, handlers: MethodRouter) -> Self {
        self.overridden.push(path.to_owned());
        let handlers = handlers.fallback_service(resources());
        self.add_handler(path, with_session(handlers).layer(from_fn(turn::run_alone)))
    }

    fn is_empty(&self) -> bool {
        !self.router.has_routes()
    }

    /// Creates the router with these routes. It passes all other requests to `rest`.
    pub(crate) fn before(&self, rest: Router, shared: &Arc<Shared>) -> Router {
        let router = self.router.clone().fallback_service(rest);
        with_layers(self.normalize_urls(router, &shared.routing), shared)
    }

    /// Registers the overridden resources in the routing.
    pub(crate) fn register_overrides(&self, routing: Routing) -> Routing {
        self.overridden.iter().fold(routing, |routing, path| routing.with_override(path))
    }

    /// Makes a router rewrite urls to the form that the overriding routes have.
    fn normalize_urls(&self, router: Router, routing: &Routing) -> Router {
        if self.overridden.is_empty() {
            return router;
        }
        let normalize = map_request_with_state(Arc::new(routing.clone()), canonical_url::normalize);
        Router::new().fallback_service(router).layer(normalize)
    }
}
