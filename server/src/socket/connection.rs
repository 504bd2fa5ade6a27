//! One connection: its inbox, its rooms, and the handle that requests carry.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use axum::extract::ConnectInfo;
use backwire_records::access::Known;
use backwire_records::change::{Id, Room};
use backwire_records::messages::flake::Flake;
use http::{HeaderMap, HeaderName, header};
use parking_lot::Mutex;
use serde::Serialize;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};
use tokio::sync::{SetOnce, oneshot};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::engine_request::EngineRequest;
use super::limits::Limits;
use super::memberships::{Capacity, Memberships};
use super::output::{LARGE_PACKET, NoRoom, Output, OutputBudget};
use super::refused_events::RefusedEvents;
use super::session::Session;
use super::transport;
use crate::answers::{Answer, Content};
use crate::dialect::Dialect;
use crate::http::client_address::client_address;
use crate::http::cookies::{self, Cookies};
use crate::http::listener::Plug;
use crate::incoming;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::{Claim, UNCOUNTED_INPUT};
use crate::rooms::{self, Presence, User};
use crate::settings::{Limit, Origin};

/// How long a connection may take until it can be sent something.
const CONNECT_GRACE: Duration = Duration::from_secs(1);

/// One connection may have this part of its subscriptions, whatever the others have.
const RESERVED_PART: usize = 64;

/// What is known of a connection from its CONNECT to its end.
///
/// It does not hold the socket, which holds it.
pub(super) struct Connection {
    id: Arc<str>,
    /// Not yet known of a stock client that has requested nothing yet.
    dialect: OnceLock<Dialect>,
    presence: Arc<Presence>,
    limits_reached: Arc<LimitMonitor>,
    /// The origin of its page, if that may not use resources.
    refused_page: Option<Origin>,
    /// The id of its session, once it has been asked for.
    session: OnceLock<Arc<str>>,
    /// Who it has been found to be.
    asked: Mutex<Asked>,
    /// What it has been sent as a person and is not done with, in order.
    undone: Mutex<VecDeque<(Flake, oneshot::Sender<()>)>>,
    /// Set when it is gone.
    is_gone: SetOnce<()>,
    /// Dropped when it is gone: who attends to it hears of it by this.
    attended: Mutex<Option<oneshot::Sender<()>>>,
    inbox: Mutex<Inbox>,
    /// The session of Engine.IO that it belongs to.
    session_of_transport: Option<Arc<Session>>,
    /// The packets that it was sent and has not read.
    pub(super) output: Arc<Output>,
    /// That of its client, as limits count it.
    address: Option<IpAddr>,
    /// What its memberships are counted under; `None` once it is gone.
    ///
    /// Invariant: held while rooms are joined or left, and while `gone` takes it. So a join comes
    /// before the going, and Socket.IO cleans up after it, or it does not happen.
    counted: Mutex<Option<Memberships>>,
}

/// Who somebody has said to be, by their session.
#[derive(Default)]
struct Asked {
    known: Option<Known>,
    /// Grows when it is to be asked again: the answer to a question from before is out of date.
    round: u64,
}

/// Events in arrival order.
#[derive(Default)]
struct Inbox {
    events: VecDeque<(Event, Option<Claim>)>,
    /// Of the texts of all events.
    bytes: usize,
    /// The events that there was no room for.
    refused: RefusedEvents,
    /// A task is emptying it.
    is_being_emptied: bool,
    /// The connection is being ended: events that still arrive are dropped.
    is_closed: bool,
}

/// An event as it came.
pub(super) struct Event {
    pub(super) text: Value,
    pub(super) ack: Option<i64>,
    /// It had attachments: it is refused, and nothing of it is kept.
    pub(super) is_binary: bool,
}

impl Event {
    pub(super) fn new(text: Value, ack: Option<i64>) -> Self {
        match text {
            Value::Str(text, Some(attachments)) => {
                Self { text: Value::Str(text, None), ack, is_binary: !attachments.is_empty() }
            }
            text => Self { text, ack, is_binary: false },
        }
    }
}

/// What came of putting an event into an inbox.
pub(super) enum Arrival {
    /// Whoever is emptying it will come to it, if only to refuse it.
    Queued,
    /// Nobody is emptying it yet.
    First,
    /// There is no room even for its refusal.
    Lost,
}

