//! Everything the app has asked for and is still owed.
//!
//! The client rests on three nouns: the [`link`](crate::link), which is up or is not; the
//! `outbox`, requests in order; and the `feed`, rooms and their positions. It knows
//! the envelopes of docs/protocol.md and nothing of what is in them.
//!
//! First connect and reconnect are the same. When the link comes up, writes that may have been
//! committed already go out again, then one `resume` for all rooms, then the rest of the outbox in
//! order. The first come first because the ledger answers them with what was true when they were
//! committed: whatever is read later must also arrive later.
//!
//! While the link is missing for too long, the same requests go over HTTP (see `transport`). A
//! request may be on its way over both when the link comes up: of a write, which has a key, the first
//! answer counts; of a read, the answer over the link, because it subscribes.

use crate::feed::Feed;
mod answers;

use crate::frame;
use crate::link::{Link, Step};
use crate::names::Queue;
use crate::outbox::{Entry, Outbox};
use crate::output::{Connection, Frame, Output, Status};
use crate::packet::{Kind, Packet};
use crate::payload::Payload;
use crate::push::Push;
use crate::request::{Failure, Request, Token};
use crate::time::{Instant, earlier};
use crate::transport::Transport;

/// The version of docs/protocol.md spoken here.
pub const VERSION: u64 = 1;

/// The machine. It does no IO and reads no clock. After any input, carry out all of
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
    told: Status,
    outputs: Queue<Output<P>>,
}

/// Which entry to send next, now sent under this ack id.
type NextToSend<P> = fn(&mut Outbox<P>, Instant, u64) -> Option<&Entry<P>>;

impl<P: Payload> Client<P> {
    /// A client that does nothing until [`connect`](Self::connect). `auth` is a JSON object of
    /// members that are sent when the client connects, or empty. `session` starts every idempotency
    /// key and must be unique in the world; `seed` decides the jitter.
    pub fn new(auth: &str, session: String, seed: u64) -> Self {
        Self {
            link: Link::new(frame::auth(VERSION, auth), seed),
            transport: Transport::Disconnected,
            outbox: Outbox::new(session),
            feed: Feed::new(),
            resumes: Vec::new(),
            acks: 0,
            told: Status { state: Connection::Offline, unsent: 0 },
            outputs: Queue::new(),
        }
    }

    /// Starts connecting, and stays connected from now on. Tries again if the server has refused.
    pub fn connect(&mut self, now: Instant) {
        self.link.connect(now);
        self.transport.connect(now);
        self.follow_link(now);
    }

    /// The hint that it is worth trying at once, such as a network that came back. One that was
    /// given up on purpose stays given up.
    pub fn hurry(&mut self, now: Instant) {
        self.link.hurry(now);
        self.follow_link(now);
    }

    /// Gives the connection up; requests wait.
    pub fn disconnect(&mut self, now: Instant) {
        self.link.disconnect();
        self.follow_link(now);
        self.transport = Transport::Disconnected;
    }

    /// Uses other auth from the next connection on, and sends writes again that were answered 401.
    pub fn authenticate(&mut self, now: Instant, auth: &str) {
        self.link.authenticate(frame::auth(VERSION, auth));
        self.outbox.authorized();
        self.flush(now);
        self.tell_status();
    }

    /// The app has found out that the server refuses the connection for good.
    pub fn refuse(&mut self, now: Instant, message: String) {
        self.link.refuse(message);
        self.follow_link(now);
    }

    /// The hint that the connection is probably gone.
    pub fn doubt(&mut self, now: Instant) {
        self.link.reconnect(now);
        self.follow_link(now);
    }

    /// The WebSocket closed, or could not be opened.
    pub fn closed(&mut self, now: Instant) {
        self.link.closed(now);
        self.follow_link(now);
    }

    /// Asks for something. It is sent when the server can be reached and everything before it has
    /// been sent. It may be finished within this call. No other request that is not finished may
    /// have this token.
    pub fn request(&mut self, now: Instant, token: Token, request: Request<P>) {
        self.outbox.push(now, token, request, self.transport.is_offline());
        self.flush(now);
        self.tell_status();
    }

    /// The app no longer waits for an answer. What has left the client can not be called back.
    pub fn abort(&mut self, token: Token) {
        self.outbox.abandon(token);
        self.settle();
    }

