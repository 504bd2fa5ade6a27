//! The tasks of a tested server. Tasks that are runnable are counted, so that a test can wait until
//! the server is idle.

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

/// The number of turns that other tasks of the runtime get before the server counts as idle. The
/// tasks of clients, of Socket.IO and of the tested program are not counted.
const IDLE_TURNS: usize = 24;

/// The same number between two timers, while the clock moves. Fewer turns are enough, because
/// `settle` follows at the end.
const IDLE_TURNS_BETWEEN_TIMERS: usize = 6;

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
    /// Creates an instance for the current runtime.
    pub(crate) fn new() -> Self {
        Self { runtime: Handle::current(), runnable: Arc::default() }
    }

    /// Resolves when no counted task is runnable and all other tasks have had their turns.
    pub(crate) async fn settle(&self) {
        self.settle_for(IDLE_TURNS).await;
    }

    /// Resolves when no counted task is runnable. Other tasks get fewer turns, so this is only for
    /// the timers before the end of an `advance`.
    pub(crate) async fn settle_on_the_way(&self) {
        self.settle_for(IDLE_TURNS_BETWEEN_TIMERS).await;
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
    /// Whether the task is counted because it was woken and does not run yet.
    is_woken: bool,
    has_ended: bool,
}

impl Task {
    /// Counts the task as runnable, unless it is counted already or has ended.
    fn count(&self) {
        let mut state = self.state.lock();
        if !state.is_woken && !state.has_ended {
            state.is_woken = true;
            self.runnable.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Undoes [`count`](Self::count), when the task runs or has ended.
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
