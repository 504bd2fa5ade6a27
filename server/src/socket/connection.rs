//! One connection: its inbox, its rooms, and the `Client` handle that requests carry.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backwire_engine::Environment;
use backwire_environment::HashSet;
use backwire_records::access::ExpiringPrincipal;
use backwire_records::change::{Id, Room};
use backwire_records::messages::flake::Flake;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, header};
use parking_lot::Mutex;
use tokio::sync::{SetOnce, oneshot};
use tokio::task::yield_now;

use super::adapter::socket::{Arguments, SendError, Socket};
use super::input::Input;
use super::limits::Limits;
use super::memberships::{Capacity, Memberships};
use super::output::{LARGE_PACKET, NoRoom, Output, OutputBudget};
use super::refused_events::RefusedEvents;
use crate::answer::Answer;
use crate::dialect::Dialect;
use crate::http::address::client_address;
use crate::http::cookies::Cookies;
use crate::incoming;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::{Claim, UNCOUNTED_INPUT};
use crate::rooms::{self, FollowedFilter, Presence, User};
use crate::settings::{Limit, Origin};

/// How long a connection may take until the server can send to it.
const CONNECT_GRACE: Duration = Duration::from_secs(1);

/// Each connection may have this fraction of the memory for its subscriptions, whatever the other
/// connections use: one part of so many.
const RESERVED_PART: usize = 64;

/// The state of a connection from its CONNECT to its end.
///
/// It does not hold the socket, because the socket holds it.
pub(crate) struct Connection {
    id: Arc<str>,
    /// Not set for a stock client that has not sent a request yet.
    dialect: OnceLock<Dialect>,
    presence: Arc<Presence>,
    limits_reached: Arc<LimitMonitor>,
    /// The origin of its page, if pages of that origin may not use resources.
    refused_page: Option<Origin>,
    /// The id of its session. It is set at its first use.
    session: OnceLock<Arc<str>>,
    /// The user of the connection, as far as it is known.
    principal: Mutex<PrincipalCache>,
    /// Deliveries of the push service that the client has not acked yet, in order.
    unacked: Mutex<VecDeque<(Flake, oneshot::Sender<()>)>>,
    /// Set when it is gone.
    is_gone: SetOnce<()>,
    /// Dropped when the connection is gone, which notifies its delivery task.
    gone_sender: Mutex<Option<oneshot::Sender<()>>>,
    inbox: Mutex<Inbox>,
    /// What the client has sent and is not answered.
    pub(super) input: Arc<Input>,
    /// The packets that were sent and that the client has not read.
    pub(super) output: Arc<Output>,
    /// The address of the client, as limits count it.
    address: Option<IpAddr>,
    /// Its memberships. `None` when the connection is gone.
    ///
    /// Invariant: the lock is held while rooms are joined or left, and while `mark_gone` takes the
    /// value. So a join happens before the end of the connection, and Socket.IO cleans up after it,
    /// or the join does not happen.
    memberships: Mutex<Option<Memberships>>,
}

/// The user of a connection, and the round of the question.
#[derive(Default)]
struct PrincipalCache {
    known: Option<ExpiringPrincipal>,
    /// Grows when the user has to be determined again. An answer to a question of an earlier round
    /// is out of date.
    round: u64,
}

/// Events in arrival order.
#[derive(Default)]
struct Inbox {
    events: VecDeque<(QueuedEvent, Option<Claim>)>,
    /// Bytes in the texts of all events.
    bytes: usize,
    /// The events that did not fit.
    refused: RefusedEvents,
    /// Whether a task is emptying the inbox.
    is_being_emptied: bool,
    /// The connection is being ended. Events that still arrive are dropped.
    is_closed: bool,
}

/// An event that waits to be answered.
#[derive(Clone)]
pub(super) struct QueuedEvent {
    text: Bytes,
    pub(super) ack: Option<i64>,
    /// Whether it had attachments. Then it is refused, and its text is dropped.
    pub(super) is_binary: bool,
}

impl QueuedEvent {
    pub(super) fn new(text: Bytes, ack: Option<i64>, is_binary: bool) -> Self {
        Self { text, ack, is_binary }
    }

