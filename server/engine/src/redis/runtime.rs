//! The edge to the runtime and the machine: tasks, time, random numbers and files. No other file of
//! this engine uses them.
//! Redis is reached over a network, so this engine is not simulated and has no environment.
#![expect(clippy::disallowed_methods, reason = "this is an edge")]

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use backwire_environment::Environment;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task.
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(tokio::spawn(task))
}

/// Starts a task that ends by itself.
pub(super) fn spawn_detached(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Starts a task that ends by itself, if the caller is in a runtime.
pub(super) fn try_spawn(task: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(task);
    }
}

/// Waits for a while.
pub(super) async fn pause(time: Duration) {
    sleep(time).await;
}

/// Waits for a future; `None` if it takes longer than the deadline.
pub(super) async fn within<T>(deadline: Duration, future: impl Future<Output = T>) -> Option<T> {
    timeout(deadline, future).await.ok()
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct Moment(Instant);

impl Moment {
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Returns the time in Unix milliseconds.
pub(super) fn unix_millis() -> u64 {
    Environment::tokio().unix_millis()
}

/// Reads a file.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

/// Draws a secret.
pub(super) fn draw_secret() -> [u8; 32] {
    Environment::tokio().random_bytes()
}

/// Draws an epoch.
pub(super) fn draw_epoch() -> u64 {
    crate::draw_epoch(&Environment::tokio())
}
