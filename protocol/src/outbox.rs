//! The requests of the app, in order.
//!
//! An entry stays until the server has answered it. When the link breaks, the entries that were
//! sent are marked as unsent and are sent again, in order, with the same idempotency key. The
//! ledger of the server makes that safe. The same holds for HTTP, where writes are sent one by one.
//! An abort ends the app's wait for the response, but does not remove the entry: a write that was
//! sent may have been committed, and the client needs its response to recognize the echo.

use crate::json;
use crate::mark;
use crate::payload::Payload;
use crate::planted;
use crate::request::{Reply, Request, RequestKind, Token, Verb};
use crate::retry::{Pause, Verdict, verdict};
use crate::time::Instant;
use crate::transport::HTTP_RETRY;
use crate::wire::LEDGER_RETENTION;

/// The maximum number of requests in flight over the link. The server refuses more than a few
/// hundred. Requests that wait here keep their order.
const MAX_IN_FLIGHT: usize = 64;

/// The maximum number of reads in flight over HTTP.
const MAX_HTTP_READS: usize = 16;

/// A request and its state.
#[derive(Debug)]
pub(crate) struct Entry<P> {
    pub(crate) token: Token,
    /// The complete request, so that it can be sent again after a reconnect.
    pub(crate) request: Request<P>,
    /// The mark that identifies the echo of a write. 0 for a read.
    pub(crate) mark: u64,
    /// The app still waits for the response. Otherwise the response is not passed to the app.
    pub(crate) is_wanted: bool,
    /// The ack id of the request on this connection.
    ack: Option<u64>,
    /// The shell has the request in flight over HTTP.
    is_over_http: bool,
    /// The time of the first send. From then on the server may have committed the write.
    sent: Option<Instant>,
    /// The write could not be sent when the app made it, so the app treats it as an offline write.
    pub(crate) has_waited: bool,
}

impl<P> Entry<P> {
    pub(crate) fn is_write(&self) -> bool {
        self.mark != 0
    }

    /// Returns whether the app sends the request by other means than this client.
    pub(crate) fn is_external(&self) -> bool {
        self.request.kind == RequestKind::External
    }

    pub(crate) fn is_our_write(&self) -> bool {
        self.is_write() && !self.is_external()
    }
}

/// Entries in the order of the requests.
#[derive(Debug)]
pub(crate) struct Outbox<P> {
    entries: Vec<Entry<P>>,
    /// The prefix of all generated keys. It is unique among all clients of the server.
    session: String,
    pause: Pause,
}

/// The effect of a response on its entry.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ResponseEffect {
    /// The entry is finished.
    Finish,
    /// The entry stays and is sent again.
    Keep,
    /// The entry stays, and the app must provide other auth.
    Unauthorized,
}

impl<P: Payload> Outbox<P> {
    pub(crate) fn new(session: String) -> Self {
        Self { entries: Vec::new(), session, pause: Pause::new() }
    }

    /// Adds a request. `is_offline` states whether the app is offline at this time.
    pub(crate) fn push(
        &mut self,
        now: Instant,
        token: Token,
        mut request: Request<P>,
        is_offline: bool,
    ) {
        let is_write = request.verb != Verb::Get;
        if !is_write {
            request.key = None;
        } else if request.key.is_none() {
            request.key = Some(self.generate_key(token));
        }
        self.entries.push(Entry {
            token,
            mark: request.key.as_deref().map_or(0, mark),
            is_wanted: true,
            ack: None,
            is_over_http: false,
            sent: (request.kind != RequestKind::New).then_some(now),
            has_waited: is_write
                && (request.kind == RequestKind::Restored
                    || is_offline && request.kind == RequestKind::New),
            request,
        });
    }

    fn generate_key(&self, token: Token) -> String {
        let mut key = self.session.clone();
        key.push('-');
        json::push_number(&mut key, u64::from(token.0));
        key
    }

    /// Returns the next write to send again because it may have been committed already, and marks
    /// it as sent under `ack`.
    pub(crate) fn resend_next(&mut self, now: Instant, ack: u64) -> Option<&Entry<P>> {
        self.send_first(now, ack, |entry| entry.is_write() && entry.sent.is_some())
    }

