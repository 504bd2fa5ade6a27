//! Waits for states that no event announces: those of files, of other processes, and of servers
//! whose clients can only ask again. Everything else is waited for by its event.

use std::thread;
use std::time::{Duration, Instant};

/// The time between two checks.
const INTERVAL: Duration = Duration::from_millis(10);

/// Checks again and again until there is a result, and returns it. Fails the test after the time.
pub(crate) async fn poll<T>(
    what: &str,
    timeout: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begin = Instant::now();
    loop {
        if let Some(result) = check().await {
            return result;
        }
        assert!(begin.elapsed() < timeout, "after {timeout:?}, this is not true: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Does the same outside of a runtime.
pub(crate) fn poll_blocking<T>(
    what: &str,
    timeout: Duration,
    mut check: impl FnMut() -> Option<T>,
) -> T {
    let begin = Instant::now();
    loop {
        if let Some(result) = check() {
            return result;
        }
        assert!(begin.elapsed() < timeout, "after {timeout:?}, this is not true: {what}");
        thread::sleep(INTERVAL);
    }
}
