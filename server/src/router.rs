//! Which handler answers what. One router for HTTP and sockets: a route works over both.
//!
//! Routes of the user come first, resources last; over HTTP, files stand between them.

mod files;
mod private;
mod spelling;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state, map_request_with_state, map_response};
use axum::response::IntoResponse;
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use tower::util::MapResponseLayer;
use tower_http::catch_panic::CatchPanicLayer;

use crate::blueprints::{self, BodyLimit};
use crate::error::in_our_words;
use crate::route::Routing;
use crate::session;
use crate::shared::Shared;
use crate::socket::turn;

pub(crate) use files::Files;

/// Every resource: what is not another route is a path of one, or of nothing.
pub(crate) fn resources() -> Router {
    Router::new().fallback(blueprints::answer)
}

/// Every resource, for sockets. A socket serves none of the files that HTTP serves.
pub(crate) fn resources_beside(files: Option<Files>) -> Router {
    match files {
        Some(files) => resources().layer(from_fn_with_state(files, files::refuse)),
        None => resources(),
    }
}

/// What every route has around it, over HTTP and sockets alike.
pub(crate) fn dressed(router: Router, shared: Arc<Shared>, body_limit: usize) -> Router {
    // Together, because each that is put around a router by itself costs every request an allocation or two.
    router.layer((
        map_response(in_our_words),
        MapResponseLayer::new(IntoResponse::into_response),
        CatchPanicLayer::new(),
        Extension(shared),
        Extension(BodyLimit(body_limit)),
        // Bodies are measured once, at the edge they come in by.
        DefaultBodyLimit::disable(),
    ))
}

/// Routes of a user of the library.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router,
    /// Paths of those routes that stand in for ready-made ones.
    instead_of: Vec<String>,
}

impl Routes {
    pub(crate) fn add(self, path: &str, handler: MethodRouter) -> Self {
        // What it reads and writes, and in which order, is not known here.
        let handler = handler.layer(from_fn(session::keep)).layer(from_fn(turn::alone));
        Self { router: self.router.route(path, handler), ..self }
    }

    /// Adds handlers for some verbs of a resource, and leaves it the others.
    pub(crate) fn add_instead(mut self, path: &str, handlers: MethodRouter) -> Self {
        self.instead_of.push(path.to_owned());
        self.add(path, handlers.fallback_service(resources()))
    }

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// The same routing, knowing of the resources that some routes stand in for.
    pub(crate) fn known_to(&self, routing: Routing) -> Routing {
        self.instead_of.iter().fold(routing, |routing, path| routing.with_own(path))
    }

    /// Has a router spell urls as the routes do that stand in for something.
    pub(crate) fn spelled(&self, router: Router, routing: &Routing) -> Router {
        if self.instead_of.is_empty() {
            return router;
        }
        let correct = map_request_with_state(Arc::new(routing.clone()), spelling::correct);
        Router::new().fallback_service(router).layer(correct)
    }
}
