//! How one kind of client spells pushes and acks. All of it is pure.
//!
//! A connection has one dialect to its end, so nobody is told a thing twice: our runtime says at
//! CONNECT who it is, a stock client's first request shows it.

pub(crate) mod runtime;
pub(crate) mod sails;
pub(crate) mod sails09;

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{Error, Result};

/// Which client this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Backwire's own runtime: pushes with positions.
    Runtime,
    /// A stock Socket.IO client, or `sails.io.js`: Sails 1.x.
    Sails,
    /// A stock Socket.IO client that sends its requests as JSON in a string: Sails 0.9.
    Sails09,
}

/// The version of `docs/protocol.md` spoken here.
pub const VERSION: u64 = 1;

/// The ack of a request: `{body, statusCode, headers}`, but in the Sails 0.9 dialect.
#[derive(Debug, Serialize)]
struct Ack<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, RawValue>>,
    #[serde(rename = "statusCode")]
    status: u16,
    headers: BTreeMap<&'a str, &'a str>,
}

impl Dialect {
    /// Reads the auth of a CONNECT packet, as JSON text. `None` is a stock client, of whichever kind.
    pub(crate) fn of_auth(auth: Option<&str>) -> std::result::Result<Option<Self>, String> {
        let auth = auth.and_then(|auth| serde_json::from_str::<serde_json::Value>(auth).ok());
        match auth.as_ref().and_then(|auth| auth.get("backwire")) {
            None => Ok(None),
            Some(version) if version.as_u64() == Some(VERSION) => Ok(Some(Self::Runtime)),
            Some(version) => {
                Err(format!("backwire protocol {version} is not spoken here, {VERSION} is"))
            }
        }
    }

    /// The ack of a refusal.
    pub(crate) fn refusal(self, error: &Error) -> Box<RawValue> {
        if self == Self::Sails09 {
            return sails09::refusal(error);
        }
        let (status, body) = error.refusal();
        let body = Some(Cow::Owned(body));
        let ack = Ack { body, status: status.as_u16(), headers: BTreeMap::new() };
        to_raw_value(&ack).expect("it is made of JSON and a number")
    }

    /// The ack for a response of the router.
    pub(crate) fn ack(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Box<RawValue>> {
        let is_json = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if self == Self::Sails09 {
            return sails09::ack(status, is_json, body);
        }
        let status = match (self, status) {
            // Sails says 200 of a create over a socket and 201 of the same over HTTP.
            (Self::Sails, StatusCode::CREATED) => StatusCode::OK,
            (_, status) => status,
        };
        let headers = headers.iter().filter(|(name, _)| !belongs_to_http(name));
        let ack = Ack {
            body: body_of(is_json, body)?,
            status: status.as_u16(),
            headers: headers
                .filter_map(|(name, value)| {
                    Some((name.as_str(), std::str::from_utf8(value.as_bytes()).ok()?))
                })
                .collect(),
        };
        to_raw_value(&ack).map_err(|error| Error::BadAnswer(error.to_string()))
    }
}

/// Headers that speak of the transport, or that a page must not see.
fn belongs_to_http(name: &http::HeaderName) -> bool {
    const OF_HTTP: [http::HeaderName; 7] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::DATE,
        header::SET_COOKIE,
        header::TRANSFER_ENCODING,
        header::VARY,
    ];
    OF_HTTP.contains(name)
}

/// JSON as it is, text as a string, nothing as nothing.
fn body_of(is_json: bool, body: &[u8]) -> Result<Option<Cow<'_, RawValue>>> {
    if body.is_empty() {
        return Ok(None);
    }
    let raw = if is_json {
        serde_json::from_slice::<&RawValue>(body).map(Cow::Borrowed)
    } else {
        to_raw_value(&String::from_utf8_lossy(body)).map(Cow::Owned)
    };
    raw.map(Some).map_err(|error| Error::BadAnswer(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(dialect: Dialect, status: u16, headers: &[(&'static str, &str)], body: &str) -> String {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let status = StatusCode::from_u16(status).unwrap();
        dialect.ack(status, &headers, body.as_bytes()).unwrap().get().to_owned()
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn the_auth_says_whether_it_is_our_runtime() {
        assert_eq!(Dialect::of_auth(None), Ok(None));
        assert_eq!(Dialect::of_auth(Some(r#"{"token":"x"}"#)), Ok(None));
        assert_eq!(Dialect::of_auth(Some(r#"{"backwire":1}"#)), Ok(Some(Dialect::Runtime)));
        assert_eq!(
            Dialect::of_auth(Some(r#"{"backwire":2}"#)),
            Err("backwire protocol 2 is not spoken here, 1 is".to_owned())
        );
    }

    #[test]
    fn a_create_is_201_for_the_runtime_and_200_for_sails() {
        assert_eq!(
            ack(Dialect::Runtime, 201, &[JSON, ("backwire-position", "5:1")], r#"{"id":1}"#),
            r#"{"body":{"id":1},"statusCode":201,"headers":{"backwire-position":"5:1"}}"#
        );
        assert_eq!(
            ack(Dialect::Sails, 201, &[JSON], r#"{"id":1}"#),
            r#"{"body":{"id":1},"statusCode":200,"headers":{}}"#
        );
    }

    #[test]
    fn text_is_a_string_and_nothing_is_absent() {
        assert_eq!(
            ack(Dialect::Sails, 200, &[("content-type", "text/plain")], "hi \"you\""),
            r#"{"body":"hi \"you\"","statusCode":200,"headers":{}}"#
        );
        assert_eq!(ack(Dialect::Sails, 204, &[], ""), r#"{"statusCode":204,"headers":{}}"#);
    }
}
