//! Acks and pushes as Sails 0.9 expects them.
//!
//! An ack is one string: JSON as text, text unchanged. It has no status, so a refusal has its
//! status in the body. Sails adds little else; Backwire adds a code and a reason. A push is always
//! the event `message`, and its author receives it, too.

use backwire_records::change::{Attributes, Change, Id, Resource, Verb};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The name of the event of all pushes.
pub(crate) const EVENT: &str = "message";

/// The payload of a change.
#[derive(Debug, Serialize)]
pub(crate) struct ChangePayload<'a> {
    model: &'a Resource,
    verb: Verb,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Attributes>,
    id: &'a Id,
}

/// Returns the payload of a change. Creates and updates have the whole record.
pub(crate) fn payload(change: &Change) -> ChangePayload<'_> {
    ChangePayload {
        model: &change.resource,
        verb: change.verb,
        data: change.after.as_deref(),
        id: &change.id,
    }
}

/// Returns the ack for a response of the router.
pub(crate) fn ack(status: StatusCode, is_json: bool, body: &[u8]) -> Result<Box<RawValue>> {
    let text = String::from_utf8_lossy(body);
    if !status.is_client_error() && !status.is_server_error() {
        return if body.is_empty() { Ok(RawValue::NULL.to_owned()) } else { string(&text) };
    }
    let body = if is_json { serde_json::from_str(&text).ok() } else { None };
    string(&failure(status, body.unwrap_or_else(|| Value::from(&*text))))
}

/// Returns the ack of a refusal. For malformed input it is a sentence.
pub(crate) fn refusal(error: &Error) -> Box<RawValue> {
    let text = match error {
        Error::BadJson(what) => {
            Ok(format!("Invalid socket request! The following JSON could not be parsed :: {what}"))
        }
        Error::BadUrl => Ok(format!("No url provided in request: {error}")),
        _ => Err(error.refusal()),
    };
    let text = text.unwrap_or_else(|(status, body)| {
        let body = serde_json::from_str(body.get()).expect("a refusal is JSON");
        failure(status, body)
    });
    string(&text).expect("a string is JSON")
}

fn string(text: &str) -> Result<Box<RawValue>> {
    to_raw_value(text).map_err(|error| Error::BadAnswer(error.to_string()))
}

/// Returns `{status, …}`, with the fields of Sails for such a failure and then ours.
fn failure(status: StatusCode, body: Value) -> String {
    let body = match body {
        Value::Object(body) => body,
        message => Map::from_iter([("message".to_owned(), message)]),
    };
    let mut failure = Map::new();
    failure.insert("status".to_owned(), status.as_u16().into());
    if body.get("code").is_some_and(|code| code == "E_NO_ID") {
        failure.insert("validationErrors".to_owned(), "No id provided.".into());
    }
    if let (true, Some(message)) = (status.is_server_error(), body.get("message")) {
        failure.insert("errors".to_owned(), Value::from([message.clone()].as_slice()));
    }
    failure.extend(body);
    Value::Object(failure).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::runtime::tests::change;

    fn push(verb: Verb, set: Value) -> String {
        serde_json::to_string(&payload(&change(43, 17, verb, set))).unwrap()
    }

    fn answer(status: u16, is_json: bool, body: &str) -> Value {
        let ack = ack(StatusCode::from_u16(status).unwrap(), is_json, body.as_bytes()).unwrap();
        serde_json::from_str(ack.get()).unwrap()
    }

    #[test]
    fn push_has_whole_record() {
        assert_eq!(
            push(Verb::Create, json!({ "title": "Eggs", "id": 7 })),
            r#"{"model":"todo","verb":"create","data":{"title":"Eggs","id":7},"id":7}"#
        );
        assert_eq!(
            push(Verb::Update, json!({ "done": true })),
            r#"{"model":"todo","verb":"update","data":{"title":"Milk","done":true,"id":7},"id":7}"#
        );
        assert_eq!(push(Verb::Destroy, json!({})), r#"{"model":"todo","verb":"destroy","id":7}"#);
    }

    #[test]
    fn json_is_sent_as_text_and_empty_body_as_null() {
        assert_eq!(answer(201, true, r#"{"id":1}"#), json!(r#"{"id":1}"#));
        assert_eq!(answer(200, false, "hello"), json!("hello"));
        assert_eq!(answer(204, false, ""), Value::Null);
    }

    #[test]
    fn failure_has_its_status() {
        assert_eq!(answer(403, true, r#""no""#), json!(r#"{"status":403,"message":"no"}"#));
        assert_eq!(
            answer(404, true, r#"{"code":"E_NOT_FOUND","message":"no todo 9"}"#),
            json!(r#"{"status":404,"code":"E_NOT_FOUND","message":"no todo 9"}"#)
        );
        assert_eq!(
            answer(500, true, r#"{"code":"E_X","message":"boom"}"#),
            json!(r#"{"status":500,"errors":["boom"],"code":"E_X","message":"boom"}"#)
        );
    }

    #[test]
    fn malformed_request_is_refused_with_sentence() {
        assert_eq!(
            refusal(&Error::BadJson("{notjson".to_owned())).get(),
            r#""Invalid socket request! The following JSON could not be parsed :: {notjson""#
        );
        assert!(refusal(&Error::BadUrl).get().starts_with(r#""No url provided in request: "#));
    }
}
