//! The responses of the built-in routes.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use backwire_engine::{ReadOptions, Snapshot};
use backwire_protocol::wire;
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use backwire_records::criteria::QuerySummary;
use backwire_records::model::Conventions;
use backwire_records::write::WriteError;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::context::Context;
use crate::error::Result;
use crate::populate::Populator;
use crate::subscription::{self, Read};

/// The response of a built-in route: one or more records, and their position in the log.
#[derive(Debug)]
pub struct Reply {
    response: Response,
    record: Option<Arc<Attributes>>,
}

impl Reply {
    /// Returns the record that was created, updated or destroyed. `None` if this is the answer to a
    /// read.
    pub fn record(&self) -> Option<&Attributes> {
        self.record.as_deref()
    }

    fn of(response: Response) -> Self {
        Self { response, record: None }
    }

    /// Returns the answer to a read of a resource, within the limits of the options.
    pub(crate) fn records(
        cx: &Context,
        read: Read<Vec<impl Serialize>>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let Read { snapshot: Snapshot { value, position }, room, query } = read;
        Ok(Self::within_limits(&value, options)?
            .with_position(position)
            .with_room(room)
            .with_query(cx, &query))
    }

    /// Returns the answer to a read of a record.
    pub(crate) fn one_record(
        cx: &Context,
        (resource, id): (Resource, Id),
        read: Read<Option<impl Serialize>>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let Read { snapshot: Snapshot { value, position }, room, query } = read;
        let Some(record) = value else {
            return Err(WriteError::NotFound { resource, id }.into());
        };
        Ok(Self::within_limits(&record, options)?
            .with_position(position)
            .with_room(room)
            .with_query(cx, &query))
    }

    /// Returns the answer to a write. In Sails it is populated as a read is.
    pub(crate) async fn written(cx: &Context, change: &Change) -> Result<Self> {
        let record = match change.verb {
            Verb::Create | Verb::Update => subscription::record_after_write(cx, change).await?,
            Verb::Destroy => change.before.clone(),
        };
        let written = record.clone();
        let model = cx.model(&change.resource)?;
        let body = match record {
            Some(record) if model.conventions.are_of_sails() => {
                let populate = model.default_populate();
                let populator = Populator::new(cx, &change.resource, &populate);
                Json(Box::pin(populator.populate_written(record)).await?).into_response()
            }
            record => Json(record).into_response(),
        };
        let reply = match change.verb {
            Verb::Create => Self::created(cx, body),
            Verb::Update | Verb::Destroy => Self::of(body),
        };
        Ok(Self { record: written, ..reply.with_change(change) })
    }

    /// Returns the answer to a destroy of a record that was read before it.
    pub(super) fn destroyed(record: &impl Serialize, change: &Change) -> Self {
        Self::ok(Json(record)).with_change(change)
    }

    pub(super) fn within_limits(body: &impl Serialize, options: &ReadOptions) -> Result<Self> {
        let json = HeaderValue::from_static("application/json");
        Ok(Self::ok(([(header::CONTENT_TYPE, json)], options.json(body)?)))
    }

    pub(super) fn ok(body: impl IntoResponse) -> Self {
        Self::of(body.into_response())
    }

    /// Returns the answer to a create. In Sails it is a 200.
    pub(super) fn created(cx: &Context, body: impl IntoResponse) -> Self {
        match cx.shared().conventions {
            Conventions::Backwire => Self::of((StatusCode::CREATED, body).into_response()),
            Conventions::Sails => Self::ok(body),
        }
    }

    /// Returns the answer to an empty list of records.
    pub(super) fn nothing_created() -> Self {
        Self::ok(Json([(); 0]))
    }

    /// Returns the answer to a `HEAD` request: the headers with the length of the body, without the
    /// body.
    pub(super) fn without_body(self) -> Response {
        let mut response = self.response;
        if let Some(length) = response.body().size_hint().exact() {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        *response.body_mut() = Body::empty();
        response
    }

    pub(super) fn with_position(self, position: Position) -> Self {
        self.with_header(wire::header::POSITION, &position.to_string())
    }

    /// Adds the position of a write and its record.
    pub(super) fn with_change(self, change: &Change) -> Self {
        let record = Room::instance(change.resource.clone(), change.id.clone());
        self.with_position(change.position).with_header(wire::header::RECORD, &record.to_string())
    }

    /// Adds the room that a read has joined.
    fn with_room(self, room: Option<Room>) -> Self {
        match room {
            Some(room) => self.with_header(wire::header::ROOM, &room.to_string()),
            None => self,
        }
    }

    /// Adds the summary of the query. Stock clients do not read it.
    fn with_query(self, cx: &Context, query: &QuerySummary) -> Self {
        match cx.client() {
            Some(client) if client.dialect().is_stock() => self,
            _ => self.with_header(wire::header::QUERY, &query.to_string()),
        }
    }

    /// Adds a header. An id with control characters cannot be in a header; such a record is not
    /// live.
    fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.response.headers_mut().insert(name, value);
        }
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        self.response
    }
}
