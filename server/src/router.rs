//! Routes requests to handlers. HTTP and sockets use one router: a route works over both.
//!
//! Routes of the user come first and resources last. Over HTTP, files come between them.

mod canonical_url;
#[expect(clippy::disallowed_methods, reason = "this reads files")]
mod files;
#[expect(clippy::disallowed_methods, reason = "this reads files")]
mod private;
mod socket_routes;

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{from_fn, map_request_with_state, map_response_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, Route};
use axum::{Extension, Router};
use backwire_records::model::Conventions;
use tower::util::MapResponseLayer;
use tower::{Layer, Service};
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

/// The routes and hooks of a user of the library.
#[derive(Default)]
pub(crate) struct Routes {
    routes: Vec<OwnRoute>,
    /// Paths of all routes.
    paths: Vec<String>,
    /// All routes without the layers of the server. axum panics when an invalid route is added,
    /// and so the panic is in the user's call.
    checked: Router,
    pub(crate) hooks: Hooks,
}

/// A route of the user, with the user's layers.
struct OwnRoute {
    path: String,
    handlers: MethodRouter,
    kind: RouteKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RouteKind {
    /// Reads run beside later requests of their socket, and other requests alone.
    Plain,
    /// Requests do not wait for each other, nor others for them.
    Concurrent,
    /// The handlers override those of a resource. The resource still answers the other methods.
    /// Requests run alone, so that answers with records are sent in the order of the writes.
    Override,
}

impl Routes {
    pub(crate) fn add(self, path: &str, handlers: MethodRouter) -> Self {
        self.add_route(path, handlers, RouteKind::Plain)
    }

    pub(crate) fn add_concurrent(self, path: &str, handlers: MethodRouter) -> Self {
        self.add_route(path, handlers, RouteKind::Concurrent)
    }

    pub(crate) fn add_override(self, path: &str, handlers: MethodRouter) -> Self {
        self.add_route(path, handlers, RouteKind::Override)
    }

    fn add_route(mut self, path: &str, handlers: MethodRouter, kind: RouteKind) -> Self {
        self.checked = self.checked.route(path, handlers.clone());
        self.paths.push(path.to_owned());
        self.routes.push(OwnRoute { path: path.to_owned(), handlers, kind });
        self
    }

    /// Adds a layer to the handlers of all routes so far.
    pub(crate) fn layer<L>(mut self, layer: &L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        for route in &mut self.routes {
            route.handlers = std::mem::take(&mut route.handlers).layer(layer.clone());
        }
        self
    }

    /// Returns the paths of all routes.
    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }

    fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Returns the paths of the routes that override routes of resources.
    fn overridden(&self) -> impl Iterator<Item = &str> {
        let overrides = self.routes.iter().filter(|route| route.kind == RouteKind::Override);
        overrides.map(|route| &*route.path)
    }

    /// Creates the router with these routes. It passes all other requests to `rest`.
    pub(crate) fn before(&self, rest: Router, shared: &Arc<Shared>) -> Router {
        let routes = self.routes.iter().fold(Router::new(), |router, route| {
            router.route(&route.path, route.with_layers_of_server())
        });
        let router = routes.fallback_service(rest);
        with_layers(self.normalize_urls(router, &shared.routing), shared)
    }

    /// Registers the overridden resources in the routing.
    pub(crate) fn register_overrides(&self, routing: Routing) -> Routing {
        self.overridden().fold(routing, |routing, path| routing.with_override(path))
    }

    /// Makes a router rewrite urls to the form that the overriding routes have.
    fn normalize_urls(&self, router: Router, routing: &Routing) -> Router {
        if self.overridden().next().is_none() {
            return router;
        }
        let normalize = map_request_with_state(Arc::new(routing.clone()), canonical_url::normalize);
        Router::new().fallback_service(router).layer(normalize)
    }
}

impl OwnRoute {
    /// Returns the handlers with the order of the requests of a socket and the session around them,
    /// so that the user's layers can use the session, too.
    fn with_layers_of_server(&self) -> MethodRouter {
        let handlers = self.handlers.clone();
        let session = from_fn(session::save_after_handler);
        match self.kind {
            RouteKind::Plain => {
                handlers.layer(session).layer(from_fn(turn::run_reads_concurrently))
            }
            RouteKind::Concurrent => handlers.layer(session).layer(from_fn(turn::run_concurrently)),
            RouteKind::Override => {
                let handlers = handlers.fallback_service(resources());
                handlers.layer(session).layer(from_fn(turn::run_alone))
            }
        }
    }
}
