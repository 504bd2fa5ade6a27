//! The publisher, which also works without a request.

use std::sync::{Arc, Weak};

use axum::extract::FromRequestParts;
use backwire_engine::{self as engine, Engine, Environment};
use backwire_records::change::Change;
use backwire_records::model::Models;
use backwire_records::write::Write;
use http::request::Parts;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::announcements::{Announcement, Announcer};
use crate::error::{Error, Result};
use crate::push_backlog::PushBacklog;
use crate::shared::Shared;
use crate::socket::{Client, Sockets};

/// Publishes to clients, also without a request: see
/// [`Server::publisher`](crate::Server::publisher). It does not keep a server from stopping.
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

    /// Sends data to all clients that [`listen`](Client::listen) to a room, except the omitted one,
    /// as the event `message`.
    pub fn broadcast(
        &self,
        room: &str,
        data: &impl Serialize,
        omit: Option<&Client>,
    ) -> Result<()> {
        let (data, omit) = (to_json(data)?, omit.map(|client| &**client.id()));
        self.sockets.broadcast(room, omit, &data);
        let (room, omit) = (room.to_owned(), omit.map(str::to_owned));
        self.announcer.announce_later(Announcement::Broadcast { room, data, omit });
        Ok(())
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

pub(super) fn to_json(data: &impl Serialize) -> Result<Box<RawValue>> {
    to_raw_value(data).map_err(|error| Error::BadAnswer(error.to_string()))
}
