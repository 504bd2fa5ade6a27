//! The server's environment: a clock, random numbers and tasks.
//!
//! The server and its engines reach the world only through an [`Environment`].
//! [`Environment::tokio`] is the real one. A simulation has its own, so that all of its runs with
//! one seed are the same.
//!
//! Modules in reading order: [`Clock`], [`Random`] and [`Spawn`] are the traits. `task` is the
//! handle of a task, and `watched` a value that tasks wait for. `maps` has the maps and sets of the
//! server, whose order a simulation can set. `system` implements the traits with tokio and the
//! operating system, and `simulation` (a feature of the crate, for tests) with a virtual clock and
//! a seed.
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests have clocks and tasks"
    )
)]

mod maps;
#[cfg(feature = "simulation")]
pub mod simulation;
mod system;
mod task;
mod watched;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, poll_fn};
use tokio::task::coop::unconstrained;

pub use maps::{HashKey, HashMap, HashSet, seed_hashes};
pub use task::Task;
pub use watched::Watched;

/// A clock.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time of a clock that never goes back.
    fn now(&self) -> Instant;

    /// Returns the current wall-clock time in Unix milliseconds.
    fn unix_millis(&self) -> u64;

    /// Returns a future that resolves at a time of [`now`](Self::now).
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()>;
}

/// A source of random numbers.
pub trait Random: Send + Sync + 'static {
    /// Fills a buffer with random bytes. Secrets are made of them.
    fn fill(&self, bytes: &mut [u8]);
}

/// Runs tasks.
pub trait Spawn: Send + Sync + 'static {
    /// Runs a task in the background. This may be called outside of any task.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Whether tasks that can run wait for a thread.
    fn has_waiting_tasks(&self) -> bool;
}

/// The clock, the random numbers and the tasks of one server. Clones share them.
#[derive(Clone)]
pub struct Environment {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    tasks: Arc<dyn Spawn>,
}

/// The error of [`Environment::timeout`]: the future did not resolve in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl Environment {
    /// Combines a clock, random numbers and tasks.
    pub fn new(clock: impl Clock, random: impl Random, tasks: impl Spawn) -> Self {
        Self { clock: Arc::new(clock), random: Arc::new(random), tasks: Arc::new(tasks) }
    }

    /// Returns the current time of the clock that never goes back.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Returns the current wall-clock time in Unix milliseconds.
    pub fn unix_millis(&self) -> u64 {
        self.clock.unix_millis()
    }

    /// Returns a future that resolves after this time.
    pub fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(self.now() + time)
    }

    /// Returns a future that resolves at this time.
    pub fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(at)
    }

    /// Limits the time of a future. The time begins with this call.
    pub fn timeout<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
        // A future that is always busy must not keep its timeout from being noticed.
        let mut end = unconstrained(self.sleep(limit));
        async move {
            let mut future = pin!(future);
            poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending => pin!(&mut end).poll(cx).map(|()| Err(Elapsed)),
            })
            .await
        }
    }

    /// Fills a buffer with random bytes.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }

    /// Returns random bytes.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }

    /// Returns a random number.
    pub fn random_u64(&self) -> u64 {
        u64::from_le_bytes(self.random_bytes())
    }

    /// Returns a random number.
    pub fn random_u128(&self) -> u128 {
        u128::from_le_bytes(self.random_bytes())
    }

    /// Returns a random number from 0 up to and without 1.
    pub fn random_fraction(&self) -> f64 {
        // An f64 has 53 bits.
        const BITS: u32 = 53;
        (self.random_u64() >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64
    }

    /// Runs a task in the background. This may be called outside of any task.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(Box::pin(task));
    }

    /// The same for a task that is awaited or aborted later.
    pub fn spawn_with_handle(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
        let (task, handle) = task::with_handle(task);
        self.spawn(task);
        handle
    }

    /// Whether tasks that can run wait for a thread.
    pub fn has_waiting_tasks(&self) -> bool {
        self.tasks.has_waiting_tasks()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}
