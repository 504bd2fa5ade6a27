//! The queues of the writer.
//!
//! Each client has a queue of its own, and the queues take turns. So a client that writes much
//! waits only for its own jobs, and other clients do not wait for them. The jobs of one queue are
//! done in the order of their arrival.

use std::collections::VecDeque;
use std::sync::Arc;

use backwire_environment::HashMap;
use parking_lot::{Condvar, Mutex};

use super::operation::{Job, Owner};

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

/// Queues that take turns.
#[derive(Debug)]
struct RoundRobin<T> {
    /// None of them is empty.
    queues: HashMap<Owner, VecDeque<T>>,
    /// The owners of the queues, in the order of their turns.
    next: VecDeque<Owner>,
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
        self.0.state.lock().jobs.next.is_empty()
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

    /// Returns the next job, if there is one.
    pub(super) fn next(&self) -> Option<Job> {
        self.0.state.lock().jobs.pop()
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

impl<T> Default for RoundRobin<T> {
    fn default() -> Self {
        Self { queues: HashMap::default(), next: VecDeque::new() }
    }
}

impl<T> RoundRobin<T> {
    fn push(&mut self, owner: Owner, item: T) {
        let queue = self.queues.entry(owner).or_default();
        if queue.is_empty() {
            self.next.push_back(owner);
        }
        queue.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        let owner = self.next.pop_front()?;
        let queue = self.queues.get_mut(&owner)?;
        let item = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&owner);
        } else {
            self.next.push_back(owner);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(number: u8) -> Owner {
        Owner::Client([10, 0, 0, number].into())
    }

    #[test]
    fn client_with_one_write_does_not_wait_for_all_writes_of_another() {
        let mut turns = RoundRobin::default();
        (0..1000).for_each(|n| turns.push(client(1), n));
        turns.push(client(2), 1000);
        assert_eq!([turns.pop(), turns.pop(), turns.pop()], [Some(0), Some(1000), Some(1)]);
    }

    proptest! {
        /// Each queue keeps the order of arrival, and no queue has two turns while another waits.
        #[test]
        fn queues_take_turns(steps in prop::collection::vec(prop::option::of(0..4u8), 0..200)) {
            let mut turns = RoundRobin::default();
            let mut model: Vec<VecDeque<usize>> = vec![VecDeque::new(); 4];
            // For each waiting queue, the queues that have had a turn since then.
            let mut passed: Vec<Vec<u8>> = vec![Vec::new(); 4];
            let pushes_and_pops = steps.into_iter().chain([None; 200]);
            for (n, step) in pushes_and_pops.enumerate() {
                if let Some(line) = step {
                    turns.push(client(line), (line, n));
                    model[usize::from(line)].push_back(n);
                    continue;
                }
                let Some((line, n)) = turns.pop() else {
                    prop_assert!(model.iter().all(VecDeque::is_empty));
                    continue;
                };
                let own = usize::from(line);
                prop_assert_eq!(model[own].pop_front(), Some(n));
                for other in (0..4).filter(|other| *other != own && !model[*other].is_empty()) {
                    prop_assert!(!passed[other].contains(&line), "{} waits for {} twice", other, own);
                    passed[other].push(line);
                }
                passed[own].clear();
            }
        }
    }
}
