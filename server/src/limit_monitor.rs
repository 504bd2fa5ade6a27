//! Counts the limits that clients reach, and logs them.
//!
//! Clients decide how often a limit is reached, so the log is bounded: for each limit, it has at
//! most one line per client and ten lines in all in a period.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use backwire_engine::Environment;
use backwire_environment::HashSet;
use http::Extensions;
use parking_lot::Mutex;

use crate::http::address::client_address;
use crate::settings::Limit;

/// After this time, a client is logged again.
const PERIOD: Duration = Duration::from_secs(60);

/// Log lines about one limit in a period.
const MAX_LINES: usize = 10;

/// Counts how often each limit was reached since the start, and bounds the log lines about it.
#[derive(Debug)]
pub(crate) struct LimitMonitor {
    environment: Environment,
    limits: Vec<Reached>,
}

#[derive(Debug, Default)]
struct Reached {
    count: AtomicU64,
    log: Mutex<Log>,
}

/// The lines of one limit in the current period.
#[derive(Debug, Default)]
struct Log {
    begin: Option<Instant>,
    clients: HashSet<Option<IpAddr>>,
    /// How often the limit was reached without a line.
    suppressed: u64,
}

impl LimitMonitor {
    pub(crate) fn new(environment: Environment) -> Self {
        Self { environment, limits: Limit::ALL.iter().map(|_| Reached::default()).collect() }
    }

    /// Counts a limit, and logs the client that has reached it. `client` is its
    /// [address](crate::http::address), if the server knows it.
    pub(crate) fn reached(&self, limit: Limit, client: Option<IpAddr>) {
        let reached = &self.limits[limit as usize];
        reached.count.fetch_add(1, Ordering::Relaxed);
        let Some(suppressed) = reached.log.lock().line(client, self.environment.now()) else {
            return;
        };
        let client = client.map_or_else(|| "unknown".to_owned(), |client| client.to_string());
        tracing::warn!(
            limit = limit.name(),
            %client,
            suppressed,
            "a client reached a limit (see docs/reference/limits.md)"
        );
    }

    /// Counts and logs the limit of a refusal, which is among the extensions of the response.
    pub(crate) fn refused(&self, response: &Extensions, client: Option<IpAddr>) {
        if let Some(limit) = response.get() {
            self.reached(*limit, client);
        }
    }

    /// Returns how often each limit was reached since the start.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Limit, u64)> {
        let counts = self.limits.iter().map(|reached| reached.count.load(Ordering::Relaxed));
        Limit::ALL.iter().copied().zip(counts)
    }
}

/// Middleware that counts the limits that requests over HTTP reach.
pub(crate) async fn watch(
    State(monitor): State<Arc<LimitMonitor>>,
    request: Request,
    next: Next,
) -> Response {
    let client = client_address(request.extensions());
    let response = next.run(request).await;
    monitor.refused(response.extensions(), client);
    response
}

#[cfg(test)]
impl Default for LimitMonitor {
    fn default() -> Self {
        Self::new(Environment::tokio())
    }
}

impl Log {
    /// Returns `None` if this client gets no line now, and otherwise how often the limit was
    /// reached without a line since the last one.
    fn line(&mut self, client: Option<IpAddr>, now: Instant) -> Option<u64> {
        if self.begin.is_none_or(|begin| now - begin >= PERIOD) {
            self.begin = Some(now);
            self.clients.clear();
        }
        if self.clients.len() < MAX_LINES && self.clients.insert(client) {
            return Some(std::mem::take(&mut self.suppressed));
        }
        self.suppressed += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> Option<IpAddr> {
        Some([10, 0, 0, number].into())
    }

    #[test]
    fn period_has_one_line_per_client_and_at_most_ten_lines() {
        let (mut log, now) = (Log::default(), Instant::now());
        assert_eq!(log.line(client(0), now), Some(0));
        assert_eq!(log.line(client(0), now), None);
        let lines = (0..100).filter(|number| log.line(client(*number), now).is_some());
        assert_eq!(lines.count(), MAX_LINES - 1);
        // Since the last line: clients 10 to 99.
        assert_eq!(log.line(client(0), now + PERIOD), Some(90));
    }

    #[test]
    fn each_limit_has_its_own_count() {
        let monitor = LimitMonitor::default();
        monitor.reached(Limit::BodyLimit, client(1));
        monitor.reached(Limit::BodyLimit, None);
        let counts: Vec<_> = monitor.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [(Limit::BodyLimit, 2)]);
    }
}
