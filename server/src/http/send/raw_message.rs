//! Parses and validates one message.

use backwire_records::messages::message::Message;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::event_name::{self, MAX_NAME_BYTES};
use crate::sites::EventNames;

/// How many rooms one message may have.
const MAX_ROOMS: usize = 1000;

/// A message before its fields are checked. Unknown fields are ignored, because senders have their
/// own.
#[derive(Deserialize)]
pub(super) struct RawMessage {
    rooms: Option<Value>,
    event: Option<Value>,
    args: Option<Box<RawValue>>,
    resync: Option<Value>,
}

impl RawMessage {
    pub(super) fn read(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => {
                Error::BadBody("a message is a JSON object, and each of its keys is there once")
            }
            _ => Error::BadJson(error.to_string()),
        })
    }

    /// Validates the message for a site with these event names. `resync` is the value of the
    /// request, and applies if the message has none.
    pub(super) fn message(self, names: EventNames, resync: bool) -> Result<Message> {
        Ok(Message {
            rooms: rooms(self.rooms)?,
            event: event(self.event, names)?,
            args: args(self.args)?,
            resync: match self.resync {
                None => resync,
                Some(Value::Bool(resync)) => resync,
                Some(Value::String(text)) => parse_bool(&text)?,
                Some(Value::Number(number)) => parse_bool(&number.to_string())?,
                Some(_) => return Err(BAD_RESYNC),
            },
        })
    }
}

const BAD_RESYNC: Error = Error::BadField("resync", "it has to be true or false");

/// Parses a boolean. Python writes `False`, and people write `no`. Earlier versions took any text,
/// including `false`, as true.
pub(super) fn parse_bool(text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(BAD_RESYNC),
    }
}

/// Parses the rooms: one name or a list.
fn rooms(value: Option<Value>) -> Result<Vec<String>> {
    let rooms = match value {
        Some(Value::String(room)) => vec![room],
        Some(Value::Array(rooms)) => rooms.into_iter().map(name).collect::<Option<_>>().ok_or(
            Error::BadField("rooms", "it has to be the name of a room, or a list of such names"),
        )?,
        _ => return Err(Error::BadField("rooms", "it has to be the name of a room, or a list")),
    };
    if !matches!(rooms.len(), 1..=MAX_ROOMS) {
        return Err(Error::BadField("rooms", "there have to be 1 to 1000"));
    }
    if !rooms.iter().all(|room| matches!(room.len(), 1..=MAX_NAME_BYTES)) {
        return Err(Error::BadField("rooms", "the name of a room has 1 to 256 bytes"));
    }
    Ok(rooms)
}

fn name(value: Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name),
        _ => None,
    }
}

fn event(value: Option<Value>, names: EventNames) -> Result<String> {
    let event = value.and_then(name).unwrap_or_default();
    event_name::check(&event)?;
    if names.own().contains(&event.as_str()) {
        return Err(Error::BadField("event", "this is an event of the push service itself"));
    }
    Ok(event)
}

