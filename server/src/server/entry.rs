//! The entry of the router: every request passes it, over whichever server it came.
//!
//! It counts the requests of other servers, and the listeners, so that a shutdown can wait for
//! them.
//!
//! Invariant: after the shutdown it holds nothing of the server, although the router of an app that
//! embeds it still exists. So the store is closed, and can be opened again.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any_service;
use backwire_engine as engine;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tower::{ServiceExt, service_fn};

use crate::delivery::delivery_queue::SendRequest;
use crate::error::Error;
use crate::http::embedded::{self, Embedding};
use crate::http::mount_path::MountPath;

/// The entry of the router.
#[derive(Debug)]
pub(super) struct Entry {
    /// `None` after the shutdown.
    app: Mutex<Option<App>>,
    embedding: Embedding,
    work: Work,
}

/// The parts of the server that the router needs.
#[derive(Debug)]
struct App {
    router: Router,
    /// The server accepts messages of back ends until this is dropped.
    _message_sender: mpsc::Sender<SendRequest>,
}

/// The work that a shutdown has to wait for: requests of other servers, and listeners with their
/// connections.
#[derive(Debug)]
pub(super) struct Work {
    is_stopping: watch::Sender<bool>,
    /// Each piece of work has a receiver.
    in_progress: watch::Sender<()>,
}

/// A piece of work, until it is dropped.
#[derive(Debug)]
pub(super) struct WorkGuard(
    #[expect(dead_code, reason = "it counts until it is dropped")] watch::Receiver<()>,
);

impl Entry {
    pub(super) fn new(
        router: Router,
        message_sender: mpsc::Sender<SendRequest>,
        embedding: Embedding,
    ) -> Arc<Self> {
        let app = Mutex::new(Some(App { router, _message_sender: message_sender }));
        let work =
            Work { is_stopping: watch::Sender::new(false), in_progress: watch::Sender::new(()) };
        Arc::new(Self { app, embedding, work })
    }

    pub(super) fn work(&self) -> &Work {
        &self.work
    }

    /// Returns the router, which passes all requests to this entry. With `paths`, it has only
    /// routes for these paths, and no fallback.
    pub(super) fn router(self: &Arc<Self>, paths: Option<BTreeSet<String>>) -> Router {
        let entry = Arc::clone(self);
        let service = service_fn(move |request| {
            let entry = Arc::clone(&entry);
            async move { Ok::<_, Infallible>(entry.answer(request).await) }
        });
        match paths {
            None => Router::new().fallback_service(service),
            Some(paths) => paths.iter().fold(Router::new(), |router, path| {
                router.route(path, any_service(service.clone()))
            }),
        }
    }

    async fn answer(&self, mut request: Request) -> Response {
        let app = self.app.lock().as_ref().map(|app| app.router.clone());
        let Some(app) = app else { return stopped() };
        MountPath::attach(&mut request);
        if !embedded::is_embedded(&request) {
            // The listener waits for its connections.
            let Ok(response) = app.oneshot(request).await;
            return response;
        }
        match self.work.begin() {
            Some(guard) => self.embedding.answer(request, app, guard).await,
            None => stopped(),
        }
    }

    /// Releases everything of the server. The router answers 503 from now on.
    pub(super) fn close(&self) {
        drop(self.app.lock().take());
    }
}

impl Work {
    /// Begins a piece of work. Returns `None` if the server is stopping.
    pub(super) fn begin(&self) -> Option<WorkGuard> {
        let guard = WorkGuard(self.in_progress.subscribe());
        (!*self.is_stopping.borrow()).then_some(guard)
    }

    /// Refuses more work from now on.
    pub(super) fn stop(&self) {
        self.is_stopping.send_replace(true);
    }

    /// Resolves when the server is stopping.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut is_stopping = self.is_stopping.subscribe();
        async move {
            // An error means that the server has been dropped.
            let _ = is_stopping.wait_for(|is_stopping| *is_stopping).await;
        }
    }

    /// Resolves when all work is done.
    pub(super) async fn done(&self) {
        self.in_progress.closed().await;
    }
}

fn stopped() -> Response {
    let reason = "the server is stopping".to_owned();
    Error::from(engine::Error::Unavailable(reason)).into_response()
}
