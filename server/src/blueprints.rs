//! The ready-made handlers: find, create, update, destroy. Each says what happens, in order.
//!
//! Nobody publishes here: the fan-out follows the log, and the commit wrote to it.
//!
//! In reading order: `input`: what came in the body; `reply`: what is answered; `associated`: the same, of
//! records that belong to one; `by_hand`: for handlers of one's own.

mod associated;
mod by_hand;
mod input;
mod reply;

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::response::{IntoResponse, Response};
use backwire_records::change::{Attributes, Id, Resource};
use backwire_records::criteria::{Criteria, Language, Parameters};
use backwire_records::model::{Model, Populate};
use backwire_records::write::{Action, Refused};
use http::request::Parts;
use http::{Method, header};
use percent_encoding::percent_decode_str;

use crate::context::Context;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::populate::Filling;
use crate::route::{Deed, Route};
use crate::shared::Shared;
use crate::socket::Client;
use crate::subscription;
use input::Records;

pub(crate) use input::{BodyLimit, Input};
pub use reply::Reply;

/// What is to be done with a resource or one of its records, by path and verb.
pub(crate) async fn answer(
    cx: Context,
    method: Method,
    of: Target,
    input: Input,
) -> Result<Response> {
    if method == Method::OPTIONS {
        return Ok([(header::ALLOW, of.route.verbs())].into_response());
    }
    let Some(deed) = of.route.deed(&method) else {
        let refused = Error::UnknownVerb(method.to_string());
        return Ok(([(header::ALLOW, of.route.verbs())], refused).into_response());
    };
    // A request is not refused any more when it has written.
    cx.set_writing(false);
    input.within(of.model.most.body)?;
    let reply = match deed {
        // Boxed, as every request would carry the room for it.
        _ if of.route.within.is_some() => Box::pin(associated::answer(cx, of, input, deed)).await,
        Deed::Find if of.route.id.is_some() => find_one(cx, of, input).await,
        Deed::Find => find(cx, of, input).await,
        Deed::Create => create(cx, of, input).await,
        Deed::Update | Deed::Put => update(cx, of, input, deed).await,
        Deed::Destroy => destroy(cx, of, input).await,
    };
    Ok(if method == Method::HEAD { reply?.without_body() } else { reply?.into_response() })
}

/// `GET /todo`
async fn find(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let data = input.attributes_if_any()?;
    let Target { route: Route { resource, .. }, model, query } = of;
    if sends_models(&cx)
        && let Some(id) = named(&query, &data, &model.key)
    {
        let criteria = Criteria::holding(&model, &model.key, [&id]);
        return read(&cx, (resource, id), criteria, &model.find.populate).await;
    }
    let mut parameters = parameters(&cx, &resource, &model, query, data)?;
    let populate = populate(&mut parameters, &model)?;
    let filling = Filling::new(&cx, &resource, &populate);
    let mut criteria = Criteria::read_for(&model, parameters, language_of(&cx))?;
    filling.widen(&mut criteria);
    let read = subscription::find(&cx, &resource, criteria).await?;
    Reply::records(&cx, filling.fill_all(read).await?, cx.reads())
}

/// `GET /todo/7`
async fn find_one(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let data = input.attributes_if_any()?;
    let Target { route: Route { resource, id, .. }, model, query } = of;
    let (said, id) = match language_of(&cx) {
        // Its clients send the model they read along.
        Language::Sails09 => (Attributes::new(), one_id(id, &data, &model.key)?),
        Language::Current => (data, id.ok_or_else(|| no_id(&model.key))?),
    };
    let mut parameters = parameters(&cx, &resource, &model, query, said)?;
    let populate = populate(&mut parameters, &model)?;
    let criteria = Criteria::read_of_one(&model, &id, parameters)?;
    read(&cx, (resource, id), criteria, &populate).await
}

/// The parameters of a read. A parameter that is ignored is logged once for each resource.
fn parameters(
    cx: &Context,
    resource: &Resource,
    model: &Model,
    query: Vec<(String, String)>,
    data: Attributes,
) -> Result<Parameters> {
    let parameters = Parameters::read(query, data)?;
    for name in model.ignored(&parameters) {
        if cx.shared().ignored_parameters.is_new((resource.clone(), name.to_owned())) {
            tracing::info!(
                %resource,
                parameter = name,
                "parameter of a read ignored; `where` filters by an attribute of this name"
            );
        }
    }
    Ok(parameters)
}

/// What is to be filled in: what the request says, or else what the model does.
fn populate(parameters: &mut Parameters, model: &Model) -> Result<Populate> {
    let said = Populate::take(parameters, model.associations())?;
    Ok(said.unwrap_or_else(|| model.find.populate.clone()))
}

/// A client of Sails 0.9 is known by its connection; over HTTP all speak the language of today.
fn language_of(cx: &Context) -> Language {
    cx.client().map_or(Language::Current, |client| client.dialect().language())
}

/// Whether the caller sends the model it reads along, and that may be the only place where the id is.
fn sends_models(cx: &Context) -> bool {
    let dialect = cx.client().map(Client::dialect);
    matches!(dialect, Some(Dialect::Sails09 | Dialect::Node))
}

