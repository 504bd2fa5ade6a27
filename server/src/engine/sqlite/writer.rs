//! The one thread that writes: takes what is queued, commits it as a group, tells, answers.

use std::sync::Arc;
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::group::Group;
use super::ledger::Recent;
use super::lock::Lock;
use super::queues::{self, Step};
use crate::engine::{Committed, Edit, Error, Tail, Window};
use crate::write::Write;

/// Writes that may be queued. Whoever comes when it is full waits.
const QUEUE: usize = 1024;

/// Writes in one group: enough to make the disk cheap, few enough that the first does not wait long
/// for the last.
const GROUP: usize = 256;

/// Something to store.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    Write(Write),
    /// Of a session.
    Edit(Edit),
    /// Of queues, and when.
    Step(Step, u64),
}

/// What came of a deed.
#[derive(Debug)]
pub(super) enum Done {
    Write(Committed),
    Edit,
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
    pub(super) recent: Recent,
    pub(super) epoch: u64,
    pub(super) window: Window,
    pub(super) tail: Tail,
}

impl Writer {
    /// Starts the thread; it ends when the last sender of jobs is gone.
    pub(super) fn spawn(self) -> Result<mpsc::Sender<Job>, Error> {
        let (sender, jobs) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || self.run(jobs))
            .map_err(|error| Error::Unavailable(format!("no thread for the writer: {error}")))?;
        Ok(sender)
    }

    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut queued = Vec::with_capacity(GROUP);
        while jobs.blocking_recv_many(&mut queued, GROUP) > 0 {
            let (deeds, answers): (Vec<_>, Vec<_>) =
                queued.drain(..).map(|job| (job.deed, job.answer)).unzip();
            match self.commit(deeds) {
                Ok(outcomes) => self.tell(outcomes, answers),
                Err(error) => refuse(&error, answers),
            }
        }
    }

    /// Commits deeds together. The error is of the group: nothing of it was stored.
    fn commit(&mut self, deeds: Vec<Deed>) -> Result<Vec<Outcome>, Error> {
        match self.commit_all(&deeds)? {
            Some(outcomes) => Ok(outcomes),
            None => self.commit_each(deeds),
        }
    }

    /// Commits deeds together, if each can be stored or is refused. If not, nothing has happened.
    fn commit_all(&mut self, deeds: &[Deed]) -> Result<Option<Vec<Outcome>>, Error> {
        let mut group = Group::begin(&mut self.connection, &mut self.recent, self.epoch)?;
        let mut outcomes = Vec::with_capacity(deeds.len());
        for deed in deeds {
            match group.take(deed.clone()) {
                Err(Error::Unavailable(_)) => return Ok(None),
                outcome => outcomes.push(outcome),
            }
        }
        group.commit(&self.window)?;
        Ok(Some(outcomes))
    }

    /// Commits those deeds together that can be stored.
    fn commit_each(&mut self, deeds: Vec<Deed>) -> Result<Vec<Outcome>, Error> {
        let mut group = Group::begin(&mut self.connection, &mut self.recent, self.epoch)?;
        let mut outcomes = Vec::with_capacity(deeds.len());
        for deed in deeds {
            match group.take_wholly(deed) {
                Err(error) if group.is_given_up() => return Err(error),
                outcome => outcomes.push(outcome),
            }
        }
        group.commit(&self.window)?;
        Ok(outcomes)
    }

    /// Invariant: a change is durable before the tail has it, and the tail has it before its writer
    /// is answered.
    fn tell(&self, outcomes: Vec<Outcome>, answers: Vec<Answer>) {
        for (outcome, answer) in outcomes.into_iter().zip(answers) {
            // Nothing but writes is in the log.
            if let Ok(Done::Write(Committed { change, repeated: false })) = &outcome {
                // Nobody listens any more when the server is closing; what is stored stays stored.
                let _ = self.tail.blocking_send(Arc::clone(change));
            }
            // A writer that has gone away finds its outcome by its key.
            let _ = answer.send(outcome);
        }
    }
}

fn refuse(error: &Error, answers: Vec<Answer>) {
    for answer in answers {
        let _ = answer.send(Err(Error::Unavailable(error.to_string())));
    }
}
