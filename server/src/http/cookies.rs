//! Reads and sets the session cookie.
//!
//! The cookie holds the id of the session and a signature. The server ignores a cookie that was
//! signed with another secret or was changed. A missing cookie is not an error.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use backwire_engine::Environment;
use cookie::{Cookie, CookieJar, Key, SameSite};
use http::{Extensions, HeaderMap, HeaderValue, Method, header};

use crate::http::assets::GET_COOKIE;
use crate::http::mount_path::MountPath;
use crate::settings::SessionSecret;

/// The name of the cookie.
const NAME: &str = "backwire.sid";

/// Reads and creates session cookies.
#[derive(Clone)]
pub(crate) struct Cookies {
    key: Key,
    /// Whether pages of other sites may use this server.
    are_for_other_sites: bool,
    environment: Environment,
}

impl Cookies {
    pub(crate) fn new(
        environment: Environment,
        secret: &SessionSecret,
        are_for_other_sites: bool,
    ) -> Self {
        Self { key: Key::derive_from(secret.as_bytes()), are_for_other_sites, environment }
    }

    /// Returns the id in a valid session cookie.
    pub(crate) fn id_in(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let texts =
            headers.get_all(header::COOKIE).into_iter().filter_map(|text| text.to_str().ok());
        let cookies = texts.flat_map(Cookie::split_parse).flatten();
        cookies.filter(|cookie| cookie.name() == NAME).find_map(|cookie| self.verify(cookie))
    }

    /// Creates the id of a new session, which nobody can guess.
    pub(crate) fn new_session_id(&self) -> Arc<str> {
        format!("{:032x}", self.environment.random_u128()).into()
    }

    fn verify(&self, cookie: Cookie<'_>) -> Option<Arc<str>> {
        let genuine = CookieJar::new().signed(&self.key).verify(cookie.into_owned())?;
        Some(genuine.value().into())
    }

    /// Sets a session cookie in the answer, unless the answer already sets one.
    fn set_cookie(&self, response: &mut Response, id: &str, visitor: &Visitor) {
        let headers = response.headers_mut();
        let is_session_cookie = |value: &HeaderValue| value.as_bytes().starts_with(NAME.as_bytes());
        if headers.get_all(header::SET_COOKIE).iter().any(is_session_cookie) {
            return;
        }
        headers.append(header::SET_COOKIE, self.build(id, &visitor.path, visitor.over_tls));
        // The cookie is for this visitor only, so shared caches must not store the answer.
        let cache_control = headers.entry(header::CACHE_CONTROL);
        cache_control.or_insert(HeaderValue::from_static("private"));
    }

    fn build(&self, id: &str, path: &str, over_tls: bool) -> HeaderValue {
        // Browsers accept `None` only together with `Secure`, and `Secure` only over TLS.
        let same_site = match self.are_for_other_sites && over_tls {
            true => SameSite::None,
            false => SameSite::Lax,
        };
        let cookie = Cookie::build((NAME, id.to_owned())).path(path.to_owned()).http_only(true);
        let cookie = cookie.same_site(same_site).secure(over_tls).build();
        let mut jar = CookieJar::new();
        jar.signed_mut(&self.key).add(cookie);
        let made = jar.get(NAME).expect("it was just added").to_string();
        HeaderValue::from_str(&made).expect("it is an id in base64")
    }
}

/// A client over HTTP that can receive a session cookie.
#[derive(Clone)]
pub(crate) struct Visitor {
    cookies: Arc<Cookies>,
    pub(crate) id: Arc<str>,
    is_known: bool,
    over_tls: bool,
    /// The path that the router is nested at, or `/`.
    path: Arc<str>,
}

impl Visitor {
    /// Reads the session cookie of a request. A visitor without a cookie gets a new id.
    pub(crate) fn of(cookies: &Arc<Cookies>, headers: &HeaderMap, extensions: &Extensions) -> Self {
        let known = cookies.id_in(headers);
        let is_known = known.is_some();
        let over_tls = is_over_tls(headers);
        let id = known.unwrap_or_else(|| cookies.new_session_id());
        let path = cookie_path(MountPath::of(extensions)).into();
        Self { cookies: cookies.clone(), id, is_known, over_tls, path }
    }

    /// Whether the visitor sent a session cookie, whose id others may know as well.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Sets a cookie with another id.
    pub(crate) fn replace_cookie(&self, response: &mut Response, id: &str) {
        self.cookies.set_cookie(response, id, self);
    }

    /// Sets a cookie, unless the visitor already has one.
    pub(crate) fn set_cookie_if_new(&self, response: &mut Response) {
        if !self.is_known {
            self.cookies.set_cookie(response, &self.id, self);
        }
    }
}

