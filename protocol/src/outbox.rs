//! What the app has asked for, in the order it asked.
//!
//! An entry stays until the server has answered it. When the link breaks, entries that were sent
//! are unsent again and go out once more, in order, with the same idempotency key: the server's
//! ledger makes that harmless. A timeout or an abort ends what the app waits for, not the entry: a
//! write that has left may have been committed, and its answer is needed to place its echo.

use core::time::Duration;

use crate::mark;
use crate::time::{Instant, earlier};

/// Requests without an answer that may be on their way at once. The server answers more than a
/// few hundred with a refusal; what waits here instead keeps its order.
const MOST_IN_FLIGHT: usize = 64;

/// After this the server's ledger may have forgotten a write, and would do it again.
const LEDGER_MEMORY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long writes wait after the first answer that said "not now", and at most.
const FIRST_PAUSE: u64 = 500;
const LONGEST_PAUSE: u64 = 30_000;

/// What is done to a url.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read, and subscribe to what was read.
    Get,
    /// Create.
    Post,
    /// Update.
    Put,
    /// Update the attributes given.
    Patch,
    /// Destroy.
    Delete,
}

impl Verb {
    /// The event it travels as.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// The verb that travels as this event.
    pub fn from_event(event: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete]
            .into_iter()
            .find(|verb| verb.event() == event)
    }
}

/// One thing asked for.
#[derive(Debug, Clone)]
pub struct Request<P> {
    /// What to do.
    pub verb: Verb,
    /// Path and query, from `/`.
    pub url: String,
    /// The body in whatever form the shell sends it.
    pub body: Option<P>,
    /// How long the app waits, however often the request is resent.
    pub timeout: Option<Duration>,
}

/// The server's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<P> {
    /// As in HTTP.
    pub status: u16,
    /// Absent where the answer has none.
    pub body: Option<P>,
    /// An object, names in lower case.
    pub headers: Option<P>,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The time the app was willing to wait is over.
    Timeout,
    /// The body is larger than the server takes, which is this many bytes; it was not sent.
    TooLarge(u64),
    /// It was sent a week ago or more and never answered. It may have been done, and can not be sent
    /// again: the server no longer knows its key.
    Outdated,
}

/// Names a request from when it is made until it is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u32);

/// A request and how far it has come.
#[derive(Debug)]
pub(crate) struct Entry<P> {
    pub(crate) token: Token,
    /// Kept whole so that it can be sent again after a reconnect.
    pub(crate) request: Request<P>,
    /// Of a write; the same at every resend.
    pub(crate) key: Option<String>,
    /// By which the write's echo is known; 0 for a read.
    pub(crate) mark: u64,
    made: Instant,
    /// Not moved by a resend: the app waits this long, however often we try.
    deadline: Option<Instant>,
    /// The app still waits. What it no longer waits for is not finished, only answered.
    pub(crate) is_wanted: bool,
    /// The ack id it was sent under on this connection.
    ack: Option<u64>,
    /// It has left on this or an earlier connection, and may have been committed.
    was_sent: bool,
}

impl<P> Entry<P> {
    fn new(now: Instant, token: Token, key: Option<String>, request: Request<P>) -> Self {
        Self {
            token,
            mark: key.as_deref().map_or(0, mark),
            key,
            made: now,
            deadline: request.timeout.map(|timeout| now + timeout),
            request,
            is_wanted: true,
            ack: None,
            was_sent: false,
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        self.mark != 0
    }
}

/// Entries in the order they were made.
#[derive(Debug)]
pub(crate) struct Outbox<P> {
    entries: Vec<Entry<P>>,
    /// What all keys of this client start with; unique in the world.
    session: String,
    made: u32,
    /// Writes are not sent before this; reads are.
    paused: Option<Instant>,
    /// Writes in a row that were answered with "not now".
    pauses: u32,
}

impl<P> Outbox<P> {
    pub(crate) fn new(session: String) -> Self {
        Self { entries: Vec::new(), session, made: 0, paused: None, pauses: 0 }
    }

    pub(crate) fn push(&mut self, now: Instant, request: Request<P>) -> Token {
        self.made += 1;
        let token = Token(self.made);
        let key = (request.verb != Verb::Get).then(|| {
            let mut key = self.session.clone();
            key.push('-');
            crate::json::push_number(&mut key, u64::from(self.made));
            key
        });
        self.entries.push(Entry::new(now, token, key, request));
        token
    }

    /// Puts back a write of an earlier life of the app, which may have been sent.
    pub(crate) fn restore(&mut self, now: Instant, key: String, request: Request<P>) -> Token {
        self.made += 1;
        let token = Token(self.made);
        self.entries.push(Entry { was_sent: true, ..Entry::new(now, token, Some(key), request) });
        token
    }

    /// The next write that may have been committed already, now sent again under `ack`.
    pub(crate) fn resend_next(&mut self, ack: u64) -> Option<&Entry<P>> {
        self.send_first(ack, |entry| entry.is_write() && entry.was_sent)
    }

    /// The next entry to send, now sent under `ack`.
    pub(crate) fn send_next(&mut self, ack: u64) -> Option<&Entry<P>> {
        self.send_first(ack, |_| true)
    }

