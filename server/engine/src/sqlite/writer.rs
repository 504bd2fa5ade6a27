//! The one thread that writes: takes what is queued and commits it as a group; and the task that tells of it
//! and answers.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backwire_records::write::Action;
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::checkpoints::Checkpoints;
use super::group::{Group, Known};
use super::lock::Lock;
use super::operation::{Answer, Done, Operation, Outcome, Owner};
use super::queues::Step;
use super::write_queue::{Queued, WriteQueue, queue};
use crate::{Error, Tail};

/// Writes in one group: enough to make the disk cheap, few enough that the first does not wait long
/// for the last.
const GROUP: usize = 256;

/// A group with so many bytes of changes takes no more: others wait for the disk.
const GROUP_BYTES: u64 = 256 << 10;

/// A group that has taken so long takes no more.
const GROUP_TIME: Duration = Duration::from_millis(10);

/// Groups that may wait to be told of. Whoever listens too slowly makes the writer wait, too.
const UNTOLD: usize = 1;

/// The writer.
pub(super) struct Writer {
    pub(super) connection: Connection,
    /// Kept until the last commit.
    pub(super) _lock: Lock,
    pub(super) known: Known,
}

/// Operations that were done together, for each where its outcome is waited for.
type Told = Vec<(Outcome, Answer)>;

impl Writer {
    /// Starts the thread; it ends when the queue is dropped.
    pub(super) fn spawn(self, checkpoints: Checkpoints, tail: Tail) -> Result<WriteQueue, Error> {
        let (queue, jobs) = queue();
        let (telling, told) = mpsc::channel(UNTOLD);
        tokio::spawn(tell(told, tail));
        thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || self.run(checkpoints, &jobs, &telling))
            .map_err(|error| Error::Unavailable(format!("no thread for the writer: {error}")))?;
        Ok(queue)
    }

    /// The checkpoints end before the lock is given back.
    #[expect(clippy::needless_pass_by_value, reason = "they end with this")]
    fn run(mut self, checkpoints: Checkpoints, queue: &Queued, telling: &mpsc::Sender<Told>) {
        let (mut operations, mut answers) = (Vec::with_capacity(GROUP), Vec::with_capacity(GROUP));
        while let Some(first) = queue.wait() {
            let mut next = Some(first);
            let mut take = || {
                let job = next.take().or_else(|| queue.next())?;
                answers.push(job.answer);
                Some(job.operation)
            };
            let turn = checkpoints.turn();
            if checkpoints.need_room() {
                self.known.space.make_room(&self.connection);
            }
            let outcomes = self.outcomes(&mut operations, &mut take);
            drop(turn);
            checkpoints.committed();
            operations.clear();
            let told = outcomes.into_iter().zip(answers.drain(..)).collect();
            // Nobody is told any more when the server is closing; what is stored stays stored.
            let _ = telling.blocking_send(told);
        }
    }

    /// Commits the next operations together, and puts them into `operations`.
    fn outcomes(
        &mut self,
        operations: &mut Vec<Operation>,
        next: impl FnMut() -> Option<Operation>,
    ) -> Vec<Outcome> {
        let mut committed = self.commit(operations, next);
        if matches!(committed, Err(Error::DiskFull)) {
            self.known.space.make_room(&self.connection);
            committed = self.commit_again(operations);
        }
        let outcomes = committed.unwrap_or_else(|error| failed(operations, &error));
        if outcomes.iter().any(|outcome| matches!(outcome, Err(Error::DiskFull))) {
            self.known.space.give_up_reserve();
        }
        self.known.space.settle(&self.connection);
        outcomes
    }

    /// Commits the next operations together, and puts them into `operations`. The error is of the group:
    /// nothing of it was stored.
    fn commit(
        &mut self,
        operations: &mut Vec<Operation>,
        next: impl FnMut() -> Option<Operation>,
    ) -> Result<Vec<Outcome>, Error> {
        match self.commit_next(operations, next) {
            Ok(Some(outcomes)) => Ok(outcomes),
            Ok(None) => self.commit_again(operations),
            Err(error) => {
                self.known.forget();
                Err(error)
            }
        }
    }

    /// Commits the next operations together, if each can be stored or is refused. If not, nothing has
    /// happened.
    fn commit_next(
        &mut self,
        operations: &mut Vec<Operation>,
        mut next: impl FnMut() -> Option<Operation>,
    ) -> Result<Option<Vec<Outcome>>, Error> {
        let (is_full, begin) = (self.known.space.is_full(), Instant::now());
        // A group that cannot begin fails for the operation that it was to begin with.
        operations.extend(next());
        let mut group = Group::begin(&mut self.connection, &mut self.known)?;
        let mut outcomes = Vec::with_capacity(operations.len());
        while let Some(operation) = operations.get(outcomes.len()) {
            let outcome = match is_full && operation.needs_room() {
                true => Err(Error::DiskFull),
                false => match group.take(operation.clone()) {
                    Err(Error::Unavailable(_) | Error::DiskFull) => return Ok(None),
                    outcome => outcome,
                },
            };
            outcomes.push(outcome);
            let is_large = group.bytes() >= GROUP_BYTES || begin.elapsed() >= GROUP_TIME;
            if !is_large && operations.len() < GROUP {
                operations.extend(next());
            }
        }
        group.commit()?;
        Ok(Some(outcomes))
    }

    /// Commits those operations together that can be stored, after a group with them was given up.
    fn commit_again(&mut self, operations: &[Operation]) -> Result<Vec<Outcome>, Error> {
        self.known.forget();
        let outcomes = self.commit_each(operations);
        if outcomes.is_err() {
            self.known.forget();
        }
        outcomes
    }

    /// Commits those operations together that can be stored.
    fn commit_each(&mut self, operations: &[Operation]) -> Result<Vec<Outcome>, Error> {
        let is_full = self.known.space.is_full();
        let mut group = Group::begin(&mut self.connection, &mut self.known)?;
        let mut outcomes = Vec::with_capacity(operations.len());
        for operation in operations {
            if is_full && operation.needs_room() {
                outcomes.push(Err(Error::DiskFull));
                continue;
            }
            match group.take_wholly(operation.clone()) {
                Err(error) if group.is_given_up() => return Err(error),
                outcome => outcomes.push(outcome),
            }
        }
        group.commit()?;
        Ok(outcomes)
    }
}

