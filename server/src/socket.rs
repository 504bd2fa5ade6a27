//! The one door to Socket.IO: no other file knows socketioxide but through what is here.
//!
//! Its traps are avoided in one place each:
//!
//! - it would run each event as a task of its own, in any order. Here a `Door` takes events as
//!   they arrive, into the connection's inbox, which one task at a time empties (which of them
//!   together, `turn` says);
//! - it would lose events that follow right behind the CONNECT. The door is there before the
//!   CONNECT is answered, because the connect *middleware* puts it there;
//! - it would let a connection that is gone join a room, for ever. Here a connection that has gone
//!   joins nothing, and its going and its joins exclude each other;
//! - it would let a client send without bound, and lose what a client does not read. Here there
//!   is a bound, and a client that cannot take its reply, or a push it would not miss, is
//!   disconnected;
//! - it would wait for ever for a client that has stopped reading, also to close. Here the
//!   connection itself has a deadline (see `http::listener`), and closing pulls its plug;
//! - it can refuse a CONNECT and disconnect a namespace, after which clients stay away, but it
//!   cannot end a transport, after which they come back. `transport` does that;
//! - it reads the query of a request by itself. `engine_request` reads it in the same way, once, for everything here
//!   that depends on it;
//! - it sends the first ping of a session at once, and Engine.IO later. Here the server answers that one (see
//!   `first_ping`);
//! - it ends a connection without a close frame if a client violates the WebSocket protocol. Here the frames of clients
//!   are checked before (see `frame_check`);
//! - it would take a query that a client of Socket.IO 1 or 2 has in the name of a namespace for a part of
//!   the name, send such clients refusals that they do not expect, and break the text of Socket.IO 1. Here
//!   their packets are rewritten on the way in and out (see `legacy`).

mod connection;
mod door;
mod engine_request;
mod first_ping;
pub(crate) mod frame_check;
mod incoming_memory;
mod large_packets;
pub(crate) mod legacy;
mod limits;
mod memberships;
mod output;
mod polled_packets;
mod refused_events;
mod sent_stream;
mod session;
pub(crate) mod site;
mod transport;
pub(crate) mod turn;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use backwire_records::change::{Change, Id, Resource, Room};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::extract::SocketRef;
use socketioxide::operators::BroadcastOperators;
use socketioxide::socket::{Sid, Socket};
use socketioxide::{ParserConfig, SendError, SocketIo, TransportType};
use tokio::time::timeout;

use crate::dialect::Dialect;
use crate::http::listener::Plug;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::MemoryBudget;
use crate::rooms::{self, Candidates, FollowedFilter, Presence};
use crate::settings::{Limit, Settings, Transports};

pub use connection::Client;
use connection::NotPushed;

pub(crate) use engine_request::{Ambiguous, EngineRequest, is_engine_path};
use legacy::AllAges;

pub(crate) use limits::Limits;
use output::LARGE_PACKET;

pub(crate) use output::{OutputBudget, UNCLAIMED_BYTES};

/// How long an ack of a client is waited for. What is not acked until then is told again at the next connect.
const LONGEST_ACK: Duration = Duration::from_secs(24 * 60 * 60);

/// Attachments that an event may announce, which is then refused. More end the connection.
const MAX_ATTACHMENTS: usize = 10;

/// How often a full send buffer is looked at again. Nothing reports that it has room.
pub(crate) const SEND_BUFFER_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The event that a broadcast to a room of any name arrives as.
const MESSAGE: &str = "message";

/// All connections.
#[derive(Clone)]
pub(crate) struct Sockets {
    io: SocketIo,
    presence: Arc<Presence>,
    counters: Arc<Counters>,
    limits: Limits,
    limits_reached: Arc<LimitMonitor>,
    requests: Arc<MemoryBudget>,
    output: Arc<OutputBudget>,
    /// Held while some are led from one room into another.
    leading: Arc<tokio::sync::Mutex<()>>,
    entrance: Entrance,
}

/// Whether connections are let in.
///
/// Invariant: one that is let in is found by whoever closes the entrance. Its namespace has it before it
/// comes here.
#[derive(Clone, Default)]
struct Entrance(Arc<AtomicBool>);

/// What went wrong without anybody being told.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Events without an ack id that were refused.
    dropped: AtomicU64,
    /// Pushes that did not reach everyone they were for.
    incomplete: AtomicU64,
    /// Pushes to one connection each.
    separate: AtomicUsize,
}

/// Who is meant by a broadcast.
#[derive(Clone, Copy)]
pub(crate) struct Audience<'a> {
    /// Everyone in one of these rooms,
    pub(crate) rooms: &'a [&'a Room],
    /// but those in one of these
    pub(crate) but_not: &'a [&'a Room],
    /// and this connection.
    pub(crate) origin: Option<&'a str>,
}

