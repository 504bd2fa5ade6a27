//! What has come for a connection and is not told yet.
//!
//! There is room for some. When there is none for one more, all of them are let go: they are in the queues
//! of the connection and are read from there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::flake::Flake;
use super::message::Message;
use crate::lock::lock;

/// How many have room.
const ROOM: usize = 64;

/// Something for the persons of one connection.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) id: Flake,
    pub(super) message: Arc<Message>,
    pub(super) persons: Vec<Arc<str>>,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// This is to be told.
    Arrival(Arrival),
    /// What has come is to be read from the queues.
    Behind,
}

/// Filled by who sends, and emptied by the one who tells.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrivals(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    come: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    arrivals: VecDeque<Arrival>,
    /// Set when there was no room. Invariant: nothing is kept then, so that nothing is told before what
    /// was let go.
    is_behind: bool,
}

impl Arrivals {
    /// It is stored already.
    pub(super) fn put(&self, arrival: Arrival) {
        let mut kept = self.kept();
        if !kept.is_behind {
            kept.is_behind = kept.arrivals.len() == ROOM;
            match kept.is_behind {
                true => kept.arrivals = VecDeque::new(),
                false => kept.arrivals.push_back(arrival),
            }
        }
        drop(kept);
        self.0.come.notify_one();
    }

    /// Waits for something. Nothing is lost if this is given up.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.0.come.notified().await;
        }
    }

    fn take(&self) -> Option<Next> {
        let mut kept = self.kept();
        if std::mem::take(&mut kept.is_behind) {
            return Some(Next::Behind);
        }
        kept.arrivals.pop_front().map(Next::Arrival)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.0.kept)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn ids(count: usize) -> Vec<Flake> {
        let next = |id: &Flake| Some(id.next(1));
        std::iter::successors(Some(Flake::ZERO), next).take(count).collect()
    }

    fn put(arrivals: &Arrivals, id: Flake) {
        let (event, rooms, args) = ("news".to_owned(), Vec::new(), Vec::new());
        let message = Arc::new(Message { event, rooms, args, resync: false });
        arrivals.put(Arrival { id, message, persons: Vec::new() });
    }

    #[test]
    fn what_comes_is_told_in_its_order() {
        let arrivals = Arrivals::default();
        let ids = ids(ROOM);
        ids.iter().for_each(|id| put(&arrivals, *id));
        for id in ids {
            let next = arrivals.next().now_or_never();
            assert!(matches!(next, Some(Next::Arrival(arrival)) if arrival.id == id));
        }
        assert!(arrivals.next().now_or_never().is_none());
    }

    #[test]
    fn nothing_is_told_before_what_there_was_no_room_for() {
        let arrivals = Arrivals::default();
        let ids = ids(ROOM + 3);
        ids[..ROOM + 2].iter().for_each(|id| put(&arrivals, *id));
        assert!(matches!(arrivals.next().now_or_never(), Some(Next::Behind)));
        assert!(arrivals.next().now_or_never().is_none());
        put(&arrivals, ids[ROOM + 2]);
        let next = arrivals.next().now_or_never();
        assert!(matches!(next, Some(Next::Arrival(arrival)) if arrival.id == ids[ROOM + 2]));
    }
}
