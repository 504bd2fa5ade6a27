//! Chooses the blueprint of a request, by its path and verb.

use axum::response::{IntoResponse, Response};
use http::{Method, header};

use super::input::Input;
use super::target::Target;
use super::{associated, create, destroy, find, find_one, update};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::route::Operation;

/// Answers a request for a resource or one of its records, by path and verb.
pub(crate) async fn answer(
    cx: Context,
    method: Method,
    of: Target,
    input: Input,
) -> Result<Response> {
    if method == Method::OPTIONS {
        return Ok([(header::ALLOW, of.route.allowed_methods())].into_response());
    }
    let Some(operation) = of.route.operation(&method) else {
        let refused = Error::UnknownVerb(method.to_string());
        return Ok(([(header::ALLOW, of.route.allowed_methods())], refused).into_response());
    };
    // Until the request writes, it may still be refused for lack of memory.
    cx.set_writing(false);
    input.check_size(of.model.most.body)?;
    let reply = match operation {
        // Boxed, because otherwise every request would reserve memory for this future.
        _ if of.route.nested.is_some() => {
            Box::pin(associated::answer(cx, of, input, operation)).await
        }
        Operation::Find if of.route.id.is_some() => find_one(cx, of, input).await,
        Operation::Find => find(cx, of, input).await,
        Operation::Create => create(cx, of, input).await,
        Operation::Update | Operation::Put => update(cx, of, input, operation).await,
        Operation::Destroy => destroy(cx, of, input).await,
    };
    Ok(if method == Method::HEAD { reply?.without_body() } else { reply?.into_response() })
}
