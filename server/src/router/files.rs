//! Files, which a socket cannot serve. HTTP serves them before resources, so the server refuses a
//! request of our runtime for a file, and the runtime sends it over HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use tower::util::MapResponse;
use tower::{Service, ServiceExt};
use tower_http::services::ServeDir;
use tower_http::services::fs::ServeFileSystemResponseBody;

use crate::dialect::Dialect;
use crate::error::Error;
use crate::socket::Client;

/// An answer of [`ServeDir`].
type FileResponse = http::Response<ServeFileSystemResponseBody>;

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

/// Serves files. A redirect to a directory is one of this host: a browser takes `//name/` for another host.
pub(crate) fn without_other_hosts<S>(files: S) -> MapResponse<S, fn(FileResponse) -> FileResponse>
where
    S: Service<Request, Response = FileResponse>,
{
    MapResponse::new(files, redirect_here as fn(_) -> _)
}

fn redirect_here(mut response: FileResponse) -> FileResponse {
    let Some(place) = response.headers().get(header::LOCATION) else { return response };
    let path = place.to_str().unwrap_or_default().trim_start_matches(['/', '\\']);
    if let Ok(place) = HeaderValue::from_str(&format!("/{path}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
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
