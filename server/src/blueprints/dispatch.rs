//! Chooses the blueprint of a request, by its path and verb.

use axum::response::{IntoResponse, Response};
use backwire_records::change::Id;
use backwire_records::model::{Ids, Model};
use http::{Method, header};

use super::input::Input;
use super::target::Target;
use super::writes::{create, destroy, update};
use super::{associated, find, find_one};
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
    let is_sails = of.model.conventions.are_of_sails();
    if is_sails && !may_have(&of.model, of.route.id.as_ref()) {
        return Ok(Error::no_id_in_sails(&of.model.key));
    }
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
    match reply {
        Err(error) if is_sails => Ok(error.into_sails_response()),
        Err(error) => Err(error),
        Ok(reply) if method == Method::HEAD => Ok(reply.without_body()),
        Ok(reply) => Ok(reply.into_response()),
    }
}

/// Whether a resource may have a record with this id. Sails refuses a url with another one. Of
/// numbers that are no ids, such as 1.5, it finds no record.
fn may_have(model: &Model, id: Option<&Id>) -> bool {
    match id {
        Some(Id::Text(text)) if model.id_source() == Ids::Integer => {
            text.parse().is_ok_and(f64::is_finite)
        }
        _ => true,
    }
}
