//! The memory of a message that arrives.
//!
//! The server holds a message until it is complete. So it claims the bytes of the message from the
//! budget of requests as soon as the size is known. If there are not enough left, the server does
//! not read from the connection until there are, and the client has to wait. Waiting costs the
//! server nothing, and a refusal would cost it the whole message.
//!
//! Messages in several frames grow while they hold a claim, so they can wait for each other. The
//! heartbeat ends their connections, because a pong is not read either.
//!
//! Events that wait to be answered count as well: the events of a burst are small, and arrive
//! together before anything can be claimed for them. So the server does not read from the
//! connection before there is room for them.
//!
//! A complete message keeps its claim until it has become an event, which takes the claim over, or
//! something smaller.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::futures::OwnedNotified;

use super::frame_check::Packets;
use super::session::Session;
use crate::http::connection_handle::ConnectionHandle;
use crate::http::uploads::{Upload, UploadMemory};
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::{Claim, UNCOUNTED_INPUT};
use crate::settings::Limit;

/// The memory of messages that arrive on one connection.
pub(super) struct IncomingMemory {
    memory: Arc<UploadMemory>,
    client: Option<IpAddr>,
    /// The session, where events find the claims of complete messages.
    session: Option<Arc<Session>>,
    limits_reached: Arc<LimitMonitor>,
    /// The claim of the message that arrives.
    claim: Option<Claim>,
    /// Set while a message that has a claim arrives.
    upload: Option<Upload>,
    /// The claim of an event whose attachments have not all arrived.
    incomplete: Option<Claim>,
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

impl IncomingMemory {
    pub(super) fn new(
        memory: Arc<UploadMemory>,
        client: Option<IpAddr>,
        session: Option<Arc<Session>>,
        limits_reached: Arc<LimitMonitor>,
    ) -> Self {
        Self {
            memory,
            client,
            session,
            limits_reached,
            claim: None,
            upload: None,
            incomplete: None,
            waiting: None,
        }
    }

    /// Called when the message that arrived is complete and is about to be handled. An event that
    /// has announced attachments is held until they have arrived, before the next packet of
    /// Socket.IO.
    pub(super) fn completed(&mut self, before: Packets, now: Packets) {
        self.upload = None;
        if now.all > before.all {
            self.incomplete = None;
        }
        if now.with_attachments > before.with_attachments {
            self.incomplete = self.claim.take();
        } else if let (Some(claim), Some(session)) = (self.claim.take(), &self.session) {
            session.input.set_claim(claim);
        }
    }

    /// Ready when enough bytes are claimed for the arriving message and for the events that wait to
    /// be answered and have no claim. Earlier messages have been handled.
    pub(super) fn poll_claim(&mut self, cx: &mut Context<'_>, message: u64) -> Poll<()> {
        if let Some(session) = &self.session {
            drop(session.input.take_claim());
        }
        let message = usize::try_from(message).unwrap_or(usize::MAX);
        let mut bytes = self.missing(message);
        if bytes > 0
            && let Some(session) = &self.session
        {
            session.input.wake_when_answered(cx.waker());
            // Events may have been answered before this.
            bytes = self.missing(message);
        }
        if bytes == 0 || bytes <= self.claim.as_ref().map_or(0, Claim::bytes) {
            if bytes == 0 {
                (self.claim, self.upload) = (None, None);
            }
            self.waiting = None;
            return Poll::Ready(());
        }
        self.poll_grow(cx, bytes)
    }

    /// Returns the bytes that have to be claimed for a message of this size.
    fn missing(&self, message: usize) -> usize {
        let queued = self.session.as_ref().map_or(0, |session| session.input.unclaimed());
        message.saturating_add(queued).saturating_sub(UNCOUNTED_INPUT)
    }

    fn poll_grow(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<()> {
        // Fewer bytes may be needed now than it waited for.
        if self.claim.as_mut().is_some_and(|claim| claim.resize(bytes)) {
            self.granted(bytes);
            return Poll::Ready(());
        }
        if self.memory.excludes(self.client)
            && let Some(connection) = self.connection()
        {
            self.memory.end(&connection);
            return Poll::Ready(());
        }
        // The client cannot send while the server does not read.
        self.upload = None;
        let mut has_waited = self.waiting.is_some();
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            let (budget, client) = (self.memory.budget(), self.client);
            let claim = self.claim.get_or_insert_with(|| budget.empty_claim(client));
            match claim.resize_or_wait(bytes) {
                Ok(()) => {
                    self.granted(bytes);
                    return Poll::Ready(());
                }
                Err(released) => self.waiting = Some(Box::pin(released)),
            }
            self.memory.make_room(bytes);
            if !std::mem::replace(&mut has_waited, true) {
                self.limits_reached.reached(Limit::TotalRequestBytes, client);
            }
        }
    }

    /// Reports that the message may arrive.
    fn granted(&mut self, bytes: usize) {
        self.waiting = None;
        match &self.upload {
            Some(upload) => upload.set_bytes(bytes),
            None => {
                let begin = |connection| self.memory.begin(connection, self.client, bytes);
                self.upload = self.connection().map(begin);
            }
        }
    }

    fn connection(&self) -> Option<ConnectionHandle> {
        self.session.as_ref()?.taken.websocket()
    }
}
