//! The target of a request, parsed from its url.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use backwire_engine as engine;
use backwire_records::change::Attributes;
use backwire_records::criteria::Parameters;
use backwire_records::model::Model;
use backwire_records::write::WriteError;
use http::Method;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::route::Route;
use crate::shared::Shared;
use crate::socket::Client;

/// The target of a request, parsed from its url.
#[derive(Debug)]
pub(crate) struct Target {
    pub(super) route: Route,
    pub(super) model: Arc<Model>,
    /// Decoded names and values. Empty for a write where they have no meaning.
    pub(super) query: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let shared = Shared::of(parts);
        let route = shared.routing.read(parts.uri.path());
        let route = route.map_err(|error| sent_to_http(parts, error))?;
        let model = shared.model(&route.resource)?;
        let target = match &route.nested {
            Some(nested) => shared.model(&nested.association.target)?,
            None => Arc::clone(&model),
        };
        let query = query_of(parts, &route, &target)?;
        Ok(Self { route, model, query })
    }
}

/// A path without a resource may be a page, or a route of another server behind the same address.
/// So our runtime sends the request over HTTP.
fn sent_to_http(parts: &Parts, error: Error) -> Error {
    let client = parts.extensions.get::<Client>();
    let is_runtime = client.is_some_and(|client| client.dialect() == Dialect::Runtime);
    match error {
        Error::NoRoute(path) if is_runtime => Error::HttpOnly(path),
        // No id of a resource, but perhaps a url of that other server.
        Error::Engine(engine::Error::Refused(WriteError::BadId)) if is_runtime => {
            Error::HttpOnly(parts.uri.path().to_owned())
        }
        error => error,
    }
}

/// The server refuses criteria beside a write, because it does not write to all records that fulfil
/// them. It ignores other parameters of a write (`?_csrf=…`). The parameters of a shortcut are
/// attributes, and in Sails those of every write. `target` is the model of the written records.
fn query_of(parts: &Parts, route: &Route, target: &Model) -> Result<Vec<(String, String)>> {
    let Query(mut query): Query<Vec<(String, String)>> =
        Query::try_from_uri(&parts.uri).map_err(|_| Error::BadUrl)?;
    // A query that is not UTF-8 would be decoded to another text, which the client may not mean.
    let is_text = |query| percent_decode_str(query).decode_utf8().is_ok();
    if !parts.uri.query().is_none_or(is_text) {
        return Err(Error::BadUrl);
    }
    let is_sails = target.conventions.are_of_sails();
    query.retain(|(name, _)| !is_sails || name != "_csrf");
    if is_sails || route.operation.is_some() || matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(query);
    }
    target.refuse_criteria(&Parameters::read(query, Attributes::new())?)?;
    Ok(Vec::new())
}
