//! Method override and form bodies: `Backbone.emulateHTTP`, `Backbone.emulateJSON` and forms with a
//! `_method`. Pages that were made for servers with only `GET` and `POST`, or only forms, send such
//! requests.
//!
//! The server rewrites such a request before it looks for a route, over HTTP and sockets alike.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use backwire_records::brackets;
use backwire_records::change::Attributes;
use backwire_records::json_size::JsonSize;
use http::{HeaderName, HeaderValue, Method, header};
use http_body_util::{BodyExt, LengthLimitError};

use crate::error::{Error, Result};
use crate::parse_claim::ParseClaim;

/// The header with the intended method.
const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// The form field with the intended method.
const METHOD: &str = "_method";

/// The form field that holds a model as JSON.
const MODEL: &str = "model";

/// The content type of forms.
pub(crate) const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Rewrites requests over HTTP.
pub(crate) async fn layer(State(limit): State<usize>, request: Request, next: Next) -> Response {
    match rewrite(request, limit).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Gives a request its intended method and body. The refusal of a large body names `limit`.
pub(crate) async fn rewrite(mut request: Request, limit: usize) -> Result<Request> {
    let header = request.headers().get(&OVERRIDE).and_then(|value| value.to_str().ok());
    let mut intended = header.and_then(method);
    if has_form(&request) {
        let (parts, body) = request.into_parts();
        let body = read(body, limit).await?;
        let fields = brackets::read(&body).unwrap_or_default();
        intended = intended.or_else(|| fields.get(METHOD)?.as_str().and_then(method));
        request = Request::from_parts(parts, Body::empty());
        if let (Some(model), Some(claim)) = (model_text(&fields), request.extensions().get()) {
            ParseClaim::claim(claim, JsonSize::of(model)).await?;
        }
        replace_body(&mut request, body, &fields);
    }
    if let (Some(intended), &Method::POST) = (intended, request.method()) {
        *request.method_mut() = intended;
    }
    Ok(request)
}

/// Parses a method that a `POST` may stand for.
fn method(name: &str) -> Option<Method> {
    match &*name.to_ascii_uppercase() {
        "PUT" => Some(Method::PUT),
        "PATCH" => Some(Method::PATCH),
        "DELETE" => Some(Method::DELETE),
        _ => None,
    }
}

fn has_form(request: &Request) -> bool {
    let is_write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let kind = request.headers().get(header::CONTENT_TYPE);
    is_write && kind.is_some_and(|kind| kind.as_bytes().starts_with(FORM))
}

/// Reads a body. The refusal of a large body names `limit`.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes> {
    let read = body.collect().await.map_err(|error| match is_over_limit(&error) {
        true => Error::TooLarge { size: format!("more than {limit} bytes"), limit },
        false => Error::BadBody("the body could not be read"),
    });
    Ok(read?.to_bytes())
}

/// Whether a body could not be read because of the limit of its bytes. Each layer may have wrapped
/// the error.
fn is_over_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_over_limit)
}

/// Replaces a form with a model and nothing else by that model. Removes `_method`, which is not a
/// value of the record.
fn replace_body(request: &mut Request, body: Bytes, fields: &Attributes) {
    let body = match model(fields) {
        Some(model) => {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
            Bytes::from(model)
        }
        None if fields.contains_key(METHOD) => without_field(&body, METHOD),
        None => body,
    };
    request.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
    *request.body_mut() = Body::from(body);
}

/// Returns the text of the model if a form has no other value. The text may be JSON.
fn model_text(fields: &Attributes) -> Option<&str> {
    let is_model_alone = fields.keys().all(|name| name == MODEL || name == METHOD);
    fields.get(MODEL).filter(|_| is_model_alone)?.as_str()
}

fn model(fields: &Attributes) -> Option<String> {
    let text = model_text(fields)?;
    serde_json::from_str::<Attributes>(text).ok().map(|_| text.to_owned())
}

/// Removes a field from a form or a query.
pub(crate) fn without_field(form: &[u8], name: &str) -> Bytes {
    let is_field = |pair: &&[u8]| pair.split(|byte| *byte == b'=').next() == Some(name.as_bytes());
    let pairs: Vec<_> = form.split(|byte| *byte == b'&').filter(|pair| !is_field(pair)).collect();
    pairs.join(&b'&').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rewritten(method: Method, headers: &[(HeaderName, &str)], body: &str) -> String {
        let mut request = Request::new(Body::from(body.to_owned()));
        *request.method_mut() = method;
        for (name, value) in headers {
            request.headers_mut().insert(name.clone(), value.parse().unwrap());
        }
        let request = rewrite(request, 100).await.unwrap();
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        format!("{method} {}", String::from_utf8_lossy(&body))
    }

    const FORM: (HeaderName, &str) =
        (header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=UTF-8");

    #[tokio::test]
    async fn post_with_an_override_header_becomes_another_write() {
        for (intended, expected) in [
            ("PUT", "PUT {}"),
            ("patch", "PATCH {}"),
            ("DELETE", "DELETE {}"),
            ("GET", "POST {}"),
            ("TRACE", "POST {}"),
        ] {
            assert_eq!(rewritten(Method::POST, &[(OVERRIDE, intended)], "{}").await, expected);
        }
        assert_eq!(rewritten(Method::GET, &[(OVERRIDE, "DELETE")], "").await, "GET ");
        assert_eq!(rewritten(Method::PUT, &[(OVERRIDE, "DELETE")], "").await, "PUT ");
    }

    #[tokio::test]
    async fn form_with_only_a_model_becomes_the_model() {
        let model = "model=%7B%22title%22%3A%22A%26B%22%7D";
        let json = r#"{"title":"A&B"}"#;
        assert_eq!(rewritten(Method::POST, &[FORM], model).await, format!("POST {json}"));
        assert_eq!(rewritten(Method::PUT, &[FORM], model).await, format!("PUT {json}"));
        let put = format!("{model}&_method=PUT");
        assert_eq!(rewritten(Method::POST, &[FORM], &put).await, format!("PUT {json}"));
        assert_eq!(rewritten(Method::POST, &[FORM], "_method=DELETE").await, "DELETE ");
        let header = [FORM, (OVERRIDE, "PATCH")];
        assert_eq!(rewritten(Method::POST, &header, &put).await, format!("PATCH {json}"));
    }

    #[tokio::test]
    async fn other_forms_keep_their_values() {
        for form in ["model=T&year=1908", "model=T", "title=a", "model=%5B%5D", "a[=1"] {
            assert_eq!(rewritten(Method::POST, &[FORM], form).await, format!("POST {form}"));
        }
        let form = "title=a&_method=put&done=1";
        assert_eq!(rewritten(Method::POST, &[FORM], form).await, "PUT title=a&done=1");
        assert_eq!(rewritten(Method::POST, &[], "_method=PUT").await, "POST _method=PUT");
    }
}
