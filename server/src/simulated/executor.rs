//! A single-threaded executor with a virtual clock. A seed decides which task runs next.

use std::collections::BTreeMap;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use backwire_environment::{Clock, Environment, Random, Spawn, seed_hashes};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// The wall clock when a simulation begins, in Unix milliseconds.
const BEGIN: u64 = 1_700_000_000_000;

#[derive(Clone)]
pub(super) struct Executor(Arc<State>);

struct State {
    begin: Instant,
    schedule: Mutex<Schedule>,
    /// The random numbers of the server.
    random: Mutex<StdRng>,
}

struct Schedule {
    random: StdRng,
    /// The time since the beginning.
    now: Duration,
    tasks: BTreeMap<u64, Arc<Task>>,
    /// The tasks that can run.
    ready: Vec<u64>,
    sleeping: BTreeMap<(Duration, u64), Waker>,
    last_number: u64,
}

struct Task {
    number: u64,
    state: Arc<State>,
    future: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Executor {
    /// Creates an executor. It also sets the order of the hash maps of this thread.
    pub(super) fn new(seed: u64) -> Self {
        seed_hashes(seed);
        let schedule = Schedule {
            random: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            sleeping: BTreeMap::new(),
            last_number: 0,
        };
        Self(Arc::new(State {
            begin: Instant::now(),
            schedule: Mutex::new(schedule),
            random: Mutex::new(StdRng::seed_from_u64(!seed)),
        }))
    }

    pub(super) fn environment(&self) -> Environment {
        Environment::new(self.clone(), self.clone(), self.clone())
    }

    /// Runs tasks until a future has resolved. Then all tasks are dropped.
    pub(super) fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let outcome = Arc::new(Mutex::new(None));
        let result = Arc::clone(&outcome);
        self.spawn(Box::pin(async move {
            let value = future.await;
            *result.lock() = Some(value);
        }));
        loop {
            if let Some(value) = outcome.lock().take() {
                self.drop_tasks();
                return value;
            }
            self.step();
        }
    }

    /// Polls one of the tasks that can run. If there are none, the clock goes to the next time that
    /// a task waits for.
    fn step(&self) {
        let mut schedule = self.0.schedule.lock();
        if schedule.ready.is_empty() {
            let ((now, _), waker) = schedule.sleeping.pop_first().expect("a task can still run");
            schedule.now = now;
            drop(schedule);
            return waker.wake();
        }
        let count = schedule.ready.len();
        let index = schedule.random.random_range(0..count);
        let number = schedule.ready.swap_remove(index);
        let Some(task) = schedule.tasks.get(&number).cloned() else { return };
        drop(schedule);
        let waker = Waker::from(Arc::clone(&task));
        let mut future = task.future.lock();
        let Some(running) = future.as_mut() else { return };
        if running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            let ended = future.take();
            drop(future);
            self.0.schedule.lock().tasks.remove(&number);
            drop(ended);
        }
    }

    /// A task that is dropped may begin others.
    fn drop_tasks(&self) {
        loop {
            let tasks = mem::take(&mut self.0.schedule.lock().tasks);
            if tasks.is_empty() {
                return;
            }
            tasks.into_values().for_each(|task| drop(task.future.lock().take()));
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let mut schedule = self.state.schedule.lock();
        if !schedule.ready.contains(&self.number) {
            schedule.ready.push(self.number);
        }
    }
}

impl Clock for Executor {
    fn now(&self) -> Instant {
        self.0.begin + self.0.schedule.lock().now
    }

    fn unix_millis(&self) -> u64 {
        BEGIN + u64::try_from(self.0.schedule.lock().now.as_millis()).unwrap()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let at = at.saturating_duration_since(self.0.begin);
        Box::pin(Sleep { executor: self.clone(), at, key: None })
    }
}

impl Random for Executor {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.random.lock().fill_bytes(bytes);
    }
}

impl Spawn for Executor {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let mut schedule = self.0.schedule.lock();
        let number = schedule.next_number();
        let task = Task { number, state: Arc::clone(&self.0), future: Mutex::new(Some(task)) };
        schedule.tasks.insert(number, Arc::new(task));
        schedule.ready.push(number);
    }

    fn has_waiting_tasks(&self) -> bool {
        !self.0.schedule.lock().ready.is_empty()
    }
}

impl Schedule {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

struct Sleep {
    executor: Executor,
    at: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let executor = self.executor.clone();
        let mut schedule = executor.0.schedule.lock();
        if schedule.now >= self.at {
            return Poll::Ready(());
        }
        let at = self.at;
        let key = *self.key.get_or_insert_with(|| (at, schedule.next_number()));
        schedule.sleeping.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.executor.0.schedule.lock().sleeping.remove(&key);
            drop(waker);
        }
    }
}
