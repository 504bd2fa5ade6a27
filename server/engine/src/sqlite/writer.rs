//! The writer: the one thread that writes. It takes queued operations and commits them as a group.
//! A task then sends the changes to the tail and answers the callers.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backwire_records::write::Action;
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::checkpoints::Checkpoints;
use super::disk_failure::keep_log;
use super::group::{Group, WriterState};
use super::lock::Lock;
use super::operation::{Answer, Operation, OperationOutcome, OperationResult};
use super::queues::Step;
use super::write_queue::{WriteQueue, WriteQueueReceiver, queue};
use crate::round_robin::Owner;
use crate::{Error, Tail};

/// The maximum number of operations in one group: enough to share the cost of the disk, few enough
/// that the first does not wait long for the last.
const MAX_GROUP_OPERATIONS: usize = 256;

/// A group with this many bytes of changes takes no more operations, because others wait for the
/// disk.
const MAX_GROUP_BYTES: u64 = 256 << 10;

/// A group that has taken this long takes no more operations.
const MAX_GROUP_TIME: Duration = Duration::from_millis(10);

/// How often the writer lets other threads run before it commits a group. With four, a write costs
/// 5 to 8 % less CPU on two busy cores than with none. A higher number saves no more.
const MAX_YIELDS: u32 = 4;

/// The maximum number of committed groups whose results are not delivered yet. A slow receiver of
/// the tail makes the writer wait.
const MAX_PENDING_GROUPS: usize = 1;

/// The writer.
pub(super) struct Writer {
    pub(super) connection: Connection,
    /// The lock is held until the last commit.
    pub(super) _lock: Lock,
    pub(super) state: WriterState,
}

/// The results of the operations in a group, each with its channel.
type GroupResults = Vec<(OperationResult, Answer)>;

impl Writer {
    /// Starts the thread, which ends when the returned queue is dropped.
    pub(super) fn spawn(self, checkpoints: Checkpoints, tail: Tail) -> Result<WriteQueue, Error> {
        let (queue, jobs) = queue();
        let (results_sender, results) = mpsc::channel(MAX_PENDING_GROUPS);
        tokio::spawn(deliver_results(results, tail));
        thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || self.run(checkpoints, &jobs, &results_sender))
            .map_err(|error| Error::Unavailable(format!("no thread for the writer: {error}")))?;
        Ok(queue)
    }

    /// Writes until the queue is closed. The checkpoints end before the lock is released.
    fn run(
        mut self,
        checkpoints: Checkpoints,
        queue: &WriteQueueReceiver,
        results_sender: &mpsc::Sender<GroupResults>,
    ) {
        let (mut operations, mut answers) =
            (Vec::with_capacity(MAX_GROUP_OPERATIONS), Vec::with_capacity(MAX_GROUP_OPERATIONS));
        while let Some(first) = queue.wait() {
            let (mut next, mut yields) = (Some(first), MAX_YIELDS);
            let mut take = || {
                let job = next.take().or_else(|| queue.next(&mut yields))?;
                answers.push(job.answer);
                Some(job.operation)
            };
            let turn = checkpoints.turn();
            if checkpoints.need_room() {
                self.state.space.make_room(&self.connection);
            }
            let outcomes = self.outcomes(&mut operations, &mut take);
            drop(turn);
            checkpoints.committed();
            operations.clear();
            let results = outcomes.into_iter().zip(answers.drain(..)).collect();
            // It fails if the server is closing. The operations are stored nevertheless.
            let _ = results_sender.blocking_send(results);
        }
        drop(checkpoints);
        if self.state.failure.has_happened() {
            keep_log(&self.connection);
        }
    }

    /// Commits the next operations together, and puts them into `operations`.
    fn outcomes(
        &mut self,
        operations: &mut Vec<Operation>,
        next: impl FnMut() -> Option<Operation>,
    ) -> Vec<OperationResult> {
        let mut committed = self.commit(operations, next);
        if matches!(committed, Err(Error::DiskFull)) {
            self.state.space.make_room(&self.connection);
            committed = self.commit_again(operations);
        }
        let outcomes = committed.unwrap_or_else(|error| failed(operations, &error));
        if outcomes.iter().any(|outcome| matches!(outcome, Err(Error::DiskFull))) {
            self.state.space.give_up_reserve();
        }
        self.state.space.settle(&self.connection);
        outcomes
    }

    /// Commits the next operations together, and puts them into `operations`. An error concerns the
    /// whole group: nothing of it was stored.
    fn commit(
        &mut self,
        operations: &mut Vec<Operation>,
        next: impl FnMut() -> Option<Operation>,
    ) -> Result<Vec<OperationResult>, Error> {
        match self.commit_next(operations, next) {
            Ok(Some(outcomes)) => Ok(outcomes),
            Ok(None) => self.commit_again(operations),
            Err(error) => {
                self.state.forget();
                Err(error)
            }
        }
    }

    /// Commits the next operations together, if each can be stored or is refused. If not, it
    /// returns `None` and stores nothing.
    fn commit_next(
        &mut self,
        operations: &mut Vec<Operation>,
        mut next: impl FnMut() -> Option<Operation>,
    ) -> Result<Option<Vec<OperationResult>>, Error> {
        let (is_full, begin) = (self.state.space.is_full(), Instant::now());
        // If the group cannot begin, its first operation fails.
        operations.extend(next());
        let mut group = Group::begin(&mut self.connection, &mut self.state)?;
        let mut outcomes = Vec::with_capacity(operations.len());
        while let Some(operation) = operations.get(outcomes.len()) {
            let outcome = match is_full && operation.needs_room() {
                true => Err(Error::DiskFull),
                false => match group.apply(operation.clone()) {
                    Err(Error::Unavailable(_) | Error::DiskFull) => return Ok(None),
                    outcome => outcome,
                },
            };
            outcomes.push(outcome);
            let is_large = group.bytes() >= MAX_GROUP_BYTES || begin.elapsed() >= MAX_GROUP_TIME;
            if !is_large && operations.len() < MAX_GROUP_OPERATIONS {
                operations.extend(next());
            }
        }
        group.commit()?;
        Ok(Some(outcomes))
    }

    /// Commits those operations together that can be stored, after a group with them was rolled
    /// back.
    fn commit_again(&mut self, operations: &[Operation]) -> Result<Vec<OperationResult>, Error> {
        self.state.forget();
        let outcomes = self.commit_each(operations);
        if outcomes.is_err() {
            self.state.forget();
        }
        outcomes
    }

    /// Commits those operations together that can be stored.
    fn commit_each(&mut self, operations: &[Operation]) -> Result<Vec<OperationResult>, Error> {
        let is_full = self.state.space.is_full();
        let mut group = Group::begin(&mut self.connection, &mut self.state)?;
        let mut outcomes = Vec::with_capacity(operations.len());
        for operation in operations {
            if is_full && operation.needs_room() {
                outcomes.push(Err(Error::DiskFull));
                continue;
            }
            match group.apply_in_savepoint(operation.clone()) {
                Err(error) if group.is_rolled_back() => return Err(error),
                outcome => outcomes.push(outcome),
            }
        }
        group.commit()?;
        Ok(outcomes)
    }
}

