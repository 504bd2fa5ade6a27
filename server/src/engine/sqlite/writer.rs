//! The one thread that writes: takes what is queued and commits it as a group; and the task that tells of it
//! and answers.

use std::sync::Arc;
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::group::{Group, Known};
use super::lock::Lock;
use super::queues::{self, Step};
use crate::engine::{Cascade, Committed, Edit, Error, Tail};
use crate::write::{Action, Write};

/// Writes that may be queued. Whoever comes when it is full waits.
const QUEUE: usize = 1024;

/// Writes in one group: enough to make the disk cheap, few enough that the first does not wait long
/// for the last.
const GROUP: usize = 256;

/// Groups that may wait to be told of. Whoever listens too slowly makes the writer wait, too.
const UNTOLD: usize = 1;

/// Something to store.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    Write(Write),
    /// Of a session.
    Edit(Edit),
    /// Nobody may have written for a while: brings the files back to their size.
    Maintain,
    /// A cascade has ended.
    Finish(Cascade),
    /// Of queues, and when.
    Step(Step, u64),
}

/// What came of a deed.
#[derive(Debug)]
pub(super) enum Done {
    Write(Committed),
    Edit,
    Finish,
    Maintain,
    Step(queues::Done),
}

/// Something to store, and where its outcome is waited for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) deed: Deed,
    pub(super) answer: Answer,
}

type Answer = oneshot::Sender<Outcome>;
type Outcome = Result<Done, Error>;

/// The writer.
pub(super) struct Writer {
    pub(super) connection: Connection,
    /// Kept until the last commit.
    pub(super) _lock: Lock,
    pub(super) known: Known,
}

/// Deeds that were done together, for each where its outcome is waited for.
type Told = Vec<(Outcome, Answer)>;

impl Writer {
    /// Starts the thread; it ends when the last sender of jobs is gone.
    pub(super) fn spawn(self, tail: Tail) -> Result<mpsc::Sender<Job>, Error> {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let (telling, told) = mpsc::channel(UNTOLD);
        tokio::spawn(tell(told, tail));
        thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || self.run(jobs, &telling))
            .map_err(|error| Error::Unavailable(format!("no thread for the writer: {error}")))?;
        Ok(sender)
    }

    fn run(mut self, mut jobs: mpsc::Receiver<Job>, telling: &mpsc::Sender<Told>) {
        let mut queued = Vec::with_capacity(GROUP);
        while jobs.blocking_recv_many(&mut queued, GROUP) > 0 {
            let (deeds, answers): (Vec<_>, Vec<_>) =
                queued.drain(..).map(|job| (job.deed, job.answer)).unzip();
            let mut committed = self.commit(&deeds);
            // What makes the store smaller may be possible with what the reserve has kept.
            if matches!(committed, Err(Error::DiskFull)) && self.known.space.give_up_reserve() {
                committed = self.commit(&deeds);
            }
            let outcomes = committed.unwrap_or_else(|error| failed(&deeds, &error));
            if outcomes.iter().any(|outcome| matches!(outcome, Err(Error::DiskFull))) {
                self.known.space.give_up_reserve();
            }
            self.known.space.settle(&self.connection);
            let told = outcomes.into_iter().zip(answers).collect();
            // Nobody is told any more when the server is closing; what is stored stays stored.
            let _ = telling.blocking_send(told);
        }
    }

    /// Commits deeds together. The error is of the group: nothing of it was stored.
    fn commit(&mut self, deeds: &[Deed]) -> Result<Vec<Outcome>, Error> {
        let outcomes = self.commit_all(deeds).transpose().unwrap_or_else(|| {
            self.known.forget();
            self.commit_each(deeds)
        });
        if outcomes.is_err() {
            self.known.forget();
        }
        outcomes
    }

    /// Commits deeds together, if each can be stored or is refused. If not, nothing has happened.
    fn commit_all(&mut self, deeds: &[Deed]) -> Result<Option<Vec<Outcome>>, Error> {
        let is_full = self.known.space.is_full();
        let mut group = Group::begin(&mut self.connection, &mut self.known)?;
        let mut outcomes = Vec::with_capacity(deeds.len());
        for deed in deeds {
            if is_full && deed.needs_room() {
                outcomes.push(Err(Error::DiskFull));
                continue;
            }
            match group.take(deed.clone()) {
                Err(Error::Unavailable(_) | Error::DiskFull) => return Ok(None),
                outcome => outcomes.push(outcome),
            }
        }
        group.commit()?;
        Ok(Some(outcomes))
    }

    /// Commits those deeds together that can be stored.
    fn commit_each(&mut self, deeds: &[Deed]) -> Result<Vec<Outcome>, Error> {
        let is_full = self.known.space.is_full();
        let mut group = Group::begin(&mut self.connection, &mut self.known)?;
        let mut outcomes = Vec::with_capacity(deeds.len());
        for deed in deeds {
            if is_full && deed.needs_room() {
                outcomes.push(Err(Error::DiskFull));
                continue;
            }
            match group.take_wholly(deed.clone()) {
                Err(error) if group.is_given_up() => return Err(error),
                outcome => outcomes.push(outcome),
            }
        }
        group.commit()?;
        Ok(outcomes)
    }
}

/// The outcome of each deed of a group that was not committed.
fn failed(deeds: &[Deed], error: &Error) -> Vec<Outcome> {
    let failed = |_: &Deed| match error {
        Error::DiskFull => Err(Error::DiskFull),
        error => Err(Error::Unavailable(error.to_string())),
    };
    deeds.iter().map(failed).collect()
}

impl Deed {
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

/// Tells what has come of deeds, in the order they were committed. A task of the runtime wakes those who wait at
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
