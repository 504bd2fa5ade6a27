//! Parses an event of a client, such as `["post",{"url":"/todo","data":{…}}]`.
//!
//! An event is parsed once and no deeper than needed: the data of a request stays the text it was.

mod node;
mod request;
mod sails09;
mod text;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use backwire_protocol::wire::{ResumeEntry, event, header};
use backwire_records::change::Position;
use backwire_records::criteria::escaped_name;
use backwire_records::json_size::JsonSize;
use backwire_records::messages::flake::Flake;
use http::Method;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::memory_budget::UNCOUNTED_INPUT;
use request::{Payload, method};

pub(crate) use request::Request;
pub(crate) use text::string;

/// A parsed event.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// A request for the router.
    Request(Request<'a>),
    /// The client asks what it missed in these rooms. Their names are JSON strings.
    Resume(Vec<(&'a RawValue, ClientPosition)>),
    /// The client leaves this room.
    Unsubscribe(Cow<'a, str>),
    /// The client has handled its deliveries up to this one.
    Delivered(Flake),
}

/// The position of a client in a room.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClientPosition {
    /// The client has received everything up to here.
    pub(crate) position: Position,
    /// Positions beyond it of changes that the client has received, at most one of each epoch. The
    /// answer to a write may come before the pushes of the changes before it.
    pub(crate) ahead: Vec<Position>,
}

/// The error of a malformed resume.
pub(crate) const BAD_RESUME: Error =
    Error::BadBody("resume takes a list of [room, epoch, offset, highest, …]");

/// An event's name and its first argument.
type Event<'a> = (Cow<'a, str>, Option<&'a RawValue>);

fn event(text: &str) -> Result<Event<'_>> {
    let EventStart(name, argument) = serde_json::from_str(text).map_err(json_error)?;
    Ok((name.and_then(string).unwrap_or_default(), argument))
}

/// The first two entries of a list. The others are skipped.
struct EventStart<'a>(Option<&'a RawValue>, Option<&'a RawValue>);

impl<'de> Deserialize<'de> for EventStart<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = EventStart<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                let event_start = EventStart(list.next_element()?, list.next_element()?);
                while let Some(IgnoredAny) = list.next_element()? {}
                Ok(event_start)
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

/// The bytes that a resume takes in memory for each byte of its text. Its rooms are not parsed to
/// values.
const RESUME_BYTES: usize = 10;

/// Returns the bytes that a resume takes in memory, if this event is one as the runtime writes it.
pub(crate) fn resume_bytes(text: &str, dialect: Dialect) -> Option<usize> {
    let name = text.strip_prefix("[\"").filter(|_| dialect == Dialect::Runtime)?;
    name.strip_prefix(event::RESUME)?.starts_with("\",").then(|| text.len() * RESUME_BYTES)
}

/// Returns the size of an event once it is parsed, or a larger one that is within the limits.
/// Clients of Sails 0.9 send JSON in a string.
pub(crate) fn size(text: &str, dialect: Dialect, max_values: usize) -> JsonSize {
    if dialect != Dialect::Sails09 {
        return JsonSize::rough(text, UNCOUNTED_INPUT, max_values);
    }
    let size = JsonSize::of(text);
    let nested = || string(event(text).ok()?.1?).map(|text| JsonSize::of(&*text));
    nested().map_or(size, |nested| size.with(nested))
}

/// Returns the dialect that a stock client speaks, if this event shows it.
pub(crate) fn dialect(text: &str) -> Option<Dialect> {
    let (name, argument) = event(text).ok()?;
    if node::split(&name).is_some() {
        return Some(Dialect::Node);
    }
    match argument?.get().as_bytes().first()? {
        b'"' if name == sails09::ANY_VERB || method(&name).is_some() => Some(Dialect::Sails09),
        b'{' if method(&name).is_some() => Some(Dialect::Sails),
        _ => None,
    }
}

/// Parses an event. `body_limit` is the maximum size of the data of a request in bytes.
pub(crate) fn read(text: &str, dialect: Dialect, body_limit: usize) -> Result<Incoming<'_>> {
    let (name, argument) = event(text)?;
    if dialect == Dialect::Sails09 {
        return sails09::request(&name, argument, body_limit).map(Incoming::Request);
    }
    if dialect == Dialect::Node {
        return node::request(&name, argument, body_limit).map(Incoming::Request);
    }
    if dialect == Dialect::Runtime && name == event::RESUME {
        return argument.and_then(rooms).map(Incoming::Resume).ok_or(BAD_RESUME);
    }
    if dialect == Dialect::Runtime && name == event::UNSUBSCRIBE {
        let room = argument.and_then(string);
        return room.map(Incoming::Unsubscribe).ok_or(Error::BadBody("unsubscribe takes a room"));
    }
    if dialect == Dialect::Runtime && name == event::DELIVERED {
        let id = argument.and_then(string).and_then(|id| id.parse().ok());
        return id.map(Incoming::Delivered).ok_or(Error::BadBody("delivered takes an id"));
    }
    let method = method(&name).ok_or_else(|| Error::UnknownVerb(escaped_name(&name)))?;
    request(method, argument, body_limit).map(Incoming::Request)
}

