//! A request over a socket, which becomes an HTTP request for the router.

use std::borrow::Cow;
use std::str::FromStr;

use backwire_protocol::wire::header;
use backwire_records::change::Attributes;
use http::Method;
use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::string;
use crate::error::{Error, Result};
use crate::http::emulation;

/// A request over a socket.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The verb.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) url: Cow<'a, str>,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// JSON text, empty if there was none.
    pub(crate) data: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct Payload<'a> {
    #[serde(borrow)]
    pub(super) url: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) headers: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    /// Parameters that clients of Sails may send beside the data, or instead of it.
    #[serde(borrow)]
    pub(super) params: Option<&'a RawValue>,
    /// The verb in the `message` event of Sails 0.9, which may be any.
    #[serde(borrow)]
    pub(super) verb: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) method: Option<&'a RawValue>,
}

impl<'a> Payload<'a> {
    /// Parses an object. serde would accept an array of the fields as well.
    pub(super) fn parse(text: &'a str) -> Result<Self> {
        let is_object = text.trim_ascii_start().starts_with('{');
        let payload = is_object.then(|| serde_json::from_str(text).ok()).flatten();
        payload.ok_or(Error::BadUrl)
    }

    /// Returns the request without its headers.
    pub(super) fn request(&self, method: Method, body_limit: usize) -> Result<Request<'a>> {
        let url = self.url.and_then(string).filter(|url| url.starts_with('/'));
        let data = self.body();
        if data.len() > body_limit {
            return Err(Error::too_large(data.len(), body_limit));
        }
        let url = url.ok_or(Error::BadUrl)?;
        Ok(Request { method, url, headers: Vec::new(), data })
    }

    /// Returns the params merged with the data, which takes precedence. Data that is no object is
    /// the body by itself.
    fn body(&self) -> Cow<'a, str> {
        let data = self.data.filter(|data| self.params.is_none() || data.get() != "null");
        let attributes = |raw: &RawValue| serde_json::from_str::<Attributes>(raw.get()).ok();
        let Some(mut all) = self.params.and_then(attributes) else {
            return self.data.map_or("", RawValue::get).into();
        };
        match data.map(|data| attributes(data).ok_or(data)) {
            None => {}
            Some(Ok(data)) => all.extend(data),
            Some(Err(data)) => return data.get().into(),
        }
        serde_json::to_string(&all).expect("a map with string keys is JSON").into()
    }
}

/// Returns the method of an event with this name.
pub(super) fn method(name: &str) -> Option<Method> {
    Some(match name {
        "get" => Method::GET,
        "post" => Method::POST,
        "put" => Method::PUT,
        "patch" => Method::PATCH,
        "delete" => Method::DELETE,
        "head" => Method::HEAD,
        "options" => Method::OPTIONS,
        _ => return None,
    })
}

/// The characters that no url has, except control characters, which are refused.
const ESCAPED: AsciiSet = AsciiSet::EMPTY
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'\\')
    .add(b'^')
    .add(b'|');

/// Returns the url as a browser would send it: clients of sockets put JSON and other texts in a
/// query without escapes. Blanks at the end are dropped.
fn escape_url(url: &str) -> Cow<'_, str> {
    utf8_percent_encode(url.trim_end(), &ESCAPED).into()
}

impl Request<'_> {
    pub(super) fn into_owned(self) -> Request<'static> {
        Request {
            method: self.method,
            url: self.url.into_owned().into(),
            headers: self.headers,
            data: self.data.into_owned().into(),
        }
    }

    /// Returns the HTTP request for the router.
    pub(crate) fn into_http(self) -> Result<http::Request<axum::body::Body>> {
        let url = http::Uri::from_str(&escape_url(&self.url)).map_err(|_| Error::BadUrl)?;
        let (kind, body) = match self.form() {
            Some(form) => (Some("application/x-www-form-urlencoded"), form),
            None => ((!self.data.is_empty()).then_some("application/json"), self.data.into_owned()),
        };
        let mut request = http::Request::new(axum::body::Body::from(body));
        *request.method_mut() = self.method;
        *request.uri_mut() = url;
        let headers = request.headers_mut();
        let carried =
            self.headers.iter().filter(|(name, _)| !TRANSPORT_HEADERS.contains(&name.as_str()));
        for (name, value) in carried {
            let is_key = name == header::IDEMPOTENCY_KEY;
            // As over HTTP, a value other than ASCII is its bytes in UTF-8.
            match (
                http::HeaderName::from_str(name),
                http::HeaderValue::from_bytes(value.as_bytes()),
            ) {
                (_, Ok(value)) if is_key && value.to_str().is_err() => return Err(Error::BadKey),
                (Ok(name), Ok(value)) => drop(headers.insert(name, value)),
                (_, Err(_)) if is_key => return Err(Error::BadKey),
                _ => {}
            }
        }
        headers.remove(http::header::CONTENT_TYPE);
        if let Some(kind) = kind {
            headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        }
        Ok(request)
    }

    /// Returns the form in the data, if the headers declare one. A client of sockets sends it as a
    /// JSON string.
    fn form(&self) -> Option<String> {
        let is_form = self.headers.iter().any(|(name, value)| {
            name == "content-type" && value.as_bytes().starts_with(emulation::FORM)
        });
        is_form.then(|| serde_json::from_str(&self.data).ok()).flatten()
    }
}

/// Headers that describe a connection or the encoding of a body. Over a socket, all requests share
/// a connection and every body is text.
const TRANSPORT_HEADERS: [&str; 12] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