impl Sockets {
    /// No sockets yet, and the layer that serves them: they are let in when `door` is opened.
    pub(crate) fn new(
        settings: &Settings,
        limits_reached: Arc<LimitMonitor>,
        (requests, output): (Arc<MemoryBudget>, Arc<OutputBudget>),
    ) -> (Self, AllAges) {
        let limits = Limits::of(settings);
        let largest = limits.message;
        let builder = match limits.transports {
            Transports::All => SocketIo::builder(),
            Transports::Polling => SocketIo::builder().transports([TransportType::Polling]),
            Transports::WebSocket => SocketIo::builder().transports([TransportType::Websocket]),
        };
        let (layer, io) = builder
            .ack_timeout(LONGEST_ACK)
            .ping_interval(limits.heartbeat.interval)
            .ping_timeout(limits.heartbeat.timeout)
            .max_buffer_size(limits.unread)
            .max_payload(largest as u64)
            .ws_max_message_size(largest)
            .ws_max_frame_size(largest)
            // No event here carries attachments. Few are put together, so that the answer can say so.
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(MAX_ATTACHMENTS)
                    .max_incoming_binary_buf_size(settings.body_limit),
            )
            .build_layer();
        let presence = Arc::new(Presence::new(settings.limits.clone()));
        let (counters, leading) = <(Arc<_>, Arc<_>)>::default();
        let entrance = Entrance::default();
        let all_ages = AllAges::new(
            layer,
            (largest, settings.body_limit),
            limits.connect,
            (Arc::clone(&requests), Arc::clone(&output)),
            Arc::clone(&limits_reached),
        );
        let sockets = Self {
            io,
            presence,
            counters,
            limits,
            limits_reached,
            requests,
            output,
            leading,
            entrance,
        };
        (sockets, all_ages)
    }

    /// The filters of a resource that anybody follows and that changes of it may concern. Never too few.
    pub(crate) fn filters_for(
        &self,
        dialect: Dialect,
        of: &Resource,
        changes: &[Arc<Change>],
    ) -> Candidates {
        self.presence.filters_for(dialect, of, changes)
    }

    /// All filters of a resource that anybody follows.
    pub(crate) fn filters_of(&self, dialect: Dialect, of: &Resource) -> Vec<Arc<FollowedFilter>> {
        self.presence.filters_of(dialect, of)
    }

    /// Whether anybody follows a filter of a resource.
    pub(crate) fn has_filters(&self, dialect: Dialect, of: &Resource) -> bool {
        self.presence.has_filters(dialect, of)
    }

    /// Rooms of one record, for those who may see it only as it is now, that anybody is in.
    pub(crate) fn of_one(&self, dialect: Dialect, resource: &Resource, id: &Id) -> Vec<String> {
        self.presence.of_one(dialect, resource, id)
    }

    /// Rooms of those who are in a collection, that anybody is in.
    pub(crate) fn of_members(
        &self,
        dialect: Dialect,
        resource: &Resource,
        of: &(String, Id, String),
    ) -> Vec<String> {
        self.presence.of_members(dialect, resource, of)
    }

    /// Whether anything that is said of a resource would be heard in a dialect. Never wrongly `false`.
    pub(crate) fn follow(&self, dialect: Dialect, resource: &Resource) -> bool {
        self.presence.has_any(dialect, resource)
    }

    /// Whether a push to this room would be heard. Never wrongly `false`.
    pub(crate) fn are_in(&self, dialect: Dialect, room: &Room) -> bool {
        self.count_in(dialect, room) > 0
    }

    /// How many would hear a push to this room. Never wrongly 0.
    pub(crate) fn count_in(&self, dialect: Dialect, room: &Room) -> usize {
        self.presence.count(&rooms::counted_as(dialect, room))
    }

    /// Sends an event, encoded once. `false` if somebody could not take it; whom that was, Socket.IO
    /// does not say. `size` is about that of the packet, in bytes.
    pub(crate) async fn emit(
        &self,
        dialect: Dialect,
        to: Audience<'_>,
        event: &str,
        arguments: &(impl Serialize + Sync),
        size: usize,
    ) -> bool {
        let Some(audience) = self.gather(dialect, to) else {
            return true;
        };
        let is_complete = match size >= LARGE_PACKET {
            true => self.emit_large(audience, event, arguments, size),
            false => audience.emit(event, arguments).await.is_ok(),
        };
        if !is_complete {
            self.counters.incomplete.fetch_add(1, Ordering::Relaxed);
        }
        is_complete
    }

    /// The same to those who have read enough to be sent this much more. They share the memory that it takes.
    fn emit_large(
        &self,
        audience: BroadcastOperators,
        event: &str,
        arguments: &impl Serialize,
        size: usize,
    ) -> bool {
        let Ok(arguments) = large_packets::arguments(arguments, size) else { return false };
        let sockets = audience.sockets();
        let share = size / sockets.len().max(1);
        let mut is_complete = true;
        for socket in sockets {
            let send = || large_packets::emit(&socket, event, arguments.clone());
            is_complete &= self.push(&socket, size, share, send);
        }
        is_complete
    }

    /// Sends an event to everyone by themselves, for those who could not find out that they missed it:
    /// who cannot take it is disconnected, and will read again when it is back.
    pub(crate) fn emit_to_each(
        &self,
        dialect: Dialect,
        to: Audience<'_>,
        event: &str,
        argument: &RawValue,
    ) {
        if let Some(audience) = self.gather(dialect, to) {
            self.tell_each(audience.sockets(), event, argument);
        }
    }

    /// How many pushes were sent to one connection each, so far.
    pub(crate) fn separate_pushes(&self) -> usize {
        self.counters.separate.load(Ordering::Relaxed)
    }

    /// The same, but not to those who are in one of some rooms and in none of the others.
    pub(crate) fn emit_to_each_who_knows(
        &self,
        dialect: Dialect,
        to: Audience<'_>,
        [strangers, others]: [&[&Room]; 2],
        event: &str,
        argument: &RawValue,
    ) {
        if strangers.is_empty() {
            return self.emit_to_each(dialect, to, event, argument);
        }
        let strangers = Audience { rooms: strangers, but_not: others, origin: None };
        if let [Some(audience), Some(strangers)] =
            [to, strangers].map(|it| self.gather(dialect, it))
        {
            let strangers: HashSet<_> = strangers.sockets().iter().map(|it| it.id).collect();
            let mut audience = audience.sockets();
            audience.retain(|it| !strangers.contains(&it.id));
            self.tell_each(audience, event, argument);
        }
    }

    /// Says something to all who listen to a room of any name, but to one of them.
    pub(crate) fn broadcast(&self, room: &str, origin: Option<&str>, argument: &RawValue) {
        if let Some(audience) = self.within(vec![rooms::named(room)], origin) {
            self.tell_each(audience.sockets(), MESSAGE, argument);
        }
    }

    /// Sends a packet to a connection and counts it. `false` if it was not sent, because too much waits to be
    /// read. `claimed` are the bytes that it takes in memory for this connection.
    fn push(
        &self,
        socket: &Socket,
        size: usize,
        claimed: usize,
        send: impl FnOnce() -> Result<(), SendError>,
    ) -> bool {
        let Some(client) = Client::of(socket) else { return send().is_ok() };
        match client.push_with((&self.output, self.limits), size, claimed, send) {
            Ok(()) => return true,
            Err(NotPushed::Limit(limit)) => self.limits_reached.reached(limit, client.address()),
            Err(NotPushed::Error(error)) => {
                connection::count_unread(&self.limits_reached, socket, &error);
            }
        }
        false
    }

    fn tell_each(&self, audience: Vec<SocketRef>, event: &str, argument: &RawValue) {
        let size = argument.get().len();
        let shared =
            (size >= LARGE_PACKET).then(|| Bytes::copy_from_slice(argument.get().as_bytes()));
        self.counters.separate.fetch_add(audience.len(), Ordering::Relaxed);
        for socket in audience {
            let send = || match &shared {
                Some(argument) => large_packets::emit(&socket, event, argument.clone()),
                None => socket.emit(event, argument),
            };
            if !self.push(&socket, size, size, send) {
                self.counters.incomplete.fetch_add(1, Ordering::Relaxed);
                drop(tokio::spawn(transport::end(&socket)));
            }
        }
    }

    /// `None` once the server is closing: nothing of this exists any more.
    fn gather(&self, dialect: Dialect, to: Audience<'_>) -> Option<BroadcastOperators> {
        let names = |rooms: &[&Room]| -> Vec<_> {
            rooms.iter().map(|room| rooms::name(dialect, room)).collect()
        };
        let audience = self.within(names(to.rooms), to.origin)?;
        Some(match to.but_not {
            [] => audience,
            others => audience.except(names(others)),
        })
    }

    fn within(&self, rooms: Vec<String>, origin: Option<&str>) -> Option<BroadcastOperators> {
        let origin = origin.and_then(|id| Sid::from_str(id).ok());
        let namespace = self.io.of("/")?;
        Some(match origin.and_then(|id| namespace.get_socket(id)) {
            Some(socket) => socket.to(rooms),
            None => namespace.within(rooms),
        })
    }

    /// Who is in a room, in whichever dialect.
    pub(crate) fn members(&self, room: &Room) -> Vec<Client> {
        let Some(namespace) = self.io.of("/") else {
            return Vec::new();
        };
        let all = Dialect::ALL.map(|dialect| rooms::name(dialect, room));
        let members = namespace.within(all).sockets().into_iter();
        members.filter_map(|socket| Client::of(&socket)).collect()
    }

    /// Leads everyone who is in one room into that of a record. One that is in as many as it may be is
    /// disconnected: it would never find out that it hears no more of the record. It is among the results.
    pub(crate) async fn introduce(
        &self,
        dialect: Dialect,
        from: Audience<'_>,
        into: &Room,
    ) -> Vec<(Client, Limit)> {
        let _leading = self.leading.lock().await;
        let Some(audience) = self.gather(dialect, from) else { return Vec::new() };
        let name = rooms::name(dialect, into);
        let clients = audience.clone().sockets().into_iter();
        let clients = clients.filter_map(|socket| Client::of(&socket));
        let refused = clients.filter_map(|client| {
            let limit = client.count_record(&name).err()?;
            Some((client, limit))
        });
        let refused = refused.collect();
        let Ok(()) = audience.join(name).await;
        refused
    }

    /// Has a client leave a room for good: when it has, nobody is leading it on from there, whom that room had led
    /// to them.
    pub(crate) async fn take_out(&self, client: &Client, of: &Room) {
        let _leading = self.leading.lock().await;
        client.leave(of);
    }

    /// All connections that have said a word.
    pub(crate) fn all(&self) -> Vec<Client> {
        let sockets = self.io.of("/").map(|namespace| namespace.sockets()).unwrap_or_default();
        sockets.iter().filter_map(|socket| Client::of(socket)).collect()
    }

    /// Leads some out of a room.
    pub(crate) async fn lead_out(&self, dialect: Dialect, from: Audience<'_>, of: &Room) {
        if let Some(audience) = self.gather(dialect, from) {
            let Ok(()) = audience.leave(rooms::name(dialect, of)).await;
        }
    }

    /// Has everyone leave a room that counts for itself.
    pub(crate) fn disband(&self, dialect: Dialect, room: &Room) {
        if let Some(namespace) = self.io.of("/") {
            let members = namespace.within(rooms::name(dialect, room)).sockets();
            members.iter().filter_map(|it| Client::of(it)).for_each(|client| client.leave(room));
        }
    }

    /// Disconnects everyone in a room.
    pub(crate) fn end_all(&self, dialect: Dialect, room: &Room) {
        if let Some(audience) = self.within(vec![rooms::name(dialect, room)], None) {
            for socket in audience.sockets() {
                drop(tokio::spawn(transport::end(&socket)));
            }
        }
    }

    /// Leads everyone out of a room.
    pub(crate) async fn empty(&self, dialect: Dialect, room: &Room) {
        if let Some(namespace) = self.io.of("/") {
            let room = rooms::name(dialect, room);
            let Ok(()) = namespace.within(room.clone()).leave(room).await;
        }
    }

    /// Ends all connections: those that cannot be told within half of the patience, without a word.
    pub(crate) async fn close(&self, patience: Duration) {
        self.entrance.close();
        let sockets: Vec<_> =
            self.io.nsps().into_iter().flat_map(BroadcastOperators::sockets).collect();
        let mut closing = std::pin::pin!(self.io.close());
        if timeout(patience / 2, &mut closing).await.is_err() {
            // To tell one that does not read means to wait for it.
            sockets.iter().filter_map(|socket| connection::plug(socket)).for_each(Plug::pull);
            if timeout(patience / 2, closing).await.is_err() {
                tracing::warn!("some connections did not end in time");
            }
        }
        // Closing the transports leaves sockets and namespace holding each other, and with them the
        // engine. A socket that is disconnected lets go; that it cannot be told any more is no
        // matter.
        for socket in sockets {
            let _ = socket.disconnect();
        }
    }
}

impl Entrance {
    fn close(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Ends a connection that has come too late. It would keep its namespace, and be kept by it, for ever.
    fn lets_in(&self, socket: &Arc<Socket>) -> bool {
        let is_open = !self.0.load(Ordering::SeqCst);
        if !is_open {
            connection::plug(socket).inspect(|plug| plug.pull());
            // That it cannot be told is no matter.
            let _ = socket.clone().disconnect();
        }
        is_open
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("counters", &self.counters).finish_non_exhaustive()
    }
}
