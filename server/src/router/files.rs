//! What a socket cannot serve: files. Over HTTP they stand before resources, so a request of our runtime
//! for one is answered by telling it to ask over HTTP.

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

    /// Whether a `GET` of this would be answered by a file, or by a redirect to one. `ServeDir` itself is
    /// asked, so that both always agree.
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

    /// Most reads are of resources; whether the directory has anything of that name costs next to nothing.
    fn may_have(&self, path: &str) -> bool {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        match percent_decode_str(first).decode_utf8() {
            Ok(name) if !name.starts_with('/') => self.directory.join(&*name).exists(),
            _ => false,
        }
    }
}

/// Refuses reads of files to our runtime. Stock clients have always reached the resource.
pub(super) async fn refuse(State(files): State<Files>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<Client>();
    let is_runtime = client.is_some_and(|client| client.dialect() == Dialect::Runtime);
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    if is_runtime && is_read && files.has(request.uri()).await {
        return Error::HttpOnly(request.uri().path().to_owned()).into_response();
    }
    next.run(request).await
}
