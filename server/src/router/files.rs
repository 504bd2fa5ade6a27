//! Files, which a socket cannot serve. HTTP serves them before resources, so the server refuses a
//! request of our runtime for a file, and the runtime sends it over HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tower::ServiceExt;
use tower_http::services::ServeDir;

use crate::dialect::Dialect;
use crate::error::Error;
use crate::socket::Client;

/// The directory that is served over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    directory: Arc<Path>,
    service: ServeDir,
}

impl Files {
    pub(crate) fn new(directory: PathBuf) -> Self {
        let service = ServeDir::new(&directory);
        Self { directory: directory.into(), service }
    }

    /// Whether HTTP answers a `GET` of this url with a file or a redirect. `ServeDir` decides it
    /// there as well, so both agree.
    async fn has(&self, uri: &Uri) -> bool {
        if !self.may_have(uri.path()) {
            return false;
        }
        let mut head = Request::new(Body::empty());
        *head.method_mut() = Method::HEAD;
        *head.uri_mut() = uri.clone();
        let Ok(found) = self.service.clone().oneshot(head).await;
        found.status() != StatusCode::NOT_FOUND
    }

    /// Whether the directory has an entry of the first name in a path. Most reads are of resources,
    /// and this check saves them a whole request.
    fn may_have(&self, path: &str) -> bool {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        match percent_decode_str(first).decode_utf8() {
            Ok(name) if !name.starts_with('/') => self.directory.join(&*name).exists(),
            _ => false,
        }
    }
}

/// Refuses reads of files to our runtime. Stock clients cannot send them over HTTP, so they get the
/// resource.
pub(super) async fn refuse(State(files): State<Files>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<Client>();
    let is_runtime = client.is_some_and(|client| client.dialect() == Dialect::Runtime);
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    if is_runtime && is_read && files.has(request.uri()).await {
        return Error::HttpOnly(request.uri().path().to_owned()).into_response();
    }
    next.run(request).await
}
