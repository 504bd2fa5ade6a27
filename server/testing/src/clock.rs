//! The clock of a tested server.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, select};
use parking_lot::Mutex;

use crate::tasks::Tasks;

/// The time of a new server, 2026-01-01T00:00:00Z, in Unix milliseconds.
pub const BEGIN: u64 = 1_767_225_600_000;

/// Pauses of up to this length use the real time, so they end without [`Clock::advance`].
const MAX_REAL_PAUSE: Duration = Duration::from_millis(100);

/// The clock of a server. It begins at [`BEGIN`], and stands still unless
/// [`advance`](Self::advance) moves it. Clones are the same clock.
///
/// The server's logic uses this clock for sessions, timestamps of records, deadlines of requests to
/// other servers, the retention of the log, queued messages and the cache of `/health`. Three
/// things use the real time: pauses of the server of up to 100 ms, in which it waits for its
/// connections; the pings and deadlines of transports, which are below the logic; and your own code
/// with the clock of the system or of tokio.
#[derive(Clone)]
pub struct Clock {
    time: Time,
    tasks: Tasks,
}

/// The time that the server sees.
#[derive(Clone)]
pub(crate) struct Time(Arc<Shared>);

struct Shared {
    begin: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The time since [`BEGIN`].
    now: Duration,
    sleeping: BTreeMap<(Duration, u64), Waker>,
    last_number: u64,
}

impl Clock {
    pub(crate) fn new(time: Time, tasks: Tasks) -> Self {
        Self { time, tasks }
    }

    /// Returns the time of the server in Unix milliseconds.
    pub fn unix_millis(&self) -> u64 {
        backwire_environment::Clock::unix_millis(&self.time)
    }

    /// Moves the clock forward. If timers end before the new time, the clock stops at the time of
    /// each, in order, until the server has done what was due then. At the end, this waits as
    /// [`App::wait_until_idle`](crate::App::wait_until_idle) does.
    pub async fn advance(&self, by: Duration) {
        self.tasks.settle().await;
        let end = self.time.0.state.lock().now + by;
        while let Some(due) = self.time.advance_to_next(end) {
            due.into_iter().for_each(Waker::wake);
            self.tasks.settle_on_the_way().await;
        }
        self.tasks.settle().await;
    }
}

impl Time {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared { begin: Instant::now(), state: Mutex::default() }))
    }

    /// Moves to the time of the next timer, and returns the wakers of the timers that end then. If
    /// that time is after `end`, moves to `end` and returns `None`.
    fn advance_to_next(&self, end: Duration) -> Option<Vec<Waker>> {
        let mut state = self.0.state.lock();
        let next = state.sleeping.keys().next().map(|(at, _)| *at);
        let Some(next) = next.filter(|next| *next <= end) else {
            state.now = end;
            return None;
        };
        state.now = state.now.max(next);
        let later = state.sleeping.split_off(&(next, u64::MAX));
        Some(mem::replace(&mut state.sleeping, later).into_values().collect())
    }
}

impl backwire_environment::Clock for Time {
    fn now(&self) -> Instant {
        self.0.begin + self.0.state.lock().now
    }

    fn unix_millis(&self) -> u64 {
        let passed = self.0.state.lock().now.as_millis();
        BEGIN + u64::try_from(passed).expect("a test does not last for millions of years")
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let left = at.saturating_duration_since(self.now());
        let at = at.saturating_duration_since(self.0.begin);
        let sleep = Sleep { time: self.clone(), at, key: None };
        if left > MAX_REAL_PAUSE {
            return Box::pin(sleep);
        }
        Box::pin(async move {
            drop(select(sleep, pin!(tokio::time::sleep(left))).await);
        })
    }
}

struct Sleep {
    time: Time,
    at: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let time = self.time.clone();
        let mut state = time.0.state.lock();
        if state.now >= self.at {
            return Poll::Ready(());
        }
        let at = self.at;
        let key = *self.key.get_or_insert_with(|| {
            state.last_number += 1;
            (at, state.last_number)
        });
        state.sleeping.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // Dropping the waker may end the task, which may have other timers.
            let waker = self.time.0.state.lock().sleeping.remove(&key);
            drop(waker);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("unix_millis", &self.unix_millis()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use backwire_environment::Environment;
    use futures_util::FutureExt;

    use super::*;
    use crate::tasks::SystemRandom;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock() -> (Clock, Environment) {
        let (time, tasks) = (Time::new(), Tasks::new());
        let environment = Environment::new(time.clone(), SystemRandom, tasks.clone());
        (Clock::new(time, tasks), environment)
    }

    #[tokio::test]
    async fn timers_before_the_new_time_end_at_their_times_and_in_order() {
        let (clock, environment) = clock();
        let happened = Arc::new(Mutex::new(Vec::new()));
        for seconds in [3, 1, 5, 2] {
            let (environment, happened) = (environment.clone(), Arc::clone(&happened));
            environment.clone().spawn(async move {
                environment.sleep(seconds * SECOND).await;
                happened.lock().push(environment.unix_millis() - BEGIN);
                // This pause ends before the new time, too.
                environment.sleep(SECOND / 2).await;
                happened.lock().push(environment.unix_millis() - BEGIN);
            });
        }
        clock.advance(4 * SECOND).await;
        assert_eq!(*happened.lock(), [1_000, 1_500, 2_000, 2_500, 3_000, 3_500]);
        assert_eq!(clock.unix_millis(), BEGIN + 4_000);
        clock.advance(SECOND).await;
        assert_eq!(happened.lock().last(), Some(&5_000));
    }

    #[tokio::test]
    async fn time_stands_still_and_short_pauses_end_by_themselves() {
        let (clock, environment) = clock();
        let mut long = pin!(environment.sleep(MAX_REAL_PAUSE + Duration::from_millis(1)));
        environment.sleep(MAX_REAL_PAUSE / 10).await;
        assert!(long.as_mut().now_or_never().is_none());
        assert_eq!(clock.unix_millis(), BEGIN);
        clock.advance(SECOND).await;
        long.await;
    }

    #[tokio::test]
    async fn advance_does_not_wait_for_tasks_that_have_ended() {
        let (clock, environment) = clock();
        let panics = environment.spawn_with_handle(async { panic!("this is part of the test") });
        let aborted = environment.spawn_with_handle(pending());
        environment.spawn(pending());
        aborted.abort();
        clock.advance(SECOND).await;
        panics.await;
        aborted.await;
        clock.advance(SECOND).await;
    }
}
