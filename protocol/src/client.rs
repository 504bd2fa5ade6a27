//! The client machine: requests, rooms and the connection.
//!
//! The client has three parts: the [`link`](crate::link), which is up or down; the `outbox`, with
//! the requests in order; and the `feed`, with the rooms and their positions. The client reads the
//! envelopes of docs/reference/wire-protocol.md but not their contents.
//!
//! The first connect and a reconnect are the same. When the link comes up, the client sends writes
//! again that may have been committed already, then one `resume` for all rooms, then the rest of
//! the outbox in order. These writes come first because the ledger answers them with the state at
//! the time of their commit, and later reads must arrive later.
//!
//! When the link is down for too long, the same requests go over HTTP (see `transport`). When the
//! link comes up again, a request may be in flight over both. For a write, which has an idempotency
//! key, the first response counts. For a read, the response over the link counts, because only that
//! one subscribes.

use crate::feed::Feed;
mod answers;

use crate::frame;
use crate::link::{Link, Step};
use crate::names::Queue;
use crate::outbox::{Entry, Outbox};
use crate::output::{Connection, Frame, Output, Resumed, Status};
use crate::packet::{Kind, Packet};
use crate::payload::Payload;
use crate::planted;
use crate::request::{Failure, Request, Token, Verb};
use crate::time::{Instant, earlier};
use crate::transport::Transport;
use crate::wire::{Push, event};

/// The client machine. It does no IO and reads no clock. After any input, carry out all outputs of
/// [`poll`](Self::poll), then sleep until [`deadline`](Self::deadline) and call
/// [`tick`](Self::tick).
#[derive(Debug)]
pub struct Client<P> {
    link: Link,
    transport: Transport,
    outbox: Outbox<P>,
    feed: Feed<P>,
    /// Ack ids of this connection that answer a resume; the others answer a request in the outbox.
    resumes: Vec<u64>,
    acks: u64,
    /// The auth of the link says who the user is. Requests over HTTP have no auth, so they would be
    /// those of somebody else.
    has_auth: bool,
    reported: Status,
    outputs: Queue<Output<P>>,
}

/// Returns the next entry to send, marked as sent under this ack id.
type NextToSend<P> = fn(&mut Outbox<P>, Instant, u64) -> Option<&Entry<P>>;

impl<P: Payload> Client<P> {
    /// Creates a client that does nothing until [`connect`](Self::connect). `auth` is a JSON object
    /// whose members are sent in each CONNECT, or an empty text. Without it, the client asks for it
    /// before each CONNECT with [`Output::Authenticate`]. A client with auth sends no writes over
    /// HTTP, which has no auth. `session` is the prefix of every
    /// generated idempotency key and must be unique among all clients of the server. `seed` decides
    /// the jitter.
    pub fn new(auth: Option<&str>, session: String, seed: u64) -> Self {
        Self {
            link: Link::new(auth.map(frame::auth), seed),
            transport: Transport::Disconnected,
            outbox: Outbox::new(session),
            feed: Feed::new(),
            resumes: Vec::new(),
            acks: 0,
            has_auth: auth.is_none_or(has_members),
            reported: Status { state: Connection::Offline, unsent: 0 },
            outputs: Queue::new(),
        }
    }

    /// Connects, and reconnects after each interruption. Also connects again after the server has
    /// refused the connection.
    pub fn connect(&mut self, now: Instant) {
        self.link.connect(now);
        self.transport.connect(now);
        self.follow_link(now);
    }

    /// Handles a hint that the device or the page has slept, or that the network is back. Connects
    /// at once if the client waits to reconnect, and finds out soon whether the connection still
    /// works. Does nothing after [`disconnect`](Self::disconnect).
    pub fn wake(&mut self, now: Instant) {
        self.link.wake(now);
        self.transport.wake(now);
        self.follow_link(now);
    }

    /// Closes the connection until [`wake`](Self::wake), because the page is about to be stopped.
    pub fn park(&mut self, now: Instant) {
        self.link.park();
        self.follow_link(now);
    }

    /// Closes the connection. Requests wait.
    pub fn disconnect(&mut self, now: Instant) {
        self.link.disconnect();
        self.follow_link(now);
        self.transport = Transport::Disconnected;
    }

    /// Answers [`Output::Authenticate`]. At any other time, uses this auth from the next connection
    /// on, and resends writes that were answered with 401.
    pub fn authenticate(&mut self, now: Instant, auth: &str) {
        self.has_auth |= has_members(auth);
        if !self.link.authenticate(frame::auth(auth)) {
            self.outbox.authorized();
            self.flush(now);
        }
        self.follow_link(now);
    }

