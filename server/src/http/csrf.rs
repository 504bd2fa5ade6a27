//! Refuses writes without a CSRF token of the caller's session (`csrf: true`), over HTTP and
//! sockets alike, as Sails does.
//!
//! A browser sends the session cookie with each request, also with one that a page of another site
//! makes. Such a page cannot read a token, so it cannot write.
//!
//! The token may be in a header, the query or the body. The check removes it from the query and
//! the body, so that it is no attribute of a record. A client can request a token over HTTP only,
//! as in Sails: a socket may belong to any page that is allowed to connect.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use backwire_records::brackets;
use backwire_records::change::Attributes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri, header, uri};
use serde_json::{Value, json};

use super::emulation;
use crate::error::{Error, Result};
use crate::route::Operation;
use crate::session::{self, Session};
use crate::shared::Shared;
use crate::socket::Client;

/// The paths that answer with a token. Sails ignores case in paths.
pub(crate) const PATHS: [&str; 2] = ["/csrfToken", "/csrftoken"];

/// The name of the token in queries, bodies and answers.
const NAME: &str = "_csrf";

/// The headers that may have the token.
const HEADERS: [&str; 4] = ["x-csrf-token", "csrf-token", "x-xsrf-token", "xsrf-token"];

/// Creates the routes that answer with a token, over HTTP. All other requests go to `rest`.
pub(crate) fn before(rest: Router) -> Router {
    let grant = async |session: Session| {
        let token = session.csrf_token();
        ([(header::CACHE_CONTROL, "no-store")], Json(json!({ NAME: token })))
    };
    let grant = get(grant).layer(from_fn(session::save_after_handler));
    PATHS.iter().fold(Router::new().fallback_service(rest), |router, path| {
        router.route(path, grant.clone())
    })
}

/// Checks the requests over HTTP.
pub(crate) async fn layer(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    match check(&shared, request).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Returns the request without its token, or refuses it.
pub(crate) async fn check(shared: &Shared, request: Request) -> Result<Request> {
    let Some(tokens) = shared.sessions.csrf_tokens() else { return Ok(request) };
    let path = request.uri().path();
    if request.extensions().get::<Client>().is_some() && PATHS.contains(&path) {
        return Err(Error::HttpOnly(path.to_owned()));
    }
    if !may_write(shared, request.method(), path) {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let session = session_id(shared, &parts);
    let is_valid =
        |text: &str| session.as_deref().is_some_and(|session| tokens.is_valid(session, text));
    let in_query = take_from_query(&mut parts.uri);
    let (body, in_body) = take_from_body(&mut parts, body, shared.body_limit).await?;
    let others = in_query.iter().chain(&in_body).map(String::as_str);
    let is_allowed = in_headers(&parts.headers).chain(others).any(is_valid);
    match is_allowed {
        true => Ok(Request::from_parts(parts, body)),
        false => Err(Error::Csrf),
    }
}

/// Whether a request may change something. A shortcut may write with any method.
fn may_write(shared: &Shared, method: &Method, path: &str) -> bool {
    if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return true;
    }
    let operation = || shared.routing.read(path).ok()?.operation(method);
    shared.routing.writes_with_get()
        && operation().is_some_and(|operation| operation != Operation::Find)
}

/// Returns the id of the caller's session. There is none without a session cookie over HTTP, or if
/// the client of a socket wants none.
fn session_id(shared: &Shared, parts: &Parts) -> Option<Arc<str>> {
    let cookies = shared.sessions.cookies();
    match parts.extensions.get::<Client>() {
        Some(client) => (!client.refuses_session()).then(|| client.session(cookies)),
        None => cookies.id_in(&parts.headers),
    }
}

fn in_headers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    HEADERS.iter().filter_map(|name| headers.get(*name)?.to_str().ok())
}

fn take_from_query(uri: &mut Uri) -> Option<String> {
    let query = uri.query().filter(|query| query.contains(NAME))?;
    let token = text_in(&brackets::read(query.as_bytes()).ok()?)?;
    let rest = emulation::without_field(query.as_bytes(), NAME);
    let rest = String::from_utf8_lossy(&rest);
    let path_and_query = match &*rest {
        "" => uri.path().to_owned(),
        rest => format!("{}?{rest}", uri.path()),
    };
    let mut parts = uri::Parts::from(std::mem::take(uri));
    parts.path_and_query = path_and_query.parse().ok();
    *uri = Uri::from_parts(parts).expect("it is a part of a valid url");
    Some(token)
}

/// Takes the token out of a JSON object or a form. Other bodies, such as uploads, are not read:
/// their token is in a header or the query.
async fn take_from_body(
    parts: &mut Parts,
    body: Body,
    limit: usize,
) -> Result<(Body, Option<String>)> {
    if !may_have_token(parts.headers.get(header::CONTENT_TYPE)) {
        return Ok((body, None));
    }
    let body = emulation::read(body, limit).await?;
    let has_token = body.windows(NAME.len()).any(|text| text == NAME.as_bytes());
    let taken =
        has_token.then(|| take_from_json(&body).or_else(|| take_from_form(&body))).flatten();
    let Some((rest, token)) = taken else { return Ok((Body::from(body), None)) };
    if parts.headers.contains_key(header::CONTENT_LENGTH) {
        parts.headers.insert(header::CONTENT_LENGTH, rest.len().into());
    }
    Ok((Body::from(rest), Some(token)))
}

/// Whether a body of this type may be JSON or a form. Some clients declare JSON as text.
fn may_have_token(kind: Option<&HeaderValue>) -> bool {
    kind.is_none_or(|kind| {
        let kind = kind.as_bytes();
        let is_json = kind.windows(4).any(|text| text == b"json");
        is_json || kind.starts_with(emulation::FORM) || kind.starts_with(b"text/plain")
    })
}

fn take_from_json(body: &[u8]) -> Option<(Bytes, String)> {
    let mut record: Attributes = serde_json::from_slice(body).ok()?;
    let token = text_in(&record)?;
    record.shift_remove(NAME);
    let rest = serde_json::to_vec(&record).expect("a map with string keys is JSON");
    Some((rest.into(), token))
}

fn take_from_form(body: &[u8]) -> Option<(Bytes, String)> {
    let token = text_in(&brackets::read(body).ok()?)?;
    Some((emulation::without_field(body, NAME), token))
}

/// Returns the token of a record or a form. A value that is no text is no token, and is removed,
/// too.
fn text_in(values: &Attributes) -> Option<String> {
    values.get(NAME).map(|token| match token {
        Value::String(token) => token.clone(),
        other => other.to_string(),
    })
}
