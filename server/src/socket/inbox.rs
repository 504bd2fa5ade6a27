//! The events of a connection that wait to be answered.

use std::collections::VecDeque;
use std::sync::Arc;

use backwire_protocol::planted;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::input::Input;
use super::limits::Limits;
use super::refused_events::RefusedEvents;
use crate::memory_budget::{Claim, UNCOUNTED_INPUT};
use crate::settings::Limit;

/// Notices beyond the requests that a connection may have in flight. A client sends few at a time.
const MAX_MORE_NOTICES: usize = 64;

/// The events of a connection, in arrival order, from their arrival until they are answered.
pub(super) struct Inbox {
    /// The input of the client that is not answered yet.
    input: Arc<Input>,
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    /// The events that have not begun.
    waiting: VecDeque<(QueuedEvent, Option<Claim>)>,
    /// The number of events that are being answered.
    begun: usize,
    /// Bytes in the texts of all these events.
    bytes: usize,
    /// The events that did not fit.
    refused: RefusedEvents,
    /// Whether a task is emptying the inbox.
    is_being_emptied: bool,
    /// The connection is being ended. Events that still arrive are dropped.
    is_closed: bool,
}

/// An event that is being answered, and its claim on memory.
pub(super) struct BegunEvent {
    pub(super) event: QueuedEvent,
    claim: Option<Claim>,
}

/// An event that waits to be answered.
pub(super) struct QueuedEvent {
    text: Bytes,
    pub(super) ack: Option<i64>,
    /// Whether it had attachments. Then it is refused, and its text is dropped.
    pub(super) is_binary: bool,
    /// Whether our runtime has sent it and waits for no answer. It would not notice a refusal, and
    /// would for example get no more messages because the server waits for this ack.
    ///
    /// Invariant: it is handled, or the connection ends, so that the client resumes.
    is_notice: bool,
}

impl QueuedEvent {
    pub(super) fn new(text: Bytes, ack: Option<i64>, is_binary: bool) -> Self {
        Self { text, ack, is_binary, is_notice: false }
    }

    /// Marks the event as a notice if it has no ack id. Its client is our runtime.
    pub(super) fn of_runtime(self) -> Self {
        Self { is_notice: self.ack.is_none(), ..self }
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
    /// There is no room even for the refusal of the event, or its client would not notice it. The
    /// connection has to end.
    Overflow,
}

impl Queue {
    /// Checks whether there is room for an event. An error is the limit that refuses it.
    fn has_room_for(&self, event: &QueuedEvent, limits: Limits) -> Result<(), Limit> {
        let bytes = self.bytes + event.text.len();
        let events = self.waiting.len() + self.begun;
        let more = if event.is_notice && !planted::has("acks-refused-as-requests") {
            MAX_MORE_NOTICES
        } else {
            0
        };
        if events >= limits.in_flight.saturating_add(more) {
            return Err(Limit::RequestsInFlight);
        }
        // An event that is too large by itself gets an answer that says so.
        if bytes > limits.request_bytes && events > 0 {
            return Err(Limit::RequestBytes);
        }
        Ok(())
    }
}

impl Inbox {
    pub(super) fn new(input: Arc<Input>) -> Self {
        Self { input, queue: Mutex::default(), arrived: Notify::new() }
    }

    /// Adds an event that has arrived to the queue. `claim` claims bytes of the budget of all
    /// connections, or fewer if there are not enough left. An event over a WebSocket is not refused
    /// then: the server does not read more from the connection before the memory is free.
    pub(super) fn enqueue(
        &self,
        mut event: QueuedEvent,
        limits: Limits,
        is_websocket: bool,
        claim: impl FnOnce(usize) -> Option<Claim>,
    ) -> EnqueueOutcome {
        if event.is_binary {
            event.text = Bytes::new();
        }
        let mut queue = self.queue.lock();
        if queue.is_closed {
            return EnqueueOutcome::Queued;
        }
        let room = queue.has_room_for(&event, limits);
        match room.and_then(|()| self.claim_event(event.text.len(), is_websocket, claim)) {
            Ok(claim) => {
                queue.bytes += event.text.len();
                queue.waiting.push_back((event, claim));
            }
            Err(limit)
                if (!event.is_notice || planted::has("acks-refused-as-requests"))
                    && queue.refused.add(event.ack, limit) => {}
            Err(_) => {
                queue.is_closed = true;
                return EnqueueOutcome::Overflow;
            }
        }
        match std::mem::replace(&mut queue.is_being_emptied, true) {
            true => {
                drop(queue);
                self.arrived.notify_one();
                EnqueueOutcome::Queued
            }
            false => EnqueueOutcome::First,
        }
    }

