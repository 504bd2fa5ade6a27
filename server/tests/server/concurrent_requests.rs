//! Requests of one socket for routes of the user that do not wait for each other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query};
use axum::routing::{MethodRouter, any, get, post};
use backwire::Context;
use backwire::change::{Attributes, Resource};
use backwire::criteria::Criteria;
use backwire::write::Action;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::client::{Socket, builder, start};

/// Handlers that wait until the test lets them go on.
#[derive(Clone, Default)]
struct Gates(Arc<std::sync::Mutex<BTreeMap<u64, Arc<Semaphore>>>>);

impl Gates {
    fn of(&self, number: u64) -> Arc<Semaphore> {
        let mut gates = self.0.lock().unwrap();
        Arc::clone(gates.entry(number).or_insert_with(|| Arc::new(Semaphore::new(0))))
    }

    fn open(&self, number: u64) {
        self.of(number).add_permits(1);
    }

    /// Returns handlers that report that they have begun, and then wait for the gate `n`.
    fn handler(&self) -> (MethodRouter, mpsc::UnboundedReceiver<u64>) {
        let (begun, receiver) = mpsc::unbounded_channel();
        let gates = self.clone();
        let handler = async move |Path(number): Path<u64>| {
            begun.send(number).unwrap();
            gates.of(number).acquire().await.unwrap().forget();
            Json(number)
        };
        (any(handler), receiver)
    }
}

