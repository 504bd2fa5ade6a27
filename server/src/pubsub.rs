//! Publish and subscribe from handlers, with the method names of Sails.
//!
//! The built-in routes do this by themselves: reads subscribe and writes publish. These methods are
//! for your own handlers, and for records that are stored elsewhere.
//!
//! ```
//! use axum::extract::Path;
//! use backwire::{Context, Error};
//! use serde_json::json;
//!
//! // Subscribe the socket to some records, if the request came over one.
//! async fn follow(cx: Context) -> Result<(), Error> {
//!     cx.pubsub("user")?.subscribe_to(cx.client(), [7, 3])
//! }
//!
//! // Publish an update of a record that is stored elsewhere to everyone but the caller.
//! async fn rename(cx: Context, Path(id): Path<i64>) -> Result<(), Error> {
//!     let users = cx.pubsub("user")?;
//!     users.publish_update(id, json!({ "name": "Amanda" }), cx.client()).await?;
//!     Ok(())
//! }
//!
//! // Send a message to all clients that listen to a room of any name.
//! async fn shout(cx: Context) -> Result<(), Error> {
//!     cx.listen("off the wall chats");
//!     cx.broadcast("off the wall chats", "chat", &json!({ "text": "This chat is off the wall!" }))
//! }
//!
//! # use axum::routing::{get, post};
//! let server = backwire::Server::builder()
//!     .route("/follow", get(follow))
//!     .route("/rename/{id}", post(rename))
//!     .route("/shout", post(shout));
//! ```
//!
//! `publish_create`, `publish_update` and `publish_destroy` append an entry to the log of the
//! resource and do not change its records. So they reach every kind of client in the order of all
//! changes, and a page with Backwire's runtime that was away receives them when it comes back.
//! [`publish`](Pubsub::publish) and [`broadcast`](Publisher::broadcast) are not stored: they are
//! sent once, to the clients that are connected. `publish` is for stock clients alone.

mod publisher;

use std::sync::Arc;

use backwire_records::access::AccessScope;
use backwire_records::change::{Attributes, Change, Id, Resource, Room, ToId, Verb};
use backwire_records::write::{Action, Publication, Write, WriteError};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::announcements::{Announcement, Question, Total};
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::socket::{Audience, Client, Sockets};
use crate::subscription::rooms::rooms_of_record;
use publisher::to_json;

pub use publisher::Publisher;

/// The subscriptions to one resource and to its records.
#[derive(Debug, Clone)]
pub struct Pubsub {
    publisher: Publisher,
    resource: Resource,
}

/// How many sockets are in a room, at all servers that share the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberCount {
    /// The sockets at all servers that have answered.
    pub sockets: usize,
    /// The number of servers that have not answered in time.
    pub missing_servers: usize,
}

impl Publisher {
    /// Returns the publish and subscribe methods of a resource. The resource need not have any
    /// records.
    pub fn pubsub(&self, resource: &str) -> Result<Pubsub> {
        let name = Resource::parse(resource);
        let resource = name.ok_or_else(|| Error::InvalidResourceName(resource.to_owned()))?;
        Ok(Pubsub { publisher: self.clone(), resource })
    }
}

