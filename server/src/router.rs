//! Which handler answers what. One router for HTTP and sockets: a route works over both.
//!
//! Routes of the user come first, resources last; over HTTP, files stand between them.

use axum::middleware::{from_fn, map_response};
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;

use crate::blueprints::{self, BodyLimit};
use crate::context::Site;
use crate::error::in_our_words;
use crate::socket::turn;

/// Every resource: what is not another route is a path of one, or of nothing.
pub(crate) fn resources() -> Router {
    Router::new().fallback(blueprints::answer)
}

/// What every route has around it, over HTTP and sockets alike.
pub(crate) fn dressed(router: Router, site: Site, body_limit: usize) -> Router {
    router
        // Bodies are measured once, at the edge they come in by.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(Extension(BodyLimit(body_limit)))
        .layer(Extension(site))
        .layer(CatchPanicLayer::new())
        .layer(map_response(in_our_words))
}

/// Routes of a user of the library.
#[derive(Default)]
pub(crate) struct Routes(Router);

impl Routes {
    pub(crate) fn add(self, path: &str, handler: MethodRouter) -> Self {
        // What it reads and writes, and in which order, is not known here.
        Self(self.0.route(path, handler.layer(from_fn(turn::alone))))
    }

    pub(crate) fn router(&self) -> Router {
        self.0.clone()
    }
}
