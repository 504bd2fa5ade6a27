//! Whose pages may use this server.
//!
//! A browser says with every write and every socket handshake which page it does it for. Pages of
//! this very host may, at any port, and those of localhost, and those named in the settings. What
//! says nothing is no browser and may, too: this is about other people's pages, not about people. That the
//! host is ours at all is [`host`](super::host)'s to find out.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use tower::ServiceExt;
use tower_http::cors::{AllowCredentials, AllowHeaders, AllowOrigin, CorsLayer};

use crate::error::Error;
use crate::http::assets::STOCK_CLIENT;
use crate::http::host::without_port;
use crate::log_once::LogOnce;

/// What pages may see of the headers of our answers.
const EXPOSED: [&str; 4] =
    ["backwire-position", "backwire-query", "backwire-record", "backwire-room"];

/// The rule.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    /// Allowed beyond one's own host, as `scheme://host[:port]`.
    named: Arc<[String]>,
    /// The refused origins that were logged.
    refused: Arc<LogOnce<String>>,
}

/// Log lines about refused origins. Any client can send any origin.
const MAX_REFUSED_ORIGINS: usize = 100;

/// Characters of `https://`, the longest host name and a port.
const LONGEST_ORIGIN: usize = 267;

impl Origins {
    pub(crate) fn new(named: &[String]) -> Self {
        let normal = |origin: &String| origin.trim_end_matches('/').to_ascii_lowercase();
        let refused = Arc::new(LogOnce::new(MAX_REFUSED_ORIGINS));
        Self { named: named.iter().map(normal).collect(), refused }
    }

    /// Whether pages of this origin may use the host that was asked.
    fn allow(&self, origin: &HeaderValue, headers: &HeaderMap) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let origin = origin.to_ascii_lowercase();
        if self.named.contains(&origin) {
            return true;
        }
        let Some(page) = host_of(&origin) else {
            return false;
        };
        let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let asked = asked.map(|host| without_port(host).to_ascii_lowercase());
        ["localhost", "127.0.0.1", "[::1]"].contains(&page) || asked.as_deref() == Some(page)
    }

    /// The answer to a page that may not use the server. The page may read the answer to a
    /// handshake, so that our runtime can report why it does not connect. Browsers hide all other
    /// answers from such a page.
    fn refuse(&self, origin: HeaderValue, uri: &Uri) -> Response {
        let name = String::from_utf8_lossy(origin.as_bytes());
        let name = String::from_iter(name.chars().take(LONGEST_ORIGIN));
        if self.refused.is_new(name.clone()) {
            tracing::warn!(
                origin = name,
                "page of another origin refused; --origin or `origins` allows its origin"
            );
        }
        let mut response = Error::Origin(name).into_response();
        if is_handshake(uri) {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        response
    }

    /// What browsers need to hear to let allowed pages of other origins read answers, and bring cookies.
    pub(crate) fn cors(&self) -> CorsLayer {
        let [origins, trusted] = [self.clone(), self.clone()];
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin, parts| {
                origins.allow(origin, &parts.headers)
            }))
            .allow_methods([
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers(AllowHeaders::mirror_request())
            .allow_credentials(AllowCredentials::predicate(move |origin, parts| {
                trusted.allow(origin, &parts.headers)
            }))
            .expose_headers(EXPOSED.map(HeaderName::from_static))
            .max_age(Duration::from_secs(600))
    }
}

/// The layer for CORS takes every `OPTIONS` for a preflight and answers it. One that is none, as it has
/// no method to ask about, is passed on beside it.
pub(crate) async fn no_preflight(
    State(app): State<Router>,
    request: Request,
    next: Next,
) -> Response {
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() != Method::OPTIONS || asks {
        return next.run(request).await;
    }
    let Ok(response) = app.oneshot(request).await;
    response
}

/// Refuses writes and socket handshakes made for pages that may not. Other reads are left to the
/// browser, which does not show the answer to such a page.
pub(crate) async fn check(
    State(origins): State<Origins>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN);
    let refused = origin.filter(|origin| !origins.allow(origin, request.headers()));
    match refused {
        Some(origin) if needs_permission(request.method(), request.uri()) => {
            origins.refuse(origin.clone(), request.uri())
        }
        _ => next.run(request).await,
    }
}

fn needs_permission(method: &Method, uri: &Uri) -> bool {
    let is_read = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    !is_read || is_handshake(uri)
}

fn is_handshake(uri: &Uri) -> bool {
    uri.path().starts_with("/socket.io") && uri.path() != STOCK_CLIENT
}

/// The host of `scheme://host[:port]`; an origin that hides itself (`null`) has none.
fn host_of(origin: &str) -> Option<&str> {
    let (_, host) = origin.split_once("://")?;
    Some(without_port(host)).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: &str, host: &str) -> bool {
        let origins = Origins::new(&["https://App.example/".to_owned()]);
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        origins.allow(&origin.parse().unwrap(), &headers)
    }

    #[test]
    fn pages_of_the_same_host_may_at_any_port() {
        assert!(allowed("http://shop.example", "shop.example:1337"));
        assert!(allowed("http://shop.example:8080", "SHOP.example"));
        assert!(allowed("http://[2001:db8::1]:80", "[2001:db8::1]:1337"));
        assert!(!allowed("http://evil.example", "shop.example"));
        assert!(!allowed("http://shop.example.evil.example", "shop.example"));
        assert!(!allowed("http://[2001:db8::2]", "[2001:db8::1]"));
    }

    #[test]
    fn pages_of_this_machine_may() {
        for origin in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:9"] {
            assert!(allowed(origin, "shop.example"), "{origin}");
        }
    }

    #[test]
    fn named_pages_may_and_hidden_ones_may_not() {
        assert!(allowed("https://app.example", "shop.example"));
        assert!(!allowed("http://app.example", "shop.example"));
        assert!(!allowed("null", "shop.example"));
        assert!(!allowed("http://", ""));
    }

    #[test]
    fn writes_and_handshakes_need_permission() {
        let needs =
            |method: Method, path: &'static str| needs_permission(&method, &Uri::from_static(path));
        assert!(needs(Method::POST, "/todo"));
        assert!(needs(Method::DELETE, "/todo/7"));
        assert!(needs(Method::GET, "/socket.io/?EIO=4&transport=websocket"));
        assert!(!needs(Method::GET, "/todo"));
        assert!(!needs(Method::GET, "/socket.io/socket.io.js"));
        assert!(!needs(Method::OPTIONS, "/todo"));
    }
}
