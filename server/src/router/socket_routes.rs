//! Answers the requests of sockets.
//!
//! Most servers have no routes of their own, and then each request of a socket is for a resource.
//! It goes to the handler of resources directly: a router and its layers would cost a write several
//! percent of its CPU time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use futures_util::FutureExt;
use tower::ServiceExt;
use tower_http::catch_panic::{DefaultResponseForPanic, ResponseForPanic};

use super::{Files, Routes, files, resources};
use crate::blueprints;
use crate::error::normalize_error;
use crate::shared::Shared;

/// The routes for requests of sockets: those of the user, then resources. A socket serves none of
/// the files that HTTP serves.
pub(crate) enum SocketRoutes {
    /// The user has no routes.
    Resources { files: Option<Files>, shared: Arc<Shared> },
    /// The routes of the user, with resources after them.
    Router(Router),
}

impl SocketRoutes {
    pub(crate) fn new(routes: &Routes, files: Option<Files>, shared: &Arc<Shared>) -> Self {
        if routes.is_empty() {
            return Self::Resources { files, shared: Arc::clone(shared) };
        }
        let resources = match files {
            Some(files) => files::refuse_file_reads_of(resources(), files),
            None => resources(),
        };
        Self::Router(routes.before(resources, shared))
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        match self {
            Self::Resources { files, shared } => {
                answer_resource(files.as_ref(), shared, request).await
            }
            Self::Router(router) => {
                let Ok(response) = router.clone().oneshot(request).await;
                response
            }
        }
    }
}

/// Does what the layers of a router do, for a request for a resource.
async fn answer_resource(
    files: Option<&Files>,
    shared: &Arc<Shared>,
    mut request: Request,
) -> Response {
    request.extensions_mut().insert(Arc::clone(shared));
    let answer = async {
        if let Some(files) = files
            && let Some(refusal) = files.refusal(&request).await
        {
            return refusal;
        }
        Handler::<_, ()>::call(blueprints::answer, request, ()).await
    };
    let response = AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|panic| {
        DefaultResponseForPanic::default().response_for_panic(panic).map(Body::new)
    });
    normalize_error(response).await
}