impl Inbox {
    /// Whether there is room for an event, or else the limit that refuses it.
    fn has_room_for(&self, event: &Event, limits: Limits) -> Result<(), Limit> {
        let bytes = self.bytes + event.text.len();
        if self.events.len() >= limits.in_flight {
            return Err(Limit::RequestsInFlight);
        }
        // One that is too large by itself gets an answer that says so.
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
        session: Option<Arc<Session>>,
    ) -> Self {
        Self {
            id: id.into(),
            dialect: dialect.map_or_else(OnceLock::new, OnceLock::from),
            presence,
            limits_reached,
            refused_page,
            session: OnceLock::new(),
            asked: Mutex::default(),
            undone: Mutex::default(),
            is_gone: SetOnce::new(),
            attended: Mutex::default(),
            inbox: Mutex::default(),
            address: session.as_ref().and_then(|session| session.address()),
            session_of_transport: session.clone(),
            output: session.map_or_else(
                || Arc::new(Output::new(Weak::new(), None)),
                |session| Arc::clone(&session.output),
            ),
            counted: Mutex::new(Some(Memberships::default())),
        }
    }

    /// `claim` gives bytes of the budget of all connections, or fewer if they are not left. An event over a WebSocket
    /// is not refused then: the server does not read more before the memory is free.
    pub(super) fn arrived(
        &self,
        mut event: Event,
        limits: Limits,
        is_by_websocket: bool,
        claim: impl FnOnce(usize) -> Option<Claim>,
    ) -> Arrival {
        self.learn_dialect(&event);
        if event.is_binary {
            event.text = Value::Str("".into(), None);
        }
        let mut inbox = self.inbox.lock();
        if inbox.is_closed {
            return Arrival::Queued;
        }
        let room = inbox.has_room_for(&event, limits);
        match room.and_then(|()| self.claim_event(event.text.len(), is_by_websocket, claim)) {
            Ok(claim) => {
                inbox.bytes += event.text.len();
                inbox.events.push_back((event, claim));
            }
            Err(limit) if inbox.refused.add(event.ack, limit) => {}
            Err(_) => {
                inbox.is_closed = true;
                return Arrival::Lost;
            }
        }
        match std::mem::replace(&mut inbox.is_being_emptied, true) {
            true => Arrival::Queued,
            false => Arrival::First,
        }
    }

    /// The claim of an event that waits to be answered, if it needs one; or the limit that refuses it.
    fn claim_event(
        &self,
        bytes: usize,
        is_by_websocket: bool,
        claim: impl FnOnce(usize) -> Option<Claim>,
    ) -> Result<Option<Claim>, Limit> {
        let session = self.session_of_transport.as_deref();
        let unclaimed = session.map_or(0, Session::unclaimed);
        let claim = if unclaimed + bytes <= UNCOUNTED_INPUT { None } else { claim(bytes) };
        let missing = bytes - claim.as_ref().map_or(0, Claim::bytes).min(bytes);
        if unclaimed + missing > UNCOUNTED_INPUT && !is_by_websocket {
            return Err(Limit::TotalRequestBytes);
        }
        session.iter().for_each(|session| session.add_unclaimed(missing));
        Ok(claim)
    }

    /// Decided as events arrive and not when their turn comes, so that whatever is said of any of
    /// them is said in the same dialect.
    fn learn_dialect(&self, event: &Event) {
        if self.dialect.get().is_some() {
            return;
        }
        let text = event.text.as_str().map_or("", |text| text.as_str());
        if let Some(dialect) = incoming::dialect(text) {
            self.dialect.get_or_init(|| dialect);
        }
    }

    /// Whether there is anything in the inbox. Whoever is told that there is not no longer empties it.
    pub(super) fn has_more(&self) -> bool {
        let mut inbox = self.inbox.lock();
        let has_more = !inbox.events.is_empty() || !inbox.refused.is_empty();
        if !has_more {
            // What a burst needed is not kept by an idle connection.
            *inbox = Inbox { is_closed: inbox.is_closed, ..Inbox::default() };
        }
        has_more
    }

    /// The event behind so many that are being answered, unless others are to be refused first. It stays
    /// in the inbox, and counts there, until it is [`done`](Self::done).
    pub(super) fn behind(&self, begun: usize) -> Option<Event> {
        let inbox = self.inbox.lock();
        let next = inbox.events.get(begun).filter(|_| inbox.refused.is_empty());
        next.map(|(event, _)| Event { text: event.text.clone(), ..*event })
    }

