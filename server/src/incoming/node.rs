//! Requests in the style of Node's callbacks: the event is `<resource>:<verb>`, and its data has
//! what the verb needs, with the id.

use std::borrow::Cow;

use backwire_records::change::Resource;
use backwire_records::criteria::escaped_name;
use http::Method;
use serde_json::value::RawValue;

use super::request::Request;
use crate::error::{Error, Result};

/// Returns the resource and the method in the name of an event, if it has them.
pub(super) fn split(name: &str) -> Option<(&str, Method)> {
    let (resource, verb) = name.rsplit_once(':')?;
    let method = match verb {
        "create" => Method::POST,
        "read" => Method::GET,
        "update" => Method::PUT,
        "patch" => Method::PATCH,
        "delete" => Method::DELETE,
        _ => return None,
    };
    Resource::parse(resource).is_some().then_some((resource, method))
}

/// Parses a request.
pub(super) fn request<'a>(
    name: &str,
    argument: Option<&'a RawValue>,
    body_limit: usize,
) -> Result<Request<'a>> {
    let (resource, method) = split(name).ok_or_else(|| Error::UnknownVerb(escaped_name(name)))?;
    let data = argument.map_or("", RawValue::get);
    // A read of a collection sends all its models along, which are ignored.
    let is_used = data.starts_with('{') || method != Method::GET;
    let data = if is_used { data } else { "" };
    if data.len() > body_limit {
        return Err(Error::too_large(data.len(), body_limit));
    }
    let url = Cow::Owned(format!("/{resource}"));
    Ok(Request { method, url, headers: Vec::new(), data: data.into() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Incoming, read};
    use super::*;
    use crate::dialect::Dialect;

    fn parsed(event: &Value) -> String {
        match read(&event.to_string(), Dialect::Node, 10) {
            Ok(Incoming::Request(Request { method, url, data, .. })) => {
                format!("{method} {url} {data}")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn event_name_has_resource_and_verb() {
        assert_eq!(parsed(&json!(["todo:create", { "a": 1 }])), r#"POST /todo {"a":1}"#);
        assert_eq!(parsed(&json!(["todo:read", { "id": 7 }])), r#"GET /todo {"id":7}"#);
        assert_eq!(parsed(&json!(["todo:read", [{ "id": 7 }]])), "GET /todo ");
        assert_eq!(parsed(&json!(["todo:read", ["0123456789"]])), "GET /todo ");
        assert_eq!(parsed(&json!(["Todo:read"])), "GET /Todo ");
        assert_eq!(parsed(&json!(["todo:update", { "id": 7 }])), r#"PUT /todo {"id":7}"#);
        assert_eq!(parsed(&json!(["todo:patch", { "id": 7 }])), r#"PATCH /todo {"id":7}"#);
        assert_eq!(parsed(&json!(["todo:delete", { "id": 7 }])), r#"DELETE /todo {"id":7}"#);
    }

    #[test]
    fn event_without_resource_or_verb_is_refused() {
        for name in ["todo", "todo:fly", "to/do:read", ":read", "publish:read", "get"] {
            let unknown = format!("Err(UnknownVerb({name:?}))");
            assert_eq!(parsed(&json!([name, {}])), unknown);
        }
        assert!(parsed(&json!(["todo:create", "0123456789"])).starts_with("Err(TooLarge"));
    }
}
