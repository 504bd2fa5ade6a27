//! Requests of Sails 0.9: the payload is a string, which contains the JSON that other clients send
//! directly. There are no headers, and so no keys.

use std::borrow::Cow;

use backwire_records::criteria::escaped_name;
use serde_json::value::RawValue;

use super::request::{Payload, Request, method};
use super::text::string;
use crate::error::{Error, Result};

/// The event whose payload has the verb.
pub(super) const ANY_VERB: &str = "message";

/// Parses a request. Sails 0.9 itself also accepted JSON that is not in a string.
pub(super) fn request(
    name: &str,
    argument: Option<&RawValue>,
    body_limit: usize,
) -> Result<Request<'static>> {
    let argument = argument.ok_or(Error::BadUrl)?;
    let text = string(argument).unwrap_or(Cow::Borrowed(argument.get()));
    if serde_json::from_str::<&RawValue>(&text).is_err() {
        return Err(Error::BadJson(escaped_name(&text)));
    }
    let payload = Payload::parse(&text)?;
    let verb = if name == ANY_VERB { verb(&payload) } else { name.into() };
    let method = method(&verb.to_ascii_lowercase());
    let method = method.ok_or_else(|| Error::UnknownVerb(escaped_name(&verb)))?;
    payload.request(method, body_limit).map(Request::into_owned)
}

/// Returns the verb of the payload, or `get` if it has none.
fn verb<'a>(payload: &Payload<'a>) -> Cow<'a, str> {
    let verb = payload.verb.or(payload.method);
    verb.map_or("get".into(), |verb| string(verb).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::{Incoming, read};
    use super::*;
    use crate::dialect::Dialect;

    fn of_sails09(name: &str, payload: &str) -> Result<(Method, String, String)> {
        let text = serde_json::json!([name, payload]).to_string();
        let Incoming::Request(request) = read(&text, Dialect::Sails09, 10)? else {
            panic!("it is a request");
        };
        assert!(request.headers.is_empty());
        Ok((request.method, request.url.into_owned(), request.data.into_owned()))
    }

    #[test]
    fn request_of_sails_0_9_is_json_in_string() {
        let (method, url, data) =
            of_sails09("put", r#"{"url":"/todo/7","data":{"b":1},"headers":{"a":"b"}}"#).unwrap();
        assert_eq!((method, &*url, &*data), (Method::PUT, "/todo/7", r#"{"b":1}"#));
        let verb_of = |payload| of_sails09("message", payload).unwrap().0;
        assert_eq!(verb_of(r#"{"url":"/todo"}"#), "GET");
        assert_eq!(verb_of(r#"{"url":"/todo","verb":"POST"}"#), "POST");
        assert_eq!(verb_of(r#"{"url":"/todo","method":"delete"}"#), "DELETE");
        let refused = |name, payload| format!("{:?}", of_sails09(name, payload).unwrap_err());
        assert_eq!(refused("get", "{oops"), r#"BadJson("{oops")"#);
        assert_eq!(refused("get", "{}"), "BadUrl");
        assert_eq!(refused("get", "7"), "BadUrl");
        assert_eq!(refused("fly", r#"{"url":"/todo"}"#), r#"UnknownVerb("fly")"#);
        assert_eq!(refused("message", r#"{"url":"/todo","verb":7}"#), r#"UnknownVerb("")"#);
        assert!(refused("post", r#"{"url":"/todo","data":"0123456789"}"#).starts_with("TooLarge"));
    }
}