fn request(method: Method, argument: Option<&RawValue>, body_limit: usize) -> Result<Request<'_>> {
    let argument = argument.ok_or(Error::BadUrl)?;
    if let Some(text) = string(argument) {
        // This connection does not speak Sails 0.9. If a client sends a string nevertheless,
        // malformed JSON is reported first.
        serde_json::from_str::<&RawValue>(&text).map_err(json_error)?;
    }
    let payload = Payload::parse(argument.get())?;
    let headers = payload.headers.map_or_else(|| Ok(Vec::new()), headers)?;
    Ok(Request { headers, ..payload.request(method, body_limit)? })
}

/// Returns the headers that are strings, numbers or booleans, and ignores others, because clients
/// of Sails may send anything. But a malformed idempotency key is an error: if it were ignored, a
/// repeat of the write would not be recognized.
fn headers(raw: &RawValue) -> Result<Vec<(String, String)>> {
    let headers: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    let read = |(name, value): (String, &RawValue)| {
        let name = name.to_ascii_lowercase();
        match string(value) {
            Some(value) => Some(Ok((name, value.into_owned()))),
            None if name == header::IDEMPOTENCY_KEY => Some(Err(Error::BadKey)),
            None => is_plain(value).then(|| Ok((name, value.get().to_owned()))),
        }
    };
    headers.into_iter().filter_map(read).collect()
}

/// Whether a value that is no string is a number or a boolean.
fn is_plain(value: &RawValue) -> bool {
    !value.get().starts_with(['{', '[', 'n'])
}

fn rooms(raw: &RawValue) -> Option<Vec<(&RawValue, ClientPosition)>> {
    let entries: Vec<ResumeEntry<&RawValue>> = serde_json::from_str(raw.get()).ok()?;
    let are_named = entries.iter().all(|entry| entry.room.get().starts_with('"'));
    let room = |ResumeEntry { room, position, ahead }| (room, ClientPosition { position, ahead });
    are_named.then(|| entries.into_iter().map(room).collect())
}

