//! The memory of the changes that reconnecting clients have missed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::routing::get;
use backwire::engine::Error;
use backwire::settings::{Limit, Store};
use backwire::{Context, Server};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::client::{RUNTIME, Socket, builder, position, socket_of, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};
use crate::limits_reached::{CapturedLog, count, limits};

/// The size of each record in bytes.
const SIZE: usize = 50_000;

/// Returns the bytes of changes that resumes hold, as the server reports them.
async fn held(server: &Server) -> usize {
    let metrics = reqwest::get(format!("http://{}/metrics", server.addr())).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("backwire_resume_bytes "));
    line.unwrap_or_else(|| panic!("no such gauge in {metrics}")).parse().unwrap()
}

/// Whether an answer has changes. Otherwise it is *resync*.
fn is_known(answer: &Value) -> bool {
    answer.as_array().unwrap().len() == 4
}

#[tokio::test]
async fn records_with_large_histories_in_one_resume_are_limited_together() {
    const RECORDS: usize = 30;
    const VERSIONS: usize = 8;
    let log = CapturedLog::start();
    let folder = tempfile::tempdir().unwrap();
    let limits = limits(|limits| {
        limits.resume_bytes = 3 << 20;
        limits.total_resume_bytes = 16 << 20;
    });
    let store = Store::Sqlite(folder.path().join("backwire.db"));
    let server = start(builder().limits(limits).store(store)).await;
    let mut author = Socket::runtime(&server).await;
    for _ in 0..RECORDS {
        author.post("/todo", json!({ "text": "x".repeat(SIZE) })).await;
    }
    // The answers are small, and each change contains the large text twice.
    for version in 0..VERSIONS {
        for id in 1..=RECORDS {
            author.put(&format!("/todo/{id}"), json!({ "n": version })).await;
        }
    }
    let (epoch, head) = position(&author.get("/todo/1").await);
    let rooms: Vec<_> =
        (1..=RECORDS).map(|id| json!([format!("todo/{id}"), epoch, RECORDS])).collect();
    let attack = json!(["resume", rooms]);
    let answers = author.ask(attack.clone()).await;
    let known = answers.as_array().unwrap().iter().filter(|it| is_known(it)).count();
    // Each known room has 16 texts in memory.
    assert!(known > 0 && known * 2 * VERSIONS * SIZE <= 3 << 20, "{known} rooms");
    assert_eq!(count(&server, Limit::ResumeBytes).await, 1);
    assert!(log.lines_of(Limit::ResumeBytes)[0].contains("client=127.0.0.1"));
    // The client has joined the rooms that it reads again.
    author.put(&format!("/todo/{RECORDS}"), json!({ "n": "last" })).await;
    let attackers = join_all((0..20).map(async |number| {
        let headers = [("x-forwarded-for", &*format!("10.0.0.{}", number % 4))];
        let mut socket = Socket::connect_with(&server, "", &headers, RUNTIME).await;
        socket.ask(attack.clone()).await.as_array().unwrap().len()
    }));
    assert_eq!(attackers.await, [RECORDS; 20]);
    assert_eq!(held(&server).await, 0);
    // A client that has missed little gets its changes.
    let mut honest = Socket::runtime(&server).await;
    let missed = honest.ask(json!(["resume", [["todo/1", epoch, head - 1]]])).await;
    assert!(is_known(&missed[0]), "{missed}");
    server.shutdown().await;
}

/// Counts reads of logs, and blocks them.
struct Reads {
    begun: AtomicUsize,
    gate: Semaphore,
}

#[async_trait]
impl Interceptor for Reads {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        if let Call::Since(_) = call {
            self.begun.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
        }
        Ok(())
    }
}

#[tokio::test]
async fn resume_of_a_disconnected_socket_reads_no_more() {
    let reads = Arc::new(Reads { begun: AtomicUsize::new(0), gate: Semaphore::new(0) });
    let (sender, client) = tokio::sync::oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let me = get(async move |cx: Context| {
        let _ = sender.lock().unwrap().take().unwrap().send(socket_of(&cx));
    });
    let server = start(builder().engine(intercepted_by(&reads)).route("/me", me)).await;
    let mut gone = Socket::runtime(&server).await;
    gone.get("/me").await;
    let client = client.await.unwrap();
    let mut author = Socket::runtime(&server).await;
    let list: Value = (0..30).map(|n| json!({ "n": n })).collect();
    author.post("/todo", list).await;
    let (epoch, _) = position(&author.post("/todo", json!({})).await);
    let rooms: Vec<_> = (1..=30).map(|id| json!([format!("todo/{id}"), epoch, 0])).collect();
    gone.send(format!("427{}", json!(["resume", rooms]))).await;
    while reads.begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    gone.send("41").await;
    while client.is_connected() {
        tokio::task::yield_now().await;
    }
    reads.gate.add_permits(1000);
    let missed = author.ask(json!(["resume", [["todo/1", epoch, 0]]])).await;
    assert!(is_known(&missed[0]));
    assert_eq!(reads.begun.load(Ordering::SeqCst), 2);
    drop(client);
    server.shutdown().await;
}