async fn send(socket: &mut Socket, ack: u64, method: &str, url: &str) {
    socket.send(format!(r#"42{ack}["{method}",{{"url":"{url}","data":{{}}}}]"#)).await;
}

/// Returns the id and the body of the next ack.
async fn next_ack(socket: &mut Socket) -> (u64, Value) {
    loop {
        let frame = socket.next_frame().await;
        let Some(ack) = frame.strip_prefix("43") else { continue };
        let (id, rest) = ack.split_at(ack.find('[').unwrap());
        let [answer]: [Value; 1] = serde_json::from_str(rest).unwrap();
        return (id.parse().unwrap(), answer["body"].clone());
    }
}

#[tokio::test]
async fn slow_reads_delay_neither_reads_nor_writes() {
    let gates = Gates::default();
    let (slow, mut begun) = gates.handler();
    let quick = get(|Query(query): Query<Value>| async { Json(query) });
    let server = start(builder().route("/slow/{n}", slow).route("/quick", quick)).await;
    let mut socket = Socket::runtime(&server).await;
    for number in 0..10 {
        send(&mut socket, number, "get", &format!("/slow/{number}")).await;
    }
    send(&mut socket, 10, "get", "/quick?x=1").await;
    send(&mut socket, 11, "post", "/todo").await;
    send(&mut socket, 12, "get", "/todo").await;
    assert_eq!(next_ack(&mut socket).await, (10, json!({ "x": "1" })));
    assert_eq!(next_ack(&mut socket).await.0, 11);
    let (ack, todos) = next_ack(&mut socket).await;
    assert_eq!((ack, todos.as_array().unwrap().len()), (12, 1));
    for number in [4, 0, 9] {
        gates.open(number);
        assert_eq!(next_ack(&mut socket).await, (number, json!(number)));
    }
    for number in 0..10 {
        assert_eq!(begun.recv().await, Some(number));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn handler_of_another_method_runs_alone_unless_it_is_concurrent() {
    let gates = Gates::default();
    let ((alone, _alone), (beside, _beside)) = (gates.handler(), gates.handler());
    let builder = builder().route("/alone/{n}", alone).concurrent_route("/beside/{n}", beside);
    let server = start(builder).await;
    let mut socket = Socket::runtime(&server).await;
    send(&mut socket, 1, "post", "/beside/1").await;
    send(&mut socket, 2, "post", "/alone/2").await;
    send(&mut socket, 3, "get", "/todo").await;
    gates.open(1);
    assert_eq!(next_ack(&mut socket).await.0, 1);
    // The read has to wait for the handler, and this one does not delay it.
    send(&mut socket, 4, "delete", "/beside/4").await;
    gates.open(4);
    gates.open(2);
    assert_eq!(next_ack(&mut socket).await.0, 2);
    assert_eq!(next_ack(&mut socket).await.0, 3);
    assert_eq!(next_ack(&mut socket).await.0, 4);
    server.shutdown().await;
}

#[tokio::test]
async fn slow_reads_beyond_the_limit_wait() {
    let gates = Gates::default();
    let (slow, mut begun) = gates.handler();
    let server = start(builder().route("/slow/{n}", slow)).await;
    let mut socket = Socket::runtime(&server).await;
    for number in 0..=16 {
        send(&mut socket, number, "get", &format!("/slow/{number}")).await;
    }
    // Another socket has its own limit.
    let mut other = Socket::runtime(&server).await;
    for number in 0..16 {
        assert_eq!(begun.recv().await, Some(number));
    }
    send(&mut other, 20, "get", "/slow/20").await;
    assert_eq!(begun.recv().await, Some(20));
    gates.open(7);
    assert_eq!(begun.recv().await, Some(16));
    assert_eq!(next_ack(&mut socket).await.0, 7);
    server.shutdown().await;
}

#[tokio::test]
async fn slow_reads_end_when_their_client_is_gone() {
    let gates = Gates::default();
    let (slow, mut begun) = gates.handler();
    let server = start(builder().route("/slow/{n}", slow)).await;
    let mut socket = Socket::runtime(&server).await;
    send(&mut socket, 1, "get", "/slow/1").await;
    assert_eq!(begun.recv().await, Some(1));
    let gate = gates.of(1);
    drop(socket);
    // The handler has the gate as long as it waits.
    while Arc::strong_count(&gate) > 2 {
        tokio::task::yield_now().await;
    }
    server.shutdown().await;
}

/// Counts the records, waits for the gate `n`, and counts them again.
fn counting(gates: Gates) -> MethodRouter {
    any(async move |cx: Context, Path(number): Path<u64>| {
        let todo = Resource::parse("todo").unwrap();
        let count =
            async || cx.engine().find(&todo, &Criteria::default()).await.unwrap().value.len();
        let before = count().await;
        gates.of(number).acquire().await.unwrap().forget();
        Json(json!([before, count().await]))
    })
}

async fn create(cx: Context) {
    let todo = Resource::parse("todo").unwrap();
    cx.commit(todo, Action::Create(Attributes::new())).await.unwrap();
}

/// Sends writes and reads in a random order, with slow reads among them that are let go on in
/// another order. Each answer is compared with the number of writes before the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_see_the_writes_before_them_whatever_is_slow() {
    let seed = std::env::var("BACKWIRE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(rand::random);
    println!("BACKWIRE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..20 {
        story(&mut rng).await;
    }
}

async fn story(rng: &mut StdRng) {
    let gates = Gates::default();
    let builder =
        builder().route("/slow/{n}", counting(gates.clone())).route("/create", post(create));
    let builder = builder.concurrent_route("/slow/beside/{n}", counting(gates.clone()));
    let server = start(builder).await;
    let mut socket = Socket::runtime(&server).await;
    let (mut written, mut slow, mut ordered) = (0, Vec::new(), VecDeque::new());
    let mut before = Vec::new();
    for ack in 0..80 {
        before.push(written);
        let (method, url) = match rng.random_range(0..6) {
            0 => ("post", "/create".to_owned()),
            1 | 2 => ("post", "/todo".to_owned()),
            3 => ("get", "/todo".to_owned()),
            4 => ("post", format!("/slow/beside/{ack}")),
            _ => ("get", format!("/slow/{ack}")),
        };
        written += usize::from(method == "post" && !url.starts_with("/slow"));
        match url.starts_with("/slow") {
            true => slow.push(ack),
            false => ordered.push_back((ack, url == "/todo" && method == "get")),
        }
        send(&mut socket, ack, method, &url).await;
    }
    slow.shuffle(rng);
    let mut slow_answers = 0;
    for number in &slow {
        // Some are let go on before they have begun.
        gates.open(*number);
    }
    for _ in 0..before.len() {
        let (ack, body) = next_ack(&mut socket).await;
        let at_least = before[usize::try_from(ack).unwrap()];
        if slow.contains(&ack) {
            let [first, then]: [usize; 2] = serde_json::from_value(body).unwrap();
            assert!(at_least <= first && first <= then && then <= written, "{ack}: {first} {then}");
            slow_answers += 1;
            continue;
        }
        let (expected, is_read) = ordered.pop_front().unwrap();
        assert_eq!(ack, expected, "answers keep their order");
        if is_read {
            assert_eq!(body.as_array().unwrap().len(), at_least, "{ack}");
        }
    }
    assert_eq!(slow_answers, slow.len());
    server.shutdown().await;
}
