//! Requests in the style of Node's callbacks: the event is `<resource>:<what to do>`, its data what to
//! do it with, an id among it.

use std::borrow::Cow;

use backwire_records::change::Resource;
use http::Method;
use serde_json::value::RawValue;

use super::{Request, shown};
use crate::error::{Error, Result};

/// The resource and the verb an event is named after, if it is.
pub(super) fn split(name: &str) -> Option<(&str, Method)> {
    let (resource, deed) = name.rsplit_once(':')?;
    let method = match deed {
        "create" => Method::POST,
        "read" => Method::GET,
        "update" => Method::PUT,
        "patch" => Method::PATCH,
        "delete" => Method::DELETE,
        _ => return None,
    };
    Resource::parse(resource).is_some().then_some((resource, method))
}

/// Reads a request.
pub(super) fn request<'a>(
    name: &str,
    argument: Option<&'a RawValue>,
    body_limit: usize,
) -> Result<Request<'a>> {
    let (resource, method) = split(name).ok_or_else(|| Error::UnknownVerb(shown(name)))?;
    let data = argument.map_or("", RawValue::get);
    // A collection sends all its models along when it is read.
    let is_meant = data.starts_with('{') || method != Method::GET;
    let data = if is_meant { data } else { "" };
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

    fn asked(event: &Value) -> String {
        match read(&event.to_string(), Dialect::Node, 10) {
            Ok(Incoming::Request(Request { method, url, data, .. })) => {
                format!("{method} {url} {data}")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_event_is_named_after_a_resource_and_what_to_do() {
        assert_eq!(asked(&json!(["todo:create", { "a": 1 }])), r#"POST /todo {"a":1}"#);
        assert_eq!(asked(&json!(["todo:read", { "id": 7 }])), r#"GET /todo {"id":7}"#);
        assert_eq!(asked(&json!(["todo:read", [{ "id": 7 }]])), "GET /todo ");
        assert_eq!(asked(&json!(["todo:read", ["0123456789"]])), "GET /todo ");
        assert_eq!(asked(&json!(["Todo:read"])), "GET /Todo ");
        assert_eq!(asked(&json!(["todo:update", { "id": 7 }])), r#"PUT /todo {"id":7}"#);
        assert_eq!(asked(&json!(["todo:patch", { "id": 7 }])), r#"PATCH /todo {"id":7}"#);
        assert_eq!(asked(&json!(["todo:delete", { "id": 7 }])), r#"DELETE /todo {"id":7}"#);
    }

    #[test]
    fn what_is_named_after_neither_is_refused() {
        for name in ["todo", "todo:fly", "to/do:read", ":read", "publish:read", "get"] {
            let unknown = format!("Err(UnknownVerb({name:?}))");
            assert_eq!(asked(&json!([name, {}])), unknown);
        }
        assert!(asked(&json!(["todo:create", "0123456789"])).starts_with("Err(TooLarge"));
    }
}
