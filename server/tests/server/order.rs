//! The order of requests that one connection has in flight.

use std::sync::Arc;

use async_trait::async_trait;
use axum::routing::{get, post};
use backwire::change::{Attributes, Resource};
use backwire::criteria::Criteria;
use backwire::engine::Error;
use backwire::server::Builder;
use backwire::settings::Store;
use backwire::write::Action;
use backwire::{Context, Server};
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify};
use tokio::task::yield_now;

use crate::client::{Socket, builder, position, refusal, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

/// Returns a builder that allows as many requests in flight as these tests send.
fn patient() -> Builder {
    builder().in_flight(4096).unread(4096)
}

/// Runs a story for each engine.
async fn on_every_engine(builder: impl Fn() -> Builder, story: impl AsyncFn(&Server)) {
    let folder = tempfile::tempdir().unwrap();
    for store in [Store::Memory, Store::Sqlite(folder.path().join("backwire.db"))] {
        let server = start(builder().store(store)).await;
        story(&server).await;
        server.shutdown().await;
    }
}

/// Sends all events at once and returns their acks, which arrive in the same order.
async fn all_in_flight(socket: &mut Socket, events: &[Value]) -> Vec<Value> {
    for (number, event) in (1..).zip(events) {
        socket.feed(format!("42{number}{event}")).await;
    }
    socket.flush().await;
    let mut acks = Vec::new();
    while acks.len() < events.len() {
        let frame = socket.next_frame().await;
        if let Some(ack) = frame.strip_prefix("43") {
            let ack = ack.strip_prefix(&(acks.len() + 1).to_string()).expect("it is its turn");
            let [ack]: [Value; 1] = serde_json::from_str(ack).unwrap();
            acks.push(ack);
        }
    }
    acks
}

fn create(number: usize) -> Value {
    json!(["post", { "url": "/todo", "data": { "number": number } }])
}

fn update(number: usize) -> Value {
    json!(["put", { "url": "/todo/1", "data": { "number": number } }])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_in_flight_are_committed_in_the_order_they_were_sent() {
    on_every_engine(patient, async |server| {
        let mut socket = Socket::runtime(server).await;
        let write = |number| if number % 2 == 1 { create(number) } else { update(number) };
        let acks = all_in_flight(&mut socket, &Vec::from_iter((1..=2000).map(write))).await;
        for (number, ack) in (1..).zip(acks) {
            assert_eq!((position(&ack).1, &ack["body"]["number"]), (number, &json!(number)));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn read_sees_exactly_the_writes_sent_before_it() {
    on_every_engine(patient, async |server| {
        let mut socket = Socket::runtime(server).await;
        let event = |number| match number {
            1 => create(1),
            _ if number % 7 == 0 => json!(["get", { "url": "/todo/1" }]),
            _ => update(number),
        };
        let acks = all_in_flight(&mut socket, &Vec::from_iter((1..=1000).map(event))).await;
        let mut writes = 0;
        for (number, ack) in (1..).zip(acks) {
            let is_read = number % 7 == 0;
            writes += u64::from(!is_read);
            let seen = if is_read { number - 1 } else { number };
            assert_eq!((position(&ack).1, &ack["body"]["number"]), (writes, &json!(seen)));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn custom_route_runs_exclusively() {
    // This route is slow to write, and continues after that.
    let twice = post(async |cx: Context| {
        let todo = || Resource::parse("todo").unwrap();
        let before = cx.engine().find(&todo(), &Criteria::default()).await.unwrap().value.len();
        for _ in 0..2 {
            yield_now().await;
            cx.commit(todo(), Action::Create(Attributes::new())).await.unwrap();
        }
        yield_now().await;
        let after = cx.engine().find(&todo(), &Criteria::default()).await.unwrap().value.len();
        axum::Json(json!([before, after]))
    });
    on_every_engine(
        || patient().route("/twice", twice.clone()),
        async |server| {
            let mut socket = Socket::runtime(server).await;
            let twice = json!(["post", { "url": "/twice" }]);
            let events =
                Vec::from_iter((0..60).map(|n| if n % 3 == 2 { twice.clone() } else { create(n) }));
            let acks = all_in_flight(&mut socket, &events).await;
            // Two of three events create one record each, and the last creates two.
            for (round, three) in acks.chunks(3).enumerate() {
                assert_eq!(three[0]["body"]["id"], round * 4 + 1);
                assert_eq!(three[1]["body"]["id"], round * 4 + 2);
                assert_eq!(three[2]["body"], json!([round * 4 + 2, round * 4 + 4]));
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn repeats_in_flight_get_the_outcome_of_the_first() {
    on_every_engine(patient, async |server| {
        let mut socket = Socket::runtime(server).await;
        let keyed = |key: usize| {
            let headers = json!({ "idempotency-key": format!("key-{key}") });
            json!(["post", { "url": "/todo", "headers": headers, "data": { "number": key } }])
        };
        let events = Vec::from_iter((0..200).map(|number| keyed(number / 2)));
        let acks = all_in_flight(&mut socket, &events).await;
        for (number, pair) in (1..).zip(acks.chunks(2)) {
            assert_eq!(pair[0], pair[1]);
            assert_eq!((position(&pair[0]).1, &pair[0]["body"]["id"]), (number, &json!(number)));
        }
        assert_eq!(socket.get("/todo").await["body"].as_array().unwrap().len(), 100);
    })
    .await;
}

/// Blocks commits until two writers wait.
struct Pairwise(Barrier);

#[async_trait]
impl Interceptor for Pairwise {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        if matches!(call, Call::Commit(_)) {
            self.0.wait().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn writes_in_flight_wait_for_the_engine_together() {
    let pairwise = intercepted_by(&Arc::new(Pairwise(Barrier::new(2))));
    let gate = Arc::new(Notify::new());
    let wait = gate.clone();
    let gated = post(async move |_: Context| wait.notified().await);
    let server = start(builder().in_flight(3).route("/gate", gated).engine(pairwise)).await;
    let mut socket = Socket::runtime(&server).await;
    let events = [json!(["post", { "url": "/gate" }]), create(1), create(2), create(3)];
    for (number, event) in (1..).zip(&events) {
        socket.send(format!("42{number}{event}")).await;
    }
    // The last write is unpaired, so the others have arrived.
    assert_eq!(refusal(&socket.ack(4).await), json!([429, "E_TOO_MANY"]));
    gate.notify_one();
    assert_eq!(socket.ack(2).await["statusCode"], 201);
    assert_eq!(socket.ack(3).await["statusCode"], 201);
    server.shutdown().await;
}

#[tokio::test]
async fn probe_is_answered_before_the_requests_in_progress() {
    let end = Arc::new(Notify::new());
    let is_over = Arc::clone(&end);
    let slow = get(async move || is_over.notified().await);
    let server = start(builder().route("/slow", slow)).await;
    let mut socket = Socket::runtime(&server).await;
    socket.feed(r#"421["get",{"url":"/slow"}]"#.to_owned()).await;
    socket.feed(r#"420["resume",[]]"#.to_owned()).await;
    socket.flush().await;
    assert_eq!(socket.next_frame().await, "430[[]]");
    end.notify_one();
    assert!(socket.next_frame().await.starts_with("431["));
    server.shutdown().await;
}
