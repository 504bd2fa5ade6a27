//! The publisher, which works inside and outside of requests.

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::FromRequestParts;
use backwire_engine::{self as engine, Engine, Environment};
use backwire_records::change::Change;
use backwire_records::model::Models;
use backwire_records::write::Write;
use http::request::Parts;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::announcements::{Announcement, Announcer};
use crate::error::{Error, Result};
use crate::event_name;
use crate::push_backlog::PushBacklog;
use crate::shared::Shared;
use crate::socket::{Client, Sockets};

/// Publishes changes and sends events to clients, inside and outside of requests.
///
/// A handler takes it as an argument or from [`Context::publisher`](crate::Context::publisher).
/// Other code gets it from [`Server::publisher`](crate::Server::publisher) or
/// [`Handle::publisher`](crate::Handle::publisher). It does not keep a server from stopping.
#[derive(Debug, Clone)]
pub struct Publisher {
    engine: Weak<dyn Engine>,
    pub(super) environment: Environment,
    pub(super) sockets: Sockets,
    backlog: Arc<PushBacklog>,
    pub(super) models: Arc<Models>,
    pub(super) announcer: Announcer,
}

impl Publisher {
    pub(crate) fn of(shared: &Shared) -> Self {
        let Shared { engine, environment, sockets, backlog, models, announcer, .. } = shared;
        Self {
            engine: Arc::downgrade(engine),
            environment: environment.clone(),
            sockets: sockets.clone(),
            backlog: Arc::clone(backlog),
            models: Arc::clone(models),
            announcer: announcer.clone(),
        }
    }

    /// Sends an event to all clients that [`listen`](Client::listen) to a room, except the omitted
    /// one, at all servers that share the store. The event is not stored: a client that is not
    /// connected does not get it later.
    ///
    /// A stock client receives it with `socket.on(event, …)`, and a page with Backwire's runtime
    /// with `Backwire.socket.on(event, …)`.
    ///
    /// It is an error if the name of the event does not have 1 to 256 bytes, if Socket.IO clients
    /// emit that event themselves (such as `connect`), or if the data cannot be JSON.
    pub fn broadcast(
        &self,
        room: &str,
        event: &str,
        data: &(impl Serialize + ?Sized),
        omit: Option<&Client>,
    ) -> Result<()> {
        self.broadcast_event(Some(room), event, data, omit)
    }

    /// Sends an event to all clients like [`broadcast`](Self::broadcast), whatever rooms they
    /// listen to.
    pub fn broadcast_to_all(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
        omit: Option<&Client>,
    ) -> Result<()> {
        self.broadcast_event(None, event, data, omit)
    }

    fn broadcast_event(
        &self,
        room: Option<&str>,
        event: &str,
        data: &(impl Serialize + ?Sized),
        omit: Option<&Client>,
    ) -> Result<()> {
        event_name::check(event)?;
        let (data, omit) = (to_json(data)?, omit.map(|client| &**client.id()));
        self.sockets.broadcast(room, event, omit, &data);
        let [room, omit] = [room, omit].map(|it| it.map(str::to_owned));
        let event = event.to_owned();
        self.announcer.announce_later(Announcement::Broadcast { room, event, data, omit });
        Ok(())
    }

    /// Sends an event to one client, like [`broadcast`](Self::broadcast). A client that reads too
    /// slowly, so that too much output waits for it, is disconnected.
    pub fn emit(
        &self,
        client: &Client,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<()> {
        event_name::check(event)?;
        self.sockets.send_event(std::slice::from_ref(client), event, &to_json(data)?);
        Ok(())
    }

    /// Sends an event to a stock client, and returns the first value of its ack, or null if the ack
    /// has no value. It is an error if no ack arrives within the timeout, or if the connection ends
    /// before.
    ///
    /// Backwire's runtime acks no events, so this is an error for a page that uses it. Such a page
    /// has to send a request instead.
    pub async fn emit_with_ack(
        &self,
        client: &Client,
        event: &str,
        data: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Result<Value> {
        event_name::check(event)?;
        let data = to_json(data)?;
        self.sockets.request(&self.environment, client, event, &data, timeout).await
    }

    /// Returns the clients that are connected to this server now, except those of the push service
    /// that are in the namespace of their site.
    pub fn clients(&self) -> Vec<Client> {
        self.sockets.all()
    }

    /// Returns the client with this [id](Client::id), if it is connected to this server.
    pub fn client(&self, id: &str) -> Option<Client> {
        self.sockets.all().into_iter().find(|client| **client.id() == *id)
    }

    pub(super) async fn commit(&self, write: Write) -> Result<Arc<Change>> {
        let stopped = || engine::Error::Unavailable("the server has stopped".to_owned());
        let engine = self.engine.upgrade().ok_or_else(stopped)?;
        let stock_clients = self.sockets.count_stock_subscribers(&write.resource);
        let permit = self.backlog.enter((&write.resource, 1), stock_clients, None).await;
        Ok(permit.commit(&self.environment, engine, write).await?.change)
    }
}

impl<S: Sync> FromRequestParts<S> for Publisher {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Ok(Self::of(Shared::of(parts)))
    }
}

pub(super) fn to_json(data: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>> {
    to_raw_value(data).map_err(|error| Error::BadAnswer(error.to_string()))
}