    /// Takes out the acks of those to be refused, and the limits that refuse them.
    pub(super) fn refused(&self) -> RefusedEvents {
        std::mem::take(&mut self.inbox.lock().refused)
    }

    /// The first event has been answered.
    pub(super) fn done(&self) {
        let mut inbox = self.inbox.lock();
        if let Some((event, claim)) = inbox.events.pop_front() {
            let bytes = event.text.len();
            inbox.bytes -= bytes;
            let claimed = claim.as_ref().map_or(0, Claim::bytes).min(bytes);
            drop((claim, inbox));
            let session = self.session_of_transport.iter();
            session.for_each(|session| session.remove_unclaimed(bytes - claimed));
        }
    }

    /// The connection is no more: from here on it joins nothing.
    pub(super) fn gone(&self) {
        if let Some(mut counted) = self.counted.lock().take() {
            self.presence.resize(counted.memory(), 0);
            for name in counted.all().map(str::to_owned).collect::<Vec<_>>() {
                self.uncount(&mut counted, &name);
            }
        }
        drop(self.attended.lock().take());
        // It may be gone already.
        let _ = self.is_gone.set(());
        self.undone.lock().clear();
    }

    /// Counts a membership out.
    fn uncount(&self, counted: &mut Memberships, name: &str) {
        match counted.remove_filter(name) {
            Some(person) => self.presence.remove_filter(name, &self.users(person)),
            None => self.presence.remove(name),
        }
    }

    /// Whom it belongs to.
    fn users(&self, person: Option<Id>) -> Vec<User> {
        let address = self.address.map(User::Address);
        address.into_iter().chain(person.map(User::Person)).collect()
    }

    /// The origin of its page, if that may not use resources.
    pub(super) fn refused_page(&self) -> Option<&Origin> {
        self.refused_page.as_ref()
    }

    pub(super) fn know(&self, known: Known) {
        self.asked.lock().known = Some(known);
    }

    /// Resolves when the connection is gone, also if it is so already.
    pub(super) fn going(&self) -> oneshot::Receiver<()> {
        let (leaving, gone) = oneshot::channel();
        let counted = self.counted.lock();
        if counted.is_some() {
            *self.attended.lock() = Some(leaving);
        }
        gone
    }
}

/// What a socket carries for itself to be found again by.
#[derive(Clone)]
pub(super) struct Met {
    /// Not held, because it holds this.
    pub(super) socket: Weak<Socket>,
    pub(super) connection: Arc<Connection>,
}

/// A connection: that of the caller, or one that listens.
#[derive(Clone)]
pub struct Client {
    pub(super) socket: Arc<Socket>,
    pub(super) connection: Arc<Connection>,
}

impl Client {
    /// The connection's id.
    pub fn id(&self) -> &Arc<str> {
        &self.connection.id
    }

    /// Which dialect it speaks: while a request is handled that is known of every client.
    pub fn dialect(&self) -> Dialect {
        self.connection.dialect.get().copied().unwrap_or(Dialect::Sails)
    }

    /// Whether the connection is still there, as far as the server knows.
    pub fn is_connected(&self) -> bool {
        self.connection.counted.lock().is_some()
    }

    /// Resolves when the connection can be sent something. socketioxide answers a CONNECT before it allows that, so the request of a
    /// quick client may be there already. It could be answered, and pushes to it would fail.
    pub(super) async fn connected(&self) {
        // Between the two is no more than an assignment, but another thread makes it. If the answer to CONNECT cannot be
        // sent, it is never made.
        let give_up = Instant::now() + CONNECT_GRACE;
        while !self.socket.connected() && self.is_connected() && Instant::now() < give_up {
            yield_now().await;
        }
    }

