//! The session's cookie: how it is read, and when and how it is given.
//!
//! It holds the session's id and a signature. What was signed with another secret, or has been touched,
//! is like no cookie; and no cookie is no error.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use cookie::{Cookie, CookieJar, Key, SameSite};
use http::{HeaderMap, HeaderValue, Method, header};

use crate::http::assets::GET_COOKIE;
use crate::settings::SessionSecret;

/// The cookie's name.
const NAME: &str = "backwire.sid";

/// Reads and makes cookies.
#[derive(Clone)]
pub(crate) struct Cookies {
    key: Key,
    /// Pages of other sites may use this server.
    are_for_other_sites: bool,
}

impl Cookies {
    pub(crate) fn new(secret: &SessionSecret, are_for_other_sites: bool) -> Self {
        Self { key: Key::derive_from(secret.as_bytes()), are_for_other_sites }
    }

    /// The id in a cookie of ours.
    pub(crate) fn id_in(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let texts =
            headers.get_all(header::COOKIE).into_iter().filter_map(|text| text.to_str().ok());
        let cookies = texts.flat_map(Cookie::split_parse).flatten();
        cookies.filter(|cookie| cookie.name() == NAME).find_map(|cookie| self.verify(cookie))
    }

    fn verify(&self, cookie: Cookie<'_>) -> Option<Arc<str>> {
        let genuine = CookieJar::new().signed(&self.key).verify(cookie.into_owned())?;
        Some(genuine.value().into())
    }

    /// Gives a cookie with the answer, unless one has been given already.
    fn give(&self, response: &mut Response, id: &str, over_tls: bool) {
        let headers = response.headers_mut();
        let has_one = |given: &HeaderValue| given.as_bytes().starts_with(NAME.as_bytes());
        if headers.get_all(header::SET_COOKIE).iter().any(has_one) {
            return;
        }
        headers.append(header::SET_COOKIE, self.made(id, over_tls));
        // It is for this visitor, and for no cache on the way to pass on to others.
        let nothing_said = headers.entry(header::CACHE_CONTROL);
        nothing_said.or_insert(HeaderValue::from_static("private"));
    }

    fn made(&self, id: &str, over_tls: bool) -> HeaderValue {
        // Browsers take `None` only together with `Secure`, and `Secure` only over TLS.
        let same_site = match self.are_for_other_sites && over_tls {
            true => SameSite::None,
            false => SameSite::Lax,
        };
        let cookie = Cookie::build((NAME, id.to_owned())).path("/").http_only(true);
        let cookie = cookie.same_site(same_site).secure(over_tls).build();
        let mut jar = CookieJar::new();
        jar.signed_mut(&self.key).add(cookie);
        let made = jar.get(NAME).expect("it was just added").to_string();
        HeaderValue::from_str(&made).expect("it is an id in base64")
    }
}

/// A new session's id, that nobody can guess.
pub(crate) fn draw_id() -> Arc<str> {
    format!("{:032x}", rand::random::<u128>()).into()
}

/// Whoever asks over HTTP, and can be given a cookie.
#[derive(Clone)]
pub(crate) struct Visitor {
    cookies: Arc<Cookies>,
    pub(crate) id: Arc<str>,
    is_known: bool,
    over_tls: bool,
}

impl Visitor {
    /// Who brings no cookie is somebody new.
    pub(crate) fn of(cookies: &Arc<Cookies>, headers: &HeaderMap) -> Self {
        let known = cookies.id_in(headers);
        let is_known = known.is_some();
        let over_tls = came_over_tls(headers);
        Self { cookies: cookies.clone(), id: known.unwrap_or_else(draw_id), is_known, over_tls }
    }

    /// Whether they have brought a cookie, which others may know as well.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Sees to it that the visitor will be known by another id.
    pub(crate) fn rename(&self, response: &mut Response, id: &str) {
        self.cookies.give(response, id, self.over_tls);
    }

    /// Sees to it that the visitor will be known.
    pub(crate) fn greet(&self, response: &mut Response) {
        if !self.is_known {
            self.cookies.give(response, &self.id, self.over_tls);
        }
    }
}

/// What the proxy nearest to the visitor says of it. A visitor who says so without cause gets a cookie
/// that is of no use to them, and that is all.
fn came_over_tls(headers: &HeaderMap) -> bool {
    let said = headers.get("x-forwarded-proto").and_then(|said| said.to_str().ok());
    let first = said.and_then(|said| said.split(',').next());
    first.is_some_and(|protocol| protocol.trim().eq_ignore_ascii_case("https"))
}

/// Gives a cookie to who opens a page, and to who comes for one.
pub(crate) async fn greet(
    State(cookies): State<Arc<Cookies>>,
    mut request: Request,
    next: Next,
) -> Response {
    if !is_to_be_greeted(&request) {
        return next.run(request).await;
    }
    let visitor = Visitor::of(&cookies, request.headers());
    // A handler that has a session for it has the one of this cookie.
    request.extensions_mut().insert(visitor.clone());
    let mut response = next.run(request).await;
    visitor.greet(&mut response);
    response
}

/// A page of seed 000's time asks for the root before it connects, by script; others are opened as
/// pages, and only browsers that open one say that HTML is what they would like.
fn is_to_be_greeted(request: &Request) -> bool {
    let accepts = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let opens_page = accepts.is_some_and(|accept| accept.contains("text/html"));
    [Method::GET, Method::HEAD].contains(request.method())
        && (["/", GET_COOKIE].contains(&request.uri().path()) || opens_page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(secret: &str, are_for_other_sites: bool) -> Cookies {
        Cookies::new(&secret.repeat(32).parse().unwrap(), are_for_other_sites)
    }

    fn brought(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, text.parse().unwrap())])
    }

    fn value(cookies: &Cookies, id: &str) -> String {
        let made = cookies.made(id, false);
        made.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_cookie_is_read_as_it_was_made() {
        let cookies = cookies("s", false);
        let cookie = value(&cookies, "abc");
        assert_eq!(cookies.id_in(&brought(&cookie)).as_deref(), Some("abc"));
        let among_others = format!("a=b; backwire.sid=old; {cookie}; c");
        assert_eq!(cookies.id_in(&brought(&among_others)).as_deref(), Some("abc"));
    }

    #[test]
    fn what_was_not_made_here_is_like_no_cookie() {
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
    fn what_came_over_tls_is_known_by_what_the_first_proxy_says() {
        let said = |proxies: &'static str| {
            let name = header::HeaderName::from_static("x-forwarded-proto");
            came_over_tls(&HeaderMap::from_iter([(name, HeaderValue::from_static(proxies))]))
        };
        assert!(said("https") && said("HTTPS, http"));
        assert!(!said("http") && !said("http, https") && !said(""));
        assert!(!came_over_tls(&HeaderMap::new()));
    }

    #[test]
    fn scripts_do_not_see_it_and_other_sites_bring_it_only_over_tls_and_where_they_may() {
        let attributes = |are_for_other_sites, over_tls| {
            let made = cookies("s", are_for_other_sites).made("abc", over_tls);
            made.to_str().unwrap().split_once("; ").unwrap().1.to_owned()
        };
        assert_eq!(attributes(false, false), "HttpOnly; SameSite=Lax; Path=/");
        assert_eq!(attributes(true, false), "HttpOnly; SameSite=Lax; Path=/");
        assert_eq!(attributes(false, true), "HttpOnly; SameSite=Lax; Secure; Path=/");
        assert_eq!(attributes(true, true), "HttpOnly; SameSite=None; Secure; Path=/");
    }
}
