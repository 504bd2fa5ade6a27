//! The part of the crate `rouille` that wasm-bindgen's test runner uses: an HTTP server whose
//! handler is a function.
//!
//! `rouille` itself depends on `multipart`, `buf_redux`, `safemem` and `twoway`, which nobody
//! maintains. The workspace replaces it by this crate (`[patch.crates-io]`). Names and signatures
//! are those of `rouille` 3.

use std::borrow::Cow;
use std::error::Error;
use std::fs;
use std::io::{Cursor, Read};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Component, Path};
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::http::HeaderName;
use axum::response::IntoResponse;
use percent_encoding::percent_decode_str;

pub use url;

/// The most bytes of a body: tests send their coverage and their benchmarks.
const MAX_BODY: usize = 1 << 30;

/// A request that has arrived as a whole.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status_code: u16,
    /// Its headers.
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    body: Vec<u8>,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server<F> {
    listener: TcpListener,
    handler: F,
}

impl Request {
    /// A request that did not arrive.
    pub fn fake_http(
        method: impl Into<String>,
        url: impl Into<String>,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Self {
        Self { method: method.into(), path: url.into(), headers, body }
    }

    /// Its verb.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Its path, decoded and without the query.
    pub fn url(&self) -> String {
        percent_decode_str(&self.path).decode_utf8_lossy().into_owned()
    }

    /// All headers.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// One header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Its body.
    pub fn data(&self) -> Option<impl Read + '_> {
        Some(Cursor::new(&self.body))
    }
}

impl Response {
    /// A 200 with this body.
    pub fn from_data(content_type: impl Into<Cow<'static, str>>, data: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".into(), content_type.into())];
        Self { status_code: 200, headers, body: data.into() }
    }

    /// A 200 with a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::from_data("text/plain; charset=utf-8", text.into())
    }

    /// A 204.
    pub fn empty_204() -> Self {
        Self { status_code: 204, headers: Vec::new(), body: Vec::new() }
    }

    /// A 400.
    pub fn empty_400() -> Self {
        Self { status_code: 400, ..Self::empty_204() }
    }

    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..400).contains(&self.status_code)
    }
}

impl IntoResponse for Response {
    fn into_response(self) -> axum::response::Response {
        let mut response = axum::response::Response::new(self.body.into());
        *response.status_mut() = self.status_code.try_into().unwrap_or_default();
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(&*name), value.parse()) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

impl<F> Server<F>
where
    F: Fn(&Request) -> Response + Send + Sync + 'static,
{
    /// Listens at an address.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn new(
        address: impl ToSocketAddrs,
        handler: F,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self { listener: TcpListener::bind(address)?, handler })
    }

    /// The address that it listens at.
    ///
    /// # Panics
    /// If the system does not know it.
    pub fn server_addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("it listens")
    }

    /// Answers requests until the process ends.
    ///
    /// # Panics
    /// If the system gives it no thread or socket.
    pub fn run(self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let handler = Arc::new(self.handler);
        let app = Router::new().fallback(async move |request: axum::extract::Request| {
            let request = whole(request).await;
            let answer = tokio::task::spawn_blocking(move || handler(&request)).await;
            answer.unwrap_or(Response { status_code: 500, ..Response::empty_204() })
        });
        runtime.expect("there are threads").block_on(async {
            self.listener.set_nonblocking(true).expect("it is a socket");
            let listener = tokio::net::TcpListener::from_std(self.listener).expect("it listens");
            axum::serve(listener, app).await.expect("it accepts connections");
        });
    }
}

/// The request, once its body has arrived.
async fn whole(request: axum::extract::Request) -> Request {
    let (head, body) = request.into_parts();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
    let body = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    Request::fake_http(head.method.as_str(), head.uri.path(), headers, body.into())
}

/// The file of a folder that a request is for, or a 404.
pub fn match_assets(request: &Request, folder: &Path) -> Response {
    let path = request.url();
    let path = Path::new(path.trim_start_matches('/'));
    let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
    match fs::read(folder.join(path)) {
        Ok(data) if is_below => Response::from_data(content_type(path), data),
        _ => Response { status_code: 404, ..Response::empty_204() },
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(url: &str) -> Response {
        let request = Request::fake_http("GET", url, Vec::new(), Vec::new());
        match_assets(&request, Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    #[test]
    fn files_below_the_folder_are_served_and_no_others() {
        assert!(asset("/src/lib.rs").is_success());
        assert!(asset("/src/%6cib.rs").is_success());
        for url in
            ["/", "/src", "/no.js", "/src/../Cargo.toml", "/%2e%2e/Cargo.toml", "//etc/hosts"]
        {
            assert_eq!(asset(url).status_code, 404, "{url}");
        }
    }

    #[test]
    fn header_is_found_in_any_case() {
        let headers = vec![("module-signature".to_owned(), "7".to_owned())];
        let request = Request::fake_http("POST", "/a", headers, b"body".to_vec());
        assert_eq!(request.header("Module-Signature"), Some("7"));
    }
}
