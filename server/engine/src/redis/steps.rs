//! Steps: scripts that run in the order in which they were queued, in as few round trips as
//! possible. Steps of the queues of deliveries and of sessions are such.
//!
//! Invariant: if a step of a list has failed, no later one runs, also after Redis is back.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::{mpsc, oneshot};

use super::connection::{Commands, Replies};
use super::link::same_error;
use super::runtime;
use super::script::Call;
use crate::{Error, MessageList};

/// The maximum number of steps in one round trip.
const MAX_STEPS: usize = 64;

/// The queue of steps.
#[derive(Debug)]
pub(super) struct Steps {
    queue: mpsc::UnboundedSender<Step>,
    pub(super) deadline: Duration,
}

struct Step {
    call: Call,
    list: Option<MessageList>,
    answer: oneshot::Sender<Result<Value, Error>>,
}

impl Step {
    /// Whether it may run: its caller waits, and no earlier step of its list has failed.
    fn may_run(&self) -> bool {
        // Callers that have gone away have got an error, and may have tried again.
        let is_abandoned = self.answer.is_closed();
        if let Some(list) = self.list.as_ref().filter(|_| is_abandoned) {
            list.set_failed();
        }
        !is_abandoned && !self.list.as_ref().is_some_and(MessageList::has_failed)
    }
}

impl Steps {
    /// Starts the task, which ends with the queue.
    pub(super) fn spawn(commands: Arc<Commands>) -> Self {
        let (queue, steps) = mpsc::unbounded_channel();
        let deadline = commands.link.deadline;
        runtime::spawn_detached(run(commands, steps));
        Self { queue, deadline }
    }

    /// Runs a step. It is queued when the future is polled first.
    pub(super) async fn run(&self, call: Call) -> Result<Value, Error> {
        self.queue(None, call).await
    }

    /// Queues a step, which may be one of a list. The future returns its outcome.
    pub(super) fn queue(
        &self,
        list: Option<MessageList>,
        call: Call,
    ) -> impl Future<Output = Result<Value, Error>> + use<> {
        let (answer, outcome) = oneshot::channel();
        // It fails if the task has ended, and then the answer is missing.
        let _ = self.queue.send(Step { call, list, answer });
        within(2 * self.deadline, outcome)
    }
}

/// Waits for an answer until a deadline.
pub(super) async fn within<T>(
    deadline: Duration,
    outcome: oneshot::Receiver<Result<T, Error>>,
) -> Result<T, Error> {
    match runtime::within(deadline, outcome).await {
        Some(Ok(outcome)) => outcome,
        Some(Err(_)) => {
            Err(Error::Unavailable("Redis has lost changes, or the store is closed".to_owned()))
        }
        None => Err(Error::Unavailable(format!("Redis did not answer within {deadline:?}"))),
    }
}

async fn run(commands: Arc<Commands>, mut steps: mpsc::UnboundedReceiver<Step>) {
    let mut next = Vec::with_capacity(MAX_STEPS);
    while steps.recv_many(&mut next, MAX_STEPS).await > 0 {
        let (calls, answers) = take_runnable(&mut next);
        if calls.is_empty() {
            continue;
        }
        let values = match commands.run_all(&calls).await {
            Ok(Replies { values, .. }) => values,
            Err(error) => answers.iter().map(|_| Err(same_error(&error))).collect(),
        };
        for ((list, answer), value) in answers.into_iter().zip(values) {
            if let Some(list) = list.filter(|_| value.is_err()) {
                list.set_failed();
            }
            // The caller may have gone away.
            let _ = answer.send(value);
        }
    }
}

/// The list of a step, and the sender of its outcome.
type Waiting = (Option<MessageList>, oneshot::Sender<Result<Value, Error>>);

/// Takes the steps that may run, and fails the others.
fn take_runnable(steps: &mut Vec<Step>) -> (Vec<Call>, Vec<Waiting>) {
    let (mut calls, mut waiting) = (Vec::new(), Vec::new());
    for step in steps.drain(..) {
        if step.may_run() {
            calls.push(step.call);
            waiting.push((step.list, step.answer));
        } else {
            let failed = "an earlier message of the list could not be stored";
            // The caller may have gone away.
            let _ = step.answer.send(Err(Error::Unavailable(failed.to_owned())));
        }
    }
    (calls, waiting)
}