    /// Returns its text.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

/// The result of adding an event to an inbox.
pub(super) enum EnqueueOutcome {
    /// The task that empties the inbox will answer or refuse the event.
    Queued,
    /// No task is emptying the inbox yet.
    First,
    /// There is no room even for the refusal of the event.
    Overflow,
}

impl Inbox {
    /// Checks whether there is room for an event. An error is the limit that refuses it.
    fn has_room_for(&self, event: &QueuedEvent, limits: Limits) -> Result<(), Limit> {
        let bytes = self.bytes + event.text.len();
        if self.events.len() >= limits.in_flight {
            return Err(Limit::RequestsInFlight);
        }
        // An event that is too large by itself gets an answer that says so.
        if bytes > limits.request_bytes && !self.events.is_empty() {
            return Err(Limit::RequestBytes);
        }
        Ok(())
    }
}

impl Connection {
    pub(super) fn new(
        id: &str,
        dialect: Option<Dialect>,
        presence: Arc<Presence>,
        limits_reached: Arc<LimitMonitor>,
        refused_page: Option<Origin>,
        address: Option<IpAddr>,
        (input, output): (Arc<Input>, Arc<Output>),
    ) -> Self {
        Self {
            id: id.into(),
            dialect: dialect.map_or_else(OnceLock::new, OnceLock::from),
            presence,
            limits_reached,
            refused_page,
            session: OnceLock::new(),
            principal: Mutex::default(),
            unacked: Mutex::default(),
            is_gone: SetOnce::new(),
            gone_sender: Mutex::default(),
            inbox: Mutex::default(),
            address,
            input,
            output,
            memberships: Mutex::new(Some(Memberships::default())),
        }
    }

    /// Adds an event that has arrived to the inbox. `claim` claims bytes of the budget of all
    /// connections, or fewer if there are not enough left. An event over a WebSocket is not refused
    /// then: the server does not read more from the connection before the memory is free.
    pub(super) fn enqueue(
        &self,
        mut event: QueuedEvent,
        limits: Limits,
        is_websocket: bool,
        claim: impl FnOnce(usize) -> Option<Claim>,
    ) -> EnqueueOutcome {
        self.learn_dialect(&event);
        if event.is_binary {
            event.text = Bytes::new();
        }
        let mut inbox = self.inbox.lock();
        if inbox.is_closed {
            return EnqueueOutcome::Queued;
        }
        let room = inbox.has_room_for(&event, limits);
        match room.and_then(|()| self.claim_event(event.text.len(), is_websocket, claim)) {
            Ok(claim) => {
                inbox.bytes += event.text.len();
                inbox.events.push_back((event, claim));
            }
            Err(limit) if inbox.refused.add(event.ack, limit) => {}
            Err(_) => {
                inbox.is_closed = true;
                return EnqueueOutcome::Overflow;
            }
        }
        match std::mem::replace(&mut inbox.is_being_emptied, true) {
            true => EnqueueOutcome::Queued,
            false => EnqueueOutcome::First,
        }
    }

    /// Claims the memory of an event that waits for its answer, if it needs a claim. An error is
    /// the limit that refuses the event.
    fn claim_event(
        &self,
        bytes: usize,
        is_websocket: bool,
        claim: impl FnOnce(usize) -> Option<Claim>,
    ) -> Result<Option<Claim>, Limit> {
        let unclaimed = self.input.unclaimed();
        let claim = if unclaimed + bytes <= UNCOUNTED_INPUT { None } else { claim(bytes) };
        let missing = bytes - claim.as_ref().map_or(0, Claim::bytes).min(bytes);
        if unclaimed + missing > UNCOUNTED_INPUT && !is_websocket {
            return Err(Limit::TotalRequestBytes);
        }
        self.input.add_unclaimed(missing);
        Ok(claim)
    }

    /// Determines the dialect from an event. This happens when events arrive and not when their
    /// turn comes, so that all messages about any of them are in the same dialect.
    fn learn_dialect(&self, event: &QueuedEvent) {
        if self.dialect.get().is_some() {
            return;
        }
        if let Some(dialect) = incoming::dialect(event.text()) {
            self.dialect.get_or_init(|| dialect);
        }
    }

