//! Everything the app has asked for and is still owed.
//!
//! The client rests on three nouns: the [`link`](crate::link), which is up or is not; the
//! [`outbox`](crate::outbox), requests in order; and the `feed`, rooms and their positions. It knows
//! the envelopes of docs/protocol.md and nothing of what is in them.
//!
//! First connect and reconnect are the same. When the link comes up, writes that may have been
//! committed already go out again, then one `resume` for all rooms, then the rest of the outbox in
//! order. The first come first because the ledger answers them with what was true when they were
//! committed: whatever is read later must also arrive later.

use crate::feed::Feed;
use crate::json;
use crate::link::{Link, Step};
use crate::names::Queue;
use crate::outbox::{Entry, Failure, Outbox, Reply, Request, Token};
use crate::output::{Connection, Frame, Output, Status};
use crate::packet::{Kind, Packet};
use crate::payload::Payload;
use crate::push::{Position, Push};
use crate::time::{Instant, earlier};

/// The version of docs/protocol.md spoken here.
pub const VERSION: u64 = 1;

/// The machine. It does no IO and reads no clock. After any input, carry out all of
/// [`poll`](Self::poll), then sleep until [`deadline`](Self::deadline) and call
/// [`tick`](Self::tick).
#[derive(Debug)]
pub struct Client<P> {
    link: Link,
    outbox: Outbox<P>,
    feed: Feed<P>,
    /// Ack ids of this connection that answer a resume; the others answer a request in the outbox.
    resumes: Vec<u64>,
    acks: u64,
    told: Status,
    outputs: Queue<Output<P>>,
}

impl<P: Payload> Client<P> {
    /// A client that does nothing until [`connect`](Self::connect). `session` starts every
    /// idempotency key and must be unique in the world; `seed` decides the jitter.
    pub fn new(session: String, seed: u64) -> Self {
        let mut auth = String::from("{\"backwire\":");
        json::push_number(&mut auth, VERSION);
        auth.push('}');
        Self {
            link: Link::new(auth, seed),
            outbox: Outbox::new(session),
            feed: Feed::new(),
            resumes: Vec::new(),
            acks: 0,
            told: Status { state: Connection::Offline, unsent: 0 },
            outputs: Queue::new(),
        }
    }

