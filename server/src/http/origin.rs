//! Decides which origins may use this server.
//!
//! The server always allows the origins of its own host at any port, the origins of localhost, and
//! those named in the settings. It also allows requests without an `Origin` header: browsers send
//! the header with every write and every socket handshake of a page of another origin.
//! [`host`](super::host) checks the `Host` header.
//!
//! A site of the push service has its own list of origins. Their pages may connect to that site,
//! and use nothing else. A handshake does not name a site, so the server accepts it for an origin
//! of any site. The CONNECT names the site, which then [decides](SiteOrigin).
//!
//! The server accepts and sets cookies only for pages that may use everything. So no other page
//! acts as its visitor.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use backwire_protocol::wire;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use tower::ServiceExt;
use tower_http::cors::{AllowCredentials, AllowHeaders, AllowOrigin, CorsLayer};

use crate::error::Error;
use crate::http::assets::STOCK_CLIENT;
use crate::log_once::LogOnce;
use crate::settings::{AllowedOrigin, Origin, without_port};
use crate::sites::{Site, Sites};
use crate::socket::{EngineRequest, is_engine_path};

/// The headers of answers that pages of other origins may read.
const EXPOSED_HEADERS: [&str; 4] =
    [wire::header::POSITION, wire::header::QUERY, wire::header::RECORD, wire::header::ROOM];

/// The origins whose pages may use the server.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    /// The allowed origins beside those of the server's own host.
    named: Arc<[AllowedOrigin]>,
    sites: Sites,
    /// The refused origins that were already logged.
    refused: Arc<LogOnce<String>>,
}

/// The requests that pages of an origin may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    /// Everything.
    Full,
    /// Everything, without the cookies of the visitor.
    WithoutCookies,
    /// Connections to the sites that allow the origin, without cookies.
    Sites {
        /// Whether a site names the origin. Otherwise a site allows any origin.
        is_named: bool,
    },
    Nothing,
}

/// The origin of a page that may use no more than the sites that allow it. It is among the
/// extensions of such a handshake.
#[derive(Debug, Clone)]
pub(crate) struct SiteOrigin(pub(crate) Origin);

/// Log lines about refused origins. Any client can send any origin.
const MAX_REFUSED_ORIGINS: usize = 100;

/// Characters of `https://`, the longest host name and a port.
const MAX_ORIGIN_CHARS: usize = 267;

impl Origins {
    pub(crate) fn new(named: &[AllowedOrigin], sites: Sites) -> Self {
        let refused = Arc::new(LogOnce::new(MAX_REFUSED_ORIGINS));
        Self { named: named.into(), sites, refused }
    }

    /// Returns what pages of this origin may use on the host of the request.
    fn permission(&self, origin: &HeaderValue, headers: &HeaderMap) -> Permission {
        let origin = Origin::of_header(origin);
        let is_named = |allowed: &[AllowedOrigin]| allowed.iter().any(|it| it.names(&origin));
        if is_own(&origin, headers) || is_named(&self.named) {
            return Permission::Full;
        }
        if self.named.iter().any(AllowedOrigin::is_any) {
            return Permission::WithoutCookies;
        }
        let of_sites = |sites: &mut dyn Iterator<Item = &Arc<Site>>| {
            let mut allowing = sites.filter(|site| site.allows(&origin)).peekable();
            allowing.peek()?;
            Some(Permission::Sites { is_named: allowing.any(|site| is_named(site.origins())) })
        };
        // A client whose site was removed waits for the site. If its handshake were refused, our
        // runtime would not reconnect.
        of_sites(&mut self.sites.all().values())
            .or_else(|| of_sites(&mut self.sites.removed().iter()))
            .unwrap_or(Permission::Nothing)
    }