/// Returns the results of a group that was not committed.
fn failed(operations: &[Operation], error: &Error) -> Vec<OperationResult> {
    let failed = |_: &Operation| match error {
        Error::DiskFull => Err(Error::DiskFull),
        Error::Unavailable(reason) => Err(Error::Unavailable(reason.clone())),
        error => Err(Error::Unavailable(error.to_string())),
    };
    operations.iter().map(failed).collect()
}

impl Operation {
    /// Returns the owner of the queue in which it waits.
    pub(super) fn owner(&self) -> Owner {
        match self {
            Self::Write(write) => Owner::of_write(write),
            Self::Lookup(lookup) => Owner::of_lookup(lookup),
            Self::Maintain => Owner::Background,
            Self::Edit(_) | Self::Finish(_) | Self::Step(..) => Owner::Server,
        }
    }

    /// Whether it may make the store larger, and is refused when the disk is full.
    fn needs_room(&self) -> bool {
        match self {
            Self::Write(write) => !matches!(write.action, Action::Destroy(_) | Action::Detach(_)),
            Self::Edit(_) => true,
            Self::Lookup(_) | Self::Finish(_) | Self::Maintain => false,
            Self::Step(step, _) => matches!(step, Step::Enqueue(_) | Step::Connect(..)),
        }
    }
}

/// Sends changes to the tail and results to the callers, in commit order. A task of the runtime
/// wakes the callers at a fraction of the cost of another thread.
///
/// Invariant: a change is durable before the tail has it, and the tail has it before its writer is
/// answered.
async fn deliver_results(mut results: mpsc::Receiver<GroupResults>, tail: Tail) {
    while let Some(group) = results.recv().await {
        for (outcome, answer) in group {
            // Only writes are in the log.
            if let Ok(OperationOutcome::Write(committed)) = &outcome
                && let Some(change) = committed.logged_change()
            {
                // It fails if the server is closing.
                let _ = tail.send(Arc::clone(change)).await;
            }
            // A caller that has gone away can get its outcome later by its key.
            let _ = answer.send(outcome);
        }
    }
}
