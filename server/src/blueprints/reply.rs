//! What the ready-made routes answer.

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use backwire_engine::{ReadOptions, Snapshot};
use backwire_records::change::{Change, Id, Position, Resource, Room, Verb};
use backwire_records::criteria::QuerySummary;
use backwire_records::write::Refused;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::context::Context;
use crate::error::Result;
use crate::subscription::{self, Read};

/// The answer of a ready-made route: a record or several, and where they stand in the log.
#[derive(Debug)]
pub struct Reply(Response);

impl Reply {
    /// The answer to a read of a resource, with as much as the options allow.
    pub(crate) fn records(
        cx: &Context,
        read: Read<Vec<impl Serialize>>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let Read { snapshot: Snapshot { value, position }, room, query } = read;
        Ok(Self::bounded(&value, options)?.at(position).joined(room).with_query(cx, &query))
    }

    /// The answer to a read of a record.
    pub(crate) fn record(
        cx: &Context,
        (resource, id): (Resource, Id),
        read: Read<Option<impl Serialize>>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let Read { snapshot: Snapshot { value, position }, room, query } = read;
        let Some(record) = value else {
            return Err(Refused::NotFound { resource, id }.into());
        };
        Ok(Self::bounded(&record, options)?.at(position).joined(room).with_query(cx, &query))
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

    pub(super) fn bounded(body: &impl Serialize, options: &ReadOptions) -> Result<Self> {
        let json = HeaderValue::from_static("application/json");
        Ok(Self::ok(([(header::CONTENT_TYPE, json)], options.json(body)?)))
    }

    pub(super) fn ok(body: impl IntoResponse) -> Self {
        Self(body.into_response())
    }

    pub(super) fn created(body: impl IntoResponse) -> Self {
        Self((StatusCode::CREATED, body).into_response())
    }

    /// The answer to a list without anything in it.
    pub(super) fn nothing_created() -> Self {
        Self::ok(Json([(); 0]))
    }

    /// The answer to a `HEAD`: all but the body, whose length is told.
    pub(super) fn without_body(self) -> Response {
        let mut response = self.0;
        if let Some(length) = response.body().size_hint().exact() {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        *response.body_mut() = Body::empty();
        response
    }

    pub(super) fn at(self, position: Position) -> Self {
        self.with("backwire-position", &position.to_string())
    }

    /// The answer to a write: where it stands, and in which record.
    pub(super) fn of(self, change: &Change) -> Self {
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

    /// Adds the summary of the query. Stock clients do not read it.
    fn with_query(self, cx: &Context, query: &QuerySummary) -> Self {
        match cx.client() {
            Some(client) if client.dialect().is_stock() => self,
            _ => self.with("backwire-query", &query.to_string()),
        }
    }

    /// An id with control characters in it cannot stand in a header; such a record is not live.
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