/// One record, which is what the criteria pick; they say how much of it.
async fn read(
    cx: &Context,
    (resource, id): (Resource, Id),
    mut criteria: Criteria,
    populate: &Populate,
) -> Result<Reply> {
    let filling = Filling::new(cx, &resource, populate);
    filling.widen(&mut criteria);
    let read = subscription::find_in_part(cx, &resource, &id, criteria).await?;
    let read = filling.fill_all(read.map(|record| record.into_iter().collect())).await?;
    Reply::record(cx, (resource, id), read.map(|mut records| records.pop()), cx.reads())
}

/// `POST /todo`, with a record or a list of them
async fn create(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let Target { route: Route { resource, .. }, query, .. } = of;
    match input.records_and(query)? {
        Records::One(record) => write(&cx, resource, Action::Create(record)).await,
        Records::Many(records) => {
            let changes = cx.create_each(resource, records).await?;
            let records: Vec<_> = changes.iter().map(|change| &change.after).collect();
            let reply = Reply::created(Json(records));
            Ok(changes.last().map_or_else(Reply::nothing_created, |last| reply.at(last.position)))
        }
    }
}

/// `PUT` and `PATCH /todo/7`, or `/todo` with the id in the body
async fn update(cx: Context, of: Target, input: Input, deed: Deed) -> Result<Reply> {
    let Target { route: Route { resource, id, .. }, model, query } = of;
    let set = input.attributes_and(query)?;
    let id = one_id(id, &set, &model.key)?;
    let action = match deed {
        Deed::Put if model.upsert => Action::Upsert(id, set),
        _ => Action::Update(id, set),
    };
    write(&cx, resource, action).await
}

/// `DELETE /todo/7`, or `/todo` with the id in the body
async fn destroy(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let Target { route: Route { resource, id, .. }, model, query } = of;
    let said = input.attributes_if_any_and(query)?;
    write(&cx, resource, Action::Destroy(one_id(id, &said, &model.key)?)).await
}

/// The one write of a request, and its answer.
pub(crate) async fn write(cx: &Context, resource: Resource, action: Action) -> Result<Reply> {
    let change = cx.commit_last(resource, action).await?;
    Reply::written(cx, &change).await
}

/// The record that is meant: the url says it, or the body, or both the same.
fn one_id(in_url: Option<Id>, attributes: &Attributes, key: &str) -> Result<Id> {
    let in_body = attributes.get(key).filter(|id| !id.is_null());
    match (in_url, in_body) {
        (Some(url), None) => Ok(url),
        (None, None) => Err(no_id(key)),
        (None, Some(body)) => Id::from_json(body).ok_or_else(|| Refused::BadId.into()),
        (Some(url), Some(body)) if Id::from_json(body).as_ref() == Some(&url) => Ok(url),
        (Some(url), Some(body)) => Err(Error::BadId { url, body: body.to_string() }),
    }
}

fn no_id(key: &str) -> Error {
    Error::NoId(key.to_owned())
}

/// What a request is about, read from its url.
#[derive(Debug)]
pub(crate) struct Target {
    route: Route,
    model: Arc<Model>,
    /// Names and values, decoded; empty for a write, for which they would mean nothing.
    query: Vec<(String, String)>,
}

/// The one record that is meant by who sends models.
fn named(query: &[(String, String)], data: &Attributes, key: &str) -> Option<Id> {
    let in_query = || query.iter().find(|(name, _)| name == key);
    let in_data = data.get(key).and_then(Id::from_json);
    in_data.or_else(|| Id::parse(&in_query()?.1))
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let shared = Shared::of(parts);
        let route = shared.routing.read(parts.uri.path());
        let route = route.map_err(|error| sent_to_http(parts, error))?;
        let model = shared.model(&route.resource)?;
        let target = match &route.within {
            Some(within) => shared.model(&within.association.target)?,
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
        error => error,
    }
}

/// The server refuses criteria beside a write, because it does not write to all records that fulfil
/// them. It ignores other parameters of a write (`?_csrf=…`). The parameters of a shortcut are
/// attributes. `target` is the model of the written records.
fn query_of(parts: &Parts, route: &Route, target: &Model) -> Result<Vec<(String, String)>> {
    let Query(query) = Query::try_from_uri(&parts.uri).map_err(|_| Error::BadUrl)?;
    // Where it is no text, it would be read as one that somebody else may have meant.
    let is_text = |query| percent_decode_str(query).decode_utf8().is_ok();
    if !parts.uri.query().is_none_or(is_text) {
        return Err(Error::BadUrl);
    }
    if route.deed.is_some() || matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(query);
    }
    target.refuse_criteria(&Parameters::read(query, Attributes::new())?)?;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(in_url: Option<&str>, body: &str) -> Result<Id> {
        one_id(in_url.and_then(Id::parse), &serde_json::from_str(body).unwrap(), "id")
    }

    #[test]
    fn the_id_is_in_the_url_or_in_the_body_or_the_same_in_both() {
        assert_eq!(id(Some("7"), "{}").unwrap(), Id::Integer(7));
        assert_eq!(id(Some("7"), r#"{"id":"7"}"#).unwrap(), Id::Integer(7));
        assert_eq!(id(Some("7"), r#"{"id":null}"#).unwrap(), Id::Integer(7));
        assert_eq!(id(None, r#"{"id":"a"}"#).unwrap(), Id::Text("a".into()));
        assert!(matches!(id(None, "{}"), Err(Error::NoId(key)) if key == "id"));
        assert!(matches!(id(Some("1"), r#"{"id":2}"#), Err(Error::BadId { .. })));
        assert!(id(None, r#"{"id":[]}"#).is_err());
    }
}
