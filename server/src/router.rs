//! Which handler answers what. One router for HTTP and sockets: a route works over both.
//!
//! Routes of the user come first, resources last; over HTTP, files stand between them.

mod spelling;

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{from_fn, map_request_with_state, map_response};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use axum::{Extension, Router};
use http::header;
use tower_http::catch_panic::CatchPanicLayer;

use crate::blueprints::{self, BodyLimit};
use crate::change::Resource;
use crate::context::Site;
use crate::error::{Error, in_our_words};
use crate::socket::turn;

/// Every resource, at `/<resource>[/<id>]`, with or without a slash at the end.
pub(crate) fn resources() -> Router {
    let class = || {
        get(blueprints::find)
            .post(blueprints::create)
            .put(blueprints::update)
            .patch(blueprints::update)
            .delete(blueprints::destroy)
            .options(verbs)
            .fallback(unknown_verb)
    };
    let instance = || {
        get(blueprints::find_one)
            .put(blueprints::update)
            .patch(blueprints::update)
            .delete(blueprints::destroy)
            .options(verbs)
            .fallback(unknown_verb)
    };
    Router::new()
        .route("/{resource}", class())
        .route("/{resource}/", class())
        .route("/{resource}/{id}", instance())
        .route("/{resource}/{id}/", instance())
        .fallback(no_route)
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
pub(crate) struct Routes {
    router: Router,
    /// Those that some of the routes stand in for.
    instead_of: HashSet<Resource>,
}

impl Routes {
    pub(crate) fn add(self, path: &str, handler: MethodRouter) -> Self {
        // What it reads and writes, and in which order, is not known here.
        Self { router: self.router.route(path, handler.layer(from_fn(turn::alone))), ..self }
    }

    /// Adds handlers for some verbs of a resource, and leaves it the others.
    pub(crate) fn add_instead(mut self, path: &str, handlers: MethodRouter) -> Self {
        let name = path.split('/').find(|segment| !segment.is_empty());
        self.instead_of.extend(name.and_then(Resource::parse));
        self.add(path, handlers.fallback_service(resources()))
    }

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Has a router spell urls as the routes do that stand in for something.
    pub(crate) fn spelled(&self, router: Router) -> Router {
        if self.instead_of.is_empty() {
            return router;
        }
        let names = Arc::new(self.instead_of.clone());
        let correct = map_request_with_state(names, spelling::correct);
        Router::new().fallback_service(router).layer(correct)
    }
}

/// What can be asked of a resource or a record.
async fn verbs(request: Request) -> impl IntoResponse {
    let is_instance = request.uri().path().trim_matches('/').contains('/');
    let allowed = match is_instance {
        true => "GET,HEAD,PUT,PATCH,DELETE,OPTIONS",
        false => "GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS",
    };
    [(header::ALLOW, allowed)]
}

async fn unknown_verb(request: Request) -> Error {
    Error::UnknownVerb(request.method().to_string())
}

async fn no_route(request: Request) -> Error {
    Error::NoRoute(request.uri().path().to_owned())
}
