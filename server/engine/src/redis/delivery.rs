//! Committed changes on their way back: a writer is answered when the tail has its change.
//!
//! Invariant: a writer is answered only by its own change. After a failover another change may have
//! its offset, so epochs are compared.

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
    /// The writers of later changes, by their offsets, each with the epoch of its position.
    waiting: BTreeMap<u64, (u64, CommitOutcome, Answer)>,
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
            line.waiting.insert(position.offset, (position.epoch, committed, answer));
        }
    }

    /// Records that the tail has all changes of a resource up to this position. Another epoch may
    /// have another change at an offset, so its writers still wait.
    pub(super) fn delivered(&self, resource: &Resource, position: Position) {
        let mut resources = self.resources.lock();
        let line = resources.entry(resource.clone()).or_default();
        line.delivered = Some(position);
        let has = |offset: &u64, (epoch, ..): &mut (u64, CommitOutcome, Answer)| {
            *epoch == position.epoch && *offset <= position.offset
        };
        for (_, (_, committed, answer)) in line.waiting.extract_if(..=position.offset, has) {
            // The same.
            let _ = answer.send(Ok(committed));
        }
        drop(resources);
        self.has_room.notify_one();
    }

    /// Begins the epoch of a position, up to which the log has the changes of former epochs. The
    /// writers of later changes of these are not answered: their changes may be lost.
    pub(super) fn restart(&self, resource: &Resource, position: Position) {
        let mut resources = self.resources.lock();
        let line = resources.entry(resource.clone()).or_default();
        line.delivered = None;
        line.waiting.retain(|offset, (epoch, ..)| {
            let is_kept = *epoch == position.epoch || *offset <= position.offset;
            *epoch = position.epoch;
            is_kept
        });
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
            line.waiting.retain(|_, (.., answer)| !answer.is_closed());
        }
    }
}

#[cfg(test)]
mod tests {
    use backwire_records::change::{Change, Id, Verb};

    use super::*;

    fn todo() -> Resource {
        Resource::internal("todo")
    }

    fn position(epoch: u64, offset: u64) -> Position {
        Position { epoch, offset }
    }

    /// Returns the receiver of the answer to the write of a change.
    fn write(
        delivery: &Delivery,
        position: Position,
    ) -> oneshot::Receiver<Result<CommitOutcome, Error>> {
        let change = Change {
            resource: todo(),
            position,
            previous: 0,
            verb: Verb::Destroy,
            id: Id::Integer(1),
            before: None,
            after: None,
            set: Default::default(),
            mark: 0,
            published: false,
            origin: None,
            new_members: None,
            at: 0,
        };
        let (sender, receiver) = oneshot::channel();
        delivery.answer_after(CommitOutcome::changed(change.into()), sender);
        receiver
    }

    #[test]
    fn writer_of_a_lost_change_is_not_answered_by_another_change_at_its_offset() {
        let delivery = Delivery::default();
        delivery.delivered(&todo(), position(1, 11));
        let [mut kept, mut lost] = [12, 13].map(|offset| write(&delivery, position(1, offset)));
        delivery.restart(&todo(), position(2, 12));
        delivery.delivered(&todo(), position(2, 11));
        let mut late = write(&delivery, position(1, 13));
        delivery.delivered(&todo(), position(2, 13));
        assert!(kept.try_recv().is_ok_and(|answer| answer.is_ok()));
        assert!(lost.try_recv().is_err() && late.try_recv().is_err());
    }

    #[test]
    fn writer_of_the_next_epoch_is_answered_when_the_tail_has_its_change() {
        let delivery = Delivery::default();
        delivery.delivered(&todo(), position(1, 11));
        let mut next = write(&delivery, position(2, 12));
        delivery.delivered(&todo(), position(1, 13));
        assert!(next.try_recv().is_err());
        delivery.restart(&todo(), position(2, 11));
        delivery.delivered(&todo(), position(2, 12));
        assert!(next.try_recv().is_ok_and(|answer| answer.is_ok()));
    }
}