    /// Returns the next entry to send, and marks it as sent under `ack`.
    pub(crate) fn send_next(&mut self, now: Instant, ack: u64) -> Option<&Entry<P>> {
        self.send_first(now, ack, |_| true)
    }

    fn send_first(
        &mut self,
        now: Instant,
        ack: u64,
        filter: fn(&Entry<P>) -> bool,
    ) -> Option<&Entry<P>> {
        let in_flight = self.entries.iter().filter(|entry| entry.ack.is_some()).count();
        if in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        let is_paused = self.pause.is_on();
        let is_next = |entry: &&mut Entry<P>| {
            entry.ack.is_none()
                && !entry.is_external()
                && filter(entry)
                && !(is_paused && entry.is_write())
        };
        let is_reversed = planted::has("last-request-first");
        let entry = match is_reversed {
            true => self.entries.iter_mut().rfind(is_next)?,
            false => self.entries.iter_mut().find(is_next)?,
        };
        if planted::has("new-key-when-sent-again")
            && entry.sent.is_some()
            && let Some(key) = &mut entry.request.key
        {
            key.push('+');
        }
        entry.ack = Some(ack);
        entry.sent.get_or_insert(now);
        Some(entry)
    }

    /// Returns the next entry to send over HTTP, and marks it as sent. Writes are sent one by one,
    /// each after the response to the previous one, and only if `may_write`. Reads do not wait for
    /// writes.
    pub(crate) fn send_next_over_http(
        &mut self,
        now: Instant,
        mut may_write: bool,
    ) -> Option<Token> {
        let is_read = |entry: &&Entry<P>| entry.is_over_http && !entry.is_write();
        let may_read = self.entries.iter().filter(is_read).count() < MAX_HTTP_READS;
        may_write &= !self.pause.is_on();
        let is_next = |entry: &&mut Entry<P>| {
            let may_send = if entry.is_our_write() {
                core::mem::take(&mut may_write)
            } else {
                may_read && !entry.is_external()
            };
            may_send && !entry.is_over_http
        };
        let entry = self.entries.iter_mut().find(is_next)?;
        entry.is_over_http = true;
        entry.sent.get_or_insert(now);
        Some(entry.token)
    }

    /// Marks all entries as not sent on any connection, because the connection has ended.
    pub(crate) fn mark_unsent(&mut self) {
        if planted::has("requests-not-sent-again") {
            return;
        }
        self.entries.iter_mut().for_each(|entry| entry.ack = None);
        self.drop_unwanted();
    }

    /// Ends the pause. On a new connection, the server may have recovered or may know the user.
    pub(crate) fn end_pause(&mut self) {
        self.pause.end();
    }

    /// Ends a pause that waits for auth.
    pub(crate) fn authorized(&mut self) {
        self.pause.authorized();
    }

    /// Returns the index of the entry that was sent under `ack`, and marks it as answered.
    pub(crate) fn find_acked(&mut self, ack: u64) -> Option<usize> {
        let at = self.entries.iter().position(|entry| entry.ack == Some(ack))?;
        self.entries[at].ack = None;
        Some(at)
    }

    /// Returns the index of the entry with this token, and marks it as answered over HTTP.
    pub(crate) fn find_over_http(&mut self, token: Token) -> Option<usize> {
        let at = self.find(token)?;
        self.entries[at].is_over_http = false;
        Some(at)
    }

    fn find(&self, token: Token) -> Option<usize> {
        self.entries.iter().position(|entry| entry.token == token)
    }

