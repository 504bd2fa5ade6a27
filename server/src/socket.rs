//! The wrapper around socketioxide: no other module uses socketioxide except through this one.
//!
//! It works around these traps of socketioxide, each in one place:
//!
//! - socketioxide would run each event as a task of its own, in any order. Here a `MessageHandler`
//!   puts events into the inbox of their connection in arrival order, and one task at a time
//!   empties the inbox (`turn` decides which events are answered together);
//! - it would lose events that follow right behind the CONNECT. Here the connect *middleware*
//!   registers the `MessageHandler` before the CONNECT is answered;
//! - it would let a connection that is gone join a room, for ever. Here a connection that is gone
//!   joins nothing, and its end and its joins exclude each other;
//! - it would let a client send without bound, and lose packets that a client does not read. Here
//!   there is a bound, and a client that cannot take its reply, or a push whose loss it would not
//!   notice, is disconnected;
//! - it would wait for ever for a client that has stopped reading, also to close the connection.
//!   Here the TCP connection has a deadline (see `http::tcp_connection`), and closing aborts it;
//! - it can refuse a CONNECT and disconnect a namespace, after which clients stay away, but it
//!   cannot end a transport, after which they connect again. `transport` ends transports;
//! - it reads the query of a request by itself. `engine_request` reads it in the same way, once,
//!   for all code here that depends on it;
//! - it sends the first ping of a session at once, and Engine.IO sends it later. Here the server
//!   answers that ping itself (see `first_ping`);
//! - it ends a connection without a close frame if a client violates the WebSocket protocol. Here
//!   the frames of clients are checked first (see `frame_check`);
//! - it would take a query that a client of Socket.IO 1 or 2 has in the name of a namespace for a
//!   part of the name, send such clients refusals that they do not expect, and break the text of
//!   Socket.IO 1. Here their packets are rewritten in both directions (see `legacy`).

mod connection;
mod emit;
mod engine_request;
#[expect(clippy::disallowed_methods, reason = "this is below Socket.IO")]
mod first_ping;
#[expect(clippy::disallowed_methods, reason = "this is below Socket.IO")]
pub(crate) mod frame_check;
mod handlers;
mod incoming_memory;
#[expect(clippy::disallowed_methods, reason = "this is below Socket.IO")]
mod large_packets;
#[expect(clippy::disallowed_methods, reason = "this is below Socket.IO")]
pub(crate) mod legacy;
mod limits;
mod memberships;
mod output;
mod polled_packets;
mod refused_events;
mod sent_stream;
#[expect(clippy::disallowed_methods, reason = "this is below Socket.IO")]
mod session;
pub(crate) mod site;
pub(crate) mod site_connection;
mod taken_bytes;
#[expect(clippy::disallowed_methods, reason = "this is below Socket.IO")]
mod transport;
pub(crate) mod turn;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use backwire_engine::Environment;
use backwire_records::change::{Change, Id, Resource, Room};
use backwire_records::criteria::CollectionKey;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::operators::BroadcastOperators;
use socketioxide::socket::{Sid, Socket};
use socketioxide::{ParserConfig, SendError, SocketIo, TransportType};

use crate::dialect::Dialect;
use crate::http::connection_handle::ConnectionHandle;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::MemoryBudget;
use crate::rooms::{self, Candidates, FollowedFilter, Presence};
use crate::settings::{Limit, Settings, Transports};

pub use connection::Client;
use connection::PushError;
pub(crate) use connection::address_of;

pub(crate) use engine_request::{Ambiguous, EngineRequest, is_engine_path};
use legacy::CompatLayer;

pub(crate) use limits::Limits;
use output::LARGE_PACKET;

pub(crate) use output::{OutputBudget, UNCLAIMED_BYTES};

/// How long the server waits for an ack of a client. A delivery without an ack is sent again at the
/// next connect.
const ACK_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How many attachments an event may announce. The event is refused. A higher number ends the
/// connection.
const MAX_ATTACHMENTS: usize = 10;