fn json_error(error: serde_json::Error) -> Error {
    Error::BadJson(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        format!("{:?}", read(text, Dialect::Runtime, 10).unwrap_err())
    }

    #[test]
    fn array_is_not_the_payload_of_a_request() {
        let text = r#"["get",["/todo",null,null,null,null,null]]"#;
        assert_eq!(refused(text), "BadUrl");
        assert_eq!(dialect(text), None);
        let sails09 = read(r#"["get","[\"/todo\",null]"]"#, Dialect::Sails09, 10).unwrap_err();
        assert!(matches!(sails09, Error::BadUrl));
    }

    #[test]
    fn commas_in_a_text_are_not_counted_as_values() {
        let text = format!(r#"["post",{{"url":"/todo","data":{{"a":"{}"}}}}]"#, ",".repeat(25));
        assert!(size(&text, Dialect::Sails, 20).values() <= 20);
        assert!(size(&text, Dialect::Sails, 1_000).values() >= 25);
    }

    #[test]
    fn request_keeps_its_data_as_same_text() {
        let text = r#"["post",{"url":"/todo","headers":{"Idempotency-Key":"k","x":1,"y":null,"z":[]},"data":{"b":1,"a":2}}]"#;
        let Incoming::Request(request) = read(text, Dialect::Sails, 100).unwrap() else {
            panic!("it is a request");
        };
        assert_eq!(request.method, "POST");
        assert_eq!(request.url, "/todo");
        let headers = [("idempotency-key", "k"), ("x", "1")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(request.headers, headers);
        assert_eq!(request.data, r#"{"b":1,"a":2}"#);
    }

    #[test]
    fn params_are_part_of_body_and_data_takes_precedence() {
        let body = |fields: &str| {
            let text = format!(r#"["post",{{"url":"/todo",{fields}}}]"#);
            let Incoming::Request(request) = read(&text, Dialect::Sails, 100).unwrap() else {
                panic!("it is a request");
            };
            request.data.into_owned()
        };
        let both = body(r#""params":{"a":1,"b":1},"data":{"b":2}"#);
        assert_eq!(both, r#"{"a":1,"b":2}"#);
        assert_eq!(body(r#""params":{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(body(r#""params":{"a":1},"data":null"#), r#"{"a":1}"#);
        assert_eq!(body(r#""params":{"a":1},"data":[1]"#), "[1]");
        assert_eq!(body(r#""params":7,"data":{"b": 2}"#), r#"{"b": 2}"#);
    }

    #[test]
    fn malformed_event_is_refused_with_its_own_error() {
        assert!(refused(r#"["get"] x"#).starts_with("BadJson"));
        assert!(refused(r#"["get","{not json"]"#).starts_with("BadJson"));
        assert_eq!(refused(r#"["get"]"#), "BadUrl");
        assert_eq!(refused(r#"["get",{}]"#), "BadUrl");
        assert_eq!(refused(r#"["get",7]"#), "BadUrl");
        assert_eq!(refused(r#"["get",{"url":7}]"#), "BadUrl");
        assert_eq!(refused(r#"["get",{"url":"todo"}]"#), "BadUrl");
        assert_eq!(refused(r#"["get","{\"url\":\"/todo\"}"]"#), "BadUrl");
        assert_eq!(refused(r#"["fly",{"url":"/todo"}]"#), r#"UnknownVerb("fly")"#);
        assert!(refused(r#"["post",{"url":"/todo","data":"0123456789"}]"#).starts_with("TooLarge"));
        assert!(refused(r#"["resume",7]"#).starts_with("BadBody"));
        assert!(refused(r#"["unsubscribe"]"#).starts_with("BadBody"));
    }

    #[test]
    fn request_shows_its_dialect() {
        assert_eq!(dialect(r#"["get",{"url":"/todo"}]"#), Some(Dialect::Sails));
        assert_eq!(dialect(r#"["get", "{\"url\":\"/todo\"}"]"#), Some(Dialect::Sails09));
        assert_eq!(dialect(r#"["message","{oops"]"#), Some(Dialect::Sails09));
        assert_eq!(dialect(r#"["options",{"url":"/todo"}]"#), Some(Dialect::Sails));
        assert_eq!(dialect(r#"["todo:read"]"#), Some(Dialect::Node));
        for neither in [r#"["get"]"#, r#"["get",7]"#, r#"["message",{}]"#, r#"["chat","hi"]"#, "["]
        {
            assert_eq!(dialect(neither), None, "{neither}");
        }
    }

    #[test]
    fn json_in_query_is_accepted_without_escapes() {
        let text = r#"["get",{"url":"/todo?where={\"age\":{\">\":2}}"}]"#;
        let Incoming::Request(request) = read(text, Dialect::Sails, 100).unwrap() else {
            panic!("it is a request");
        };
        let request = request.into_http().unwrap();
        assert_eq!(request.uri().query(), Some("where={%22age%22:{%22%3E%22:2}}"));
    }

    #[test]
    fn resume_entry_has_at_most_four_positions() {
        let entry = |ahead: &str| format!(r#"["resume",[["todo",5,43,50{ahead}]]]"#);
        let read = |text: &str| read(text, Dialect::Runtime, 100).map(drop);
        assert!(read(&entry(",6,51,7,52,8,53")).is_ok());
        assert!(read(&entry(",6,51,7,52,8,53,9,54")).is_err());
        assert!(read(&entry(",6")).is_err());
    }

    #[test]
    fn only_runtime_can_resume() {
        let text = r#"["resume",[["todo",5,43],["cart/3",5,17,17,6,20]]]"#;
        let Ok(Incoming::Resume(rooms)) = read(text, Dialect::Runtime, 100) else {
            panic!("it is a resume");
        };
        let position = Position { epoch: 5, offset: 17 };
        let ahead = vec![Position { epoch: 6, offset: 20 }];
        let (name, seen) = &rooms[1];
        assert_eq!((name.get(), seen), (r#""cart/3""#, &ClientPosition { position, ahead }));
        assert!(matches!(read(text, Dialect::Sails, 100), Err(Error::UnknownVerb(_))));
    }
}
