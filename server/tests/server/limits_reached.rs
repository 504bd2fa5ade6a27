//! Metrics and log lines for reached limits.

use std::io;
use std::sync::{Arc, Mutex};

use backwire::Server;
use backwire::settings::{ApiKey, Limit, Limits, Settings, Store};
use serde_json::json;
use tracing::subscriber::{DefaultGuard, set_default};

use crate::client::{builder, start};

/// Returns the default limits with some changes.
pub fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    set(&mut limits);
    limits
}

/// Returns how often a limit was reached, from the metrics of the server.
pub async fn count(server: &Server, limit: Limit) -> u64 {
    let metrics = reqwest::get(format!("http://{}/metrics", server.addr())).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let name = format!("backwire_limit_reached_total{{limit=\"{}\"}} ", limit.name());
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

/// Captures the lines that this thread logs at `warn` and above, until it is dropped. The servers
/// of a test run on its thread, unless the test uses several threads.
pub struct CapturedLog {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl CapturedLog {
    pub fn start() -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || writer.clone())
            .finish();
        Self { lines: lines.0, _guard: set_default(subscriber) }
    }

    /// Returns all lines.
    pub fn text(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }

    /// Returns the lines that name this limit.
    pub fn lines_of(&self, limit: Limit) -> Vec<String> {
        let text = self.text();
        let name = format!("limit=\"{}\"", limit.name());
        text.lines().filter(|line| line.contains(&name)).map(str::to_owned).collect()
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn post_too_much(server: &Server, forwarded: &str) {
    let url = format!("http://{}/todo", server.addr());
    let request = reqwest::Client::new().post(url).header("x-forwarded-for", forwarded);
    let reply = request.json(&json!({ "title": "x".repeat(2 << 20) })).send().await.unwrap();
    assert_eq!(reply.status(), 413);
}

#[tokio::test]
async fn reached_limit_is_counted_each_time_and_logged_once_per_client() {
    let log = CapturedLog::start();
    let server = start(builder()).await;
    assert_eq!(count(&server, Limit::BodyLimit).await, 0);
    for client in ["1.2.3.4", "1.2.3.4", "6.6.6.6, 5.6.7.8"] {
        post_too_much(&server, client).await;
    }
    assert_eq!(count(&server, Limit::BodyLimit).await, 3);
    let lines = log.lines_of(Limit::BodyLimit);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("client=1.2.3.4"), "{lines:?}");
    assert!(lines[1].contains("client=5.6.7.8 suppressed=1"), "{lines:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn address_forwarded_by_an_untrusted_proxy_is_ignored() {
    let log = CapturedLog::start();
    let settings = Settings {
        port: 0,
        store: Store::Memory,
        trusted_proxies: vec!["private".parse().unwrap()],
        ..Settings::default()
    };
    let server = start(builder().settings(settings)).await;
    post_too_much(&server, "1.2.3.4").await;
    let lines = log.lines_of(Limit::BodyLimit);
    assert!(lines[0].contains("client=127.0.0.1"), "{lines:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn metrics_are_available_to_local_callers_and_with_the_key() {
    let key: ApiKey = "secret".parse().unwrap();
    let server = start(builder().api_key(key)).await;
    let status = async |key: &str, forwarded: &str| {
        let url = format!("http://{}/metrics", server.addr());
        let request = reqwest::Client::new().get(url).header("authorization", key);
        request.header("x-forwarded-for", forwarded).send().await.unwrap().status()
    };
    assert_eq!(status("Bearer secret", "1.2.3.4").await, 200);
    assert_eq!(status("Bearer other", "127.0.0.1").await, 401);
    let url = format!("http://{}/metrics", server.addr());
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);
    let remote = reqwest::Client::new().get(&url).header("x-forwarded-for", "1.2.3.4");
    assert_eq!(remote.send().await.unwrap().status(), 401);
    server.shutdown().await;
}
