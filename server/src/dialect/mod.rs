//! The dialects: how each kind of client encodes pushes and acks. All of it is pure.
//!
//! A connection has one dialect until it ends, so no client receives a change twice. Our runtime
//! identifies itself at CONNECT; the first request of a stock client shows its dialect.

mod arguments;
pub(crate) mod node;
pub(crate) mod runtime;
pub(crate) mod sails;
pub(crate) mod sails09;
#[cfg(test)]
mod wire_frames;

use std::borrow::Cow;

use backwire_protocol::wire::{AUTH_VERSION, VERSION};
use backwire_records::change::{Change, Room};
use backwire_records::criteria::{Language, escaped_name};
use backwire_records::json_size::parse_small;
use backwire_records::model::Membership;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{Error, Result};

pub(crate) use arguments::{Ack, Arguments, to_bytes};

/// The kind of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Backwire's own runtime: pushes with positions.
    Runtime,
    /// A stock Socket.IO client, or `sails.io.js`: Sails 1.x.
    Sails,
    /// A stock Socket.IO client that sends its requests as JSON in a string: Sails 0.9.
    Sails09,
    /// A stock Socket.IO client whose events are `<resource>:<verb>`: `backbone.iobind`.
    Node,
}

impl Dialect {
    /// Reads the auth of a CONNECT packet, as JSON text. `None` is a stock client of any kind.
    pub(crate) fn of_auth(auth: Option<&str>) -> std::result::Result<Option<Self>, String> {
        let auth = auth.and_then(|auth| parse_small::<serde_json::Value>(auth).ok());
        match auth.as_ref().and_then(|auth| auth.get(AUTH_VERSION)) {
            None => Ok(None),
            Some(version) if version.as_u64() == Some(VERSION) => Ok(Some(Self::Runtime)),
            Some(version) => Err(format!(
                "E_VERSION: this server speaks version {VERSION} of Backwire's protocol and the \
                     page {}: load backwire.js from this server",
                escaped_name(&version.to_string())
            )),
        }
    }

    /// The dialects without positions.
    pub(crate) const STOCK: [Self; 3] = [Self::Sails, Self::Sails09, Self::Node];

    /// All dialects.
    pub(crate) const ALL: [Self; 4] = [Self::Runtime, Self::Sails, Self::Sails09, Self::Node];

    /// Whether the clients of this dialect do not use positions.
    pub(crate) fn is_stock(self) -> bool {
        self != Self::Runtime
    }

    /// Returns the query language of its clients.
    pub(crate) fn language(self) -> Language {
        match self {
            Self::Sails09 => Language::Sails09,
            Self::Runtime | Self::Sails | Self::Node => Language::Current,
        }
    }

    /// Returns the event that sends a change to a stock client, and its payload. Our runtime
    /// receives the changes of a room instead, see [`runtime::push`].
    pub(crate) fn change_event(self, change: &Change) -> Option<(Cow<'_, str>, Box<RawValue>)> {
        let (event, payload) = match self {
            Self::Runtime => return None,
            Self::Sails => (change.resource.as_str().into(), to_raw_value(&sails::payload(change))),
            Self::Sails09 => (sails09::EVENT.into(), to_raw_value(&sails09::payload(change))),
            Self::Node => (node::event(change).into(), to_raw_value(&node::payload(change))),
        };
        Some((event, payload.expect("it is made of JSON")))
    }

    /// Returns the event that sends a change of a collection to a client of Sails 1.x, and its
    /// payload.
    pub(crate) fn membership_event(of: &Membership) -> (&str, Box<RawValue>) {
        let payload = to_raw_value(&sails::membership(of));
        (of.resource.as_str(), payload.expect("it is made of JSON"))
    }