    /// Whether the inbox has events. If it has none, the caller no longer empties it.
    pub(super) fn has_more(&self) -> bool {
        let mut inbox = self.inbox.lock();
        let has_more = !inbox.events.is_empty() || !inbox.refused.is_empty();
        if !has_more {
            // An idle connection does not keep the memory that a burst needed.
            *inbox = Inbox { is_closed: inbox.is_closed, ..Inbox::default() };
        }
        has_more
    }

    /// Returns the event after the first `begun` ones, which are being answered, unless other
    /// events have to be refused first. It stays in the inbox, and counts there, until it is
    /// [finished](Self::finish_first).
    pub(super) fn peek(&self, begun: usize) -> Option<QueuedEvent> {
        let inbox = self.inbox.lock();
        let next = inbox.events.get(begun).filter(|_| inbox.refused.is_empty());
        next.map(|(event, _)| event.clone())
    }

    /// Drops all events that arrive from now on.
    fn close_inbox(&self) {
        self.inbox.lock().is_closed = true;
    }

    /// Whether events are being answered.
    fn is_answering(&self) -> bool {
        self.inbox.lock().is_being_emptied
    }

    /// Takes the events to refuse out of the inbox.
    pub(super) fn take_refused(&self) -> RefusedEvents {
        std::mem::take(&mut self.inbox.lock().refused)
    }

    /// Removes the first event, which has been answered.
    pub(super) fn finish_first(&self) {
        let mut inbox = self.inbox.lock();
        if let Some((event, claim)) = inbox.events.pop_front() {
            let bytes = event.text.len();
            inbox.bytes -= bytes;
            let claimed = claim.as_ref().map_or(0, Claim::bytes).min(bytes);
            drop((claim, inbox));
            self.input.remove_unclaimed(bytes - claimed);
        }
    }

    /// Marks the connection as gone: from now on it joins nothing.
    pub(super) fn mark_gone(&self) {
        if let Some(mut memberships) = self.memberships.lock().take() {
            self.presence.resize(self.address, memberships.memory(), 0);
            for room in memberships.all().cloned().collect::<Vec<_>>() {
                self.remove_membership(&mut memberships, &room);
            }
        }
        drop(self.gone_sender.lock().take());
        // An error means that it is gone already.
        let _ = self.is_gone.set(());
        self.unacked.lock().clear();
    }

    fn dialect(&self) -> Dialect {
        self.dialect.get().copied().unwrap_or(Dialect::Sails)
    }

    /// Counts the bytes that are kept for the rooms, after they have changed.
    fn resize(&self, before: usize, memberships: &Memberships) {
        self.presence.resize(self.address, before, memberships.memory());
    }

    /// Removes a membership from the counts of all connections.
    fn remove_membership(&self, memberships: &mut Memberships, room: &Room) {
        match memberships.remove_filter(room) {
            Some(person) => {
                self.presence.remove_filter(self.dialect(), room, &self.users(person));
            }
            None => self.presence.remove(self.dialect(), room),
        }
    }

    /// Returns the users that a filter of this connection counts for.
    fn users(&self, person: Option<Id>) -> Vec<User> {
        let address = self.address.map(User::Address);
        address.into_iter().chain(person.map(User::Person)).collect()
    }

    /// The origin of its page, if pages of that origin may not use resources.
    pub(super) fn refused_page(&self) -> Option<&Origin> {
        self.refused_page.as_ref()
    }

    pub(super) fn set_principal(&self, known: ExpiringPrincipal) {
        self.principal.lock().known = Some(known);
    }

    /// Returns a receiver that ends when the connection is gone, also if it is gone already.
    pub(super) fn gone_receiver(&self) -> oneshot::Receiver<()> {
        let (sender, gone) = oneshot::channel();
        let memberships = self.memberships.lock();
        if memberships.is_some() {
            *self.gone_sender.lock() = Some(sender);
        }
        gone
    }
}

/// A connection of a client: the caller of a request, or a listener.
#[derive(Clone)]
pub struct Client {
    pub(super) socket: Arc<dyn Socket>,
    pub(super) connection: Arc<Connection>,
}

impl Client {
    pub(crate) fn new(socket: Arc<dyn Socket>, connection: Arc<Connection>) -> Self {
        Self { socket, connection }
    }

