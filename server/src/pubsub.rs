//! Publish and subscribe by hand, in the words of Sails.
//!
//! Who uses the ready-made routes needs none of this: reads subscribe and writes publish by themselves.
//! It is for handlers of one's own, and for records that are kept somewhere else.
//!
//! ```
//! use axum::extract::Path;
//! use backwire::{Context, Error};
//! use serde_json::json;
//!
//! // Follow some records: the socket, if the request came over one, hears of them from here on.
//! async fn follow(cx: Context) -> Result<(), Error> {
//!     cx.pubsub("user")?.subscribe_to(cx.client(), [7, 3])
//! }
//!
//! // Tell everyone but the caller what became of a record that is kept elsewhere.
//! async fn rename(cx: Context, Path(id): Path<i64>) -> Result<(), Error> {
//!     let users = cx.pubsub("user")?;
//!     users.publish_update(id, json!({ "name": "Amanda" }), cx.client()).await?;
//!     Ok(())
//! }
//!
//! // Out loud, to whoever listens to a room of any name.
//! async fn shout(cx: Context) -> Result<(), Error> {
//!     cx.listen("off the wall chats");
//!     cx.broadcast("off the wall chats", &json!({ "message": "This chat is off the wall!" }))
//! }
//!
//! # use axum::routing::{get, post};
//! let server = backwire::Server::builder()
//!     .route("/follow", get(follow))
//!     .route("/rename/{id}", post(rename))
//!     .route("/shout", post(shout));
//! ```
//!
//! `publish_create`, `publish_update` and `publish_destroy` append an entry to the log of the resource
//! and leave its records alone. So they reach every kind of client in the order of all that happens,
//! our runtime with positions, and who was away is told when it comes back. [`publish`](Pubsub::publish)
//! and [`broadcast`](Publisher::broadcast) are not kept: they are said once, to the stock clients that
//! are there.

mod publisher;

use std::sync::Arc;

use backwire_records::access::Reach;
use backwire_records::change::{Attributes, Change, Id, Resource, Room, ToId, Verb};
use backwire_records::criteria::Filter;
use backwire_records::write::{Action, Publication, Refused, Write};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::now;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::socket::{Audience, Client};
use crate::subscription;
use publisher::encoded;

pub use publisher::Publisher;

/// The listeners of one resource and of its records.
#[derive(Debug, Clone)]
pub struct Pubsub {
    publisher: Publisher,
    resource: Resource,
}

