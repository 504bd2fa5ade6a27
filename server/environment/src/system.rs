//! The real environment: the clock and the tasks of tokio, the wall clock of the operating system,
//! and its random numbers.
#![expect(
    clippy::disallowed_methods,
    reason = "no other file of the server's logic reaches the clocks, random numbers and tasks of the machine"
)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rand::RngCore;
use tokio::runtime::Handle;

use crate::{Clock, Environment, Random, Spawn};

impl Environment {
    /// Returns the real environment. Its tasks run in the tokio runtime that this is called in, or
    /// else in the one that spawns them.
    pub fn tokio() -> Self {
        Self::new(SystemClock, SystemRandom, TokioTasks(Handle::try_current().ok()))
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        // In tests with a paused clock it is the paused one.
        tokio::time::Instant::now().into_std()
    }

    fn unix_millis(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        tokio::time::sleep_until(at.into()).boxed()
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

struct TokioTasks(Option<Handle>);

impl TokioTasks {
    fn handle(&self) -> Handle {
        self.0.clone().unwrap_or_else(Handle::current)
    }
}

impl Spawn for TokioTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(self.handle().spawn(task));
    }

    fn has_waiting_tasks(&self) -> bool {
        self.handle().metrics().global_queue_depth() > 0
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;
    use crate::Elapsed;

    #[tokio::test(start_paused = true)]
    async fn timeout_ends_a_future_at_its_limit_and_not_before() {
        let (environment, second) = (Environment::tokio(), Duration::from_secs(1));
        let begin = environment.now();
        assert_eq!(environment.timeout(second, pending::<()>()).await, Err(Elapsed));
        assert!(environment.now() - begin >= second);
        assert_eq!(environment.timeout(second, async { 7 }).await, Ok(7));
    }

    /// It uses up tokio's budget at each poll.
    #[tokio::test(start_paused = true)]
    async fn timeout_ends_a_future_that_is_always_busy() {
        let environment = Environment::tokio();
        let busy = async {
            loop {
                tokio::task::consume_budget().await;
                tokio::time::advance(Duration::from_micros(1)).await;
            }
        };
        let outcome: Result<(), _> = environment.timeout(Duration::from_millis(2), busy).await;
        assert_eq!(outcome, Err(Elapsed));
    }

    #[tokio::test]
    async fn task_resolves_after_its_end_a_panic_and_an_abort() {
        let environment = Environment::tokio();
        environment.spawn_with_handle(async {}).await;
        environment.spawn_with_handle(async { panic!("this panic is part of the test") }).await;
        let endless = environment.spawn_with_handle(pending());
        endless.abort();
        endless.await;
    }

    #[test]
    fn random_fraction_is_at_least_0_and_less_than_1() {
        let environment = Environment::tokio();
        let numbers: Vec<_> = (0..1_000).map(|_| environment.random_fraction()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(numbers.iter().any(|number| *number < 0.1));
        assert!(numbers.iter().any(|number| *number > 0.9));
    }
}