    #[cfg(test)]
    pub(crate) fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// Returns a value that tells this connection from all others.
    pub(super) fn key(&self) -> *const Connection {
        Arc::as_ptr(&self.connection)
    }

    /// The connection's id.
    pub fn id(&self) -> &Arc<str> {
        &self.connection.id
    }

    /// The dialect that the client speaks. While a request is handled, it is known for every
    /// client.
    pub fn dialect(&self) -> Dialect {
        self.connection.dialect()
    }

    /// Whether the connection is still there, as far as the server knows.
    pub fn is_connected(&self) -> bool {
        self.connection.memberships.lock().is_some()
    }

    /// Drops all events that arrive from now on: the connection is about to end.
    pub(super) fn close_inbox(&self) {
        self.connection.close_inbox();
    }

    /// Whether events are being answered, or answers have not left the server.
    pub(super) fn is_busy(&self) -> bool {
        self.connection.is_answering() || self.connection.output.unread() > 0
    }

    /// Resolves when the server can send to the connection. socketioxide answers a CONNECT before
    /// it allows that, so a request of a quick client may have arrived already. It could be
    /// answered, and pushes to the client would fail.
    pub(super) async fn connected(&self, environment: &Environment) {
        // Between the two is only an assignment, but another thread makes it. If the answer to the
        // CONNECT cannot be sent, it is never made.
        let deadline = environment.now() + CONNECT_GRACE;
        while !self.socket.can_send() && self.is_connected() && environment.now() < deadline {
            yield_now().await;
        }
    }

    /// The address of the client, as limits count it.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        client_address(&self.socket.handshake().extensions)
    }

    /// The rooms that the client is in, by their internal names in Socket.IO.
    pub fn rooms(&self) -> Vec<String> {
        self.socket.rooms().into_iter().map(Into::into).collect()
    }

    /// Joins a named room. Its broadcasts arrive as the event `message`.
    pub fn listen(&self, room: &str) {
        let memberships = self.connection.memberships.lock();
        if memberships.is_some() {
            self.socket.join(rooms::custom_name(room));
        }
    }

    /// Leaves a named room.
    pub fn stop_listening(&self, room: &str) {
        let _guard = self.connection.memberships.lock();
        self.socket.leave(rooms::custom_name(room));
    }

    /// Checks whether the client may join a room, or is in it already. At a limit, a client has to
    /// leave one room to join another.
    ///
    /// Each change is compared with the filters that it may concern, so a client may have only few
    /// of them. Scopes of one record are checked only when that record changes.
    pub(crate) fn may_join(&self, room: &Room) -> Result<(), Limit> {
        let mut memberships = self.connection.memberships.lock();
        let Some(memberships) = memberships.as_mut() else {
            return Ok(());
        };
        let (counted, presence) =
            (rooms::counted_room(self.dialect(), room), &self.connection.presence);
        if memberships.contains(&counted) {
            return Ok(());
        }
        if !memberships.has_room_for(&counted, self.capacity()) {
            self.recount_records(memberships);
        }
        if !memberships.has_room_for(&counted, self.capacity()) {
            let unlimited = Capacity { bytes: usize::MAX, ..self.capacity() };
            let has_room = memberships.has_room_for(&counted, unlimited);
            return Err(if has_room {
                Limit::SubscriptionBytes
            } else {
                Limit::RoomsPerConnection
            });
        }
        self.has_memory(memberships)?;
        let Some(filter) = list_filter(room) else { return Ok(()) };
        if memberships.filters() >= presence.limits().filters_per_connection {
            return Err(Limit::FiltersPerConnection);
        }
        presence.check_filter(self.dialect(), &filter, &self.connection.users(self.person()))
    }