    /// Records that the app found the connection refused for good.
    pub fn refuse(&mut self, now: Instant, message: String) {
        self.link.refuse(message);
        self.follow_link(now);
    }

    /// Closes a connection that has probably failed, and reconnects.
    pub fn reconnect(&mut self, now: Instant) {
        self.link.reconnect(now);
        self.follow_link(now);
    }

    /// Records that the WebSocket was closed or could not be opened.
    pub fn closed(&mut self, now: Instant) {
        self.link.closed(now);
        self.follow_link(now);
    }

    /// Adds a request. The client sends it when the server is reachable and all earlier requests
    /// are sent. The request may finish within this call. The token must differ from those of all
    /// unfinished requests.
    pub fn request(&mut self, now: Instant, token: Token, request: Request<P>) {
        // After a sleep, the page may be faster than the timer. Nothing answers over a dead link.
        self.link.tick(now);
        self.follow_link(now);
        let is_held = self.has_auth && self.transport.is_http();
        let is_read = request.verb == Verb::Get;
        let is_offline = self.transport.is_offline() || is_held;
        self.outbox.push(now, token, request, is_offline);
        // A new read waits for the link, too, before it fails.
        if is_held && is_read && !self.link.is_refused() {
            self.transport.link_down(now);
        }
        self.flush(now);
        self.report_status();
    }

    /// Aborts a request: the app gets no response. A write that was sent may still be committed.
    pub fn abort(&mut self, token: Token) {
        self.outbox.abort(token);
        self.settle();
    }

    /// Withdraws a request. Returns false if the request may have been sent; then the app gets its
    /// response.
    pub fn withdraw(&mut self, token: Token) -> bool {
        let is_withdrawn = self.outbox.withdraw(token);
        self.report_status();
        is_withdrawn
    }

    /// Unsubscribes from a room.
    pub fn unsubscribe(&mut self, room: &str) {
        self.feed.unsubscribe(room);
        self.leave(room);
        self.resume();
    }

    /// Acknowledges the events for the user, up to and including this id.
    pub fn delivered(&mut self, id: &str) {
        if planted::has("messages-not-acked") {
            return;
        }
        self.send_event(event::DELIVERED, id);
    }

    /// Handles a packet from the WebSocket.
    pub fn received(&mut self, now: Instant, packet: Packet<P>) {
        self.link.received(now, &packet);
        self.follow_link(now);
        let is_valid = match (packet.kind, packet.ack, packet.data) {
            (Kind::Event, _, Some(event)) => self.handle_event(&event),
            (Kind::Ack, Some(ack), Some(arguments)) => self.handle_ack(now, ack, &arguments),
            _ => Some(()),
        };
        if is_valid.is_none() {
            self.malformed(now);
        }
    }

    /// Reconnects after a malformed frame or packet, because the state of the connection is
    /// unknown.
    pub fn malformed(&mut self, now: Instant) {
        self.reconnect(now);
    }

    /// Handles the passing of time.
    pub fn tick(&mut self, now: Instant) {
        self.link.tick(now);
        self.follow_link(now);
        self.transport.tick(now);
        self.outbox.tick(now);
        self.flush(now);
        self.report_status();
    }

    /// Returns the time of the next [`tick`](Self::tick).
    pub fn deadline(&self) -> Option<Instant> {
        let requests = earlier(self.outbox.deadline(), self.transport.deadline());
        earlier(self.link.deadline(), requests)
    }

    /// Returns the next output.
    pub fn poll(&mut self) -> Option<Output<P>> {
        self.outputs.pop()
    }

    /// Handles an event of the server. Unknown events are for later versions of this client.
    fn handle_event(&mut self, arguments: &P) -> Option<()> {
        if arguments.item(0)?.text()? == event::PUSH {
            let push = Push::read(arguments)?;
            if push.room.is_empty() {
                self.outputs.push(Output::Deliver(push.into()));
            } else {
                self.feed.pushed(push, &self.outbox);
                self.drain_feed();
            }
        }
        Some(())
    }

    /// Continues with deliveries that waited for a request that is now finished.
    fn settle(&mut self) {
        self.feed.settle_all(&self.outbox);
        self.drain_feed();
        self.report_status();
    }

    /// Passes the outputs of the feed on. Returns what they were.
    fn drain_feed(&mut self) -> Resumed {
        let mut resumed = Resumed { recovered: true, count: self.feed.take_arrived() };
        while let Some(output) = self.feed.next_output() {
            resumed.recovered &= matches!(output, Output::Deliver(_));
            self.outputs.push(output);
        }
        self.resume();
        resumed
    }

