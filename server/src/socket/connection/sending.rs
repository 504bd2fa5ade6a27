//! Sends answers, pushes and deliveries to a client, as far as it reads them.

use std::sync::Arc;

use backwire_records::messages::flake::Flake;
use tokio::sync::oneshot;

use super::super::adapter::socket::{Arguments, SendError};
use super::super::limits::Limits;
use super::super::output::{LARGE_PACKET, NoRoom, OutputBudget};
use super::Client;
use crate::answer::Answer;
use crate::limit_monitor::LimitMonitor;
use crate::settings::Limit;

/// Why a push was not sent.
pub(in crate::socket) enum PushError {
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

impl Client {
    /// Returns a receiver that resolves when the client has acked all deliveries up to this one. It
    /// fails when the connection is gone.
    pub(in crate::socket) fn expect_ack(&self, last: Flake) -> oneshot::Receiver<()> {
        let (acked, receiver) = oneshot::channel();
        self.connection.unacked.lock().push_back((last, acked));
        receiver
    }

    /// Cancels the last [`expect_ack`](Self::expect_ack), because nothing was sent.
    pub(in crate::socket) fn cancel_expected_ack(&self, last: Flake) {
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
    pub(in crate::socket) fn can_accept_replies(&self, limits: Limits) -> bool {
        self.connection.output.unread() <= limits.unread_bytes as u64 || !self.is_connected()
    }

    /// Checks whether one more answer may be computed while `begun` others are. If not, it has to
    /// wait until the client has read what it was sent before, or for memory.
    pub(in crate::socket) fn begin_answer(
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
    pub(in crate::socket) fn try_answer(
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

    /// Counts a small push to a room, of whose memory this client has a share. Returns `false` if
    /// there is no memory for it.
    pub(in crate::socket) fn count_push(
        &self,
        budget: &OutputBudget,
        size: usize,
        share: usize,
    ) -> bool {
        budget.add_small(&self.connection.output, size, share).is_ok()
    }

    /// Sends a push and counts it. An error may be the limit that forbids it. A client that has
    /// read everything may be sent a push of any size.
    pub(in crate::socket) fn push_with(
        &self,
        (budget, limits): (&OutputBudget, Limits),
        size: usize,
        claimed: usize,
        send: impl FnOnce() -> Result<(), SendError>,
    ) -> Result<(), PushError> {
        let output = &self.connection.output;
        if size < LARGE_PACKET {
            budget.add_small(output, size, size).map_err(|_| Limit::TotalUnreadBytes)?;
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
}

/// Counts the limit of unread packets, if a client is disconnected because of it.
pub(in crate::socket) fn count_unread(limits: &LimitMonitor, client: &Client, error: SendError) {
    if error == SendError::NoRoom {
        limits.reached(Limit::UnreadPackets, client.address());
    }
}
