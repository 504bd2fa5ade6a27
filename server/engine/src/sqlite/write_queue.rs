//! The queues of the writer, which take [turns](RoundRobin).

use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};

use super::operation::Job;
use crate::round_robin::RoundRobin;

/// The sender of jobs. When it is dropped, the writer does the queued jobs and ends.
#[derive(Debug)]
pub(super) struct WriteQueue(Arc<Shared>);

/// The receiver of jobs, which the writer has.
#[derive(Debug)]
pub(super) struct WriteQueueReceiver(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: RoundRobin<Job>,
    /// No more jobs come.
    is_closed: bool,
    /// No more jobs are done.
    has_ended: bool,
}

/// Returns the sender and the receiver of a queue.
pub(super) fn queue() -> (WriteQueue, WriteQueueReceiver) {
    let shared = Arc::<Shared>::default();
    (WriteQueue(Arc::clone(&shared)), WriteQueueReceiver(shared))
}

impl WriteQueue {
    /// Puts a job in the queue of its owner. If the writer has ended, the job is dropped with its
    /// channel.
    pub(super) fn push(&self, job: Job) {
        let mut state = self.0.state.lock();
        if !state.has_ended {
            state.jobs.push(job.operation.owner(), job);
            self.0.arrived.notify_one();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.state.lock().jobs.is_empty()
    }
}

impl Drop for WriteQueue {
    fn drop(&mut self) {
        self.0.state.lock().is_closed = true;
        self.0.arrived.notify_one();
    }
}

impl WriteQueueReceiver {
    /// Waits for the next job. Returns `None` if there will be none.
    pub(super) fn wait(&self) -> Option<Job> {
        let mut state = self.0.state.lock();
        loop {
            let job = state.jobs.pop();
            if job.is_some() || state.is_closed {
                return job;
            }
            self.0.arrived.wait(&mut state);
        }
    }

    /// Returns the next job, if there is one or one comes while other threads run. The writer lets
    /// them run at most as often as `yields` says, and each time counts it down.
    ///
    /// If all cores are busy, they are about to queue more writes, and one commit of many writes
    /// costs much less than many commits. If a core is idle, this takes no time.
    pub(super) fn next(&self, yields: &mut u32) -> Option<Job> {
        loop {
            let job = self.0.state.lock().jobs.pop();
            if job.is_some() || *yields == 0 {
                return job;
            }
            *yields -= 1;
            thread::yield_now();
        }
    }
}

/// If the writer panics, the jobs are dropped with their channels, so their callers get an error.
impl Drop for WriteQueueReceiver {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.has_ended = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        drop(jobs);
    }
}