/// Returns the path of the cookie of a router that is nested at a path. The text of a cookie cannot
/// have every path.
fn cookie_path(mount_path: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
    match mount_path {
        "" => "/",
        path if path.bytes().all(is_plain) => path,
        _ => "/",
    }
}

/// Whether the proxy nearest to the visitor reports TLS. A visitor that forges the header only gets
/// a cookie that its browser does not use.
fn is_over_tls(headers: &HeaderMap) -> bool {
    let protocols = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let first = protocols.and_then(|protocols| protocols.split(',').next());
    first.is_some_and(|protocol| protocol.trim().eq_ignore_ascii_case("https"))
}

/// Sets a session cookie when a visitor opens a page or requests a cookie.
pub(crate) async fn set_cookies(
    State(cookies): State<Arc<Cookies>>,
    mut request: Request,
    next: Next,
) -> Response {
    if !needs_cookie(&request) {
        return next.run(request).await;
    }
    let visitor = Visitor::of(&cookies, request.headers(), request.extensions());
    // A handler that opens a session of this visitor uses the id of this cookie.
    request.extensions_mut().insert(visitor.clone());
    let mut response = next.run(request).await;
    visitor.set_cookie_if_new(&mut response);
    response
}

/// Whether the answer sets a cookie. Scripts of pages of the time of seed 000 request the root
/// before they connect. Other visitors open a page, and only browsers that open a page accept HTML.
fn needs_cookie(request: &Request) -> bool {
    let accepts = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let opens_page = accepts.is_some_and(|accept| accept.contains("text/html"));
    [Method::GET, Method::HEAD].contains(request.method())
        && (["/", GET_COOKIE].contains(&request.uri().path()) || opens_page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(secret: &str, are_for_other_sites: bool) -> Cookies {
        Cookies::new(Environment::tokio(), &secret.repeat(32).parse().unwrap(), are_for_other_sites)
    }

    fn cookie_header(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, text.parse().unwrap())])
    }

    fn value(cookies: &Cookies, id: &str) -> String {
        let made = cookies.build(id, "/", false);
        made.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    #[test]
    fn cookie_is_read_as_it_was_set() {
        let cookies = cookies("s", false);
        let cookie = value(&cookies, "abc");
        assert_eq!(cookies.id_in(&cookie_header(&cookie)).as_deref(), Some("abc"));
        let among_others = format!("a=b; backwire.sid=old; {cookie}; c");
        assert_eq!(cookies.id_in(&cookie_header(&among_others)).as_deref(), Some("abc"));
    }

    #[test]
    fn foreign_or_changed_cookie_is_ignored() {
        let ours = cookies("s", false);
        let cookie = value(&ours, "abc");
        let others = [
            String::new(),
            "backwire.sid=".to_owned(),
            "backwire.sid=abc".to_owned(),
            "backwire.sid=é".to_owned(),
            cookie.replace("abc", "abd"),
            cookie.replace("backwire.sid", "sid"),
            value(&cookies("t", false), "abc"),
        ];
        for other in others {
            let header = HeaderValue::from_bytes(other.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(header::COOKIE, header)]);
            assert_eq!(ours.id_in(&headers), None, "{other}");
        }
    }

    #[test]
    fn path_of_a_cookie_cannot_add_attributes() {
        assert_eq!(["", "/api", "/a/b-1"].map(cookie_path), ["/", "/api", "/a/b-1"]);
        assert_eq!(["/a;Domain=b", "/a b", "/a,b"].map(cookie_path), ["/"; 3]);
    }

    #[test]
    fn first_proxy_decides_whether_a_request_is_over_tls() {
        let forwarded = |proxies: &'static str| {
            let name = header::HeaderName::from_static("x-forwarded-proto");
            is_over_tls(&HeaderMap::from_iter([(name, HeaderValue::from_static(proxies))]))
        };
        assert!(forwarded("https") && forwarded("HTTPS, http"));
        assert!(!forwarded("http") && !forwarded("http, https") && !forwarded(""));
        assert!(!is_over_tls(&HeaderMap::new()));
    }

    #[test]
    fn cookie_is_http_only_and_cross_site_only_over_tls_when_allowed() {
        let attributes = |are_for_other_sites, over_tls| {
            let made = cookies("s", are_for_other_sites).build("abc", "/", over_tls);
            made.to_str().unwrap().split_once("; ").unwrap().1.to_owned()
        };
        assert_eq!(attributes(false, false), "HttpOnly; SameSite=Lax; Path=/");
        assert_eq!(attributes(true, false), "HttpOnly; SameSite=Lax; Path=/");
        assert_eq!(attributes(false, true), "HttpOnly; SameSite=Lax; Secure; Path=/");
        assert_eq!(attributes(true, true), "HttpOnly; SameSite=None; Secure; Path=/");
    }
}