/// The outcome of each operation of a group that was not committed.
fn failed(operations: &[Operation], error: &Error) -> Vec<Outcome> {
    let failed = |_: &Operation| match error {
        Error::DiskFull => Err(Error::DiskFull),
        error => Err(Error::Unavailable(error.to_string())),
    };
    operations.iter().map(failed).collect()
}

impl Operation {
    /// In whose queue it waits.
    pub(super) fn owner(&self) -> Owner {
        match self {
            Self::Write(write) if matches!(write.action, Action::Detach(_)) => Owner::Background,
            Self::Write(write) => write.client.map_or(Owner::Server, Owner::Client),
            Self::Maintain => Owner::Background,
            Self::Edit(_) | Self::Finish(_) | Self::Step(..) => Owner::Server,
        }
    }

    /// Whether it may make the store larger, and is refused when the disk is full.
    fn needs_room(&self) -> bool {
        match self {
            Self::Write(write) => !matches!(write.action, Action::Destroy(_) | Action::Detach(_)),
            Self::Edit(_) => true,
            Self::Finish(_) | Self::Maintain => false,
            Self::Step(step, _) => matches!(step, Step::Post(_) | Step::Connect(..)),
        }
    }
}

/// Tells what has come of operations, in the order they were committed. A task of the runtime wakes those who wait at
/// a fraction of what it would cost another thread.
///
/// Invariant: a change is durable before the tail has it, and the tail has it before its writer is answered.
async fn tell(mut told: mpsc::Receiver<Told>, tail: Tail) {
    while let Some(group) = told.recv().await {
        for (outcome, answer) in group {
            // Nothing but writes is in the log.
            if let Ok(Done::Write(committed)) = &outcome
                && let Some(change) = committed.news()
            {
                // Nobody listens any more when the server is closing.
                let _ = tail.send(Arc::clone(change)).await;
            }
            // A writer that has gone away finds its outcome by its key.
            let _ = answer.send(outcome);
        }
    }
}