    /// Checks whether a stock client may join the rooms of these records as well.
    pub(crate) fn may_join_records(&self, rooms: &[Room]) -> Result<(), Limit> {
        let mut memberships = self.connection.memberships.lock();
        let Some(memberships) = memberships.as_mut() else {
            return Ok(());
        };
        let mut names: HashSet<_> =
            rooms.iter().map(|room| rooms::name(self.dialect(), room)).collect();
        let has_room = |memberships: &Memberships, names: &HashSet<String>| {
            let bytes = names.iter().map(String::len).sum();
            memberships.has_room_for_records(names.len(), bytes, self.capacity())
        };
        if !has_room(memberships, &names) {
            self.recount_records(memberships);
            let known: HashSet<_> = self.rooms().into_iter().collect();
            names.retain(|name| !known.contains(name));
        }
        if !has_room(memberships, &names) {
            let is_many = !memberships.has_room_for_records(
                names.len(),
                0,
                Capacity { bytes: usize::MAX, ..self.capacity() },
            );
            return Err(if is_many { Limit::RoomsPerConnection } else { Limit::SubscriptionBytes });
        }
        self.has_memory(memberships)
    }

    /// Joins a stock client to the room of a record with this name, unless its connection is gone.
    /// If the client is in too many rooms, the connection ends: the client would not notice that it
    /// misses changes of the record. The memory that other clients use is no reason for that.
    pub(super) fn join_record(&self, name: &str) -> Result<(), Limit> {
        let mut guard = self.connection.memberships.lock();
        let Some(memberships) = guard.as_mut() else {
            return Ok(());
        };
        let has_room = |it: &Memberships| it.has_room_for_records(1, name.len(), self.capacity());
        // The rooms of destroyed records are still counted.
        if !has_room(memberships) || memberships.needs_record_recount() {
            self.recount_records(memberships);
        }
        if !has_room(memberships) {
            drop(guard);
            self.disconnect();
            return Err(Limit::RoomsPerConnection);
        }
        let before = memberships.memory();
        memberships.add_record(name);
        self.connection.resize(before, memberships);
        // Under the lock: a connection that goes now would not leave a room that it joins later.
        self.socket.join(name.to_owned());
        Ok(())
    }

    fn add_records(&self, memberships: &mut Memberships, names: Vec<String>) {
        let before = memberships.memory();
        names.iter().for_each(|name| memberships.add_record(name));
        self.connection.resize(before, memberships);
        self.socket.join_all(names);
        if memberships.needs_record_recount() {
            self.recount_records(memberships);
        }
    }

    /// Counts all rooms of records that the client is in.
    fn recount_records(&self, memberships: &mut Memberships) {
        if !self.dialect().is_stock() {
            return;
        }
        let before = memberships.memory();
        let rooms = self.socket.rooms();
        let records = rooms.iter().filter(|name| rooms::is_instance_name(self.dialect(), name));
        let (count, bytes) = records.fold((0, 0), |(n, bytes), name| (n + 1, bytes + name.len()));
        memberships.set_records(count, bytes);
        self.connection.resize(before, memberships);
    }

    fn has_memory(&self, memberships: &Memberships) -> Result<(), Limit> {
        let (presence, limits) = (&self.connection.presence, self.connection.presence.limits());
        let has_memory = presence.has_memory(self.connection.address)
            || memberships.memory() < limits.subscription_bytes / RESERVED_PART;
        has_memory.then_some(()).ok_or(Limit::SubscriptionBytesTotal)
    }

    fn capacity(&self) -> Capacity {
        let limits = self.connection.presence.limits();
        Capacity { rooms: limits.rooms_per_connection, bytes: limits.subscription_bytes }
    }

    /// Returns the value of a limit of rooms.
    pub(crate) fn limit(&self, which: Limit) -> usize {
        let limits = self.connection.presence.limits();
        match which {
            Limit::SubscriptionBytesTotal => limits.subscription_bytes_total,
            Limit::SubscriptionBytes => limits.subscription_bytes,
            _ => limits.rooms_per_connection,
        }
    }

    /// Returns the person who has signed in, as far as it is known.
    fn person(&self) -> Option<Id> {
        self.principal().0?.principal.person
    }

    /// Whether the client is in a room of records.
    pub(crate) fn is_in(&self, room: &Room) -> bool {
        let memberships = self.connection.memberships.lock();
        let counted = rooms::counted_room(self.dialect(), room);
        memberships.as_ref().is_some_and(|memberships| memberships.contains(&counted))
    }

