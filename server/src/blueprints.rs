//! The ready-made handlers: find, create, update, destroy. Each says what happens, in order.
//!
//! Nobody publishes here: the fan-out follows the log, and the commit wrote to it.

mod associated;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use crate::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use crate::context::{Context, Site};
use crate::criteria::{Criteria, Language, Parameters};
use crate::dialect::Dialect;
use crate::engine::Snapshot;
use crate::error::{Error, Result};
use crate::model::{Model, Populate};
use crate::populate::Filling;
use crate::route::{Deed, Route};
use crate::socket::Client;
use crate::subscription;
use crate::write::{Action, Refused};

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
    input.within(of.model.most.body)?;
    let reply = match deed {
        _ if of.route.within.is_some() => associated::answer(cx, of, input, deed).await,
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
        return read(&cx, resource, id, &model.find.populate).await;
    }
    let mut parameters = Parameters::read(query, data)?;
    let populate = populate(&mut parameters, &model)?;
    let filling = Filling::new(&cx, &resource, &populate);
    let mut criteria = Criteria::read_for(&model, parameters, language_of(&cx))?;
    filling.widen(&mut criteria);
    let (mut snapshot, joined) = subscription::find(&cx, &resource, criteria).await?;
    snapshot.value = filling.fill(snapshot.value).await?;
    Ok(Reply::records(joined, snapshot))
}

/// `GET /todo/7`
async fn find_one(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let data = input.attributes_if_any()?;
    let Target { route: Route { resource, id, .. }, model, query } = of;
    let (said, id) = match language_of(&cx) {
        // Its clients send the model they read along.
        Language::Sails09 => (Attributes::new(), one_id(id, &data, &model.key)?),
        Language::Current => (data, id.ok_or(Error::NoId)?),
    };
    let mut parameters = Parameters::read(query, said)?;
    let populate = populate(&mut parameters, &model)?;
    Criteria::of_one(parameters)?;
    read(&cx, resource, id, &populate).await
}

/// What is to be filled in: what the request says, or else what the model does.
fn populate(parameters: &mut Parameters, model: &Model) -> Result<Populate> {
    let said = Populate::take(parameters, model)?;
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

async fn read(cx: &Context, resource: Resource, id: Id, populate: &Populate) -> Result<Reply> {
    let (mut snapshot, joined) = subscription::find_one(cx, &resource, &id).await?;
    let filling = Filling::new(cx, &resource, populate);
    snapshot.value = filling.fill(snapshot.value.into_iter().collect()).await?.pop();
    Reply::record((resource, id), joined, snapshot)
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
        (None, None) => Err(Error::NoId),
        (None, Some(body)) => Id::from_json(body).ok_or_else(|| Refused::BadId.into()),
        (Some(url), Some(body)) if Id::from_json(body).as_ref() == Some(&url) => Ok(url),
        (Some(url), Some(body)) => Err(Error::BadId { url, body: body.to_string() }),
    }
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
        let site = Site::of(parts);
        let route = site.routing.read(parts.uri.path())?;
        let model = site.models.of(&route.resource);
        let model = model.ok_or_else(|| Error::NoRoute(parts.uri.path().to_owned()))?;
        let query = query_of(parts, &route)?;
        Ok(Self { route, model, query })
    }
}

/// A write of all that fulfil something is not what its caller gets, so it is refused. A shortcut's
/// parameters are attributes.
fn query_of(parts: &Parts, route: &Route) -> Result<Vec<(String, String)>> {
    let Query(query) = Query::try_from_uri(&parts.uri).map_err(|_| Error::BadUrl)?;
    if route.deed.is_some() || matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(query);
    }
    Parameters::read(query, Attributes::new())?.refuse("a write has no parameters")?;
    Ok(Vec::new())
}

/// What came in the body.
#[derive(Debug)]
pub(crate) struct Input(Bytes);

impl<S: Send + Sync> FromRequest<S> for Input {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let limit = request.extensions().get::<BodyLimit>().map_or(usize::MAX, |limit| limit.0);
        let read = Bytes::from_request(request, state).await;
        let too_large = || Error::TooLarge { size: format!("more than {limit} bytes"), limit };
        read.map(Self).map_err(|refused| match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => Error::BadBody("the body could not be read"),
        })
    }
}

/// How many records one request may create, or name.
const MOST: usize = 1_000;

/// What is to be created.
enum Records {
    One(Attributes),
    Many(Vec<Attributes>),
}

impl Input {
    /// What a resource takes may be less than what the server does.
    fn within(&self, limit: Option<usize>) -> Result<()> {
        match limit {
            Some(limit) if self.0.len() > limit => Err(Error::too_large(self.0.len(), limit)),
            _ => Ok(()),
        }
    }