    /// The address of the client, as limits count it.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        client_address(&self.socket.req_parts().extensions)
    }

    /// The rooms Socket.IO has it in, by their internal names.
    pub fn rooms(&self) -> Vec<String> {
        self.socket.rooms().into_iter().map(Into::into).collect()
    }

    /// Who is at the other end of a socket; `None` before it has been met.
    pub(super) fn of(socket: &Socket) -> Option<Self> {
        let Met { socket, connection } = socket.extensions.get()?;
        Some(Self { socket: socket.upgrade()?, connection })
    }

    /// Listens to a room of any name; what is broadcast there arrives as the event `message`.
    pub fn listen(&self, room: &str) {
        let counted = self.connection.counted.lock();
        if counted.is_some() {
            self.socket.join(rooms::named(room));
        }
    }

    /// Listens to a room of any name no longer.
    pub fn stop_listening(&self, room: &str) {
        let _counted = self.connection.counted.lock();
        self.socket.leave(rooms::named(room));
    }

    /// Whether there is room for it, or it is in it. It has to leave one to get another.
    ///
    /// Each change is compared with the filters that it may concern, so of those there may be few. Of a scope of
    /// one record is asked only when that changes.
    pub(crate) fn may_join(&self, room: &Room) -> Result<(), Limit> {
        let mut counted = self.connection.counted.lock();
        let Some(counted) = counted.as_mut() else {
            return Ok(());
        };
        let (name, presence) = (rooms::counted_as(self.dialect(), room), &self.connection.presence);
        if counted.contains(&name) {
            return Ok(());
        }
        if !counted.has_room_for(&name, self.capacity()) {
            self.recount(counted);
        }
        if !counted.has_room_for(&name, self.capacity()) {
            let has_room =
                counted.has_room_for(&name, Capacity { bytes: usize::MAX, ..self.capacity() });
            return Err(if has_room {
                Limit::SubscriptionBytes
            } else {
                Limit::RoomsPerConnection
            });
        }
        self.has_memory(counted)?;
        if rooms::is_filter(room) {
            if counted.filters() >= presence.limits().filters_per_connection {
                return Err(Limit::FiltersPerConnection);
            }
            presence.check_filter(&name, room, &self.connection.users(self.person()))?;
        }
        Ok(())
    }

    /// Whether a stock client may be in the rooms of these records as well.
    pub(crate) fn may_join_records(&self, rooms: &[Room]) -> Result<(), Limit> {
        let mut counted = self.connection.counted.lock();
        let Some(counted) = counted.as_mut() else {
            return Ok(());
        };
        let mut names: HashSet<_> =
            rooms.iter().map(|room| rooms::name(self.dialect(), room)).collect();
        let has_room = |counted: &Memberships, names: &HashSet<String>| {
            let bytes = names.iter().map(String::len).sum();
            counted.has_room_for_records(names.len(), bytes, self.capacity())
        };
        if !has_room(counted, &names) {
            self.recount(counted);
            let known: HashSet<_> = self.rooms().into_iter().collect();
            names.retain(|name| !known.contains(name));
        }
        if !has_room(counted, &names) {
            let is_many = !counted.has_room_for_records(
                names.len(),
                0,
                Capacity { bytes: usize::MAX, ..self.capacity() },
            );
            return Err(if is_many { Limit::RoomsPerConnection } else { Limit::SubscriptionBytes });
        }
        self.has_memory(counted)
    }

    /// Counts in that a stock client is led into the room of a record with this name. If it is in too many, the
    /// connection ends: it would never find out that it hears no more of the record. What others keep is no
    /// reason for that.
    pub(super) fn count_record(&self, name: &str) -> Result<(), Limit> {
        let mut guard = self.connection.counted.lock();
        let Some(counted) = guard.as_mut() else {
            return Ok(());
        };
        let has_room = |it: &Memberships| it.has_room_for_records(1, name.len(), self.capacity());
        // The rooms of records that were destroyed are still counted.
        if !has_room(counted) || counted.records_are_uncertain() {
            self.recount(counted);
        }
        if !has_room(counted) {
            drop(guard);
            self.disconnect();
            return Err(Limit::RoomsPerConnection);
        }
        let before = counted.memory();
        counted.add_record(name);
        self.connection.presence.resize(before, counted.memory());
        Ok(())
    }

    fn add_records(&self, counted: &mut Memberships, names: Vec<String>) {
        let before = counted.memory();
        names.iter().for_each(|name| counted.add_record(name));
        self.connection.presence.resize(before, counted.memory());
        self.socket.join(names);
        if counted.records_are_uncertain() {
            self.recount(counted);
        }
    }

    /// Looks at all the rooms of records that it is in.
    fn recount(&self, counted: &mut Memberships) {
        if !self.dialect().is_stock() {
            return;
        }
        let before = counted.memory();
        let rooms = self.rooms();
        let records = rooms.iter().filter(|name| !counted.contains(name));
        let (count, bytes) = records.fold((0, 0), |(n, bytes), name| (n + 1, bytes + name.len()));
        counted.set_records(count, bytes);
        self.connection.presence.resize(before, counted.memory());
    }

    fn has_memory(&self, counted: &Memberships) -> Result<(), Limit> {
        let (presence, limits) = (&self.connection.presence, self.connection.presence.limits());
        let has_memory = presence.memory() < limits.subscription_bytes_total
            || counted.memory() < limits.subscription_bytes / RESERVED_PART;
        has_memory.then_some(()).ok_or(Limit::SubscriptionBytesTotal)
    }

    fn capacity(&self) -> Capacity {
        let limits = self.connection.presence.limits();
        Capacity { rooms: limits.rooms_per_connection, bytes: limits.subscription_bytes }
    }

    /// The value of a limit of rooms.
    pub(crate) fn limit(&self, which: Limit) -> usize {
        let limits = self.connection.presence.limits();
        match which {
            Limit::SubscriptionBytesTotal => limits.subscription_bytes_total,
            Limit::SubscriptionBytes => limits.subscription_bytes,
            _ => limits.rooms_per_connection,
        }
    }

    /// Who has signed in, as far as it was asked.
    fn person(&self) -> Option<Id> {
        self.known().0?.who.person
    }

    /// Whether the client is in a room of records.
    pub(crate) fn is_in(&self, room: &Room) -> bool {
        let counted = self.connection.counted.lock();
        let name = rooms::counted_as(self.dialect(), room);
        counted.as_ref().is_some_and(|counted| counted.contains(&name))
    }

    /// Joins rooms of records. `true` if that made it hear of something new; a connection that is
    /// gone joins nothing.
    pub fn join(&self, rooms: impl IntoIterator<Item = Room>) -> bool {
        // Whoever says which may ask this client something.
        let rooms: Vec<_> = rooms.into_iter().collect();
        let mut counted = self.connection.counted.lock();
        let Some(counted) = counted.as_mut() else {
            return false;
        };
        let mut is_new = false;
        let (mut names, mut records) = (Vec::new(), Vec::new());
        let before = counted.memory();
        for room in rooms {
            let name = rooms::name(self.dialect(), &room);
            let count = rooms::counted_as(self.dialect(), &room);
            is_new |= self.count(counted, &count, &room);
            if name == count { names.push(name) } else { records.push(name) }
        }
        self.connection.presence.resize(before, counted.memory());
        self.socket.join(names);
        if !records.is_empty() {
            self.add_records(counted, records);
        }
        is_new
    }

    /// Counts a membership in. `false` if it was counted.
    fn count(&self, counted: &mut Memberships, count: &str, room: &Room) -> bool {
        if !counted.insert(count) {
            return false;
        }
        let presence = &self.connection.presence;
        if rooms::is_filter(room) {
            let person = self.person();
            presence.add_filter(count, room, &self.connection.users(person.clone()));
            counted.insert_filter(count, person);
        } else {
            presence.add(count, room);
        }
        true
    }

    /// Leaves a room.
    pub fn leave(&self, room: &Room) {
        let mut counted = self.connection.counted.lock();
        let Some(counted) = counted.as_mut() else {
            return;
        };
        self.socket.leave(rooms::name(self.dialect(), room));
        // A Sails client counts for a resource as long as it lives, see `rooms::counted_as`.
        let count = rooms::counted_as(self.dialect(), room);
        let is_counted_alone = self.dialect() == Dialect::Runtime || room.scope.is_some();
        let before = counted.memory();
        if is_counted_alone && counted.remove(&count) {
            self.connection.uncount(counted, &count);
            self.connection.presence.resize(before, counted.memory());
        }
    }

    /// Whether Socket.IO has it in a room of records.
    pub(crate) fn hears(&self, room: &Room) -> bool {
        self.rooms().contains(&rooms::name(self.dialect(), room))
    }

    /// The rooms of records it is in.
    pub(crate) fn followed(&self) -> Vec<Room> {
        let dialect = self.dialect();
        self.rooms().iter().filter_map(|name| rooms::read(dialect, name)).collect()
    }

    /// Who it has been found to be, if it has been asked, and in which round it is to be asked.
    pub(crate) fn known(&self) -> (Option<Known>, u64) {
        let asked = self.connection.asked.lock();
        (asked.known.clone(), asked.round)
    }

    /// Remembers the answer to a question of a round. `false` if it is out of date.
    pub(crate) fn know(&self, known: &Known, round: u64) -> bool {
        let mut asked = self.connection.asked.lock();
        let is_up_to_date = asked.round == round;
        if is_up_to_date {
            asked.known = Some(known.clone());
        }
        is_up_to_date
    }

    /// To be asked again, unless a site has told who it is.
    pub(crate) fn forget(&self) {
        let mut asked = self.connection.asked.lock();
        asked.known.take_if(|known| known.until != Known::FOR_EVER);
        asked.round += 1;
    }

    /// Resolves when it is gone.
    pub(crate) async fn gone(&self) {
        self.connection.is_gone.wait().await;
    }

    /// Resolves when it is done with what it is sent as a person, up to this; fails when it is gone.
    pub(super) fn expects(&self, last: Flake) -> oneshot::Receiver<()> {
        let (done, is_done) = oneshot::channel();
        self.connection.undone.lock().push_back((last, done));
        is_done
    }

    /// Takes back the last [`expects`](Self::expects), because nothing was sent.
    pub(super) fn expects_no_longer(&self, last: Flake) {
        self.connection.undone.lock().pop_back_if(|(expected, _)| *expected == last);
    }

    /// It is done with all up to this.
    pub(crate) fn delivered(&self, upto: Flake) {
        let mut undone = self.connection.undone.lock();
        while let Some((_, done)) = undone.pop_front_if(|(last, _)| *last <= upto) {
            // Nobody may wait for it any more.
            let _ = done.send(());
        }
    }

    /// Tells it something that it would never find out it missed: if it cannot take it, it is
    /// disconnected.
    pub(crate) fn tell(&self, event: &str, arguments: &impl Serialize) {
        if let Err(error) = self.socket.emit(event, arguments) {
            self.disconnect();
            count_unread(&self.connection.limits_reached, &self.socket, &error);
        }
    }

    /// Whether the client has read what it was sent, but for `unread_bytes`. What it has not read waits in
    /// memory.
    pub(super) fn takes_answers(&self, limits: Limits) -> bool {
        self.connection.output.unread() <= limits.unread_bytes as u64 || !self.is_connected()
    }

    /// Whether one more answer may be made, while so many others are. If not, it has to wait until the client has
    /// read what it was sent before, or for memory.
    pub(super) fn begin_answer(
        &self,
        limits: Limits,
        budget: &OutputBudget,
        begun: usize,
    ) -> Result<(), Option<NoRoom>> {
        if !self.takes_answers(limits) {
            return Err(None);
        }
        match budget.begin(&self.connection.output, begun) {
            Err(no_room) if self.is_connected() => Err(Some(no_room)),
            _ => Ok(()),
        }
    }

    /// Answers an event, or `false`: that has to wait until the client has taken what it was sent before.
    pub(super) fn answer_with(
        &self,
        ack: Option<i64>,
        answer: &mut Answer,
        budget: &OutputBudget,
    ) -> bool {
        let output = &self.connection.output;
        // Before it is there to be written.
        let written = output.written();
        let size = answer.size();
        let session = Session::of(&self.socket);
        if session.is_some() && output.is_large(size) && answer.write_text().is_err() {
            self.disconnect();
            return true;
        }
        let sent = match (answer.content(), session) {
            (Content::Arguments(arguments), _) => self.send_ack(ack, arguments),
            (Content::Text(text), Some(session)) => {
                session.large_packets.send(text.clone(), |token| self.send_ack(ack, token))
            }
            (Content::Text(_), None) => Err(SendError::Socket(SocketError::Closed)),
        };
        let is_sent = self.is_answered(sent);
        match answer.claim.take_if(|_| is_sent) {
            Some(claim) => budget.add(output, written, size, claim),
            None if is_sent => output.add(written, size, None),
            None => {}
        }
        is_sent
    }

    /// Sends a push and counts it, or says which limit forbids that. A client that has read everything may be sent
    /// one of any size.
    pub(super) fn push_with(
        &self,
        (budget, limits): (&OutputBudget, Limits),
        size: usize,
        claimed: usize,
        send: impl FnOnce() -> Result<(), SendError>,
    ) -> Result<(), NotPushed> {
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
        // Only after it is sent: a packet that is never written would count as unread for ever.
        send()?;
        budget.add(output, written, size, claim);
        Ok(())
    }

    fn send_ack(
        &self,
        ack: Option<i64>,
        argument: &(impl Serialize + ?Sized),
    ) -> Result<(), SendError> {
        let mut nothing = Value::Bytes(bytes::Bytes::new());
        let Ok(ack) = AckSender::from_message_parts(&self.socket, &mut nothing, &ack);
        ack.send(argument)
    }

    /// `false` if an answer has to wait until the client has taken what it was sent before.
    fn is_answered(&self, sent: Result<(), SendError>) -> bool {
        match sent {
            Err(SendError::Socket(SocketError::InternalChannelFull)) => return false,
            // One that gets no answer would wait for it for ever.
            Err(_) => self.disconnect(),
            Ok(()) => {}
        }
        true
    }

    /// Ends the connection, also one whose buffers are full.
    pub fn disconnect(&self) {
        drop(tokio::spawn(transport::end(&self.socket)));
    }

    /// The id of the session that the handshake brought, or else of one that ends with the connection:
    /// there is no way to give a socket a cookie.
    pub(crate) fn session(&self, cookies: &Cookies) -> Arc<str> {
        let brought = || cookies.id_in(&self.socket.req_parts().headers);
        let id = self.connection.session.get_or_init(|| brought().unwrap_or_else(cookies::draw_id));
        id.clone()
    }

    /// Gives a request what the handshake said of its client. Who it is, is not the request's to say.
    pub(crate) fn lend_headers(&self, headers: &mut HeaderMap) {
        let forged: Vec<_> = headers.keys().filter(|name| is_of_handshake(name)).cloned().collect();
        forged.iter().for_each(|name| drop(headers.remove(name)));
        let handshake = self.socket.req_parts().headers.iter();
        for (name, value) in handshake.filter(|(name, _)| is_of_handshake(name)) {
            headers.append(name, value.clone());
        }
    }
}