    /// Handles the response to an entry. If the server cannot handle a write now, the client sends
    /// it again later, and sends no other write until then.
    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        at: usize,
        reply: &Reply<P>,
    ) -> ResponseEffect {
        let entry = &self.entries[at];
        // An error over HTTP does not decide about the same write if that is in flight over the
        // link.
        if entry.ack.is_some() && reply.status >= 400 {
            return ResponseEffect::Keep;
        }
        // An aborted write is not sent again.
        if entry.is_our_write() && entry.is_wanted {
            let retry_after = reply.header("retry-after");
            let status = if planted::has("refusal-taken-for-success") { 200 } else { reply.status };
            match verdict(status, entry.has_waited, retry_after.as_deref()) {
                Verdict::Final => self.pause.answered(),
                // The mark is a hash of the key, so it differs between clients.
                Verdict::Later(after) => {
                    self.pause.back_off(now, after, entry.mark);
                    return ResponseEffect::Keep;
                }
                Verdict::Unauthorized if self.pause.wait_for_auth() => {
                    return ResponseEffect::Unauthorized;
                }
                Verdict::Unauthorized => return ResponseEffect::Keep,
            }
        }
        ResponseEffect::Finish
    }

    /// Handles a request that did not reach the server over HTTP. Returns false if the entry has
    /// failed. Writes that this client sends wait, including those behind the failed one.
    pub(crate) fn retry_unreachable(&mut self, now: Instant, at: usize) -> bool {
        let is_waiting = self.entries[at].is_our_write();
        if is_waiting {
            for entry in &mut self.entries {
                entry.has_waited |= entry.is_our_write();
            }
            self.pause.wait(now + HTTP_RETRY);
        }
        is_waiting
    }

    pub(crate) fn entry(&self, at: usize) -> &Entry<P> {
        &self.entries[at]
    }

    pub(crate) fn remove(&mut self, at: usize) -> Entry<P> {
        self.entries.remove(at)
    }

    /// Returns the index of a write that must not be sent again, because it may have been committed
    /// too long ago.
    pub(crate) fn find_outdated(&self, now: Instant) -> Option<usize> {
        let is_outdated = |entry: &Entry<P>| {
            entry.is_write() && entry.sent.is_some_and(|sent| sent + LEDGER_RETENTION <= now)
        };
        self.entries.iter().position(is_outdated)
    }

    /// Returns the index of a read that this client is to send, and that is not in flight.
    pub(crate) fn find_waiting_read(&self) -> Option<usize> {
        let is_waiting = |entry: &Entry<P>| {
            !entry.is_write() && !entry.is_external() && !entry.is_over_http && entry.ack.is_none()
        };
        self.entries.iter().position(is_waiting)
    }

    /// Records that the app no longer waits for the response.
    pub(crate) fn abort(&mut self, token: Token) {
        if let Some(at) = self.find(token) {
            self.entries[at].is_wanted = false;
        }
        self.drop_unwanted();
    }

    /// Removes an entry that was never sent. Returns false if it was sent or does not exist.
    pub(crate) fn withdraw(&mut self, token: Token) -> bool {
        let at = self.find(token).filter(|at| self.entries[*at].sent.is_none());
        at.map(|at| self.entries.remove(at)).is_some()
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        self.pause.tick(now);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.pause.deadline()
    }

    /// Returns the number of writes that are unanswered and cannot be sent now. `is_up` states
    /// whether the link is up.
    pub(crate) fn unsent(&self, is_up: bool) -> usize {
        let is_sendable = is_up && !self.pause.is_on();
        let is_unsent = |entry: &&Entry<P>| {
            entry.is_our_write() && !is_sendable && !(is_up && entry.ack.is_some())
        };
        self.entries.iter().filter(is_unsent).count()
    }

    /// Returns whether the app waits for the response to the write with this mark.
    pub(crate) fn awaits(&self, mark: u64) -> bool {
        mark != 0 && self.entries.iter().any(|entry| entry.mark == mark && entry.is_wanted)
    }

    /// Returns whether a read is in flight.
    pub(crate) fn is_reading(&self) -> bool {
        self.reads().next().is_some()
    }

    /// Returns whether a read is in flight whose url names this resource.
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

    /// Removes entries for which the app no longer waits, except writes that may have been
    /// committed and reads in flight.
    fn drop_unwanted(&mut self) {
        let is_over = |entry: &Entry<P>| {
            let may_matter = match entry.is_our_write() {
                true => entry.sent.is_some(),
                false => entry.ack.is_some(),
            };
            !entry.is_wanted && !may_matter
        };
        while let Some(at) = self.entries.iter().position(is_over) {
            self.entries.remove(at);
        }
    }
}
