//! The tasks of a tested server. They are counted while they can run, so that a test can wait until
//! nothing is left to do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use backwire_environment::{Random, Spawn};
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use rand::RngCore;
use tokio::runtime::Handle;
use tokio::task::yield_now;

/// How often all other tasks of the runtime get a turn before the server counts as idle. Some tasks
/// are not counted: those of clients, of Socket.IO, and of the program that is tested.
const IDLE_TURNS: usize = 24;

/// The same on the way to another time, where there is more to come.
const IDLE_TURNS_ON_THE_WAY: usize = 6;

/// Runs tasks in the runtime of the test. Clones share the count.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    runtime: Handle,
    /// How many tasks can run or are running.
    runnable: Arc<AtomicUsize>,
}

/// The random numbers of the operating system.
pub(crate) struct SystemRandom;

impl Tasks {
    /// Creates the tasks of the current runtime.
    pub(crate) fn new() -> Self {
        Self { runtime: Handle::current(), runnable: Arc::default() }
    }

    /// Resolves when no task has anything to do.
    pub(crate) async fn settle(&self) {
        self.settle_for(IDLE_TURNS).await;
    }

    /// Resolves when the tasks that are counted have nothing to do.
    pub(crate) async fn settle_on_the_way(&self) {
        self.settle_for(IDLE_TURNS_ON_THE_WAY).await;
    }

    async fn settle_for(&self, turns: usize) {
        let mut idle_turns = 0;
        while idle_turns < turns {
            yield_now().await;
            let is_idle = self.runnable.load(Ordering::SeqCst) == 0;
            idle_turns = if is_idle { idle_turns + 1 } else { 0 };
        }
    }
}

impl Spawn for Tasks {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        let state = Mutex::new(State { is_woken: false, has_ended: false });
        let (runnable, waker) = (Arc::clone(&self.runnable), AtomicWaker::new());
        let task = Arc::new(Task { runnable, waker, state });
        task.count();
        drop(self.runtime.spawn(Counted { future, task }));
    }

    fn has_waiting_tasks(&self) -> bool {
        self.runtime.metrics().global_queue_depth() > 0
    }
}

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// A future that is counted while it can run.
struct Counted {
    future: BoxFuture<'static, ()>,
    task: Arc<Task>,
}

struct Task {
    runnable: Arc<AtomicUsize>,
    waker: AtomicWaker,
    state: Mutex<State>,
}

struct State {
    /// Whether the task is counted because it is to run.
    is_woken: bool,
    has_ended: bool,
}

impl Task {
    /// Counts the task, because it is to run.
    fn count(&self) {
        let mut state = self.state.lock();
        if !state.is_woken && !state.has_ended {
            state.is_woken = true;
            self.runnable.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Ends what [`count`](Self::count) has begun.
    fn discount(&self, has_ended: bool) {
        let mut state = self.state.lock();
        state.has_ended |= has_ended;
        if std::mem::take(&mut state.is_woken) {
            self.runnable.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.count();
        self.waker.wake();
    }
}

/// Counts a task while it runs.
struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn begin(runnable: &'a AtomicUsize) -> Self {
        runnable.fetch_add(1, Ordering::SeqCst);
        Self(runnable)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = Arc::clone(&self.task);
        task.waker.register(cx.waker());
        let _running = Running::begin(&task.runnable);
        task.discount(false);
        let waker = Waker::from(Arc::clone(&task));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.task.discount(true);
    }
}
