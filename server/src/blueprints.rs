//! The ready-made handlers: find, create, update, destroy. Each says what happens, in order.
//!
//! Nobody publishes here: the fan-out follows the log, and the commit wrote to it.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;

use crate::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use crate::context::Context;
use crate::criteria::{Criteria, Language, Parameters};
use crate::dialect::Dialect;
use crate::engine::Snapshot;
use crate::error::{Error, Result};
use crate::socket::Client;
use crate::subscription;
use crate::write::{Action, Refused};

/// `GET /todo`
pub(crate) async fn find(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let data = input.attributes_if_any()?;
    if sends_models(&cx)
        && let Some(id) = of.named(&data)
    {
        return read(&cx, of.resource, id).await;
    }
    let criteria = Criteria::read(Parameters::read(of.query, data)?, language_of(&cx))?;
    let snapshot = subscription::find(&cx, &of.resource, &criteria).await?;
    let joined = subscription::follows(&cx, &criteria).then(|| Room::class(of.resource));
    Ok(Reply::records(&cx, joined, snapshot))
}

/// `GET /todo/7`
pub(crate) async fn find_one(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let data = input.attributes_if_any()?;
    let (said, id) = match language_of(&cx) {
        // Its clients send the model they read along.
        Language::Sails09 => (Attributes::new(), one_id(of.id, &data)?),
        Language::Current => (data, of.id.ok_or(Error::NoId)?),
    };
    Criteria::of_one(Parameters::read(of.query, said)?)?;
    read(&cx, of.resource, id).await
}

/// A client of Sails 0.9 is known by its connection; over HTTP all speak the language of today.
fn language_of(cx: &Context) -> Language {
    match cx.client().map(Client::dialect) {
        Some(Dialect::Sails09) => Language::Sails09,
        _ => Language::Current,
    }
}

/// Whether the caller sends the model it reads along, and that may be the only place where the id is.
fn sends_models(cx: &Context) -> bool {
    let dialect = cx.client().map(Client::dialect);
    matches!(dialect, Some(Dialect::Sails09 | Dialect::Node))
}

async fn read(cx: &Context, resource: Resource, id: Id) -> Result<Reply> {
    let snapshot = subscription::find_one(cx, &resource, &id).await?;
    Reply::record(cx, resource, id, snapshot)
}

/// `POST /todo`
pub(crate) async fn create(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let change = cx.commit_last(of.resource, Action::Create(input.attributes()?)).await?;
    Reply::written(&cx, &change).await
}

/// `PUT` and `PATCH /todo/7`, or `/todo` with the id in the body
pub(crate) async fn update(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let set = input.attributes()?;
    let id = one_id(of.id, &set)?;
    let change = cx.commit_last(of.resource, Action::Update(id, set)).await?;
    Reply::written(&cx, &change).await
}

/// `DELETE /todo/7`, or `/todo` with the id in the body
pub(crate) async fn destroy(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let id = one_id(of.id, &input.attributes_if_any()?)?;
    let change = cx.commit_last(of.resource, Action::Destroy(id)).await?;
    Reply::written(&cx, &change).await
}

/// The record that is meant: the url says it, or the body, or both the same.
fn one_id(in_url: Option<Id>, attributes: &Attributes) -> Result<Id> {
    let in_body = attributes.get("id").filter(|id| !id.is_null());
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
    resource: Resource,
    id: Option<Id>,
    /// Names and values, decoded; empty for a write, for which they would mean nothing.
    query: Vec<(String, String)>,
}

impl Target {
    /// The one record that is meant by who sends models.
    fn named(&self, data: &Attributes) -> Option<Id> {
        let in_query = || self.query.iter().find(|(name, _)| name == "id");
        let in_data = data.get("id").and_then(Id::from_json);
        in_data.or_else(|| Id::parse(&in_query()?.1))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let path = parts.uri.path().to_owned();
        let query = query_of(parts)?;
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| Error::BadUrl)?;
        let param = |name| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        let nothing_there = || Error::NoRoute(path.clone());
        let resource = param("resource").and_then(Resource::parse).ok_or_else(nothing_there)?;
        let id = match param("id") {
            Some(id) => Some(Id::parse(id).ok_or_else(nothing_there)?),
            None => None,
        };
        Ok(Self { resource, id, query })
    }
}

/// A write of all that fulfil something is not what its caller gets, so it is refused.
fn query_of(parts: &Parts) -> Result<Vec<(String, String)>> {
    let Query(query) = Query::try_from_uri(&parts.uri).map_err(|_| Error::BadUrl)?;
    if matches!(parts.method, Method::GET | Method::HEAD) {
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

impl Input {
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

/// How many bytes a body may have, for the refusal to say so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit(pub(crate) usize);

/// The answer of a ready-made route: a record or several, and where they stand in the log.
#[derive(Debug)]
pub struct Reply(Response);

impl Reply {
    /// The answer to a read of a resource, and the room it subscribed to.
    pub(crate) fn records(
        cx: &Context,
        joined: Option<Room>,
        snapshot: Snapshot<Vec<Arc<Attributes>>>,
    ) -> Self {
        let reply = Self::ok(Json(snapshot.value)).at(snapshot.position);
        match joined {
            Some(room) => reply.joined(cx, room),
            None => reply,
        }
    }

    /// The answer to a read of a record.
    pub(crate) fn record(
        cx: &Context,
        resource: Resource,
        id: Id,
        snapshot: Snapshot<Option<Arc<Attributes>>>,
    ) -> Result<Self> {
        let Some(record) = snapshot.value else {
            return Err(Refused::NotFound { resource, id }.into());
        };
        let room = Room::instance(resource, id);
        Ok(Self::ok(Json(record)).at(snapshot.position).joined(cx, room))
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

    fn at(self, position: Position) -> Self {
        self.with("backwire-position", &position.to_string())
    }

    /// The answer to a write: where it stands, and in which record.
    fn of(self, change: &Change) -> Self {
        let record = Room::instance(change.resource.clone(), change.id.clone());
        self.at(change.position).with("backwire-record", &record.to_string())
    }

    /// The answer to a read that subscribed.
    fn joined(self, cx: &Context, room: Room) -> Self {
        match cx.client() {
            Some(_) => self.with("backwire-room", &room.to_string()),
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
        one_id(in_url.and_then(Id::parse), &serde_json::from_str(body).unwrap())
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
