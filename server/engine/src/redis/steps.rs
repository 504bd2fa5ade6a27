//! Steps: scripts that run in the order in which they were queued, in as few round trips as
//! possible. Steps of the queues of deliveries and of sessions are such.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::{mpsc, oneshot};

use super::connection::{Commands, Replies};
use super::link::same_error;
use super::runtime;
use super::script::Call;
use crate::Error;

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
    answer: oneshot::Sender<Result<Value, Error>>,
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
        self.queue(call).await
    }

    /// Queues a step. The future returns its outcome.
    pub(super) fn queue(&self, call: Call) -> impl Future<Output = Result<Value, Error>> + use<> {
        let (answer, outcome) = oneshot::channel();
        // It fails if the task has ended, and then the answer is missing.
        let _ = self.queue.send(Step { call, answer });
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
        // Callers that have gone away have got an error, and may have tried again.
        next.retain(|step| !step.answer.is_closed());
        let (calls, answers): (Vec<_>, Vec<_>) =
            next.drain(..).map(|Step { call, answer }| (call, answer)).unzip();
        let values = match commands.run_all(&calls).await {
            Ok(Replies { values, .. }) => values,
            Err(error) => answers.iter().map(|_| Err(same_error(&error))).collect(),
        };
        for (answer, value) in answers.into_iter().zip(values) {
            // The caller may have gone away.
            let _ = answer.send(value);
        }
    }
}