    /// Takes a request back, as if it had never been made. False if it may have left the client:
    /// then it is answered like any other.
    pub fn withdraw(&mut self, token: Token) -> bool {
        let is_withdrawn = self.outbox.withdraw(token);
        self.tell_status();
        is_withdrawn
    }

    /// The app no longer listens to a room.
    pub fn unsubscribe(&mut self, room: &str) {
        self.feed.forget(room);
        self.leave(room);
        self.resume();
    }

    /// The app is done with what it was sent as a person, up to and with this id.
    pub fn delivered(&mut self, id: &str) {
        self.say("delivered", id);
    }

    /// A packet came over the WebSocket.
    pub fn received(&mut self, now: Instant, packet: Packet<P>) {
        self.link.received(now, &packet);
        self.follow_link(now);
        let is_understood = match (packet.kind, packet.ack, packet.data) {
            (Kind::Event, _, Some(event)) => self.heard(&event),
            (Kind::Ack, Some(ack), Some(arguments)) => self.answered(now, ack, &arguments),
            _ => Some(()),
        };
        if is_understood.is_none() {
            self.malformed(now);
        }
    }

    /// A frame came that is no packet, or a packet that can not be understood: the only thing left
    /// to trust is a new connection.
    pub fn malformed(&mut self, now: Instant) {
        self.doubt(now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.link.tick(now);
        self.follow_link(now);
        self.transport.tick(now);
        self.outbox.tick(now);
        self.flush(now);
        self.tell_status();
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let requests = earlier(self.outbox.deadline(), self.transport.deadline());
        earlier(self.link.deadline(), requests)
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Output<P>> {
        self.outputs.pop()
    }

    /// An event of the server: a push, or one for a later version of this client.
    fn heard(&mut self, event: &P) -> Option<()> {
        if event.item(0)?.text()? == "push" {
            let push = Push::read(event)?;
            if push.room.is_empty() {
                self.outputs.push(Output::Deliver(push.into_delivery()));
            } else {
                self.feed.pushed(push, &self.outbox);
                self.drain_feed();
            }
        }
        Some(())
    }

    /// Carries on what waited for something that has been answered or given up.
    fn settle(&mut self) {
        self.feed.settle_all(&self.outbox);
        self.drain_feed();
        self.tell_status();
    }

    fn drain_feed(&mut self) {
        while let Some(news) = self.feed.next_news() {
            self.outputs.push(news);
        }
        self.resume();
    }

    fn follow_link(&mut self, now: Instant) {
        while let Some(step) = self.link.next_step() {
            match step {
                Step::Open => self.outputs.push(Output::Open),
                Step::Close => self.outputs.push(Output::Close),
                Step::Send(frame) => self.send(frame, None, ""),
                Step::Refused(message) => {
                    self.transport.refused();
                    self.outputs.push(Output::Refused(message));
                    self.flush(now);
                }
                Step::Up => self.link_up(now),
                Step::Down => {
                    self.transport.link_down(now);
                    self.resumes.clear();
                    self.outbox.unsend();
                    self.feed.interrupted();
                }
            }
        }
        self.tell_status();
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

    /// Asks for what was missed in all rooms that lost their place.
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

    /// Sends what has not been sent on this connection, or over HTTP if there is none.
    fn flush(&mut self, now: Instant) {
        if self.link.is_up() {
            self.send_while(now, Outbox::send_next);
        } else if self.transport.is_http() {
            self.fail_outdated(now);
            while let Some(token) = self.outbox.send_next_over_http(now) {
                self.outputs.push(Output::Http(token));
            }
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

    /// What the server would not even read is not sent. The id of its ack is used by the next.
    fn fail_too_large(&mut self, ack: u64, limit: u64) {
        if let Some(at) = self.outbox.find_acked(ack) {
            self.fail(at, Failure::TooLarge(limit));
        }
    }

    fn leave(&mut self, room: &str) {
        self.say("unsubscribe", room);
    }

    /// Nobody waits for an answer, so what can not be said now need not be said.
    fn say(&mut self, event: &str, about: &str) {
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

    fn tell_status(&mut self) {
        let status = self.status();
        if status != self.told {
            self.told = status;
            self.outputs.push(Output::Status(status));
        }
    }

    /// How we stand.
    pub fn status(&self) -> Status {
        let state = match () {
            () if self.link.is_up() => Connection::Online,
            () if self.link.is_hopeful() => Connection::Connecting,
            () => Connection::Offline,
        };
        Status { state, unsent: self.outbox.unsent(self.link.is_up()) }
    }
}