    /// Answers a page that may not use the server. The page may read the answer to a
    /// handshake, so that our runtime can report why it does not connect. Browsers hide all other
    /// answers from such a page.
    fn refuse(&self, origin: HeaderValue, uri: &Uri) -> Response {
        let name = String::from_utf8_lossy(origin.as_bytes());
        let name = String::from_iter(name.chars().take(MAX_ORIGIN_CHARS));
        if self.refused.is_new(name.clone()) {
            tracing::warn!(
                origin = name,
                "page of another origin refused; --origin or `origins` allows its origin, or `origins` of its site"
            );
        }
        let mut response = Error::Origin(name).into_response();
        if is_handshake(uri) {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        response
    }

    /// Creates the layer that sets the CORS headers of answers to pages of allowed origins.
    pub(crate) fn cors(&self) -> CorsLayer {
        let [origins, trusted] = [self.clone(), self.clone()];
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin, parts| {
                origins.permission(origin, &parts.headers).allows(&parts.uri)
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
                trusted.permission(origin, &parts.headers).allows_credentials(parts)
            }))
            .expose_headers(EXPOSED_HEADERS.map(HeaderName::from_static))
            .max_age(Duration::from_secs(600))
    }
}

impl Permission {
    /// Whether the permission is sufficient for this url.
    fn allows(self, uri: &Uri) -> bool {
        match self {
            Self::Full | Self::WithoutCookies => true,
            Self::Sites { .. } => is_handshake(uri),
            Self::Nothing => false,
        }
    }

    /// Whether a page may read the answer to a request with credentials. A browser polls with
    /// credentials for a client of Socket.IO 1 or 2, whatever the page wants, so those need it,
    /// too.
    fn allows_credentials(self, Parts { uri, extensions, .. }: &Parts) -> bool {
        match self {
            Self::Full => true,
            Self::Sites { is_named: true } => is_handshake(uri),
            Self::WithoutCookies | Self::Sites { is_named: false } => is_old_handshake(extensions),
            Self::Nothing => false,
        }
    }
}

/// Whether this is the origin of the server's own host, or of the visitor's own machine.
fn is_own(origin: &Origin, headers: &HeaderMap) -> bool {
    let Some(page) = origin.host() else { return false };
    let requested = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let requested = requested.map(|host| without_port(host).to_ascii_lowercase());
    ["localhost", "127.0.0.1", "[::1]"].contains(&page) || requested.as_deref() == Some(page)
}

/// Passes `OPTIONS` requests that are not preflights to the app. The CORS layer answers every
/// `OPTIONS` as a preflight, but a request without `Access-Control-Request-Method` is none.
pub(crate) async fn bypass_cors(
    State(app): State<Router>,
    request: Request,
    next: Next,
) -> Response {
    let names_method = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() != Method::OPTIONS || names_method {
        return next.run(request).await;
    }
    let Ok(response) = app.oneshot(request).await;
    response
}

/// Refuses writes and socket handshakes of pages that are not allowed. The browser blocks other
/// reads: it does not show the answer to such a page.
pub(crate) async fn check(
    State(origins): State<Origins>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let permission = origins.permission(&origin, request.headers());
    if !permission.allows(request.uri()) {
        return match needs_permission(request.method(), request.uri()) {
            true => origins.refuse(origin, request.uri()),
            false => next.run(request).await,
        };
    }
    if let Permission::Sites { .. } = permission {
        request.extensions_mut().insert(SiteOrigin(Origin::of_header(&origin)));
    }
    if permission == Permission::Full {
        return next.run(request).await;
    }
    request.headers_mut().remove(header::COOKIE);
    let mut response = next.run(request).await;
    response.headers_mut().remove(header::SET_COOKIE);
    response
}

fn needs_permission(method: &Method, uri: &Uri) -> bool {
    let is_read = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    !is_read || is_handshake(uri)
}

fn is_handshake(uri: &Uri) -> bool {
    is_engine_path(uri.path()) && uri.path() != STOCK_CLIENT
}