    fn send_first(&mut self, ack: u64, which: fn(&Entry<P>) -> bool) -> Option<&Entry<P>> {
        let in_flight = self.entries.iter().filter(|entry| entry.ack.is_some()).count();
        if in_flight >= MOST_IN_FLIGHT {
            return None;
        }
        let is_paused = self.paused.is_some();
        let is_next = |entry: &&mut Entry<P>| {
            entry.ack.is_none() && which(entry) && !(is_paused && entry.is_write())
        };
        let entry = self.entries.iter_mut().find(is_next)?;
        entry.ack = Some(ack);
        entry.was_sent = true;
        Some(entry)
    }

    /// The connection is gone: whatever is here must be sent again. On a new one the server may have
    /// recovered, or know who we are.
    pub(crate) fn unsend(&mut self) {
        self.paused = None;
        self.entries.iter_mut().for_each(|entry| entry.ack = None);
        self.drop_unwanted();
    }

    /// The answer to what was sent under `ack`, with this status. Takes the entry out, unless it is a
    /// write and the server says that it can not do it now: that is sent again, and until then no
    /// other write is.
    pub(crate) fn answered(&mut self, now: Instant, ack: u64, status: u16) -> Option<Entry<P>> {
        let at = self.entries.iter().position(|entry| entry.ack == Some(ack))?;
        let entry = &mut self.entries[at];
        if entry.is_write() && is_temporary(status) {
            entry.ack = None;
            let most = (FIRST_PAUSE << self.pauses.min(8)).min(LONGEST_PAUSE);
            self.pauses += 1;
            // Keys are as good as random, and different in each client.
            self.paused = Some(now + Duration::from_millis(most / 2 + entry.mark % (most / 2)));
            return None;
        }
        self.pauses = 0;
        self.take(ack)
    }

    /// Takes out the entry that was sent under `ack`.
    pub(crate) fn take(&mut self, ack: u64) -> Option<Entry<P>> {
        let at = self.entries.iter().position(|entry| entry.ack == Some(ack))?;
        Some(self.entries.remove(at))
    }

    /// Takes out a write that must not be sent again because it may have been committed too long ago.
    pub(crate) fn outdated(&mut self, now: Instant) -> Option<Entry<P>> {
        let is_outdated = |entry: &Entry<P>| {
            entry.is_write() && entry.was_sent && entry.made + LEDGER_MEMORY <= now
        };
        let at = self.entries.iter().position(is_outdated)?;
        Some(self.entries.remove(at))
    }

    /// The app no longer waits for it.
    pub(crate) fn abandon(&mut self, token: Token) {
        for entry in self.entries.iter_mut().filter(|entry| entry.token == token) {
            entry.is_wanted = false;
            entry.deadline = None;
        }
        self.drop_unwanted();
    }

    /// Takes out an entry that never left; false if it did, or is not here.
    pub(crate) fn withdraw(&mut self, token: Token) -> bool {
        let is_here = |entry: &Entry<P>| entry.token == token && !entry.was_sent;
        let at = self.entries.iter().position(is_here);
        at.map(|at| self.entries.remove(at)).is_some()
    }

    /// Whether writes that were paused may be sent now.
    pub(crate) fn goes_on(&mut self, now: Instant) -> bool {
        self.paused.take_if(|until| *until <= now).is_some()
    }

    /// One whose time is over; the app no longer waits for it.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Token> {
        let is_due = |entry: &&Entry<P>| entry.deadline.is_some_and(|deadline| deadline <= now);
        let token = self.entries.iter().find(is_due)?.token;
        self.abandon(token);
        Some(token)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.entries.iter().fold(self.paused, |first, entry| earlier(first, entry.deadline))
    }

    /// Writes that have not been answered.
    pub(crate) fn writes(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_write()).count()
    }

    /// Whether the app waits for the answer to the write with this mark.
    pub(crate) fn awaits(&self, mark: u64) -> bool {
        mark != 0 && self.entries.iter().any(|entry| entry.mark == mark && entry.is_wanted)
    }

    /// Whether a read is on its way.
    pub(crate) fn is_reading(&self) -> bool {
        self.reads().next().is_some()
    }

    /// Whether a read is on its way whose url names this resource.
    pub(crate) fn is_reading_of(&self, resource: &str) -> bool {
        self.reads().any(|entry| {
            let url = entry.request.url.as_bytes();
            let path = url.split(|byte| *byte == b'?').next().unwrap_or_default();
            let mut segments = path.split(|byte| *byte == b'/');
            segments.any(|segment| segment.eq_ignore_ascii_case(resource.as_bytes()))
        })
    }

    fn reads(&self) -> impl Iterator<Item = &Entry<P>> {
        self.entries.iter().filter(|entry| entry.ack.is_some() && !entry.is_write())
    }

    /// Forgets what nobody waits for, but for writes that may have been committed and reads whose
    /// answer is on its way.
    fn drop_unwanted(&mut self) {
        let is_over = |entry: &Entry<P>| {
            let may_matter = if entry.is_write() { entry.was_sent } else { entry.ack.is_some() };
            !entry.is_wanted && !may_matter
        };
        while let Some(at) = self.entries.iter().position(is_over) {
            self.entries.remove(at);
        }
    }
}

/// Whether the same write may well be done later: who asks is not known yet, the server is busy or
/// in trouble. Every other refusal ends it.
fn is_temporary(status: u16) -> bool {
    matches!(status, 401 | 408 | 425 | 429 | 500..)
}
