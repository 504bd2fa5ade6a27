//! Committed changes on their way back: a writer is answered when the tail has its change.

use std::collections::BTreeMap;
use std::time::Duration;

use backwire_environment::HashMap;
use backwire_records::change::{Position, Resource};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::runtime::within;
use crate::{CommitOutcome, Error};

/// The maximum number of changes that are committed and have not reached the tail. A slow receiver
/// of the tail makes the writers wait.
const MAX_UNDELIVERED: usize = 1024;

/// How often the writers are counted while there are too many.
const RECOUNT: Duration = Duration::from_millis(100);

/// The channel to a writer.
pub(super) type Answer = oneshot::Sender<Result<CommitOutcome, Error>>;

/// The writers that wait for the tail.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    resources: Mutex<HashMap<Resource, Line>>,
    has_room: Notify,
}

/// The changes of one resource.
#[derive(Debug, Default)]
struct Line {
    /// The last position that the tail has.
    delivered: Option<Position>,
    /// The writers of later changes, by their offsets.
    waiting: BTreeMap<u64, (CommitOutcome, Answer)>,
}

impl Delivery {
    /// Answers a writer as soon as the tail has its change.
    pub(super) fn answer_after(&self, committed: CommitOutcome, answer: Answer) {
        let (resource, position) = (committed.change.resource.clone(), committed.change.position);
        let mut resources = self.resources.lock();
        let line = resources.entry(resource).or_default();
        let has = |delivered: Position| {
            delivered.epoch == position.epoch && position.offset <= delivered.offset
        };
        if line.delivered.is_some_and(has) {
            // A caller that has gone away can get its outcome later by its key.
            let _ = answer.send(Ok(committed));
        } else {
            line.waiting.insert(position.offset, (committed, answer));
        }
    }

    /// Records that the tail has all changes of a resource up to this position.
    pub(super) fn delivered(&self, resource: &Resource, position: Position) {
        let mut resources = self.resources.lock();
        let line = resources.entry(resource.clone()).or_default();
        line.delivered = Some(position);
        let later = line.waiting.split_off(&(position.offset + 1));
        for (_, (committed, answer)) in std::mem::replace(&mut line.waiting, later) {
            // The same.
            let _ = answer.send(Ok(committed));
        }
        drop(resources);
        self.has_room.notify_one();
    }

    /// Begins again at a position, because the log is another one after it. The outcome of the
    /// former writes that wait is unknown.
    pub(super) fn restart(&self, resource: &Resource, position: Position) {
        let mut resources = self.resources.lock();
        let line = resources.entry(resource.clone()).or_default();
        line.delivered = Some(position);
        line.waiting.retain(|_, (it, _)| it.change.position.epoch == position.epoch);
        drop(resources);
        self.has_room.notify_one();
    }

    /// Waits until few enough writers wait for the tail.
    pub(super) async fn room(&self) {
        while self.count() >= MAX_UNDELIVERED {
            self.forget_closed();
            let _ = within(RECOUNT, self.has_room.notified()).await;
        }
    }

    fn count(&self) -> usize {
        self.resources.lock().values().map(|line| line.waiting.len()).sum()
    }

    /// Forgets the writers whose callers have gone away.
    fn forget_closed(&self) {
        for line in self.resources.lock().values_mut() {
            line.waiting.retain(|_, (_, answer)| !answer.is_closed());
        }
    }
}