/// Parses the arguments: a list or one value. A message without `args` has one argument, `null`.
fn args(value: Option<Box<RawValue>>) -> Result<Vec<Box<RawValue>>> {
    let value = value.unwrap_or_else(|| RawValue::NULL.to_owned());
    if !value.get().starts_with('[') {
        return Ok(vec![value]);
    }
    serde_json::from_str(value.get()).map_err(|error| Error::BadJson(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> Result<Message> {
        RawMessage::read(json.as_bytes())?.message(EventNames::Plain, false)
    }

    fn refusal_of(json: &str) -> String {
        let error = message(json).unwrap_err();
        let (status, refusal) = error.refusal();
        let refusal: Value = serde_json::from_str(refusal.get()).unwrap();
        format!("{} {}: {}", status.as_u16(), refusal["field"], refusal["message"])
    }

    #[test]
    fn rooms_and_args_are_one_or_many() {
        for (args, read) in [
            (r#","args":["user",{"id":1.50}]"#, vec![r#""user""#, r#"{"id":1.50}"#]),
            (r#","args":{"id":1}"#, vec![r#"{"id":1}"#]),
            (r#","args": "user""#, vec![r#""user""#]),
            (r#","args":[[1]]"#, vec!["[1]"]),
            (r#","args":[]"#, vec![]),
            (r#","args":null"#, vec!["null"]),
            ("", vec!["null"]),
        ] {
            let one = message(&format!(r#"{{"rooms":"a","event":"e"{args}}}"#)).unwrap();
            let many = message(&format!(r#"{{"rooms":["a","b"],"event":"e"{args}}}"#)).unwrap();
            assert_eq!(
                (&*one.rooms, &*many.rooms),
                (&["a".into()][..], &["a".into(), "b".into()][..])
            );
            assert_eq!(one.args.iter().map(|arg| arg.get()).collect::<Vec<_>>(), read);
            assert_eq!((one.event, one.resync), ("e".to_owned(), false));
        }
    }

    #[test]
    fn resync_accepts_every_spelling_of_a_boolean() {
        let resync = |resync: &str, of_request| {
            let json = format!(r#"{{"rooms":"a","event":"e","resync":{resync}}}"#);
            RawMessage::read(json.as_bytes())?
                .message(EventNames::Plain, of_request)
                .map(|message| message.resync)
        };
        for yes in ["true", "1", r#""true""#, r#""1""#, r#""True""#, r#""yes""#, r#""ON""#] {
            assert!(resync(yes, false).unwrap(), "{yes}");
        }
        for no in
            ["false", "0", r#""false""#, r#""0""#, r#""""#, r#""False""#, r#""No""#, r#""off""#]
        {
            assert!(!resync(no, true).unwrap(), "{no}");
        }
        assert!(resync("null", true).unwrap() && !resync("null", false).unwrap());
        for neither in [r#""maybe""#, "2", "[]", r#""yes please""#] {
            assert!(resync(neither, true).is_err(), "{neither}");
        }
    }

    #[test]
    fn refusal_names_the_invalid_field() {
        let many = format!(r#"{{"event":"e","rooms":["{}"]}}"#, ["a"; 1001].join("\",\""));
        let long = format!(r#"{{"event":"e","rooms":"{}"}}"#, "a".repeat(257));
        for (json, error) in [
            ("{oops", r#"400 null: "this is not JSON: "#),
            ("7", r#"400 "body": "a message is a JSON object"#),
            (r#"{"event":"e","event":"f"}"#, r#"400 "body": "a message is a JSON object"#),
            (r#"{"event":"e"}"#, r#"400 "rooms": "#),
            (r#"{"event":"e","rooms":[1]}"#, r#"400 "rooms": "#),
            (r#"{"event":"e","rooms":{}}"#, r#"400 "rooms": "#),
            (r#"{"event":"e","rooms":[]}"#, r#"400 "rooms": "there have to be 1 to 1000"#),
            (&many, r#"400 "rooms": "there have to be 1 to 1000"#),
            (r#"{"event":"e","rooms":[""]}"#, r#"400 "rooms": "the name of a room has"#),
            (&long, r#"400 "rooms": "the name of a room has"#),
            (r#"{"rooms":"a"}"#, r#"400 "event": "it has to be a name"#),
            (r#"{"rooms":"a","event":""}"#, r#"400 "event": "#),
            (r#"{"rooms":"a","event":1}"#, r#"400 "event": "#),
            (r#"{"rooms":"a","event":"disconnect"}"#, r#"400 "event": "Socket.IO clients"#),
            (r#"{"rooms":"a","event":"batch"}"#, r#"400 "event": "this is an event of the push"#),
            (r#"{"rooms":"a","event":"e","resync":"x"}"#, r#"400 "resync": "it has to be true"#),
        ] {
            assert!(refusal_of(json).starts_with(error), "{}", refusal_of(json));
        }
    }

    #[test]
    fn site_with_underscored_names_may_send_plain_event_names() {
        let json = |event: &str| format!(r#"{{"rooms":"a","event":"{event}"}}"#);
        let refused = |event: &str, names| {
            RawMessage::read(json(event).as_bytes()).unwrap().message(names, false).is_err()
        };
        for event in ["batch", "resync"] {
            assert!(refused(event, EventNames::Plain) && !refused(event, EventNames::Underscored));
        }
        for event in ["_batch", "_resync", "_settings"] {
            assert!(!refused(event, EventNames::Plain) && refused(event, EventNames::Underscored));
        }
    }
}