    /// Joins rooms of records. Returns `true` if one of them is new to the client. A connection
    /// that is gone joins nothing.
    pub fn join(&self, rooms: impl IntoIterator<Item = Room>) -> bool {
        // The iterator of the caller may call this client, so it runs before the lock.
        let rooms: Vec<_> = rooms.into_iter().collect();
        let mut memberships = self.connection.memberships.lock();
        let Some(memberships) = memberships.as_mut() else {
            return false;
        };
        let mut is_new = false;
        let (mut names, mut records) = (Vec::new(), Vec::new());
        let before = memberships.memory();
        for room in rooms {
            let name = rooms::name(self.dialect(), &room);
            let counted = rooms::counted_room(self.dialect(), &room);
            if counted == room {
                names.push(name)
            } else {
                records.push(name)
            }
            is_new |= self.add_membership(memberships, counted);
        }
        self.connection.resize(before, memberships);
        self.socket.join_all(names);
        if !records.is_empty() {
            self.add_records(memberships, records);
        }
        is_new
    }

    /// Adds a membership. Returns `false` if it is counted already.
    fn add_membership(&self, memberships: &mut Memberships, room: Room) -> bool {
        // Memberships are counted by the dialect, so it cannot change any more.
        let dialect = *self.connection.dialect.get_or_init(|| Dialect::Sails);
        let presence = &self.connection.presence;
        let room = presence.shared(dialect, room);
        if !memberships.insert(&room) {
            return false;
        }
        if let Some(filter) = list_filter(&room) {
            let person = self.person();
            presence.add_filter(dialect, filter, &self.connection.users(person.clone()));
            memberships.insert_filter(room, person);
        } else {
            presence.add(dialect, &room);
        }
        true
    }

    /// Leaves a room of records.
    pub fn leave(&self, room: &Room) {
        let mut memberships = self.connection.memberships.lock();
        let Some(memberships) = memberships.as_mut() else {
            return;
        };
        self.socket.leave(rooms::name(self.dialect(), room));
        // A Sails client counts for a resource until it disconnects, see `rooms::counted_room`.
        let is_counted_alone = self.dialect() == Dialect::Runtime || room.scope().is_some();
        let before = memberships.memory();
        if is_counted_alone && memberships.remove(room) {
            self.connection.remove_membership(memberships, room);
            self.connection.resize(before, memberships);
        }
    }

    /// Whether the socket has joined a room of records.
    pub(crate) fn is_joined(&self, room: &Room) -> bool {
        let name = rooms::name(self.dialect(), room);
        self.socket.rooms().iter().any(|joined| **joined == *name)
    }

    /// Returns the rooms of records that the client is in.
    pub(crate) fn record_rooms(&self) -> Vec<Room> {
        let memberships: HashSet<Room> = match self.connection.memberships.lock().as_ref() {
            Some(memberships) => memberships.all().cloned().collect(),
            None => return Vec::new(),
        };
        let (dialect, names) = (self.dialect(), self.socket.rooms());
        let joined: HashSet<&str> = names.iter().map(|name| &**name).collect();
        // A stock client counts for the class room, which it need not have joined.
        let is_joined = |room: &&Room| joined.contains(&*rooms::name(dialect, room));
        let records = names.iter().filter_map(|name| rooms::parse_instance_name(dialect, name));
        let records = records.filter(|room| !memberships.contains(room));
        let records: Vec<_> = records.collect();
        memberships.iter().filter(is_joined).cloned().chain(records).collect()
    }

    /// Returns the user of the connection, if it is known, and the round in which to determine it.
    pub(crate) fn principal(&self) -> (Option<ExpiringPrincipal>, u64) {
        let principal = self.connection.principal.lock();
        (principal.known.clone(), principal.round)
    }

    /// Stores the user that was determined in a round. Returns `false` if that round is over.
    pub(crate) fn set_principal(&self, known: &ExpiringPrincipal, round: u64) -> bool {
        let mut principal = self.connection.principal.lock();
        let is_up_to_date = principal.round == round;
        if is_up_to_date {
            principal.known = Some(known.clone());
        }
        is_up_to_date
    }

    /// Forgets the user, so that it is determined again, unless a site has authenticated it.
    pub(crate) fn forget_principal(&self) {
        let mut principal = self.connection.principal.lock();
        principal.known.take_if(|known| known.until != ExpiringPrincipal::NEVER);
        principal.round += 1;
    }

