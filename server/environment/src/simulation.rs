//! A single-threaded executor with a virtual clock. A seed decides which task runs next, so all
//! runs with one seed are the same.
//!
//! Tasks belong to a [`Process`], which can be killed: then all its tasks are dropped.
#![expect(clippy::disallowed_methods, reason = "the virtual clock begins at a real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::{Clock, Environment, Random, Spawn, seed_hashes};

/// The wall clock when a simulation begins, in Unix milliseconds.
const BEGIN: u64 = 1_700_000_000_000;

/// Runs the tasks of a simulation.
#[derive(Clone)]
pub struct Executor(Arc<State>);

/// The tasks of one process of a simulation. Clones are the same process.
#[derive(Clone)]
pub struct Process {
    state: Arc<State>,
    number: u64,
}

struct State {
    begin: Instant,
    schedule: Mutex<Schedule>,
    /// The random numbers of the processes.
    random: Mutex<StdRng>,
}

struct Schedule {
    random: StdRng,
    /// The time since the beginning.
    now: Duration,
    /// How far the wall clock is ahead of a clock that was never set, in milliseconds.
    wall_clock_offset: i64,
    tasks: BTreeMap<u64, Arc<Task>>,
    /// The processes that have been killed.
    killed: BTreeSet<u64>,
    /// The tasks of each paused process that can run when it continues.
    paused: BTreeMap<u64, Vec<u64>>,
    /// The tasks that can run.
    ready: Vec<u64>,
    sleeping: BTreeMap<(Duration, u64), Waker>,
    last_number: u64,
    /// How many tasks may still be polled.
    steps_left: u64,
}

struct Task {
    number: u64,
    process: u64,
    state: Arc<State>,
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    is_ready: AtomicBool,
}

impl Executor {
    /// Creates an executor. It also sets the order of the hash maps of this thread.
    pub fn new(seed: u64) -> Self {
        seed_hashes(seed);
        let schedule = Schedule {
            random: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
            wall_clock_offset: 0,
            tasks: BTreeMap::new(),
            killed: BTreeSet::new(),
            paused: BTreeMap::new(),
            ready: Vec::new(),
            sleeping: BTreeMap::new(),
            last_number: 0,
            steps_left: u64::MAX,
        };
        Self(Arc::new(State {
            begin: Instant::now(),
            schedule: Mutex::new(schedule),
            random: Mutex::new(StdRng::seed_from_u64(!seed)),
        }))
    }

    /// Sets how many times tasks may be polled. A run that takes more is caught in a loop, and
    /// panics.
    #[must_use]
    pub fn with_max_steps(self, steps: u64) -> Self {
        self.0.schedule.lock().steps_left = steps;
        self
    }

    /// Drops all tasks, for example after a panic.
    pub fn end(&self) {
        self.0.drop_tasks(None);
    }

    /// Begins a process.
    pub fn process(&self) -> Process {
        let number = self.0.schedule.lock().next_number();
        Process { state: Arc::clone(&self.0), number }
    }

    /// Sets the wall clock this much ahead, or back if it is negative. The clock that never goes
    /// back, and everything that waits for it, are not affected.
    pub fn set_wall_clock(&self, milliseconds: i64) {
        self.0.schedule.lock().wall_clock_offset += milliseconds;
    }

    /// Runs tasks until a future has resolved. Then all tasks are dropped.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let outcome = Arc::new(Mutex::new(None));
        let result = Arc::clone(&outcome);
        self.process().spawn(Box::pin(async move {
            let value = future.await;
            *result.lock() = Some(value);
        }));
        loop {
            if let Some(value) = outcome.lock().take() {
                self.0.drop_tasks(None);
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
        assert!(schedule.steps_left > 0, "the simulation does not come to an end");
        schedule.steps_left -= 1;
        let count = schedule.ready.len();
        let index = schedule.random.random_range(0..count);
        let number = schedule.ready.swap_remove(index);
        let Some(task) = schedule.tasks.get(&number).cloned() else { return };
        if let Some(paused) = schedule.paused.get_mut(&task.process) {
            return paused.push(number);
        }
        drop(schedule);
        task.is_ready.store(false, Ordering::Relaxed);
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
}

impl State {
    /// Drops all tasks, or those of one process. A task that is dropped may begin others.
    fn drop_tasks(&self, of: Option<u64>) {
        loop {
            let mut schedule = self.schedule.lock();
            let all = mem::take(&mut schedule.tasks);
            let is_dropped = |task: &Task| of.is_none_or(|process| task.process == process);
            let (dropped, kept) = all.into_iter().partition(|(_, task)| is_dropped(task));
            schedule.tasks = kept;
            drop(schedule);
            let dropped: BTreeMap<u64, Arc<Task>> = dropped;
            if dropped.is_empty() {
                return;
            }
            for task in dropped.into_values() {
                let future = task.future.lock().take();
                drop(future);
            }
        }
    }
}

impl Process {
    /// Returns the environment of the process.
    pub fn environment(&self) -> Environment {
        Environment::new(self.clone(), self.clone(), self.clone())
    }

    /// Ends the process: drops its tasks. It begins no more. A task of the process itself must not
    /// call this.
    pub fn kill(&self) {
        self.resume();
        self.state.schedule.lock().killed.insert(self.number);
        self.state.drop_tasks(Some(self.number));
    }

    /// Runs no task of the process until [`resume`](Self::resume), as SIGSTOP does. Time goes on.
    pub fn pause(&self) {
        self.state.schedule.lock().paused.entry(self.number).or_default();
    }

    /// Continues the process, if it is paused.
    pub fn resume(&self) {
        let mut schedule = self.state.schedule.lock();
        let ready = schedule.paused.remove(&self.number).unwrap_or_default();
        schedule.ready.extend(ready);
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::Relaxed) {
            self.state.schedule.lock().ready.push(self.number);
        }
    }
}

impl Clock for Process {
    fn now(&self) -> Instant {
        self.state.begin + self.state.schedule.lock().now
    }

    fn unix_millis(&self) -> u64 {
        let schedule = self.state.schedule.lock();
        let passed = u64::try_from(schedule.now.as_millis()).expect("a simulation is short");
        (BEGIN + passed).saturating_add_signed(schedule.wall_clock_offset)
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let at = at.saturating_duration_since(self.state.begin);
        Box::pin(Sleep { state: Arc::clone(&self.state), at, key: None })
    }
}

impl Random for Process {
    fn fill(&self, bytes: &mut [u8]) {
        self.state.random.lock().fill_bytes(bytes);
    }
}

impl Spawn for Process {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        let mut schedule = self.state.schedule.lock();
        if schedule.killed.contains(&self.number) {
            // Dropping the future may use the schedule.
            drop(schedule);
            return drop(future);
        }
        let number = schedule.next_number();
        let task = Task {
            number,
            process: self.number,
            state: Arc::clone(&self.state),
            future: Mutex::new(Some(future)),
            is_ready: AtomicBool::new(true),
        };
        schedule.tasks.insert(number, Arc::new(task));
        schedule.ready.push(number);
    }

    fn has_waiting_tasks(&self) -> bool {
        !self.state.schedule.lock().ready.is_empty()
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").finish_non_exhaustive()
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Schedule {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

struct Sleep {
    state: Arc<State>,
    at: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let state = Arc::clone(&self.state);
        let mut schedule = state.schedule.lock();
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
            let waker = self.state.schedule.lock().sleeping.remove(&key);
            drop(waker);
        }
    }
}
