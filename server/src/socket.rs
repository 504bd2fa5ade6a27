//! The connections of clients. No other module uses socketioxide except through this one.
//!
//! `adapter` has the traits of what carries packets: sockets, rooms and namespaces. All decisions
//! are above them and do not name socketioxide: who is in which room (`connection`, `memberships`),
//! which requests are answered when (`requests`, `in_progress`, `turn`), and the connections to
//! sites (`site`, `site_connection`). Below them, `socket_io` is the implementation over the
//! network. The other modules there change what it does to transports, sessions and frames.
//!
//! This module works around these traps of socketioxide, each in one place:
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

pub(crate) mod adapter;
pub(crate) mod connection;
mod drain;
#[expect(clippy::disallowed_types, reason = "this is below the adapter")]
mod emit;
mod engine_request;
mod events;
#[expect(clippy::disallowed_methods, reason = "this is below the adapter")]
mod first_ping;
#[expect(clippy::disallowed_methods, reason = "this is below the adapter")]
pub(crate) mod frame_check;
mod in_progress;
mod inbox;
mod incoming_memory;
pub(crate) mod input;
#[expect(clippy::disallowed_methods, reason = "this is below the adapter")]
mod large_packets;
#[expect(clippy::disallowed_methods, reason = "this is below the adapter")]
pub(crate) mod legacy;
mod limits;
mod memberships;
pub(crate) mod output;
mod polled_packets;
mod refused_events;
mod requests;
mod sent_stream;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is below the adapter"
)]
mod session;
pub(crate) mod site;
pub(crate) mod site_connection;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this implements the adapter over the network"
)]
mod socket_io;
mod taken_bytes;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is below the adapter"
)]
mod transport;
pub(crate) mod turn;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use backwire_environment::HashSet;
use backwire_records::change::{Change, Id, Resource, Room};
use backwire_records::criteria::CollectionKey;
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialect::Dialect;
use crate::dialect::runtime::{self, Push};
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::MemoryBudget;
use crate::rooms::{self, Candidates, FollowedFilter, Presence, SubscriberCounts};
use crate::settings::{Limit, Settings};

use adapter::socket::{Arguments, SendError};
use adapter::{Adapter, Recipients};
use connection::PushError;
use output::LARGE_PACKET;

pub use connection::{Client, Handshake};
pub(crate) use connection::{ReadRooms, RequestRooms, address_of};
pub(crate) use engine_request::{Ambiguous, EngineRequest, is_engine_path};
pub(crate) use legacy::CompatLayer;
pub(crate) use limits::Limits;
pub(crate) use output::{OutputBudget, UNCLAIMED_BYTES};
pub(crate) use socket_io::SocketIoAdapter;