    /// Resolves when the connection is gone.
    pub(crate) async fn gone(&self) {
        self.connection.is_gone.wait().await;
    }

    /// Returns a receiver that resolves when the client has acked all deliveries up to this one. It
    /// fails when the connection is gone.
    pub(super) fn expect_ack(&self, last: Flake) -> oneshot::Receiver<()> {
        let (acked, receiver) = oneshot::channel();
        self.connection.unacked.lock().push_back((last, acked));
        receiver
    }

    /// Cancels the last [`expect_ack`](Self::expect_ack), because nothing was sent.
    pub(super) fn cancel_expected_ack(&self, last: Flake) {
        self.connection.unacked.lock().pop_back_if(|(expected, _)| *expected == last);
    }

    /// The client has acked all deliveries up to this one.
    pub(crate) fn delivered(&self, upto: Flake) {
        let mut unacked = self.connection.unacked.lock();
        while let Some((_, acked)) = unacked.pop_front_if(|(last, _)| *last <= upto) {
            // An error means that nothing waits for it any more.
            let _ = acked.send(());
        }
    }

    /// Sends an event whose loss the client would not notice. If the client cannot take it, the
    /// client is disconnected.
    pub(crate) fn send_or_disconnect(&self, event: &str, arguments: Arguments<'_>) {
        if let Err(error) = self.socket.send(event, arguments) {
            self.disconnect();
            count_unread(&self.connection.limits_reached, self, error);
        }
    }

    /// Whether the client has at most `unread_bytes` unread. Unread packets wait in memory.
    pub(super) fn can_accept_replies(&self, limits: Limits) -> bool {
        self.connection.output.unread() <= limits.unread_bytes as u64 || !self.is_connected()
    }

    /// Checks whether one more answer may be computed while `begun` others are. If not, it has to
    /// wait until the client has read what it was sent before, or for memory.
    pub(super) fn begin_answer(
        &self,
        limits: Limits,
        budget: &OutputBudget,
        begun: usize,
    ) -> Result<(), Option<NoRoom>> {
        if !self.can_accept_replies(limits) {
            return Err(None);
        }
        match budget.begin(&self.connection.output, begun) {
            Err(no_room) if self.is_connected() => Err(Some(no_room)),
            _ => Ok(()),
        }
    }

    /// Answers an event. Returns `false` if the answer has to wait until the client has taken what
    /// it was sent before.
    pub(super) fn try_answer(
        &self,
        ack: Option<i64>,
        answer: &mut Answer,
        budget: &OutputBudget,
    ) -> bool {
        let output = &self.connection.output;
        // Read before the packet is queued, because it may be written at once.
        let written = output.written();
        let size = answer.size();
        let sent = Arc::clone(&self.socket).answer(ack, answer, output.is_large(size));
        let is_sent = self.is_answered(sent);
        match answer.claim.take_if(|_| is_sent) {
            Some(claim) => budget.add(output, written, size, claim),
            None if is_sent => output.add(written, size, None),
            None => {}
        }
        is_sent
    }

    /// Sends a push and counts it. An error may be the limit that forbids it. A client that has
    /// read everything may be sent a push of any size.
    pub(super) fn push_with(
        &self,
        (budget, limits): (&OutputBudget, Limits),
        size: usize,
        claimed: usize,
        send: impl FnOnce() -> Result<(), SendError>,
    ) -> Result<(), PushError> {
        let output = &self.connection.output;
        if size < LARGE_PACKET {
            budget.add_small(output, size).map_err(|_| Limit::TotalUnreadBytes)?;
            return Ok(send()?);
        }
        let (written, unread) = (output.written(), output.unread());
        if unread > 0 && unread + size as u64 > limits.unread_bytes as u64 {
            return Err(Limit::UnreadBytes.into());
        }
        let claim = budget.claim(self.address(), claimed).ok_or(Limit::TotalUnreadBytes)?;
        // Counted only after it is sent: a packet that is never written would count as unread for
        // ever.
        send()?;
        budget.add(output, written, size, claim);
        Ok(())
    }