    /// Starts connecting, and stays connected from now on.
    pub fn connect(&mut self, now: Instant) {
        self.link.connect(now);
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

    /// Asks for something. It is sent when the link is up and everything before it has been sent.
    pub fn request(&mut self, now: Instant, request: Request<P>) -> Token {
        let token = self.outbox.push(now, request);
        self.flush();
        self.tell_status();
        token
    }

    /// Puts back a write that an earlier client of the same app did not live to see answered, with
    /// the key it had: if it was committed after all, it is not done again.
    pub fn restore(&mut self, now: Instant, key: String, request: Request<P>) -> Token {
        let token = self.outbox.restore(now, key, request);
        self.flush();
        self.tell_status();
        token
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
        while let Some(token) = self.outbox.expire(now) {
            self.outputs.push(Output::Finish(token, Err(Failure::Timeout)));
            self.settle();
        }
        if self.outbox.goes_on(now) {
            self.flush();
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        earlier(self.link.deadline(), self.outbox.deadline())
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

    fn answered(&mut self, now: Instant, ack: u64, arguments: &P) -> Option<()> {
        let answer = arguments.item(0)?;
        if let Some(at) = self.resumes.iter().position(|resume| *resume == ack) {
            self.resumes.swap_remove(at);
            let mut index = 0;
            while let Some(room) = answer.item(index) {
                self.feed.resumed(&room, &self.outbox)?;
                index += 1;
            }
        } else {
            let status = answer.field("statusCode").and_then(|status| status.number());
            let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
            if let Some(entry) = self.outbox.answered(now, ack, status) {
                self.finish(&entry, status, &answer);
            }
            self.flush();
        }
        self.settle();
        Some(())
    }

    /// Places the answer in the log first, so that what follows it is delivered after it.
    fn finish(&mut self, entry: &Entry<P>, status: u16, answer: &P) {
        let headers = answer.field("headers");
        let header = |name| headers.as_ref().and_then(|headers| headers.field(name)?.text());
        let position = header("backwire-position").and_then(|text| Position::parse(&text));
        if entry.is_wanted {
            let reply = Reply { status, body: answer.field("body"), headers: headers.clone() };
            self.outputs.push(Output::Finish(entry.token, Ok(reply)));
            if let (Some(record), Some(position)) = (header("backwire-record"), position) {
                self.feed.was_written(&record, position);
            }
        }
        if let (Some(room), Some(position)) = (header("backwire-room"), position) {
            if entry.is_wanted || self.feed.knows(&room) {
                self.feed.was_read(&room, position, &self.outbox);
            } else {
                self.leave(&room);
            }
        }
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
                Step::Refused(message) => self.outputs.push(Output::Refused(message)),
                Step::Up => {
                    while let Some(entry) = self.outbox.outdated(now) {
                        self.fail(&entry, Failure::Outdated);
                    }
                    self.send_while(Outbox::resend_next);
                    self.resume();
                    self.flush();
                }
                Step::Down => {
                    self.resumes.clear();
                    self.outbox.unsend();
                    self.feed.interrupted();
                }
            }
        }
        self.tell_status();
    }

    /// Asks for what was missed in all rooms that lost their place.
    fn resume(&mut self) {
        if !self.link.is_up() {
            return;
        }
        let mut data = String::new();
        while let Some((room, position)) = self.feed.next_lost() {
            data.push_str(if data.is_empty() { "[\"resume\",[[" } else { ",[" });
            json::push_string(&mut data, &room);
            for number in [position.epoch, position.offset] {
                data.push(',');
                json::push_number(&mut data, number);
            }
            data.push(']');
        }
        if data.is_empty() {
            return;
        }
        data.push_str("]]");
        let ack = self.next_ack();
        self.resumes.push(ack);
        self.emit(Some(ack), &data, None, "");
    }

    /// Sends what has not been sent on this connection.
    fn flush(&mut self) {
        if self.link.is_up() {
            self.send_while(Outbox::send_next);
        }
    }

    fn send_while(&mut self, next: fn(&mut Outbox<P>, u64) -> Option<&Entry<P>>) {
        while let Some(entry) = next(&mut self.outbox, self.acks + 1) {
            let limit = self.link.body_limit();
            if entry.request.body.as_ref().is_some_and(|body| body.size() > limit) {
                self.refuse(self.acks + 1, limit);
                continue;
            }
            let (data, tail) = request_data(entry);
            let body = entry.request.body.clone();
            let ack = self.next_ack();
            self.emit(Some(ack), &data, body, tail);
        }
    }

    /// What the server would not even read is not sent. The id of its ack is used by the next.
    fn refuse(&mut self, ack: u64, limit: u64) {
        if let Some(entry) = self.outbox.take(ack) {
            self.fail(&entry, Failure::TooLarge(limit));
        }
    }

    fn fail(&mut self, entry: &Entry<P>, failure: Failure) {
        if entry.is_wanted {
            self.outputs.push(Output::Finish(entry.token, Err(failure)));
        }
    }

    fn leave(&mut self, room: &str) {
        self.say("unsubscribe", room);
    }

    /// Nobody waits for an answer, so what can not be said now need not be said.
    fn say(&mut self, event: &str, about: &str) {
        if self.link.is_up() {
            let mut data = String::from("[");
            json::push_string(&mut data, event);
            data.push(',');
            json::push_string(&mut data, about);
            data.push(']');
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
        if self.link.is_up() {
            return Status { state: Connection::Online, unsent: 0 };
        }
        let state =
            if self.link.is_hopeful() { Connection::Connecting } else { Connection::Offline };
        Status { state, unsent: self.outbox.writes() }
    }
}

/// `["put",{"url":…,"headers":{…},"data":` and what follows the body.
fn request_data<P>(entry: &Entry<P>) -> (String, &'static str) {
    let mut data = String::from("[\"");
    data.push_str(entry.request.verb.event());
    data.push_str("\",{\"url\":");
    json::push_string(&mut data, &entry.request.url);
    if let Some(key) = &entry.key {
        data.push_str(",\"headers\":{\"idempotency-key\":");
        json::push_string(&mut data, key);
        data.push('}');
    }
    if entry.request.body.is_none() {
        data.push_str("}]");
        return (data, "");
    }
    data.push_str(",\"data\":");
    (data, "}]")
}