    /// Returns the name of the event for a message to a room that is not a change.
    pub(crate) fn message_event(self, room: &Room) -> Cow<'_, str> {
        match self {
            Self::Runtime | Self::Sails => room.resource().as_str().into(),
            Self::Sails09 => sails09::EVENT.into(),
            Self::Node => format!("{room}:{}", sails09::EVENT).into(),
        }
    }

    /// Returns the ack of a refusal.
    pub(crate) fn refusal(self, error: &Error) -> Arguments {
        match self {
            Self::Sails09 => return Arguments::One(sails09::refusal(error)),
            Self::Node => return node::refusal(error),
            Self::Runtime | Self::Sails => {}
        }
        let (status, body) = error.refusal();
        let kind = ("content-type", "application/json");
        let retry = error.retry_after().map(|seconds| ("retry-after", seconds));
        let headers = [kind].into_iter().chain(retry);
        let headers = headers.map(|(name, value)| (name.into(), value.into())).collect();
        Arguments::Ack(Ack { body: Some(body), status: status.as_u16(), headers })
    }

    /// Returns the ack for a response of the router.
    pub(crate) fn ack(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Arguments> {
        let is_json = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        match self {
            Self::Sails09 => return sails09::ack(status, is_json, &body).map(Arguments::One),
            Self::Node => return node::ack(status, body_of(is_json, body)?),
            Self::Runtime | Self::Sails => {}
        }
        let status = match (self, status) {
            // Sails 1.x answers a create with 200.
            (Self::Sails, StatusCode::CREATED) => StatusCode::OK,
            (_, status) => status,
        };
        let headers = headers.iter().filter(|(name, _)| !is_transport_header(name));
        let headers = headers.filter_map(|(name, value)| {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.as_str().to_owned().into(), value.to_owned().into()))
        });
        let headers = headers.collect();
        Ok(Arguments::Ack(Ack { body: body_of(is_json, body)?, status: status.as_u16(), headers }))
    }
}

/// Whether a header describes the transport, or must not be visible to a page.
fn is_transport_header(name: &http::HeaderName) -> bool {
    const TRANSPORT_HEADERS: [http::HeaderName; 6] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::DATE,
        header::SET_COOKIE,
        header::TRANSFER_ENCODING,
        header::VARY,
    ];
    TRANSPORT_HEADERS.contains(name)
}

/// Returns JSON unchanged, text as a string, and `None` if there is no body. JSON is not copied.
fn body_of(is_json: bool, body: Bytes) -> Result<Option<Box<RawValue>>> {
    if body.is_empty() {
        return Ok(None);
    }
    let raw = if is_json {
        let text = String::from_utf8(body.into());
        let text = text.map_err(|error| Error::BadAnswer(error.utf8_error().to_string()))?;
        RawValue::from_string(text)
    } else {
        to_raw_value(&String::from_utf8_lossy(&body))
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
        serde_json::to_string(&dialect.ack(status, &headers, body.to_owned().into()).unwrap())
            .unwrap()
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn auth_shows_whether_client_is_our_runtime() {
        assert_eq!(Dialect::of_auth(None), Ok(None));
        assert_eq!(Dialect::of_auth(Some(r#"{"token":"x"}"#)), Ok(None));
        assert_eq!(Dialect::of_auth(Some(r#"{"backwire":1}"#)), Ok(Some(Dialect::Runtime)));
        assert_eq!(
            Dialect::of_auth(Some(r#"{"backwire":2}"#)),
            Err("E_VERSION: this server speaks version 1 of Backwire's protocol and the page 2: load \
                 backwire.js from this server"
                .to_owned())
        );
    }

    #[test]
    fn create_is_201_for_runtime_and_200_for_sails() {
        assert_eq!(
            ack(Dialect::Runtime, 201, &[JSON, ("backwire-position", "5:1")], r#"{"id":1}"#),
            r#"{"body":{"id":1},"statusCode":201,"headers":{"backwire-position":"5:1","content-type":"application/json"}}"#
        );
        assert_eq!(
            ack(Dialect::Sails, 201, &[JSON], r#"{"id":1}"#),
            r#"{"body":{"id":1},"statusCode":200,"headers":{"content-type":"application/json"}}"#
        );
    }

    #[test]
    fn text_body_is_string_and_empty_body_is_absent() {
        assert_eq!(
            ack(Dialect::Sails, 200, &[("content-type", "text/plain")], "hi \"you\""),
            r#"{"body":"hi \"you\"","statusCode":200,"headers":{"content-type":"text/plain"}}"#
        );
        assert_eq!(ack(Dialect::Sails, 204, &[], ""), r#"{"statusCode":204,"headers":{}}"#);
    }

    #[test]
    fn ack_size_is_not_larger_than_its_json() {
        let body = Bytes::from(format!(r#"["{}"]"#, "x".repeat(1000)));
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, "application/json".parse().unwrap()),
            (header::ETAG, r#""1""#.parse().unwrap()),
        ]);
        for dialect in Dialect::ALL {
            let ack = dialect.ack(StatusCode::OK, &headers, body.clone()).unwrap();
            let text = serde_json::to_string(&ack).unwrap();
            assert!((body.len()..=text.len()).contains(&ack.size()), "{dialect:?}: {text}");
        }
    }

    #[test]
    fn invalid_json_body_is_not_sent() {
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        for body in [&b"{"[..], b"[1]2", b"\"\xff\""] {
            let ack = Dialect::Runtime.ack(StatusCode::OK, &headers, body.into());
            assert!(matches!(ack, Err(Error::BadAnswer(_))), "{body:?}");
        }
    }
}
