//! Acks and pushes in the style of Node's callbacks, as `backbone.iobind` expects them.
//!
//! An ack has two arguments, the error and the data. A push is an event that is named after its
//! subject: `todo:create`, `todo/7:update`, `todo/7:delete`. Its payload is the record.

use std::borrow::Cow;

use backwire_records::change::{Attributes, Change, Verb};
use http::StatusCode;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::Arguments;
use crate::error::{Error, Result};

/// Returns the name of the event for a change. Creates are sent to the clients that listen to the
/// resource.
pub(crate) fn event(change: &Change) -> String {
    let (resource, id) = (&change.resource, &change.id);
    match change.verb {
        Verb::Create => format!("{resource}:create"),
        Verb::Update => format!("{resource}/{id}:update"),
        Verb::Destroy => format!("{resource}/{id}:delete"),
    }
}

/// Returns the record as it is now, or as it was when it was destroyed, as far as that is known.
pub(crate) fn payload(change: &Change) -> Cow<'_, Attributes> {
    match change.after.as_deref().or(change.before.as_deref()) {
        Some(record) => Cow::Borrowed(record),
        None => Cow::Owned(Map::from_iter([("id".to_owned(), change.id.to_json())])),
    }
}

/// Returns the ack for a response of the router, whose body is raw JSON.
pub(super) fn ack(status: StatusCode, body: Option<Box<RawValue>>) -> Result<Arguments> {
    let body = body.unwrap_or_else(|| RawValue::NULL.to_owned());
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(Arguments::Two([RawValue::NULL.to_owned(), body]));
    }
    let body = match serde_json::from_str(body.get()) {
        Ok(Value::Object(body)) => body,
        Ok(message) => Map::from_iter([("message".to_owned(), message)]),
        Err(error) => return Err(Error::BadAnswer(error.to_string())),
    };
    Ok(failure(status, body))
}

/// Returns the ack of a refusal.
pub(super) fn refusal(error: &Error) -> Arguments {
    let (status, body) = error.refusal();
    failure(status, serde_json::from_str(body.get()).expect("a refusal is a JSON object"))
}

/// Returns the ack of a failure. It has no place for a status but in the error.
fn failure(status: StatusCode, body: Attributes) -> Arguments {
    let mut failure = Map::from_iter([("status".to_owned(), status.as_u16().into())]);
    failure.extend(body);
    Arguments::One(to_raw_value(&failure).expect("a map with string keys is JSON"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::runtime::tests::change;

    fn push(verb: Verb, set: Value) -> String {
        let change = change(43, 17, verb, set);
        serde_json::to_string(&(event(&change), payload(&change))).unwrap()
    }

    fn answer(status: u16, body: Option<&str>) -> String {
        let body = body.map(|text| RawValue::from_string(text.to_owned()).unwrap());
        let ack = ack(StatusCode::from_u16(status).unwrap(), body).unwrap();
        serde_json::to_string(&ack).unwrap()
    }

    #[test]
    fn push_is_named_after_its_subject() {
        assert_eq!(
            push(Verb::Create, json!({ "title": "Eggs", "id": 7 })),
            r#"["todo:create",{"title":"Eggs","id":7}]"#
        );
        assert_eq!(
            push(Verb::Update, json!({ "done": true })),
            r#"["todo/7:update",{"title":"Milk","done":true,"id":7}]"#
        );
        assert_eq!(
            push(Verb::Destroy, json!({})),
            r#"["todo/7:delete",{"title":"Milk","done":false,"id":7}]"#
        );
    }

    #[test]
    fn ack_is_error_or_null_and_then_data() {
        assert_eq!(answer(201, Some(r#"{"id":1}"#)), r#"[null,{"id":1}]"#);
        assert_eq!(answer(204, None), "[null,null]");
        assert_eq!(answer(403, Some(r#""no""#)), r#"{"status":403,"message":"no"}"#);
        assert_eq!(
            answer(404, Some(r#"{"code":"E_NOT_FOUND","message":"no todo 9"}"#)),
            r#"{"status":404,"code":"E_NOT_FOUND","message":"no todo 9"}"#
        );
    }
}