/// Whether all requests of a connection have this header from the handshake. The browser and
/// proxies set it there, and proxies do not see the headers of a single request.
fn is_of_handshake(name: &HeaderName) -> bool {
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
pub(super) enum NotPushed {
    Limit(Limit),
    Error(Box<SendError>),
}

impl From<Limit> for NotPushed {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

impl From<SendError> for NotPushed {
    fn from(error: SendError) -> Self {
        Self::Error(Box::new(error))
    }
}

/// Counts the limit of unread packets, if a client is disconnected because of it.
pub(super) fn count_unread(limits: &LimitMonitor, socket: &Socket, error: &SendError) {
    if let SendError::Socket(SocketError::InternalChannelFull) = error {
        limits.reached(Limit::UnreadPackets, client_address(&socket.req_parts().extensions));
    }
}

/// That of the TCP connection, unless this began by polling: what it uses now is then not known.
pub(super) fn plug(socket: &Socket) -> Option<&Plug> {
    let handshake = &socket.req_parts().extensions;
    let ConnectInfo(plug) = handshake.get::<ConnectInfo<Plug>>()?;
    let is_websocket = handshake.get().is_some_and(EngineRequest::is_websocket);
    is_websocket.then_some(plug)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    /// A connection is ended by a task, which must not be started for each of its events.
    #[test]
    fn connection_with_too_many_events_is_ended_once() {
        let settings = Settings::default();
        let presence = Arc::new(Presence::new(settings.limits.clone()));
        let connection = Connection::new("a", None, presence, Arc::default(), None, None);
        let limits = Limits::of(&settings);
        let arrive = || {
            let event = Event::new(Value::Str(r#"["get",{"url":"/todo"}]"#.into(), None), Some(1));
            connection.arrived(event, limits, true, |_| None)
        };
        assert!(matches!(arrive(), Arrival::First));
        let others: Vec<_> = (0..10_000).map(|_| arrive()).collect();
        assert_eq!(others.iter().filter(|it| matches!(it, Arrival::Lost)).count(), 1);
        assert!(!others.iter().any(|it| matches!(it, Arrival::First)));
    }
}
