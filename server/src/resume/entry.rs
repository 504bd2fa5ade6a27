//! The rooms of one resume.

use std::sync::Arc;

use backwire_records::change::{Position, Room};

use crate::incoming::ClientPosition;

/// A room, and the position of its client in it.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) seen: ClientPosition,
    /// `None` if the client may not join it.
    pub(super) joined: Option<Arc<JoinedRoom>>,
}

impl Entry {
    /// Returns the positions that have to be in the log. If the client has received something
    /// beyond its position that the log does not have, it is not the log that the client knows.
    pub(super) fn positions(&self) -> impl Iterator<Item = Position> {
        let ClientPosition { position, ahead } = &self.seen;
        std::iter::once(*position).chain(ahead.iter().copied())
    }
}

/// A room that a client has joined to resume it.
#[derive(Debug)]
pub(super) struct JoinedRoom {
    pub(super) room: Room,
    /// Whether there may be records that its followers must not know of.
    pub(super) is_hiding: bool,
}
