//! Which handler answers what. One router for HTTP and sockets: a route works over both.
//!
//! Routes of the user come first, resources last; over HTTP, files stand between them.

use axum::extract::Request;
use axum::middleware::{from_fn, map_response};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use axum::{Extension, Router};
use http::header;
use tower_http::catch_panic::CatchPanicLayer;

use crate::blueprints::{self, BodyLimit};
use crate::context::Site;
use crate::error::{Error, in_our_words};
use crate::session;
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
pub(crate) struct Routes(Router);

impl Routes {
    pub(crate) fn add(self, path: &str, handler: MethodRouter) -> Self {
        // What it reads and writes, and in which order, is not known here.
        Self(self.0.route(path, handler.layer(from_fn(session::keep)).layer(from_fn(turn::alone))))
    }

    pub(crate) fn router(&self) -> Router {
        self.0.clone()
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