/// How often a full send buffer is checked again. Nothing reports that it has room.
pub(crate) const SEND_BUFFER_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// All connections.
#[derive(Clone)]
pub(crate) struct Sockets {
    adapter: Arc<dyn Adapter>,
    presence: Arc<Presence>,
    counters: Arc<Counters>,
    limits: Limits,
    limits_reached: Arc<LimitMonitor>,
    requests: Arc<MemoryBudget>,
    output: Arc<OutputBudget>,
    /// Held while clients that are in one room join another.
    join_lock: Arc<tokio::sync::Mutex<()>>,
}

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
    /// Creates the sockets of an adapter. Connections are accepted after `open`.
    pub(crate) fn new(
        adapter: Arc<dyn Adapter>,
        settings: &Settings,
        limits_reached: Arc<LimitMonitor>,
        (requests, output): (Arc<MemoryBudget>, Arc<OutputBudget>),
    ) -> Self {
        let limits = Limits::of(settings);
        let presence = Arc::new(Presence::new(settings.limits.clone()));
        let (counters, join_lock) = <(Arc<_>, Arc<_>)>::default();
        Self { adapter, presence, counters, limits, limits_reached, requests, output, join_lock }
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

    /// Returns how many subscribers a resource has, by dialect. Never too few.
    pub(crate) fn subscriber_counts(
        &self,
        resource: &Resource,
    ) -> [SubscriberCounts; Dialect::ALL.len()] {
        self.presence.counts(resource)
    }

    /// Returns about how many packets a change of a resource may cost: one for each stock client,
    /// once for each of its rooms.
    pub(crate) fn count_stock_subscribers(&self, resource: &Resource) -> usize {
        let counts = self.presence.counts(resource);
        Dialect::STOCK.into_iter().map(|dialect| counts[dialect as usize].all).sum()
    }

    /// Returns a function that is `true` for a resource with subscribers in any dialect, and never
    /// wrongly `false`.
    pub(crate) fn subscribed_resources(&self) -> impl Fn(&Resource) -> bool + Send + Sync + use<> {
        let presence = Arc::clone(&self.presence);
        move |resource| presence.has_any(resource)
    }

    /// Whether a room has subscribers. Never wrongly `false`.
    pub(crate) fn has_subscribers_in(&self, dialect: Dialect, room: &Room) -> bool {
        self.count_subscribers(dialect, room) > 0
    }

    /// Returns how many connections would receive a push to a room. Never wrongly 0.
    pub(crate) fn count_subscribers(&self, dialect: Dialect, room: &Room) -> usize {
        self.presence.count(dialect, &rooms::counted_room(dialect, room))
    }

    /// Sends a push to our runtimes, encoded once. Returns `false` if a connection could not take
    /// it. Socket.IO does not report which one. `size` is about the size of the packet, in bytes.
    pub(crate) async fn emit(&self, to: Audience<'_>, push: &Push, size: usize) -> bool {
        let recipients = recipients(Dialect::Runtime, to);
        let push = Arguments::Push(push);
        let is_complete = match size >= LARGE_PACKET {
            true => self.emit_large(recipients, runtime::EVENT, &push, size),
            false => {
                self.count_for_polling(to, size);
                self.adapter.broadcast(recipients, runtime::EVENT, push).await
            }
        };
        if !is_complete {
            self.counters.incomplete.fetch_add(1, Ordering::Relaxed);
        }
        is_complete
    }

    /// Counts a small push for those of its recipients that poll. A client that has too much unread
    /// is disconnected.
    fn count_for_polling(&self, to: Audience<'_>, size: usize) {
        if !self.presence.has_polling() {
            return;
        }
        let mut of = recipients(Dialect::Runtime, to);
        of.rooms.iter_mut().for_each(|name| *name = rooms::polling_name(name));
        let names = of.rooms.clone();
        let (polling, others): (Vec<_>, Vec<_>) =
            self.adapter.clients(Some(of)).into_iter().partition(Client::polls);
        others.iter().for_each(|client| client.leave_polling(&names));
        let share = size / polling.len().max(1);
        for client in polling {
            if !client.count_push(&self.output, size, share) {
                self.limits_reached.reached(Limit::TotalUnreadBytes, client.address());
                client.disconnect();
            }
        }
    }

    /// Sends a large event to the connections that have read enough to be sent this much more. They
    /// share the memory of its arguments.
    fn emit_large(
        &self,
        to: Recipients<'_>,
        event: &str,
        arguments: &Arguments<'_>,
        size: usize,
    ) -> bool {
        let Ok(text) = arguments.to_text(size) else { return false };
        let audience = self.adapter.clients(Some(to));
        let share = size / audience.len().max(1);
        let mut is_complete = true;
        for client in audience {
            let send = || client.socket.send(event, Arguments::Text(text.clone()));
            is_complete &= self.push(&client, size, share, send);
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
        self.send_to_each(&self.gather(dialect, to), event, argument);
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
        let [mut audience, strangers] = [to, strangers].map(|it| self.gather(dialect, it));
        let strangers: HashSet<_> = strangers.iter().map(Client::key).collect();
        audience.retain(|client| !strangers.contains(&client.key()));
        self.send_to_each(&audience, event, argument);
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
                connection::count_unread(&self.limits_reached, client, error);
            }
        }
        false
    }

    fn send_to_each(&self, audience: &[Client], event: &str, argument: &RawValue) {
        let size = argument.get().len();
        let arguments = match size >= LARGE_PACKET {
            true => Arguments::Text(Bytes::copy_from_slice(argument.get().as_bytes())),
            false => Arguments::One(argument),
        };
        self.send_arguments_to_each(audience, event, &arguments, size);
    }

    /// Sends an event with arguments of this size in bytes.
    fn send_arguments_to_each(
        &self,
        audience: &[Client],
        event: &str,
        arguments: &Arguments<'_>,
        size: usize,
    ) {
        self.counters.separate.fetch_add(audience.len(), Ordering::Relaxed);
        for client in audience {
            let send = || client.socket.send(event, arguments.clone());
            if !self.push(client, size, size, send) {
                self.counters.incomplete.fetch_add(1, Ordering::Relaxed);
                client.disconnect();
            }
        }
    }

    fn gather(&self, dialect: Dialect, to: Audience<'_>) -> Vec<Client> {
        self.adapter.clients(Some(recipients(dialect, to)))
    }

    fn within(&self, rooms: Vec<String>, origin: Option<&str>) -> Vec<Client> {
        self.adapter.clients(Some(Recipients { rooms, except: Vec::new(), origin }))
    }

    /// Returns the clients in a room, in all dialects.
    pub(crate) fn members(&self, room: &Room) -> Vec<Client> {
        self.within(Dialect::ALL.map(|dialect| rooms::name(dialect, room)).into(), None)
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
        join_each(&self.gather(dialect, from), &rooms::name(dialect, into))
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
        let mut audience = self.gather(dialect, all);
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
        self.adapter.clients(None)
    }

    /// Removes the connections of an audience from a room.
    pub(crate) async fn remove_audience(&self, dialect: Dialect, from: Audience<'_>, of: &Room) {
        self.adapter.remove(recipients(dialect, from), rooms::name(dialect, of)).await;
    }

    /// Removes all connections from a room that has its own entry in their memberships.
    pub(crate) fn clear_counted_room(&self, dialect: Dialect, room: &Room) {
        let members = self.within(vec![rooms::name(dialect, room)], None);
        members.iter().for_each(|client| client.leave(room));
    }

    /// Disconnects all clients in a room.
    pub(crate) fn disconnect_room(&self, dialect: Dialect, room: &Room) {
        self.within(vec![rooms::name(dialect, room)], None).iter().for_each(Client::disconnect);
    }

    /// Removes all connections from a room.
    pub(crate) async fn clear_room(&self, dialect: Dialect, room: &Room) {
        let name = rooms::name(dialect, room);
        let members = Recipients { rooms: vec![name.clone()], except: Vec::new(), origin: None };
        self.adapter.remove(members, name).await;
    }

    /// Ends all connections. This takes `grace` at most.
    pub(crate) async fn close(&self, grace: Duration) {
        self.adapter.close(grace).await;
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("counters", &self.counters).finish_non_exhaustive()
    }
}

fn recipients(dialect: Dialect, to: Audience<'_>) -> Recipients<'_> {
    let names =
        |rooms: &[&Room]| rooms.iter().map(|room| rooms::name(dialect, room)).collect::<Vec<_>>();
    Recipients { rooms: names(to.rooms), except: names(to.except), origin: to.origin }
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