impl Pubsub {
    /// Returns the name of the resource.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Subscribes a socket to the resource: it receives new records, and their changes. A request
    /// over HTTP has no socket, and then this does nothing.
    pub fn subscribe<'a>(&self, socket: impl Into<Option<&'a Client>>) {
        if let Some(socket) = socket.into() {
            socket.join([self.class_room()]);
        }
    }

    /// Subscribes a socket to records, whether they exist or not. An empty list subscribes it to
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

    /// Ends a subscription of [`subscribe`](Self::subscribe). The socket stays in the rooms of
    /// records that it was added to meanwhile.
    pub fn unsubscribe<'a>(&self, socket: impl Into<Option<&'a Client>>) {
        if let Some(socket) = socket.into() {
            socket.leave(&self.class_room());
        }
    }

    /// Ends a subscription of [`subscribe_to`](Self::subscribe_to).
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

    /// Publishes a new record, whose id is among its values, to the clients that listen to the
    /// resource, and adds them to the room of the record.
    ///
    /// An omitted socket does not receive it and is not added to a room. This does not apply to our
    /// runtime, which receives it in any case: its positions have no gaps, and it does not add a
    /// record twice that it knows already.
    pub async fn publish_create(
        &self,
        values: impl Into<Value>,
        omit: Option<&Client>,
    ) -> Result<Arc<Change>> {
        let values = to_attributes(values.into())?;
        let id = values.to_id().ok_or(WriteError::BadId)?;
        self.publish_change(Verb::Create, id, values, omit).await
    }

    /// Publishes to the clients that follow a record that these of its attributes have been set.
    pub async fn publish_update(
        &self,
        id: impl ToId,
        values: impl Into<Value>,
        omit: Option<&Client>,
    ) -> Result<Arc<Change>> {
        let id = id.to_id().ok_or(WriteError::BadId)?;
        self.publish_change(Verb::Update, id, to_attributes(values.into())?, omit).await
    }

    /// Publishes to the clients that follow a record that it is destroyed, and removes all clients
    /// from its room.
    pub async fn publish_destroy(
        &self,
        id: impl ToId,
        omit: Option<&Client>,
    ) -> Result<Arc<Change>> {
        let id = id.to_id().ok_or(WriteError::BadId)?;
        self.publish_change(Verb::Destroy, id, Attributes::new(), omit).await
    }

    /// Adds all clients that listen to the resource to the room of a record, except the omitted
    /// one. Our runtime receives the changes of all records of a resource that it listens to, and
    /// is not added.
    ///
    /// If several servers share the store, it adds the clients of all. A server that does not
    /// answer within seconds, because it is paused or cut off, does it later, and the log has a
    /// warning.
    pub async fn introduce(&self, id: impl ToId, omit: Option<&Client>) -> Result<()> {
        let id = id.to_id().ok_or(WriteError::BadId)?;
        let (omit, resource) = (origin_of(omit), self.resource.as_str().to_owned());
        let room = Room::instance(self.resource.clone(), id.clone());
        introduce_here(&self.publisher.sockets, &room, omit).await;
        let question = Question::Introduce { resource, id, omit: omit.map(str::to_owned) };
        let Total { missing_servers, .. } = self.publisher.announcer.ask(&question).await?;
        if missing_servers > 0 {
            tracing::warn!(missing_servers, "some servers have not introduced their clients yet");
        }
        Ok(())
    }

    /// Sends any message to the clients that listen to the resource, except the omitted one, as an
    /// event of its name (in the dialect of Sails 0.9 as `message`, in the node style as
    /// `todo:message`). Our runtime receives changes only.
    pub fn publish(&self, message: &impl Serialize, omit: Option<&Client>) -> Result<()> {
        self.emit(&self.class_room(), &to_json(message)?, omit);
        Ok(())
    }

    /// Sends any message to the clients that follow one of these records, as
    /// [`publish`](Self::publish) does; in the node style as `todo/7:message`.
    pub fn publish_to(
        &self,
        ids: impl IntoIterator<Item: ToId>,
        message: &impl Serialize,
        omit: Option<&Client>,
    ) -> Result<()> {
        let message = to_json(message)?;
        let rooms = to_ids(ids)?.into_iter().map(|id| Room::instance(self.resource.clone(), id));
        rooms.for_each(|room| self.emit(&room, &message, omit));
        Ok(())
    }

    /// Returns the room of the clients that follow a record.
    pub fn room(&self, id: impl ToId) -> Result<Room> {
        let id = id.to_id().ok_or(WriteError::BadId)?;
        Ok(Room::instance(self.resource.clone(), id))
    }

    /// Returns the room of the clients that listen to the resource.
    pub fn class_room(&self) -> Room {
        Room::class(self.resource.clone())
    }

    /// Returns the sockets of this server in the room of a record. Our runtime is in it only if it
    /// follows this record and not the whole resource.
    pub fn subscribers(&self, id: impl ToId) -> Result<Vec<Client>> {
        Ok(self.publisher.sockets.members(&self.room(id)?))
    }

    /// Returns the sockets of this server that listen to the resource.
    pub fn class_subscribers(&self) -> Vec<Client> {
        self.publisher.sockets.members(&self.class_room())
    }

    /// Counts the sockets in the room of a record, at all servers that share the store.
    ///
    /// It asks the other servers, and changes cost no more because of it. If a server was killed
    /// less than 10 seconds ago, is paused or cut off, it waits for that server for 3 seconds.
    pub async fn count_subscribers(&self, id: impl ToId) -> Result<SubscriberCount> {
        self.count(self.room(id)?).await
    }

    /// Counts the sockets that listen to the resource, at all servers that share the store, as
    /// [`count_subscribers`](Self::count_subscribers) does.
    pub async fn count_class_subscribers(&self) -> Result<SubscriberCount> {
        self.count(self.class_room()).await
    }

    async fn count(&self, room: Room) -> Result<SubscriberCount> {
        let resource = room.resource().as_str().to_owned();
        let question = Question::CountSubscribers { resource, id: room.id().cloned() };
        let Total { sum, missing_servers } = self.publisher.announcer.ask(&question).await?;
        let sockets = sum + self.publisher.sockets.members(&room).len();
        Ok(SubscriberCount { sockets, missing_servers })
    }

    /// Returns the rooms in which a socket receives the changes of a record, regardless of its
    /// owner.
    fn rooms_of(&self, socket: &Client, id: Id) -> Vec<Room> {
        let rooms = {
            let may_join = |room: &Room| socket.may_join(room).is_ok();
            rooms_of_record(may_join, socket, &self.resource, &id, &AccessScope::Whole)
        };
        rooms.unwrap_or_else(|| vec![Room::instance(self.resource.clone(), id)])
    }

    async fn publish_change(
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
        let at = self.publisher.environment.unix_millis();
        let write = Write { model, origin, ..Write::new(resource, action, at) };
        self.publisher.commit(write).await
    }

    /// Sends a message to the stock clients in a room, at all servers.
    fn emit(&self, room: &Room, message: &RawValue, omit: Option<&Client>) {
        let omit = origin_of(omit);
        emit_message(&self.publisher.sockets, room, message, omit);
        self.publisher.announcer.announce_later(Announcement::Publish {
            resource: room.resource().as_str().to_owned(),
            id: room.id().cloned(),
            data: message.to_owned(),
            omit: omit.map(str::to_owned),
        });
    }
}