/// Whether this is a request of a client of Socket.IO 1 or 2.
fn is_old_handshake(request: &Extensions) -> bool {
    request.get().is_some_and(EngineRequest::is_v3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(named: &[&str], of_sites: &[&[&str]]) -> Origins {
        let parsed = |origins: &[&str]| origins.iter().map(|it| it.parse().unwrap()).collect();
        let sites = Sites::default();
        sites.replace(of_sites.iter().enumerate().map(|(number, origins)| {
            let url = format!("http://site{number}.example/rooms");
            let mut site = Site::new(url.parse().unwrap(), "54321".parse().unwrap());
            site.origins = (!origins.is_empty()).then(|| parsed(origins));
            (format!("site{number}").parse().unwrap(), site)
        }));
        Origins::new(&parsed(named), sites)
    }

    fn permission(origins: &Origins, origin: &str, host: &str) -> Permission {
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        origins.permission(&origin.parse().unwrap(), &headers)
    }

    fn is_allowed(origin: &str, host: &str) -> bool {
        let origins = origins(&["https://App.example/"], &[]);
        permission(&origins, origin, host) == Permission::Full
    }

    #[test]
    fn pages_of_the_same_host_are_allowed_at_any_port() {
        assert!(is_allowed("http://shop.example", "shop.example:1337"));
        assert!(is_allowed("http://shop.example:8080", "SHOP.example"));
        assert!(is_allowed("http://[2001:db8::1]:80", "[2001:db8::1]:1337"));
        assert!(!is_allowed("http://evil.example", "shop.example"));
        assert!(!is_allowed("http://shop.example.evil.example", "shop.example"));
        assert!(!is_allowed("http://[2001:db8::2]", "[2001:db8::1]"));
    }

    #[test]
    fn pages_of_localhost_are_allowed() {
        for origin in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:9"] {
            assert!(is_allowed(origin, "shop.example"), "{origin}");
        }
    }

    #[test]
    fn named_origins_are_allowed_and_opaque_origins_are_not() {
        assert!(is_allowed("https://app.example", "shop.example"));
        assert!(!is_allowed("http://app.example", "shop.example"));
        assert!(!is_allowed("null", "shop.example"));
        assert!(!is_allowed("http://", ""));
    }

    #[test]
    fn pages_of_any_origin_may_use_everything_without_cookies() {
        let origins = origins(&["*", "https://app.example"], &[&["https://a.example"]]);
        let permission = |origin| permission(&origins, origin, "push.example");
        assert_eq!(permission("https://app.example"), Permission::Full);
        assert_eq!(permission("https://push.example"), Permission::Full);
        for origin in ["https://evil.example", "https://a.example", "null", "é"] {
            assert_eq!(permission(origin), Permission::WithoutCookies, "{origin}");
        }
    }

    #[test]
    fn site_allows_the_origin_of_its_auth_url_or_the_origins_it_names() {
        let origins = origins(&[], &[&[], &["https://a.example", "https://b.example"]]);
        let permission = |origin| permission(&origins, origin, "push.example");
        let named = Permission::Sites { is_named: true };
        for origin in ["http://site0.example", "https://a.example", "https://b.example"] {
            assert_eq!(permission(origin), named, "{origin}");
        }
        for origin in ["https://site0.example", "http://site1.example", "null"] {
            assert_eq!(permission(origin), Permission::Nothing, "{origin}");
        }
    }

    #[test]
    fn pages_of_a_site_may_only_connect() {
        let origins = origins(&[], &[&["*"], &["https://a.example"]]);
        let permission = |origin| permission(&origins, origin, "push.example");
        let [any, named] = [false, true].map(|is_named| Permission::Sites { is_named });
        assert_eq!(permission("https://a.example"), named);
        assert_eq!(permission("null"), any);
        for permission in [any, named] {
            let allows = |uri| permission.allows(&Uri::from_static(uri));
            assert!(allows("/socket.io/?EIO=4&transport=polling"));
            assert!(!allows("/todo") && !allows("/send?site=newsite"));
        }
    }

    #[test]
    fn credentials_are_allowed_for_named_origins_and_for_old_clients_that_always_send_them() {
        let allows = |permission: Permission, uri| {
            let (mut parts, ()) = http::Request::new(()).into_parts();
            parts.uri = Uri::from_static(uri);
            if let Some(engine) = EngineRequest::read(&parts.uri).unwrap() {
                parts.extensions.insert(engine);
            }
            permission.allows_credentials(&parts)
        };
        let [any, named] = [false, true].map(|is_named| Permission::Sites { is_named });
        let old = "/socket.io/?token=1&EIO=3&transport=polling";
        let new = "/socket.io/?token=1&EIO=4&transport=polling";
        assert_eq!([any, named].map(|it| allows(it, new)), [false, true]);
        assert_eq!([any, named].map(|it| allows(it, old)), [true, true]);
        assert_eq!([any, named].map(|it| allows(it, "/todo?x&EIO=3")), [false, false]);
        assert!(!allows(Permission::WithoutCookies, new) && !allows(Permission::Nothing, old));
        assert!(allows(Permission::WithoutCookies, old) && allows(Permission::Full, "/todo"));
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
