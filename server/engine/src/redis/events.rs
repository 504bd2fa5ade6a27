//! The stream of events that the servers which share the store have in common. Each event has the
//! number after that of the one before it.

use std::sync::Arc;

use backwire_records::messages::message::Message;
use tokio::sync::mpsc;
use tracing::warn;

use super::known_id::KnownId;
use super::reply::Reply;
use super::stored::unreadable;
use super::stored_message::{Address, Body, flake};
use crate::{Error, Question, StoreEvent, StoredMessage};

/// The maximum number of events in the stream. Their bytes are limited, too, see `prelude.lua`. A
/// server that is further behind misses some.
pub(super) const MAX_EVENTS: usize = 1_000;

/// The events that may wait for this server to handle them.
const MAX_WAITING_EVENTS: usize = 1_000;

/// Sends the events of the stream to the server.
pub(super) struct Events {
    sender: mpsc::Sender<StoreEvent>,
    /// The token of this server, whose own questions are left out.
    token: String,
    known_id: Arc<KnownId>,
    /// The number of the last event that was read.
    pub(super) last: u64,
    /// Whether events were missed that the server does not know of yet.
    has_missed: bool,
}

impl Events {
    /// Begins after an event.
    pub(super) fn begin(
        last: u64,
        token: String,
        known_id: Arc<KnownId>,
    ) -> (Self, mpsc::Receiver<StoreEvent>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_EVENTS);
        (Self { sender, token, known_id, last, has_missed: false }, receiver)
    }

    /// Continues in another run of Redis, whose last event this is. It may have lost some.
    pub(super) fn restart(&mut self, last: u64) {
        self.last = self.last.min(last);
        self.has_missed = true;
    }

    /// Has the server do what it does if it has missed events.
    pub(super) fn miss(&mut self) {
        self.has_missed = true;
    }

    /// Sends new entries of the stream.
    pub(super) fn receive(&mut self, entries: Reply) -> Result<(), Error> {
        for entry in entries {
            let mut entry = Reply::list(entry)?;
            let (id, fields) = (entry.text()?, entry.next_list()?);
            let number = id.split('-').next().and_then(|it| it.parse().ok());
            let number = number.ok_or_else(|| unreadable("an event has no number"))?;
            if number != self.last + 1 {
                warn!("events after {} did not reach this server", self.last);
                self.has_missed = true;
            }
            self.last = number;
            self.report_missed();
            let event = read(fields);
            if let Ok(StoreEvent::MessageStored(stored)) = &event {
                self.known_id.add(stored.id);
            }
            match event {
                Ok(StoreEvent::Asked(Question(asker), _)) if asker.starts_with(&self.token) => {}
                // It fails if the server is closing, or too slow.
                Ok(event) if !self.has_missed => {
                    self.has_missed = self.sender.try_send(event).is_err();
                }
                Ok(_) => {}
                Err(error) => {
                    warn!("event {number} is not readable: {error}");
                    self.has_missed = true;
                }
            }
        }
        Ok(())
    }

    /// Reports missed events as soon as there is room.
    pub(super) fn report_missed(&mut self) {
        if self.has_missed {
            self.has_missed = self.sender.try_send(StoreEvent::Missed).is_err();
        }
    }
}

/// Reads an event, as `queue.lua`, `session.lua`, `announce.lua` and `ask.lua` write it.
fn read(mut fields: Reply) -> Result<StoreEvent, Error> {
    let (kind, id) = (fields.text()?, fields.text()?);
    if kind == "session" {
        return Ok(StoreEvent::SessionChanged(id.into()));
    }
    if kind == "announced" {
        return Ok(StoreEvent::Announced(id));
    }
    if kind == "asked" {
        let (_, text) = (fields.text()?, fields.text()?);
        return Ok(StoreEvent::Asked(Question(id), text));
    }
    let (_, address, _, body) = (fields.text()?, fields.text()?, fields.text()?, fields.text()?);
    let Address { site, persons, rooms, resync } =
        serde_json::from_str(&address).map_err(unreadable)?;
    let Body { event, args } = serde_json::from_str(&body).map_err(unreadable)?;
    let message = Arc::new(Message { event, rooms, args, resync });
    Ok(StoreEvent::MessageStored(StoredMessage { id: flake(&id)?, site, persons, message }))
}
