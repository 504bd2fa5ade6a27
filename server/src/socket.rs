//! The one door to Socket.IO: no other file knows socketioxide but through what is here.
//!
//! Its traps are avoided in one place each:
//!
//! - it would run each event as a task of its own, in any order. Here a [`Door`] takes events as
//!   they arrive, into the connection's inbox, which one task at a time empties;
//! - it would lose events that follow right behind the CONNECT. The door is there before the
//!   CONNECT is answered, because the connect *middleware* puts it there;
//! - it would let a connection that is gone join a room, for ever. Here a connection that has gone
//!   joins nothing, and its going and its joins exclude each other;
//! - it would let a client send without bound, and lose what a client does not read. Here there
//!   is a bound, and a client that can not take its reply is disconnected.

mod connection;
mod door;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use socketioxide::layer::SocketIoLayer;
use socketioxide::socket::Sid;
use socketioxide::{ParserConfig, SocketIo};

use crate::answers::Answers;
use crate::change::Room;
use crate::dialect::Dialect;
use crate::http::limit::TOLERANCE;
use crate::rooms::{self, Presence};

use door::Doors;

pub use connection::Client;

/// All connections.
#[derive(Clone)]
pub(crate) struct Sockets {
    io: SocketIo,
    presence: Arc<Presence>,
    counters: Arc<Counters>,
}

/// What one client may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes in the body of a request.
    pub(crate) body: usize,
    /// Requests that have not been answered yet.
    pub(crate) in_flight: usize,
    /// Packets that wait for it to read them.
    pub(crate) unread: usize,
}

/// What went wrong without anybody being told.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Events without an ack id that were refused.
    dropped: AtomicU64,
    /// Broadcasts that did not reach everyone.
    incomplete: AtomicU64,
}

/// Who is meant by a broadcast.
pub(crate) struct Audience<'a> {
    /// Everyone in this room,
    pub(crate) room: &'a Room,
    /// but those in this one
    pub(crate) but_not: Option<&'a Room>,
    /// and this connection.
    pub(crate) origin: Option<&'a str>,
}

impl Sockets {
    /// Sockets that hear `answers`, and the layer that serves them.
    pub(crate) fn new(answers: Answers, limits: Limits) -> (Self, SocketIoLayer) {
        let largest = limits.body * TOLERANCE;
        let (layer, io) = SocketIo::builder()
            .max_buffer_size(limits.unread)
            .max_payload(largest as u64)
            .ws_max_message_size(largest)
            .ws_max_frame_size(largest)
            // No event here carries attachments; the packet that announces one closes its connection.
            .with_parser(ParserConfig::common().max_incoming_binaries(0))
            .build_layer();
        let sockets = Self { io, presence: Arc::default(), counters: Arc::default() };
        sockets.io.ns("/", Doors::new(answers, limits, &sockets));
        (sockets, layer)
    }

    /// Whether a push to this room would be heard. Never wrongly `false`.
    pub(crate) fn are_in(&self, dialect: Dialect, room: &Room) -> bool {
        self.presence.has(&rooms::counted_as(dialect, room))
    }

    /// Sends an event, encoded once. `false` if somebody could not take it; whom that was, Socket.IO
    /// does not say.
    pub(crate) async fn emit(
        &self,
        dialect: Dialect,
        to: Audience<'_>,
        event: &str,
        arguments: &(impl Serialize + Sync),
    ) -> bool {
        let room = rooms::name(dialect, to.room);
        let origin = to.origin.and_then(|id| Sid::from_str(id).ok());
        // None of this exists any more once the server is closing.
        let Some(namespace) = self.io.of("/") else {
            return true;
        };
        let audience = match origin.and_then(|id| namespace.get_socket(id)) {
            Some(socket) => socket.to(room),
            None => namespace.within(room),
        };
        let audience = match to.but_not {
            Some(other) => audience.except(rooms::name(dialect, other)),
            None => audience,
        };
        let is_complete = audience.emit(event, arguments).await.is_ok();
        if !is_complete {
            self.counters.incomplete.fetch_add(1, Ordering::Relaxed);
        }
        is_complete
    }

    /// Leads everyone who is in one room into another.
    pub(crate) async fn introduce(&self, dialect: Dialect, from: &Room, into: &Room) {
        if let Some(namespace) = self.io.of("/") {
            let (from, into) = (rooms::name(dialect, from), rooms::name(dialect, into));
            let Ok(()) = namespace.within(from).join(into).await;
        }
    }

    /// Leads everyone out of a room.
    pub(crate) async fn empty(&self, dialect: Dialect, room: &Room) {
        if let Some(namespace) = self.io.of("/") {
            let room = rooms::name(dialect, room);
            let Ok(()) = namespace.within(room.clone()).leave(room).await;
        }
    }

    /// Ends all connections, and waits for that as long as `patience` lasts.
    pub(crate) async fn close(&self, patience: Duration) {
        let Some(namespace) = self.io.of("/") else {
            return;
        };
        let sockets = namespace.sockets();
        if tokio::time::timeout(patience, self.io.close()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        // Closing the transports leaves sockets and namespace holding each other, and with them the
        // engine. A socket that is disconnected lets go; that it can not be told any more is no
        // matter.
        for socket in sockets {
            let _ = socket.disconnect();
        }
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("counters", &self.counters).finish_non_exhaustive()
    }
}