/// Adds the stock clients of this server that listen to the resource of a record to its room,
/// except the omitted one.
pub(crate) async fn introduce_here(sockets: &Sockets, room: &Room, omit: Option<&str>) {
    let class = Room::class(room.resource().clone());
    let from = Audience { rooms: &[&class], except: &[], origin: omit };
    for dialect in Dialect::STOCK {
        sockets.join_audience(dialect, from, room).await;
    }
}

/// Sends a message to the stock clients in a room of a resource or a record at this server, except
/// the omitted connection.
pub(crate) fn emit_message(sockets: &Sockets, room: &Room, message: &RawValue, omit: Option<&str>) {
    for dialect in Dialect::STOCK {
        let to = Audience { rooms: &[room], except: &[], origin: omit };
        sockets.emit_to_each(dialect, to, &dialect.message_event(room), message);
    }
}

fn to_ids(ids: impl IntoIterator<Item: ToId>) -> Result<Vec<Id>> {
    ids.into_iter().map(|id| id.to_id().ok_or_else(|| WriteError::BadId.into())).collect()
}

fn origin_of(omit: Option<&Client>) -> Option<&str> {
    omit.map(|client| &**client.id())
}

fn to_attributes(values: Value) -> Result<Attributes> {
    match values {
        Value::Object(values) => Ok(values),
        _ => Err(Error::BadField("data", "it has to be an object")),
    }
}