/// How often a full send buffer is checked again. Nothing reports that it has room.
pub(crate) const SEND_BUFFER_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The name of the event that carries a broadcast to a named room.
const MESSAGE: &str = "message";

/// All connections.
#[derive(Clone)]
pub(crate) struct Sockets {
    environment: Environment,
    io: SocketIo,
    presence: Arc<Presence>,
    counters: Arc<Counters>,
    limits: Limits,
    limits_reached: Arc<LimitMonitor>,
    requests: Arc<MemoryBudget>,
    output: Arc<OutputBudget>,
    /// Held while clients that are in one room join another.
    join_lock: Arc<tokio::sync::Mutex<()>>,
    shutdown: ShutdownFlag,
}

/// Whether the server is shutting down and accepts no more connections.
///
/// Invariant: a connection that is accepted is found by the caller of `set`, because it is in its
/// namespace before `accept` is called.
#[derive(Clone, Default)]
struct ShutdownFlag(Arc<AtomicBool>);

/// Counts of events that no client gets a message about.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Events without an ack id that were refused.
    dropped: AtomicU64,
    /// Pushes that did not reach all of their recipients.
    incomplete: AtomicU64,
    /// Pushes that were sent to one connection each.
    separate: AtomicUsize,
}

/// The recipients of a broadcast.
#[derive(Clone, Copy)]
pub(crate) struct Audience<'a> {
    /// All connections in one of these rooms,
    pub(crate) rooms: &'a [&'a Room],
    /// except those in one of these,
    pub(crate) except: &'a [&'a Room],
    /// and except this connection.
    pub(crate) origin: Option<&'a str>,
}

