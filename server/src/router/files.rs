//! Serves static files over HTTP. A socket cannot serve files. HTTP serves them before resources,
//! so the server refuses a request of our runtime for a file, and the runtime sends it over HTTP.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use tokio::task::spawn_blocking;
use tower::ServiceExt;
use tower_http::services::ServeDir;

use super::private::PrivateFiles;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::http::mount_path::MountPath;
use crate::settings::{Settings, Store};
use crate::socket::Client;

/// Bytes of a file that are read at a time. A connection whose client does not read holds one such
/// chunk.
const CHUNK_SIZE: usize = 8 << 10;

/// The directory that is served over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    directory: Arc<Path>,
    private: Arc<PrivateFiles>,
    service: ServeDir,
}

impl Files {
    pub(crate) fn new(settings: &Settings) -> Option<Self> {
        let directory = settings.pages.as_ref()?;
        let store = match &settings.store {
            Store::Sqlite(file) => Some(file.as_path()),
            Store::Memory | Store::Redis(_) => None,
        };
        let sites = settings.sites.file().map(Path::to_owned);
        let files: Vec<_> = settings.private_files.iter().cloned().chain(sites).collect();
        let private = PrivateFiles::new(directory, store, &files);
        if let Some(store) = store.filter(|store| private.contains(store)) {
            tracing::warn!(
                "the folder {} of static files contains the database {}, which is not served: move one of \
                 them",
                directory.display(),
                store.display()
            );
        }
        let service = ServeDir::new(directory).with_buf_chunk_size(CHUNK_SIZE);
        Some(Self { directory: directory.as_path().into(), private: Arc::new(private), service })
    }

    /// Serves the files over HTTP. `fallback` handles all other requests.
    pub(crate) fn serve(self, fallback: Router) -> Router {
        let service = self.service.clone().call_fallback_on_method_not_allowed(true);
        let layer = from_fn_with_state((self, fallback.clone()), skip_private_files);
        let layers = (from_fn(keep_redirect_on_host), layer);
        Router::new().fallback_service(service.fallback(fallback)).layer(layers)
    }

    /// Whether a path leads to a file that must not be served.
    async fn is_private(&self, path: &str) -> bool {
        if !self.may_contain(path) {
            return false;
        }
        let (private, path) = (Arc::clone(&self.private), path.to_owned());
        spawn_blocking(move || private.has(&path)).await.unwrap_or(true)
    }

    /// Whether HTTP answers a `GET` of this url with a file or a redirect. `ServeDir` decides it
    /// there as well, so both agree.
    async fn has(&self, uri: &Uri) -> bool {
        if !self.may_contain(uri.path()) || self.is_private(uri.path()).await {
            return false;
        }
        let mut head = Request::new(Body::empty());
        *head.method_mut() = Method::HEAD;
        *head.uri_mut() = uri.clone();
        let Ok(found) = self.service.clone().oneshot(head).await;
        found.status() != StatusCode::NOT_FOUND
    }

    /// Returns the refusal of a request of our runtime that reads a file. Stock clients cannot
    /// resend it over HTTP, so they get the resource.
    pub(super) fn refusal<'a>(
        &'a self,
        request: &Request,
    ) -> impl Future<Output = Option<Response>> + use<'a> {
        let client = request.extensions().get::<Client>();
        let is_runtime = client.is_some_and(|client| client.dialect() == Dialect::Runtime);
        let is_read = [Method::GET, Method::HEAD].contains(request.method());
        let read = (is_runtime && is_read).then(|| request.uri().clone());
        async move {
            let uri = read?;
            let is_file = self.has(&uri).await;
            is_file.then(|| Error::HttpOnly(uri.path().to_owned()).into_response())
        }
    }

    /// Whether the directory has an entry with the first name in a path. Most reads are of
    /// resources, and this check saves them a request to `ServeDir`.
    fn may_contain(&self, path: &str) -> bool {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        match percent_decode_str(first).decode_utf8() {
            Ok(name) if !name.starts_with('/') => self.directory.join(&*name).exists(),
            _ => false,
        }
    }
}

/// Keeps a redirect to a directory on this host, and below the path that the router is nested at: a
/// browser takes `//name/` for another host.
async fn keep_redirect_on_host(request: Request, next: Next) -> Response {
    let mount_path = request.extensions().get::<MountPath>().cloned();
    let mut response = next.run(request).await;
    let Some(place) = response.headers().get(header::LOCATION) else { return response };
    let path = place.to_str().unwrap_or_default().trim_start_matches(['/', '\\']);
    let mount_path = mount_path.as_ref().map_or("", MountPath::as_str);
    if let Ok(place) = HeaderValue::from_str(&format!("{mount_path}/{path}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// Passes requests for private files to the resources, as if the files did not exist.
async fn skip_private_files(
    State((files, fallback)): State<(Files, Router)>,
    request: Request,
    next: Next,
) -> Response {
    if files.is_private(request.uri().path()).await {
        let Ok(response) = fallback.oneshot(request).await;
        return response;
    }
    next.run(request).await
}

/// Makes a router of sockets refuse reads of files.
pub(super) fn refuse_file_reads_of(router: Router, files: Files) -> Router {
    router.layer(from_fn_with_state(files, refuse_file_reads))
}

async fn refuse_file_reads(State(files): State<Files>, request: Request, next: Next) -> Response {
    match files.refusal(&request).await {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}
