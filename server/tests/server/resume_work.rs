//! Limits of the work that a reconnecting client causes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::routing::get;
use backwire::Context;
use backwire::engine::Error;
use backwire::settings::{Limit, Limits};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::client::{Socket, builder, position, socket_of, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};
use crate::limits_reached::{CapturedLog, count};

/// Counts reads, and blocks reads of lists.
struct Reads {
    logs: AtomicUsize,
    lists: AtomicUsize,
    gate: Semaphore,
}

impl Reads {
    fn new(permits: usize) -> Arc<Self> {
        let (logs, lists) = Default::default();
        Arc::new(Self { logs, lists, gate: Semaphore::new(permits) })
    }
}

#[async_trait]
impl Interceptor for Reads {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        match call {
            Call::Since(_) => drop(self.logs.fetch_add(1, Ordering::SeqCst)),
            Call::Find => {
                self.lists.fetch_add(1, Ordering::SeqCst);
                self.gate.acquire().await.unwrap().forget();
            }
            _ => {}
        }
        Ok(())
    }
}

#[tokio::test]
async fn resume_reads_the_log_once_for_all_rooms_and_repeats() {
    let reads = Reads::new(0);
    let mut limits = Limits::default();
    limits.rooms_per_connection = 30_000;
    let server = start(builder().limits(limits).engine(intercepted_by(&reads))).await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let list: Value = (0..500).map(|n| json!({ "n": n })).collect();
    a.post("/todo", list).await;
    let (epoch, _) = position(&a.post("/todo", json!({ "n": 500 })).await);
    let filter =
        |n: usize| format!(r#"todo?{{"Attribute":["n",{{"OneOf":[{}]}}]}}"#, 1000 + n % 90);
    let mut rooms: Vec<_> = (0..20_000).map(|n| json!([filter(n), epoch, 0])).collect();
    rooms.extend((0..5_000).map(|id| json!([format!("todo/{id}"), epoch, 0])));
    rooms.push(json!(["todo", epoch, 500]));
    reads.logs.store(0, Ordering::SeqCst);
    let missed = b.ask(json!(["resume", rooms])).await;
    assert_eq!(reads.logs.load(Ordering::SeqCst), 1);
    assert_eq!(missed[19_999][3], json!([]));
    assert_eq!(missed[20_001][3][0][1], 1);
    assert_eq!(missed[25_000][3][0][3]["n"], 500);
    server.shutdown().await;
}

#[tokio::test]
async fn metrics_have_the_resumes_and_the_changes_that_were_read_for_them() {
    let server = start(builder()).await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    a.post("/todo", json!([{ "n": 0 }, { "n": 1 }])).await;
    let (epoch, _) = position(&a.post("/todo", json!({ "n": 2 })).await);
    // Each room has two or three of the changes, and three are read.
    b.ask(json!(["resume", [["todo", epoch, 0], ["todo/1", epoch, 0], ["todo", epoch, 1]]])).await;
    let metrics = reqwest::get(format!("http://{}/metrics", server.addr())).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in ["backwire_resumes_total 1", "backwire_resume_changes_read_total 3"] {
        assert!(metrics.lines().any(|it| it == line), "{line} in {metrics}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn work_of_a_resume_is_limited_and_the_rest_is_resynced() {
    let log = CapturedLog::start();
    let mut limits = Limits::default();
    limits.resume_work = 1000;
    let server = start(builder().limits(limits)).await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let list: Value = (0..300).map(|n| json!({ "n": n })).collect();
    a.post("/todo", list).await;
    let (epoch, head) = position(&a.get("/todo/1").await);
    let filter = |n: usize| format!(r#"todo?{{"Attribute":["n",{{"OneOf":[{}.0]}}]}}"#, 1000 + n);
    let rooms: Vec<_> = (0..5).map(|n| json!([filter(n), epoch, 0])).collect();
    let missed = b.ask(json!(["resume", rooms])).await;
    assert_eq!(missed[2], json!([filter(2), epoch, head, []]));
    assert_eq!(missed[3], json!([filter(3), null]));
    assert_eq!(missed[4], json!([filter(4), null]));
    assert_eq!(count(&server, Limit::ResumeWork).await, 1);
    assert!(log.lines_of(Limit::ResumeWork)[0].contains("client=127.0.0.1"));
    // The connection has joined the rooms of the filters nevertheless.
    a.post("/todo", json!({ "n": 1004 })).await;
    assert_eq!(b.event().await[1], json!(filter(4)));
    server.shutdown().await;
}

#[tokio::test]
async fn resume_over_the_room_limit_is_answered_without_reads() {
    let log = CapturedLog::start();
    let reads = Reads::new(0);
    let mut limits = Limits::default();
    limits.rooms_per_connection = 3;
    let server = start(builder().limits(limits).engine(intercepted_by(&reads))).await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let (epoch, head) = position(&a.post("/todo", json!({ "n": 0 })).await);
    let missed_of = |count: usize| vec![json!(["todo", epoch, head]); count];
    let missed = b.ask(json!(["resume", missed_of(3)])).await;
    assert_eq!(
        missed,
        json!([["todo", epoch, head, []], ["todo", epoch, head, []], ["todo", epoch, head, []]])
    );
    reads.logs.store(0, Ordering::SeqCst);
    let missed = b.ask(json!(["resume", missed_of(4)])).await;
    assert_eq!(missed, json!([["todo", null], ["todo", null], ["todo", null], ["todo", null]]));
    assert_eq!(reads.logs.load(Ordering::SeqCst), 0);
    assert_eq!(count(&server, Limit::RoomsPerConnection).await, 1);
    assert!(log.lines_of(Limit::RoomsPerConnection)[0].contains("client=127.0.0.1"));
    server.shutdown().await;
}

#[tokio::test]
async fn queued_reads_of_a_disconnected_socket_are_dropped_and_writes_committed() {
    let reads = Reads::new(0);
    let (met, client) = tokio::sync::oneshot::channel();
    let met = Arc::new(Mutex::new(Some(met)));
    let me = get(async move |cx: Context| {
        let _ = met.lock().unwrap().take().unwrap().send(socket_of(&cx));
    });
    let server = start(builder().engine(intercepted_by(&reads)).route("/me", me)).await;
    let mut gone = Socket::runtime(&server).await;
    gone.get("/me").await;
    let client = client.await.unwrap();
    for _ in 0..100 {
        gone.send(r#"421["get",{"url":"/todo"}]"#).await;
    }
    gone.send(r#"422["post",{"url":"/todo","data":{"title":"Milk"}}]"#).await;
    // The server has received all of them when it has handled the disconnect that follows them.
    gone.send("41").await;
    while client.is_connected() || reads.lists.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    reads.gate.add_permits(1);
    let mut other = Socket::runtime(&server).await;
    while other.get("/todo/1").await["statusCode"] != 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(reads.lists.load(Ordering::SeqCst), 1);
    drop(client);
    server.shutdown().await;
}