    /// What the body says and the url beside it.
    fn records_and(&self, query: Vec<(String, String)>) -> Result<Records> {
        if !matches!(self.0.first(), Some(b'[')) {
            return self.attributes_and(query).map(Records::One);
        }
        let list: Vec<Value> =
            serde_json::from_slice(&self.0).map_err(|error| Error::BadJson(error.to_string()))?;
        if list.len() > MOST {
            let size = format!("{} records", list.len());
            return Err(Error::TooLarge { size, limit: MOST });
        }
        let record = |record| match record {
            Value::Object(record) => Ok(record),
            _ => Err(Error::BadBody("each of a list has to be a JSON object")),
        };
        list.into_iter().map(record).collect::<Result<_>>().map(Records::Many)
    }

    /// A list of ids, each counted once.
    fn ids(&self) -> Result<BTreeSet<Id>> {
        const LIST: &str = "the body has to be a list of ids";
        let list: Vec<Value> = serde_json::from_slice(&self.0).map_err(|_| Error::BadBody(LIST))?;
        if list.len() > MOST {
            return Err(Error::TooLarge { size: format!("{} ids", list.len()), limit: MOST });
        }
        let ids = list.iter().map(|id| Id::from_json(id).ok_or(Error::BadBody(LIST)));
        ids.collect()
    }

    fn attributes_and(&self, query: Vec<(String, String)>) -> Result<Attributes> {
        if self.0.is_empty() && !query.is_empty() {
            return Ok(with(query, Attributes::new()));
        }
        Ok(with(query, self.attributes()?))
    }

    fn attributes_if_any_and(&self, query: Vec<(String, String)>) -> Result<Attributes> {
        Ok(with(query, self.attributes_if_any()?))
    }

    fn attributes(&self) -> Result<Attributes> {
        match serde_json::from_slice(&self.0) {
            Ok(Value::Object(attributes)) => Ok(attributes),
            Ok(_) => Err(Error::BadBody("the body has to be a JSON object")),
            Err(_) if self.0.is_empty() => Err(Error::BadBody("there is no body")),
            Err(error) => Err(Error::BadJson(error.to_string())),
        }
    }

    fn attributes_if_any(&self) -> Result<Attributes> {
        if self.0.is_empty() { Ok(Attributes::new()) } else { self.attributes() }
    }
}

/// Parameters are attributes as well; the body wins.
fn with(query: Vec<(String, String)>, body: Attributes) -> Attributes {
    let mut all: Attributes =
        query.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    all.extend(body);
    all
}

/// How many bytes a body may have, for the refusal to say so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit(pub(crate) usize);

/// The answer of a ready-made route: a record or several, and where they stand in the log.
#[derive(Debug)]
pub struct Reply(Response);

impl Reply {
    /// The answer to a read of a resource, and the room it subscribed to.
    pub(crate) fn records(joined: Option<Room>, snapshot: Snapshot<Vec<Arc<Attributes>>>) -> Self {
        Self::ok(Json(snapshot.value)).at(snapshot.position).joined(joined)
    }

    /// The answer to a read of a record.
    pub(crate) fn record(
        (resource, id): (Resource, Id),
        joined: Option<Room>,
        snapshot: Snapshot<Option<Arc<Attributes>>>,
    ) -> Result<Self> {
        let Some(record) = snapshot.value else {
            return Err(Refused::NotFound { resource, id }.into());
        };
        Ok(Self::ok(Json(record)).at(snapshot.position).joined(joined))
    }

    /// The answer to a write.
    pub(crate) async fn written(cx: &Context, change: &Change) -> Result<Self> {
        let reply = match change.verb {
            Verb::Create => Self::created(Json(subscription::written(cx, change).await?)),
            Verb::Update => Self::ok(Json(subscription::written(cx, change).await?)),
            Verb::Destroy => Self::ok(Json(change.before.clone())),
        };
        Ok(reply.of(change))
    }

    fn ok(body: impl IntoResponse) -> Self {
        Self(body.into_response())
    }

    fn created(body: impl IntoResponse) -> Self {
        Self((StatusCode::CREATED, body).into_response())
    }

    /// The answer to a list without anything in it.
    fn nothing_created() -> Self {
        Self::ok(Json([(); 0]))
    }

    /// The answer to a `HEAD`: all but the body, whose length is told.
    fn without_body(self) -> Response {
        let mut response = self.0;
        if let Some(length) = response.body().size_hint().exact() {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        *response.body_mut() = Body::empty();
        response
    }

    fn at(self, position: Position) -> Self {
        self.with("backwire-position", &position.to_string())
    }

    /// The answer to a write: where it stands, and in which record.
    fn of(self, change: &Change) -> Self {
        let record = Room::instance(change.resource.clone(), change.id.clone());
        self.at(change.position).with("backwire-record", &record.to_string())
    }

    /// The answer to a read that subscribed.
    fn joined(self, room: Option<Room>) -> Self {
        match room {
            Some(room) => self.with("backwire-room", &room.to_string()),
            None => self,
        }
    }

    /// An id with control characters in it can not stand in a header; such a record is not live.
    fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.0.headers_mut().insert(name, value);
        }
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        self.0
    }
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
        assert!(matches!(id(None, "{}"), Err(Error::NoId)));
        assert!(matches!(id(Some("1"), r#"{"id":2}"#), Err(Error::BadId { .. })));
        assert!(id(None, r#"{"id":[]}"#).is_err());
    }
}