impl Pubsub {
    /// The name of the resource.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Subscribes a socket to the resource: it hears of new records, and of what becomes of them. A
    /// request over HTTP has no socket, and then nothing happens.
    pub fn subscribe<'a>(&self, socket: impl Into<Option<&'a Client>>) {
        if let Some(socket) = socket.into() {
            socket.join([self.class_room()]);
        }
    }

    /// Subscribes a socket to records, whether they are there or not. An empty list subscribes it to
    /// nothing.
    pub fn subscribe_to<'a>(
        &self,
        socket: impl Into<Option<&'a Client>>,
        ids: impl IntoIterator<Item: ToId>,
    ) -> Result<()> {
        let ids = to_ids(ids)?;
        if let Some(socket) = socket.into() {
            socket.join(ids.into_iter().flat_map(|id| self.rooms_of(socket, id)));
        }
        Ok(())
    }

    /// Ends what [`subscribe`](Self::subscribe) began. The rooms of records it has been led into it
    /// stays in.
    pub fn unsubscribe<'a>(&self, socket: impl Into<Option<&'a Client>>) {
        if let Some(socket) = socket.into() {
            socket.leave(&self.class_room());
        }
    }

    /// Ends what [`subscribe_to`](Self::subscribe_to) began.
    pub fn unsubscribe_from<'a>(
        &self,
        socket: impl Into<Option<&'a Client>>,
        ids: impl IntoIterator<Item: ToId>,
    ) -> Result<()> {
        let ids = to_ids(ids)?;
        if let Some(socket) = socket.into() {
            let rooms = ids.into_iter().flat_map(|id| self.rooms_of(socket, id));
            rooms.for_each(|room| socket.leave(&room));
        }
        Ok(())
    }

    /// Tells those who listen to the resource of a new record, whose id is among its values, and leads
    /// them into its room.
    ///
    /// A socket that is omitted is not told and not led anywhere. That does not go for our runtime, which
    /// is told in any case: its positions have no gaps, and a record it knows already it does not
    /// add twice.
    pub async fn publish_create(
        &self,
        values: impl Into<Value>,
        omit: Option<&Client>,
    ) -> Result<Arc<Change>> {
        let values = object(values.into())?;
        let id = values.to_id().ok_or(Refused::BadId)?;
        self.say(Verb::Create, id, values, omit).await
    }

    /// Tells those who follow a record that these of its attributes have been set.
    pub async fn publish_update(
        &self,
        id: impl ToId,
        values: impl Into<Value>,
        omit: Option<&Client>,
    ) -> Result<Arc<Change>> {
        let id = id.to_id().ok_or(Refused::BadId)?;
        self.say(Verb::Update, id, object(values.into())?, omit).await
    }

    /// Tells those who follow a record that it is gone, and leads everyone out of its room.
    pub async fn publish_destroy(
        &self,
        id: impl ToId,
        omit: Option<&Client>,
    ) -> Result<Arc<Change>> {
        let id = id.to_id().ok_or(Refused::BadId)?;
        self.say(Verb::Destroy, id, Attributes::new(), omit).await
    }

    /// Leads everyone who listens to the resource into the room of a record, but one. Our runtime hears
    /// of all records of a resource it listens to and needs no leading.
    pub async fn introduce(&self, id: impl ToId, omit: Option<&Client>) -> Result<()> {
        let (class, room) = (self.class_room(), self.room(id)?);
        let from = Audience { rooms: &[&class], but_not: &[], origin: origin_of(omit) };
        for dialect in Dialect::STOCK {
            self.publisher.sockets.introduce(dialect, from, &room).await;
        }
        Ok(())
    }

    /// Says anything to those who listen to the resource, but to one of them, as an event of its name
    /// (in the dialect of Sails 0.9 as `message`, in the node style as `todo:message`). Our runtime
    /// is told of changes only.
    pub fn publish(&self, message: &impl Serialize, omit: Option<&Client>) -> Result<()> {
        self.emit(&self.class_room(), &encoded(message)?, omit);
        Ok(())
    }

    /// The same to those who follow any of these records, in the node style as `todo/7:message`.
    pub fn publish_to(
        &self,
        ids: impl IntoIterator<Item: ToId>,
        message: &impl Serialize,
        omit: Option<&Client>,
    ) -> Result<()> {
        let message = encoded(message)?;
        let rooms = to_ids(ids)?.into_iter().map(|id| Room::instance(self.resource.clone(), id));
        rooms.for_each(|room| self.emit(&room, &message, omit));
        Ok(())
    }

    /// The room of those who follow a record.
    pub fn room(&self, id: impl ToId) -> Result<Room> {
        let id = id.to_id().ok_or(Refused::BadId)?;
        Ok(Room::instance(self.resource.clone(), id))
    }

    /// The room of those who listen to the resource.
    pub fn class_room(&self) -> Room {
        Room::class(self.resource.clone())
    }

    /// The sockets in the room of a record. Our runtime is in it only if it follows this record and not
    /// the whole resource.
    pub fn subscribers(&self, id: impl ToId) -> Result<Vec<Client>> {
        Ok(self.publisher.sockets.members(&self.room(id)?))
    }

    /// The sockets that listen to the resource.
    pub fn class_subscribers(&self) -> Vec<Client> {
        self.publisher.sockets.members(&self.class_room())
    }

    /// Where a socket hears of a record, whoever's it is.
    fn rooms_of(&self, socket: &Client, id: Id) -> Vec<Room> {
        let rooms = {
            let may_join = |room: &Room| socket.may_join(room).is_ok();
            subscription::rooms_of_one(may_join, socket, &self.resource, &id, &Reach::Whole)
        };
        rooms.unwrap_or_else(|| vec![Room::instance(self.resource.clone(), id)])
    }

    async fn say(
        &self,
        verb: Verb,
        id: Id,
        data: Attributes,
        omit: Option<&Client>,
    ) -> Result<Arc<Change>> {
        let origin = omit.map(|client| client.id().clone());
        let action = Action::Publish(Publication { verb, id, data });
        let resource = self.resource.clone();
        let model = self.publisher.models.of(&resource).unwrap_or_default();
        let (within, at) = (Filter::default(), now());
        let (author, references, limits) = Default::default();
        let (client, key, memory) = Default::default();
        let write = Write {
            resource,
            model,
            action,
            within,
            author,
            references,
            key,
            limits,
            client,
            memory,
            origin,
            at,
        };
        self.publisher.commit(write).await
    }

    fn emit(&self, room: &Room, message: &RawValue, omit: Option<&Client>) {
        for dialect in Dialect::STOCK {
            let to = Audience { rooms: &[room], but_not: &[], origin: origin_of(omit) };
            self.publisher.sockets.emit_to_each(dialect, to, &dialect.message(room), message);
        }
    }
}

fn to_ids(ids: impl IntoIterator<Item: ToId>) -> Result<Vec<Id>> {
    ids.into_iter().map(|id| id.to_id().ok_or_else(|| Refused::BadId.into())).collect()
}

fn origin_of(omit: Option<&Client>) -> Option<&str> {
    omit.map(|client| &**client.id())
}

fn object(values: Value) -> Result<Attributes> {
    match values {
        Value::Object(values) => Ok(values),
        _ => Err(Error::BadField("data", "it has to be an object")),
    }
}
