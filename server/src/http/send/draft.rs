//! A message as it arrives, and what has to be true of it.

use backwire_records::messages::message::Message;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::sites::EventNames;

/// Rooms of one message.
const MOST_ROOMS: usize = 1000;

/// Bytes in the name of a room or an event.
const LONGEST_NAME: usize = 256;

/// What Socket.IO's clients say to themselves.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// What is not known of is left alone: senders have their own.
#[derive(Deserialize)]
pub(super) struct Draft {
    rooms: Option<Value>,
    event: Option<Value>,
    args: Option<Box<RawValue>>,
    resync: Option<Value>,
}

impl Draft {
    pub(super) fn read(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => {
                Error::BadBody("a message is a JSON object, and each of its keys is there once")
            }
            _ => Error::BadJson(error.to_string()),
        })
    }

    /// The message, at a site with such names; whether it is to be in order is its own matter or else
    /// that of the request.
    pub(super) fn message(self, names: EventNames, resync: bool) -> Result<Message> {
        Ok(Message {
            rooms: rooms(self.rooms)?,
            event: event(self.event, names)?,
            args: args(self.args)?,
            resync: match self.resync {
                None => resync,
                Some(Value::Bool(resync)) => resync,
                Some(Value::String(text)) => yes_or_no(&text)?,
                Some(Value::Number(number)) => yes_or_no(&number.to_string())?,
                Some(_) => return Err(BAD_RESYNC),
            },
        })
    }
}

const BAD_RESYNC: Error = Error::BadField("resync", "it has to be true or false");

/// Python writes `False`, and people write `no`. Any text used to be a yes, `false` included.
pub(super) fn yes_or_no(text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(BAD_RESYNC),
    }
}

/// One or many.
fn rooms(said: Option<Value>) -> Result<Vec<String>> {
    let rooms = match said {
        Some(Value::String(room)) => vec![room],
        Some(Value::Array(rooms)) => rooms.into_iter().map(name).collect::<Option<_>>().ok_or(
            Error::BadField("rooms", "it has to be the name of a room, or a list of such names"),
        )?,
        _ => return Err(Error::BadField("rooms", "it has to be the name of a room, or a list")),
    };
    if !matches!(rooms.len(), 1..=MOST_ROOMS) {
        return Err(Error::BadField("rooms", "there have to be 1 to 1000"));
    }
    if !rooms.iter().all(|room| matches!(room.len(), 1..=LONGEST_NAME)) {
        return Err(Error::BadField("rooms", "the name of a room has 1 to 256 bytes"));
    }
    Ok(rooms)
}

fn name(said: Value) -> Option<String> {
    match said {
        Value::String(name) => Some(name),
        _ => None,
    }
}

fn event(said: Option<Value>, names: EventNames) -> Result<String> {
    let event = said.and_then(name).filter(|event| matches!(event.len(), 1..=LONGEST_NAME));
    let event = event.ok_or(Error::BadField("event", "it has to be a name of 1 to 256 bytes"))?;
    if RESERVED.contains(&event.as_str()) {
        return Err(Error::BadField("event", "Socket.IO's clients have this event for themselves"));
    }
    if names.own().contains(&event.as_str()) {
        return Err(Error::BadField("event", "this is an event of the push service itself"));
    }
    Ok(event)
}

/// A list, or one; nothing is one that is null.
fn args(said: Option<Box<RawValue>>) -> Result<Vec<Box<RawValue>>> {
    let said = said.unwrap_or_else(|| RawValue::NULL.to_owned());
    if !said.get().starts_with('[') {
        return Ok(vec![said]);
    }
    serde_json::from_str(said.get()).map_err(|error| Error::BadJson(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> Result<Message> {
        Draft::read(json.as_bytes())?.message(EventNames::Plain, false)
    }

    fn told(json: &str) -> String {
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
    fn a_boolean_is_a_boolean_however_it_is_spelled() {
        let resync = |resync: &str, of_request| {
            let json = format!(r#"{{"rooms":"a","event":"e","resync":{resync}}}"#);
            Draft::read(json.as_bytes())?
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
    fn what_is_wrong_is_told_by_its_field() {
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
            (r#"{"rooms":"a","event":"disconnect"}"#, r#"400 "event": "Socket.IO's clients"#),
            (r#"{"rooms":"a","event":"batch"}"#, r#"400 "event": "this is an event of the push"#),
            (r#"{"rooms":"a","event":"e","resync":"x"}"#, r#"400 "resync": "it has to be true"#),
        ] {
            assert!(told(json).starts_with(error), "{}", told(json));
        }
    }

    #[test]
    fn a_site_with_underscored_names_has_the_plain_ones_for_its_app() {
        let json = |event: &str| format!(r#"{{"rooms":"a","event":"{event}"}}"#);
        let refused = |event: &str, names| {
            Draft::read(json(event).as_bytes()).unwrap().message(names, false).is_err()
        };
        for event in ["batch", "resync"] {
            assert!(refused(event, EventNames::Plain) && !refused(event, EventNames::Underscored));
        }
        for event in ["_batch", "_resync", "_settings"] {
            assert!(!refused(event, EventNames::Plain) && refused(event, EventNames::Underscored));
        }
    }
}