    fn follow_link(&mut self, now: Instant) {
        while let Some(step) = self.link.next_step() {
            match step {
                Step::Open => self.outputs.push(Output::Open),
                Step::Close => self.outputs.push(Output::Close),
                Step::Send(frame) => self.send(frame, None, ""),
                Step::Authenticate => self.outputs.push(Output::Authenticate),
                Step::Refused(message) => {
                    self.transport.refused();
                    self.outputs.push(Output::Refused(message));
                    self.flush(now);
                }
                Step::Up => self.link_up(now),
                Step::Down => {
                    self.transport.link_down(now);
                    self.resumes.clear();
                    self.outbox.mark_unsent();
                    self.feed.interrupted();
                }
            }
        }
        self.report_status();
    }

    fn link_up(&mut self, now: Instant) {
        self.transport = Transport::Link;
        self.outbox.end_pause();
        self.fail_outdated(now);
        self.send_while(now, Outbox::resend_next);
        self.resume();
        self.flush(now);
    }

    fn fail_outdated(&mut self, now: Instant) {
        while let Some(at) = self.outbox.find_outdated(now) {
            self.fail(at, Failure::Outdated);
        }
    }

    /// Requests the missed changes of all lost rooms.
    fn resume(&mut self) {
        if !self.link.is_up() {
            return;
        }
        let data = frame::resume(|| self.feed.next_lost());
        if data.is_empty() {
            return;
        }
        let ack = self.next_ack();
        self.resumes.push(ack);
        self.emit(Some(ack), &data, None, "");
    }

    /// Sends the requests that are not sent on this connection yet, or over HTTP if there is no
    /// link. A client with auth sends nothing over HTTP: its writes wait, and its reads fail. Only
    /// if the server refuses the link for good, reads go over HTTP: the app gets the answer to a
    /// caller who has not signed in.
    fn flush(&mut self, now: Instant) {
        if self.link.is_up() {
            self.send_while(now, Outbox::send_next);
        } else if self.transport.is_http() {
            self.fail_outdated(now);
            if self.has_auth && !self.link.is_refused() {
                return self.fail_reads();
            }
            while let Some(token) = self.outbox.send_next_over_http(now, !self.has_auth) {
                self.outputs.push(Output::Http(token));
            }
        }
    }

    /// Fails the reads that wait for the link.
    fn fail_reads(&mut self) {
        while let Some(at) = self.outbox.find_waiting_read() {
            self.fail(at, Failure::Unreachable);
        }
    }

    fn send_while(&mut self, now: Instant, next: NextToSend<P>) {
        while let Some(entry) = next(&mut self.outbox, now, self.acks + 1) {
            let limit = self.link.body_limit();
            if entry.request.body.as_ref().is_some_and(|body| body.size() > limit) {
                self.fail_too_large(self.acks + 1, limit);
                continue;
            }
            let (data, tail) = frame::request(entry);
            let body = entry.request.body.clone();
            let ack = self.next_ack();
            self.emit(Some(ack), &data, body, tail);
        }
    }

    /// Fails a request whose body the server would not read. The next request gets its ack id.
    fn fail_too_large(&mut self, ack: u64, limit: u64) {
        if let Some(at) = self.outbox.find_acked(ack) {
            self.fail(at, Failure::TooLarge(limit));
        }
    }

    fn leave(&mut self, room: &str) {
        self.send_event(event::UNSUBSCRIBE, room);
    }

    /// Sends an event without an ack, if the link is up. Otherwise the event is not needed.
    fn send_event(&mut self, event: &str, about: &str) {
        if self.link.is_up() {
            let data = frame::event(event, about);
            self.emit(None, &data, None, "");
        }
    }

    fn next_ack(&mut self) -> u64 {
        self.acks += 1;
        self.acks
    }

    fn emit(&mut self, ack: Option<u64>, data: &str, body: Option<P>, tail: &'static str) {
        let head = Packet::new(Kind::Event, ack, Some(data)).encode();
        self.send(head, body, tail);
    }

    fn send(&mut self, head: String, body: Option<P>, tail: &'static str) {
        self.outputs.push(Output::Send(Frame { head, body, tail }));
    }

    fn report_status(&mut self) {
        let status = self.status();
        if status != self.reported {
            self.reported = status;
            self.outputs.push(Output::Status(status));
        }
    }

    /// Returns the state of the connection and the number of unsent writes.
    pub fn status(&self) -> Status {
        let state = match () {
            () if self.link.is_up() => Connection::Online,
            () if self.link.is_hopeful() => Connection::Connecting,
            () => Connection::Offline,
        };
        Status { state, unsent: self.outbox.unsent(self.link.is_up()) }
    }
}

/// Whether auth has any members.
fn has_members(auth: &str) -> bool {
    !matches!(auth, "" | "{}")
}