impl Sockets {
    /// Creates the sockets, and the layer that serves them. Connections are accepted after `open`.
    pub(crate) fn new(
        environment: Environment,
        settings: &Settings,
        limits_reached: Arc<LimitMonitor>,
        (requests, output): (Arc<MemoryBudget>, Arc<OutputBudget>),
    ) -> (Self, CompatLayer) {
        let limits = Limits::of(settings);
        let largest = limits.message;
        let builder = match limits.transports {
            Transports::All => SocketIo::builder(),
            Transports::Polling => SocketIo::builder().transports([TransportType::Polling]),
            Transports::WebSocket => SocketIo::builder().transports([TransportType::Websocket]),
        };
        let (layer, io) = builder
            .ack_timeout(ACK_TIMEOUT)
            .ping_interval(limits.heartbeat.interval)
            .ping_timeout(limits.heartbeat.timeout)
            .max_buffer_size(limits.unread_packets)
            .max_payload(largest as u64)
            .ws_max_message_size(largest)
            .ws_max_frame_size(largest)
            // No event here carries attachments. A few are accepted, so that the answer can say so.
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(MAX_ATTACHMENTS)
                    .max_incoming_binary_buf_size(settings.body_limit),
            )
            .build_layer();
        let presence = Arc::new(Presence::new(settings.limits.clone()));
        let (counters, join_lock) = <(Arc<_>, Arc<_>)>::default();
        let shutdown = ShutdownFlag::default();
        let compat_layer = CompatLayer::new(
            layer,
            (largest, settings.body_limit),
            limits.connect,
            (Arc::clone(&requests), Arc::clone(&output)),
            Arc::clone(&limits_reached),
        );
        let sockets = Self {
            environment,
            io,
            presence,
            counters,
            limits,
            limits_reached,
            requests,
            output,
            join_lock,
            shutdown,
        };
        (sockets, compat_layer)
    }

    /// Returns the filters of a resource that have subscribers and that the changes may concern.
    /// Never too few.
    pub(crate) fn filters_for(
        &self,
        dialect: Dialect,
        of: &Resource,
        changes: &[Arc<Change>],
    ) -> Candidates {
        self.presence.filters_for(dialect, of, changes)
    }

    /// Returns all filters of a resource that have subscribers.
    pub(crate) fn filters_of(&self, dialect: Dialect, of: &Resource) -> Vec<Arc<FollowedFilter>> {
        self.presence.filters_of(dialect, of)
    }

    /// Whether a filter of a resource has subscribers.
    pub(crate) fn has_filters(&self, dialect: Dialect, of: &Resource) -> bool {
        self.presence.has_filters(dialect, of)
    }

    /// Returns the filters of one record that have subscribers. They are for users who may see only
    /// the current state of the record.
    pub(crate) fn record_filters(
        &self,
        dialect: Dialect,
        resource: &Resource,
        id: &Id,
    ) -> Vec<Arc<FollowedFilter>> {
        self.presence.record_filters(dialect, resource, id)
    }

    /// Returns the rooms for the members of a collection, but only those that have subscribers.
    pub(crate) fn member_rooms(
        &self,
        dialect: Dialect,
        resource: &Resource,
        of: &CollectionKey,
    ) -> Vec<Room> {
        self.presence.member_rooms(dialect, resource, of)
    }

    /// Whether a resource has subscribers in a dialect. Never wrongly `false`.
    pub(crate) fn has_subscribers(&self, dialect: Dialect, resource: &Resource) -> bool {
        self.presence.has_any(dialect, resource)
    }

    /// Whether a room has subscribers. Never wrongly `false`.
    pub(crate) fn has_subscribers_in(&self, dialect: Dialect, room: &Room) -> bool {
        self.count_subscribers(dialect, room) > 0
    }

    /// Returns how many connections would receive a push to a room. Never wrongly 0.
    pub(crate) fn count_subscribers(&self, dialect: Dialect, room: &Room) -> usize {
        self.presence.count(dialect, &rooms::counted_room(dialect, room))
    }

    /// Sends an event, encoded once. Returns `false` if a connection could not take it. Socket.IO
    /// does not report which one. `size` is about the size of the packet, in bytes.
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

    /// Sends a large event to the connections that have read enough to be sent this much more. They
    /// share the memory of its arguments.
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
            let send = || emit::emit(&socket, event, arguments.clone());
            let client = Client::of(&socket);
            is_complete &= client.is_none_or(|client| self.push(&client, size, share, send));
        }
        is_complete
    }

    /// Sends an event to each connection by itself. It is for events whose loss a client would not
    /// notice: a client that cannot take it is disconnected, and reads again when it is back.
    pub(crate) fn emit_to_each(
        &self,
        dialect: Dialect,
        to: Audience<'_>,
        event: &str,
        argument: &RawValue,
    ) {
        if let Some(audience) = self.gather(dialect, to) {
            self.send_to_each(&clients(audience), event, argument);
        }
    }

    /// Returns how many pushes have been sent to one connection each.
    pub(crate) fn separate_pushes(&self) -> usize {
        self.counters.separate.load(Ordering::Relaxed)
    }

    /// Sends an event like `emit_to_each`, but not to connections that are in one of the rooms
    /// `strangers` and in none of `others`.
    pub(crate) fn emit_to_each_known(
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
        let strangers = Audience { rooms: strangers, except: others, origin: None };
        if let [Some(audience), Some(strangers)] =
            [to, strangers].map(|it| self.gather(dialect, it))
        {
            let strangers: HashSet<_> = strangers.sockets().iter().map(|it| it.id).collect();
            let mut audience = clients(audience);
            audience.retain(|client| !strangers.contains(&client.socket.id));
            self.send_to_each(&audience, event, argument);
        }
    }

    /// Sends an argument to all connections that listen to a named room, except `origin`.
    pub(crate) fn broadcast(&self, room: &str, origin: Option<&str>, argument: &RawValue) {
        if let Some(audience) = self.within(vec![rooms::custom_name(room)], origin) {
            self.send_to_each(&clients(audience), MESSAGE, argument);
        }
    }

    /// Sends a packet to a connection and counts it. Returns `false` if it was not sent because the
    /// client has too much unread. `claimed` is the number of bytes that the packet takes in memory
    /// for this connection.
    fn push(
        &self,
        client: &Client,
        size: usize,
        claimed: usize,
        send: impl FnOnce() -> Result<(), SendError>,
    ) -> bool {
        match client.push_with((&self.output, self.limits), size, claimed, send) {
            Ok(()) => return true,
            Err(PushError::Limit(limit)) => self.limits_reached.reached(limit, client.address()),
            Err(PushError::Error(error)) => {
                connection::count_unread(&self.limits_reached, &client.socket, &error);
            }
        }
        false
    }

    fn send_to_each(&self, audience: &[Client], event: &str, argument: &RawValue) {
        let size = argument.get().len();
        let shared =
            (size >= LARGE_PACKET).then(|| Bytes::copy_from_slice(argument.get().as_bytes()));
        self.counters.separate.fetch_add(audience.len(), Ordering::Relaxed);
        for client in audience {
            let send = || match &shared {
                Some(argument) => emit::emit(&client.socket, event, argument.clone()),
                None => client.socket.emit(event, argument),
            };
            if !self.push(client, size, size, send) {
                self.counters.incomplete.fetch_add(1, Ordering::Relaxed);
                client.disconnect();
            }
        }
    }

    /// Returns `None` when the server is closing, because the namespace does not exist any more.
    fn gather(&self, dialect: Dialect, to: Audience<'_>) -> Option<BroadcastOperators> {
        let names = |rooms: &[&Room]| -> Vec<_> {
            rooms.iter().map(|room| rooms::name(dialect, room)).collect()
        };
        let audience = self.within(names(to.rooms), to.origin)?;
        Some(match to.except {
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

    /// Returns the clients in a room, in all dialects.
    pub(crate) fn members(&self, room: &Room) -> Vec<Client> {
        let Some(namespace) = self.io.of("/") else {
            return Vec::new();
        };
        let all = Dialect::ALL.map(|dialect| rooms::name(dialect, room));
        let members = namespace.within(all).sockets().into_iter();
        members.filter_map(|socket| Client::of(&socket)).collect()
    }

    /// Joins all connections of an audience to the room of a record. A connection that has reached
    /// its limit of rooms is disconnected, because it would not notice that it misses changes of
    /// the record. The results contain it.
    pub(crate) async fn join_audience(
        &self,
        dialect: Dialect,
        from: Audience<'_>,
        into: &Room,
    ) -> Vec<(Client, Limit)> {
        let _guard = self.join_lock.lock().await;
        let Some(audience) = self.gather(dialect, from) else { return Vec::new() };
        join_each(&clients(audience), &rooms::name(dialect, into))
    }

    /// Sends an event like `emit_to_each` to an audience, and joins it to the room of the record
    /// that the event is about. `joins_origin` includes the origin, which does not get the event.
    /// The connections are collected once for both. Returns what `join_audience` returns.
    pub(crate) async fn emit_and_join(
        &self,
        dialect: Dialect,
        to: Audience<'_>,
        event: Option<(&str, &RawValue)>,
        (into, joins_origin): (&Room, bool),
    ) -> Vec<(Client, Limit)> {
        let _guard = self.join_lock.lock().await;
        let all = Audience { origin: None, ..to };
        let Some(audience) = self.gather(dialect, all) else { return Vec::new() };
        let mut audience = clients(audience);
        let is_origin = |client: &Client| to.origin.is_some_and(|id| **client.id() == *id);
        let origin = audience.iter().position(is_origin);
        let origin = origin.map(|index| audience.swap_remove(index));
        if let Some((event, argument)) = event {
            self.send_to_each(&audience, event, argument);
        }
        audience.extend(origin.filter(|_| joins_origin));
        join_each(&audience, &rooms::name(dialect, into))
    }

    /// Removes a client from a room for good: when this resolves, no `join_audience` is moving
    /// others on from that room because of it.
    pub(crate) async fn remove_client(&self, client: &Client, of: &Room) {
        let _guard = self.join_lock.lock().await;
        client.leave(of);
    }

    /// Returns all connections of the main namespace.
    pub(crate) fn all(&self) -> Vec<Client> {
        let sockets = self.io.of("/").map(|namespace| namespace.sockets()).unwrap_or_default();
        sockets.iter().filter_map(|socket| Client::of(socket)).collect()
    }

    /// Removes the connections of an audience from a room.
    pub(crate) async fn remove_audience(&self, dialect: Dialect, from: Audience<'_>, of: &Room) {
        if let Some(audience) = self.gather(dialect, from) {
            let Ok(()) = audience.leave(rooms::name(dialect, of)).await;
        }
    }

    /// Removes all connections from a room that has its own entry in their memberships.
    pub(crate) fn clear_counted_room(&self, dialect: Dialect, room: &Room) {
        if let Some(namespace) = self.io.of("/") {
            let members = namespace.within(rooms::name(dialect, room)).sockets();
            members.iter().filter_map(|it| Client::of(it)).for_each(|client| client.leave(room));
        }
    }

    /// Disconnects all clients in a room.
    pub(crate) fn disconnect_room(&self, dialect: Dialect, room: &Room) {
        if let Some(audience) = self.within(vec![rooms::name(dialect, room)], None) {
            for socket in audience.sockets() {
                drop(transport::begin_end(&socket));
            }
        }
    }

    /// Removes all connections from a room.
    pub(crate) async fn clear_room(&self, dialect: Dialect, room: &Room) {
        if let Some(namespace) = self.io.of("/") {
            let room = rooms::name(dialect, room);
            let Ok(()) = namespace.within(room.clone()).leave(room).await;
        }
    }

    /// Ends all connections. If that takes longer than half of `grace`, the TCP connections are
    /// aborted.
    pub(crate) async fn close(&self, grace: Duration) {
        self.shutdown.set();
        let sockets: Vec<_> =
            self.io.nsps().into_iter().flat_map(BroadcastOperators::sockets).collect();
        let mut closing = std::pin::pin!(self.io.close());
        if self.environment.timeout(grace / 2, &mut closing).await.is_err() {
            // A disconnect packet for a client that does not read would have to wait for it.
            sockets
                .iter()
                .filter_map(|socket| transport::tcp_handle(socket))
                .for_each(ConnectionHandle::abort);
            if self.environment.timeout(grace / 2, closing).await.is_err() {
                tracing::warn!("some connections did not end in time");
            }
        }
        // Closing the transports leaves sockets and namespace holding each other, and with them the
        // engine. A socket that is disconnected releases its namespace. An error means that the
        // client is gone already.
        for socket in sockets {
            let _ = socket.disconnect();
        }
    }
}

impl ShutdownFlag {
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a connection may go on. If the server is shutting down, the connection is ended: it
    /// and its namespace would keep each other alive for ever.
    fn accept(&self, socket: &Arc<Socket>) -> bool {
        let is_open = !self.0.load(Ordering::SeqCst);
        if !is_open {
            transport::tcp_handle(socket).inspect(|handle| handle.abort());
            // An error means that the client is gone already.
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

/// Returns the clients of an audience. A socket whose CONNECT has not been decided on is in no
/// room.
fn clients(audience: BroadcastOperators) -> Vec<Client> {
    audience.sockets().iter().filter_map(|socket| Client::of(socket)).collect()
}

/// Joins clients to the room of a record. Those that have reached a limit are disconnected and
/// returned.
fn join_each(audience: &[Client], name: &str) -> Vec<(Client, Limit)> {
    let refused = audience.iter().filter_map(|client| {
        let limit = client.join_record(name).err()?;
        Some((client.clone(), limit))
    });
    refused.collect()
}