    /// Returns `false` if an answer has to wait until the client has taken what it was sent before.
    fn is_answered(&self, sent: Result<(), SendError>) -> bool {
        match sent {
            Err(SendError::NoRoom) => return false,
            // A client without an answer would wait for it for ever.
            Err(SendError::Closed) => self.disconnect(),
            Ok(()) => {}
        }
        true
    }

    /// Ends the connection, also if its buffers are full.
    pub fn disconnect(&self) {
        drop(Arc::clone(&self.socket).end());
    }

    /// Returns the id of the session in the cookie of the handshake, or else of a session that ends
    /// with the connection: the server cannot set a cookie on a socket.
    pub(crate) fn session(&self, cookies: &Cookies) -> Arc<str> {
        let from_handshake = || cookies.id_in(&self.socket.handshake().headers);
        let id = self
            .connection
            .session
            .get_or_init(|| from_handshake().unwrap_or_else(|| cookies.new_session_id()));
        id.clone()
    }

    /// Replaces the headers of a request that identify its client by those of the handshake. A
    /// request cannot set them itself.
    pub(crate) fn copy_handshake_headers(&self, headers: &mut HeaderMap) {
        let unverified: Vec<_> =
            headers.keys().filter(|name| is_handshake_header(name)).cloned().collect();
        unverified.iter().for_each(|name| drop(headers.remove(name)));
        let handshake = self.socket.handshake().headers.iter();
        for (name, value) in handshake.filter(|(name, _)| is_handshake_header(name)) {
            headers.append(name, value.clone());
        }
    }
}

/// Whether all requests of a connection have this header from the handshake. The browser and
/// proxies set it there, and proxies do not see the headers of a single request.
fn is_handshake_header(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 6] = [
        header::COOKIE,
        header::FORWARDED,
        header::HOST,
        header::ORIGIN,
        header::USER_AGENT,
        HeaderName::from_static("x-real-ip"),
    ];
    NAMES.contains(name) || name.as_str().starts_with("x-forwarded-")
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, dialect) = (self.id(), self.dialect());
        f.debug_struct("Client").field("id", id).field("dialect", &dialect).finish_non_exhaustive()
    }
}

/// Why a push was not sent.
pub(super) enum PushError {
    Limit(Limit),
    Error(SendError),
}

impl From<Limit> for PushError {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

impl From<SendError> for PushError {
    fn from(error: SendError) -> Self {
        Self::Error(error)
    }
}

/// Counts the limit of unread packets, if a client is disconnected because of it.
pub(super) fn count_unread(limits: &LimitMonitor, client: &Client, error: SendError) {
    if error == SendError::NoRoom {
        limits.reached(Limit::UnreadPackets, client.address());
    }
}

/// Returns the address of the client of a request, over HTTP or a socket.
pub(crate) fn address_of(parts: &Parts) -> Option<IpAddr> {
    match parts.extensions.get::<Client>() {
        Some(client) => client.address(),
        None => client_address(&parts.extensions),
    }
}

/// Returns the filter of a room, if it is for a list and not for one record: each change of the
/// resource may concern it.
fn list_filter(room: &Room) -> Option<FollowedFilter> {
    FollowedFilter::of(room).filter(|filter| filter.scope().id().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    /// A task ends a connection. It must not be started for each event of the connection.
    #[test]
    fn connection_with_too_many_events_is_ended_once() {
        let settings = Settings::default();
        let presence = Arc::new(Presence::new(settings.limits.clone()));
        let connection = Connection::new(
            "a",
            None,
            presence,
            Arc::default(),
            None,
            None,
            (Arc::default(), Output::uncounted()),
        );
        let limits = Limits::of(&settings);
        let arrive = || {
            let text = Bytes::from_static(br#"["get",{"url":"/todo"}]"#);
            let event = QueuedEvent::new(text, Some(1), false);
            connection.enqueue(event, limits, true, |_| None)
        };
        assert!(matches!(arrive(), EnqueueOutcome::First));
        let others: Vec<_> = (0..10_000).map(|_| arrive()).collect();
        assert_eq!(others.iter().filter(|it| matches!(it, EnqueueOutcome::Overflow)).count(), 1);
        assert!(!others.iter().any(|it| matches!(it, EnqueueOutcome::First)));
    }
}
