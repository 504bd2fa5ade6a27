//! Responses to requests, over the link and over HTTP.

use super::Client;
use crate::outbox::{Entry, ResponseEffect};
use crate::output::Output;
use crate::payload::Payload;
use crate::request::{Failure, Reply, Token};
use crate::time::Instant;
use crate::wire::{Position, header};

impl<P: Payload> Client<P> {
    /// Handles the response to a request that was sent over HTTP: one from [`Output::Http`], or one
    /// of kind [`External`](crate::RequestKind::External). Status 0 means that the server was
    /// unreachable. A 502 or 504 to a write of this client means the same: a proxy has sent it.
    pub fn answered_over_http(&mut self, now: Instant, token: Token, reply: Reply<P>) {
        if let Some(at) = self.outbox.find_over_http(token) {
            let entry = self.outbox.entry(at);
            let is_external = entry.is_external();
            let is_of_proxy = entry.is_our_write() && matches!(reply.status, 502 | 504);
            let has_reached = reply.status != 0 && !is_of_proxy;
            if !is_external {
                self.transport.tried_http(has_reached);
            }
            if has_reached {
                self.take_over_http(now, at, reply);
            } else if (is_external || self.transport.is_http())
                && !self.outbox.retry_unreachable(now, at)
            {
                self.fail(at, Failure::Unreachable);
            }
        }
        self.flush(now);
        self.settle();
    }

    /// Ignores the response to a read that is in flight over the link too: only the link
    /// subscribes.
    fn take_over_http(&mut self, now: Instant, at: usize, reply: Reply<P>) {
        if self.outbox.entry(at).is_write() || !self.link.is_up() {
            self.take(now, at, reply);
        }
    }

    pub(super) fn handle_ack(&mut self, now: Instant, ack: u64, arguments: &P) -> Option<()> {
        let answer = arguments.item(0)?;
        if let Some(at) = self.resumes.iter().position(|resume| *resume == ack) {
            self.resumes.swap_remove(at);
            let mut index = 0;
            while let Some(room) = answer.item(index) {
                self.feed.resumed(&room, &self.outbox)?;
                index += 1;
            }
            // The server refuses a resume when too many requests are in flight. The next connection
            // resumes.
            if index == 0 {
                return None;
            }
            self.feed.has_answers_without_link = false;
            let resumed = self.drain_feed();
            self.outputs.push(Output::Resumed(resumed));
        } else {
            if let Some(at) = self.outbox.find_acked(ack) {
                self.take(now, at, Reply::read(&answer));
            }
            self.flush(now);
        }
        self.settle();
        Some(())
    }

    /// Handles the response to a request, over the link or over HTTP.
    fn take(&mut self, now: Instant, at: usize, reply: Reply<P>) {
        match self.outbox.handle_response(now, at, &reply) {
            ResponseEffect::Finish => self.finish(at, reply),
            ResponseEffect::Unauthorized => self.outputs.push(Output::Unauthorized),
            ResponseEffect::Keep => {}
        }
    }

    /// Finishes a request. The app gets the response before the changes that follow it in the log.
    fn finish(&mut self, at: usize, reply: Reply<P>) {
        let entry = self.outbox.remove(at);
        let position = reply.header(header::POSITION);
        let position = position.and_then(|text| Position::parse(&text));
        let record = reply.header(header::RECORD);
        let room = reply.header(header::ROOM);
        self.report_result(&entry, Ok(reply));
        let Some(position) = position else {
            return;
        };
        self.feed.has_answers_without_link |= !self.link.is_up();
        match (record, room) {
            (Some(record), _) if entry.is_wanted => self.feed.was_written(&record, position),
            // A read over HTTP joins no room.
            (_, Some(room)) if self.link.is_up() => self.joined(&entry, &room, position),
            _ => {}
        }
    }

    fn joined(&mut self, entry: &Entry<P>, room: &str, position: Position) {
        if entry.is_wanted {
            self.feed.was_read(room, position, &self.outbox);
        } else if !self.feed.is_subscribed(room) {
            self.leave(room);
        }
    }

    pub(super) fn fail(&mut self, at: usize, failure: Failure) {
        let entry = self.outbox.remove(at);
        self.report_result(&entry, Err(failure));
    }

    fn report_result(&mut self, entry: &Entry<P>, result: Result<Reply<P>, Failure>) {
        if entry.is_wanted {
            let (token, waited) = (entry.token, entry.has_waited);
            self.outputs.push(Output::Finish { token, result, waited });
        }
    }
}
