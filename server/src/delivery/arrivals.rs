//! The messages for one connection that its task has not sent yet.
//!
//! Their number and size are bounded. If there is no room for another message, all of them are
//! dropped. Messages for persons are read from the queues again. Messages for rooms of several
//! people are not stored anywhere, so the connection ends if one of them is dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use backwire_records::messages::flake::Flake;
use backwire_records::messages::message::{self, Message};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Messages that are buffered for one connection.
const MAX_MESSAGES: usize = 1_000;

/// Bytes of the event names and arguments of the buffered messages. A single message may have more.
const MAX_BYTES: usize = 1 << 20;

/// A message for one connection.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    /// The id of the message in the queues, or `None` for a message to a room of several people.
    pub(super) id: Option<Flake>,
    pub(super) message: Arc<Message>,
    /// The persons of the connection that it is for.
    pub(super) persons: Vec<Arc<str>>,
}

/// The next step of the task of the connection.
#[derive(Debug)]
pub(super) enum Next {
    /// Send this message.
    Arrival(Arrival),
    /// Read messages from the queues.
    ReadQueues,
    /// End the connection: messages for rooms of several people were dropped.
    Disconnect,
}

/// The buffer. The delivery service fills it, and the task of the connection empties it.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrivals(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    buffered: Mutex<Buffered>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Buffered {
    arrivals: VecDeque<Arrival>,
    bytes: usize,
    /// Whether messages were dropped because there was no room.
    ///
    /// Invariant: then no message for a person is buffered, so that none is sent before those that
    /// were dropped.
    must_read_queues: bool,
    /// Whether a message for a room of several people was dropped.
    must_disconnect: bool,
}

impl Arrivals {
    /// Adds a message. If it is for a person, it is already in the queues.
    pub(super) fn put(&self, arrival: Arrival) {
        let mut buffered = self.buffered();
        buffered.put(arrival);
        drop(buffered);
        self.0.arrived.notify_one();
    }

    /// Has messages for persons read from the queues, because some may not have arrived.
    pub(super) fn read_queues(&self) {
        let mut buffered = self.buffered();
        buffered.drop_queued();
        drop(buffered);
        self.0.arrived.notify_one();
    }

    /// Waits for the next message. Nothing is lost if the future is dropped.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.buffered().next() {
                return next;
            }
            self.0.arrived.notified().await;
        }
    }

    fn buffered(&self) -> MutexGuard<'_, Buffered> {
        self.0.buffered.lock()
    }
}

impl Buffered {
    fn put(&mut self, arrival: Arrival) {
        if self.must_disconnect || self.must_read_queues && arrival.id.is_some() {
            return;
        }
        let size = arrival.size();
        let has_room = self.arrivals.len() < MAX_MESSAGES && self.bytes + size <= MAX_BYTES;
        if has_room || self.arrivals.is_empty() {
            self.bytes += size;
            self.arrivals.push_back(arrival);
        } else {
            self.drop_all(&arrival);
        }
    }

    fn drop_all(&mut self, last: &Arrival) {
        let dropped = std::mem::take(&mut self.arrivals);
        self.must_disconnect = dropped.iter().chain([last]).any(|arrival| arrival.id.is_none());
        self.must_read_queues = true;
        self.bytes = 0;
    }

    /// Drops the messages that are in the queues as well.
    fn drop_queued(&mut self) {
        self.arrivals.retain(|arrival| arrival.id.is_none());
        self.bytes = self.arrivals.iter().map(Arrival::size).sum();
        self.must_read_queues = true;
    }

    fn next(&mut self) -> Option<Next> {
        if self.must_disconnect {
            return Some(Next::Disconnect);
        }
        if std::mem::take(&mut self.must_read_queues) {
            return Some(Next::ReadQueues);
        }
        let arrival = self.arrivals.pop_front()?;
        self.bytes -= arrival.size();
        Some(Next::Arrival(arrival))
    }
}

impl Arrival {
    fn size(&self) -> usize {
        message::size(&self.message.event, &self.message.args)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::value::to_raw_value;

    use super::*;

    fn arrival(id: Option<u64>, size: usize) -> Arrival {
        let args = vec![to_raw_value(&"x".repeat(size)).unwrap()];
        let message =
            Arc::new(Message { event: String::new(), rooms: Vec::new(), args, resync: false });
        Arrival { id: id.map(Flake::from), message, persons: Vec::new() }
    }

    /// Returns the ids of the next messages, 0 for a room of several people, and the first result
    /// that is not a message.
    fn take_all(arrivals: &Arrivals) -> (Vec<u64>, Option<Next>) {
        let mut ids = Vec::new();
        loop {
            match arrivals.next().now_or_never() {
                Some(Next::Arrival(arrival)) => ids.push(arrival.id.map_or(0, u64::from)),
                other => return (ids, other),
            }
        }
    }

    #[test]
    fn arrivals_are_returned_in_order() {
        let arrivals = Arrivals::default();
        let ids: Vec<_> = (0..MAX_MESSAGES as u64).collect();
        ids.iter().for_each(|id| arrivals.put(arrival(Some(*id).filter(|id| id % 3 > 0), 1)));
        let expected: Vec<_> = ids.iter().map(|id| if id % 3 > 0 { *id } else { 0 }).collect();
        assert!(matches!(take_all(&arrivals), (ids, None) if ids == expected));
    }

    #[test]
    fn overflow_drops_arrivals_and_reads_the_queues_again() {
        for (count, size) in [(MAX_MESSAGES + 1, 1), (3, MAX_BYTES / 2)] {
            let arrivals = Arrivals::default();
            (0..count as u64).for_each(|id| arrivals.put(arrival(Some(id), size)));
            arrivals.put(arrival(Some(7), 1));
            arrivals.put(arrival(None, 1));
            assert!(matches!(take_all(&arrivals), (ids, Some(Next::ReadQueues)) if ids.is_empty()));
            arrivals.put(arrival(Some(8), 1));
            assert!(matches!(take_all(&arrivals), (ids, None) if ids == [0, 8]));
        }
    }

    #[test]
    fn missed_arrivals_are_read_from_the_queues() {
        let arrivals = Arrivals::default();
        [Some(1), None, Some(2)].iter().for_each(|id| arrivals.put(arrival(*id, 1)));
        arrivals.read_queues();
        arrivals.put(arrival(Some(3), 1));
        assert!(matches!(take_all(&arrivals), (ids, Some(Next::ReadQueues)) if ids.is_empty()));
        arrivals.put(arrival(Some(4), 1));
        assert!(matches!(take_all(&arrivals), (ids, None) if ids == [0, 4]));
    }

    #[test]
    fn connection_ends_if_a_message_for_several_people_is_dropped() {
        for first in [None, Some(1)] {
            let arrivals = Arrivals::default();
            arrivals.put(arrival(first, 1));
            (2..=MAX_MESSAGES as u64).for_each(|id| arrivals.put(arrival(Some(id), 1)));
            arrivals.put(arrival(first.xor(Some(1)), 1));
            for _ in 0..2 {
                assert!(
                    matches!(take_all(&arrivals), (ids, Some(Next::Disconnect)) if ids.is_empty())
                );
            }
        }
    }

    #[test]
    fn single_message_may_be_larger_than_the_limit() {
        let arrivals = Arrivals::default();
        arrivals.put(arrival(None, MAX_BYTES + 1));
        assert!(matches!(take_all(&arrivals), (ids, None) if ids == [0]));
    }
}