    /// Waits until an event has arrived since the last call.
    pub(super) async fn arrival(&self) {
        self.arrived.notified().await;
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

    /// Whether the inbox has events. If it has none, the caller no longer empties it.
    pub(super) fn has_more(&self) -> bool {
        let mut queue = self.queue.lock();
        let has_more = !queue.waiting.is_empty() || !queue.refused.is_empty() || queue.begun > 0;
        if !has_more {
            // An idle connection does not keep the memory that a burst needed.
            *queue = Queue { is_closed: queue.is_closed, ..Queue::default() };
        }
        has_more
    }

    /// Whether an event can begin. Events that are refused come first.
    pub(super) fn has_next(&self) -> bool {
        let queue = self.queue.lock();
        !queue.waiting.is_empty() && queue.refused.is_empty()
    }

    /// Takes the next event to answer it. It counts in the inbox until it is
    /// [finished](Self::finish).
    pub(super) fn begin(&self) -> Option<BegunEvent> {
        let mut queue = self.queue.lock();
        let (event, claim) = queue.waiting.pop_front()?;
        queue.begun += 1;
        Some(BegunEvent { event, claim })
    }

    /// Drops all events that arrive from now on.
    pub(super) fn close(&self) {
        self.queue.lock().is_closed = true;
    }

    /// Whether events are being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.queue.lock().is_being_emptied
    }

    /// Takes the events to refuse out of the queue.
    pub(super) fn take_refused(&self) -> RefusedEvents {
        std::mem::take(&mut self.queue.lock().refused)
    }

    /// Removes an event that has been answered.
    pub(super) fn finish(&self, BegunEvent { event, claim }: BegunEvent) {
        let bytes = event.text.len();
        let claimed = claim.as_ref().map_or(0, Claim::bytes).min(bytes);
        let mut queue = self.queue.lock();
        queue.begun -= 1;
        queue.bytes -= bytes;
        drop((claim, queue));
        self.input.remove_unclaimed(bytes - claimed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    /// A task ends a connection. It must not be started for each event of the connection.
    #[test]
    fn inbox_that_overflows_reports_it_once() {
        let (inbox, limits) = (Inbox::new(Arc::default()), Limits::of(&Settings::default()));
        let arrive = || {
            let text = Bytes::from_static(br#"["get",{"url":"/todo"}]"#);
            inbox.enqueue(QueuedEvent::new(text, Some(1), false), limits, true, |_| None)
        };
        assert!(matches!(arrive(), EnqueueOutcome::First));
        let others: Vec<_> = (0..10_000).map(|_| arrive()).collect();
        assert_eq!(others.iter().filter(|it| matches!(it, EnqueueOutcome::Overflow)).count(), 1);
        assert!(!others.iter().any(|it| matches!(it, EnqueueOutcome::First)));
    }

    #[test]
    fn notice_of_the_runtime_is_handled_beside_too_many_requests_or_ends_the_connection() {
        let settings = Settings::default();
        let limits = Limits { in_flight: 2, ..Limits::of(&settings) };
        let event = |ack| QueuedEvent::new(Bytes::from_static(br#"["delivered","7"]"#), ack, false);
        let inbox = Inbox::new(Arc::default());
        let arrive = |event| inbox.enqueue(event, limits, true, |_| None);
        for ack in 0..10 {
            arrive(event(Some(ack)).of_runtime());
        }
        for _ in 0..MAX_MORE_NOTICES {
            assert!(matches!(arrive(event(None).of_runtime()), EnqueueOutcome::Queued));
        }
        assert_eq!(inbox.take_refused().count(), 8);
        let handled = std::iter::from_fn(|| inbox.begin());
        let acks: Vec<_> = handled.map(|begun| begun.event.ack).collect();
        assert_eq!(acks.len(), 2 + MAX_MORE_NOTICES);
        assert!(matches!(arrive(event(None)), EnqueueOutcome::Queued), "of a stock client");
        assert!(matches!(arrive(event(None).of_runtime()), EnqueueOutcome::Overflow));
    }
}
