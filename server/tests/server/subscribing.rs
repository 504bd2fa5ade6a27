//! Join, then read: no change is lost between a fetch and the pushes after it.
//!
//! The first tests use an engine that stops between the read and its answer, so that a change falls
//! between them. The others use many concurrent clients.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::routing::get;
use backwire::{Context, Server};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Sender, channel};

use crate::client::{Socket, builder, position, server, socket_of, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

/// Blocks the answer to the next `find` or `commit` while it is closed.
#[derive(Default)]
struct Gate {
    is_closed: AtomicBool,
    is_closed_for_writers: AtomicBool,
    /// Notified when a read, or a write, has reached the gate.
    has_read: Notify,
    may_answer: Notify,
}

#[async_trait]
impl Interceptor for Gate {
    async fn after(&self, call: Call<'_>) {
        let is_closed = match call {
            Call::Find => &self.is_closed,
            Call::Commit(_) => &self.is_closed_for_writers,
            _ => return,
        };
        if is_closed.swap(false, Ordering::SeqCst) {
            self.has_read.notify_one();
            self.may_answer.notified().await;
        }
    }
}

/// Changes record 1 while the `find` of a reader is between read and answer, and waits until all
/// others have received the change. Returns the reader and its answer.
async fn changed_in_the_gap(connect: impl AsyncFn(&Server) -> Socket) -> (Socket, Value) {
    let gate = Arc::new(Gate::default());
    let server = start(builder().engine(intercepted_by(&gate))).await;
    let (mut writer, mut observer) = (Socket::runtime(&server).await, connect(&server).await);
    let mut reader = connect(&server).await;
    writer.post("/todo", json!({ "n": 0 })).await;
    observer.get("/todo").await;
    gate.is_closed.store(true, Ordering::SeqCst);
    let number = reader.emit(&json!(["get", { "url": "/todo" }])).await;
    gate.has_read.notified().await;
    writer.put("/todo/1", json!({ "n": 1 })).await;
    observer.event().await;
    gate.may_answer.notify_one();
    let answer = reader.ack(number).await;
    (reader, answer)
}

#[tokio::test]
async fn change_between_read_and_answer_is_pushed() {
    let (mut reader, answer) = changed_in_the_gap(Socket::runtime).await;
    assert_eq!(json!([position(&answer).1, answer["body"][0]["n"]]), json!([1, 0]));
    let pushes = reader.pushes().await;
    assert!(pushes[0].contains(r#",1,[[2,2,1,{"n":1,"#), "{pushes:?}");
}

#[tokio::test]
async fn change_before_the_author_joins_the_room_of_a_new_record_is_in_the_answer() {
    let gate = Arc::new(Gate::default());
    let server = start(builder().engine(intercepted_by(&gate))).await;
    let (mut author, mut other) = (Socket::stock(&server).await, Socket::runtime(&server).await);
    author.get("/fence/1").await;
    other.get("/todo").await;
    gate.is_closed_for_writers.store(true, Ordering::SeqCst);
    let number = author.emit(&json!(["post", { "url": "/todo", "data": { "n": 0 } }])).await;
    gate.has_read.notified().await;
    other.put("/todo/1", json!({ "n": 1 })).await;
    other.changes("todo", 2).await;
    gate.may_answer.notify_one();
    assert_eq!(author.ack(number).await["body"]["n"], 1);
    other.put("/todo/1", json!({ "n": 2 })).await;
    assert_eq!(author.event().await[1]["data"]["n"], 2);
    server.shutdown().await;
}

#[tokio::test]
async fn change_before_a_stock_client_joins_the_room_of_a_record_is_in_its_answer() {
    let (_, answer) = changed_in_the_gap(Socket::stock).await;
    assert_eq!(json!([position(&answer).1, answer["body"][0]["n"]]), json!([2, 1]));
}

/// The records of a client, by id.
type Records = BTreeMap<u64, Map<String, Value>>;

fn records(body: &Value) -> Records {
    let records = body.as_array().unwrap().iter();
    let record =
        |record: &Value| (record["id"].as_u64().unwrap(), record.as_object().unwrap().clone());
    records.map(record).collect()
}

/// Writes without a pause until `stop` is set.
async fn hammer(server: &Server, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    let mut socket = Socket::runtime(server).await;
    tokio::spawn(async move {
        let mut count = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            let created =
                socket.post("/todo", json!({ "n": count, "open": !count.is_multiple_of(3) })).await;
            let id = created["body"]["id"].as_u64().unwrap();
            socket
                .put(&format!("/todo/{id}"), json!({ "n": count + 1, "open": count % 3 < 2 }))
                .await;
            if id > 5 {
                socket.delete(&format!("/todo/{}", id - 5)).await;
            }
            count += 1;
        }
        socket.post("/todo", json!({ "last": true })).await;
    })
}

/// Fetches, reports that, and applies pushes until the last record has arrived.
async fn follow_as_runtime(url: &str, mut socket: Socket, fetched: Sender<()>) -> Records {
    let read = socket.get(url).await;
    fetched.send(()).await.unwrap();
    let mut mine = records(&read["body"]);
    let mut place = position(&read).1;
    while !mine.values().any(|record| record.contains_key("last")) {
        let push = socket.event().await;
        assert!(push[3].as_u64().unwrap() <= place, "a gap: {push} at {place}");
        for change in push[4].as_array().unwrap() {
            let offset = change[0].as_u64().unwrap();
            if offset > place {
                place = offset;
                let (verb, id) = (change[1].as_u64().unwrap(), change[2].as_u64().unwrap());
                apply(&mut mine, verb, id, change[3].as_object().cloned());
            }
        }
    }
    mine
}

fn apply(mine: &mut Records, verb: u64, id: u64, data: Option<Map<String, Value>>) {
    match (verb, data) {
        (1, Some(record)) => drop(mine.insert(id, record)),
        (2, Some(set)) => mine.get_mut(&id).unwrap().extend(set),
        _ => drop(mine.remove(&id)),
    }
}

/// Does the same like a Sails app, which has no positions: it merges creates and updates, and may
/// receive old changes.
async fn follow_as_stock(mut socket: Socket, fetched: Sender<()>) -> Records {
    let mut mine = records(&socket.get("/todo").await["body"]);
    fetched.send(()).await.unwrap();
    while !mine.values().any(|record| record.contains_key("last")) {
        let event = socket.event().await;
        let news = &event[1];
        let (id, data) = (news["id"].as_u64().unwrap(), news["data"].as_object().cloned());
        match (news["verb"].as_str().unwrap(), data) {
            ("created", Some(record)) => drop(mine.entry(id).or_insert(record)),
            ("updated", Some(set)) => {
                if let Some(record) = mine.get_mut(&id) {
                    record.extend(set);
                }
            }
            _ => drop(mine.remove(&id)),
        }
    }
    mine
}

/// Returns the final records of twenty readers that fetched during writes, and those of the server.
async fn read_while_others_write<F: Future<Output = Records> + Send + 'static>(
    connect: impl AsyncFn(&Server) -> Socket,
    follow: impl Fn(Socket, Sender<()>) -> F,
    url: &str,
) -> (Vec<Records>, Records) {
    const READERS: usize = 20;
    let server = server().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = hammer(&server, stop.clone()).await;
    let (fetched, mut has_fetched) = channel(READERS);
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(tokio::spawn(follow(connect(&server).await, fetched.clone())));
    }
    for _ in 0..READERS {
        has_fetched.recv().await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let truth = records(&Socket::runtime(&server).await.get(url).await["body"]);
    let mut all = Vec::new();
    for reader in readers {
        all.push(reader.await.unwrap());
    }
    server.shutdown().await;
    (all, truth)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_fetch_during_writes_end_equal_to_the_server() {
    const OPEN: &str = r#"/todo?where={"or":[{"open":true},{"last":true}]}"#;
    for url in ["/todo", OPEN] {
        let follow = move |socket, fetched| follow_as_runtime(url, socket, fetched);
        let (all, truth) = read_while_others_write(Socket::runtime, follow, url).await;
        for mine in all {
            assert_eq!(mine, truth, "{url}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stock_clients_that_fetch_during_writes_miss_no_change_of_their_records() {
    let (all, truth) = read_while_others_write(Socket::stock, follow_as_stock, "/todo").await;
    for mine in all {
        for (id, record) in &truth {
            let n = mine.get(id).expect("it has the record").get("n");
            assert_eq!(n, record.get("n"), "record {id}");
        }
    }
}

/// socketioxide answers a CONNECT before it allows other packets, and another thread may be faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stock_clients_that_read_directly_after_connecting_stay_connected() {
    const CLIENTS: usize = 400;
    let server = server().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = hammer(&server, stop.clone()).await;
    let mut clients = VecDeque::new();
    for _ in 0..CLIENTS {
        let mut socket = Socket::stock(&server).await;
        clients.push_back(tokio::spawn(async move {
            assert_eq!(socket.get("/todo?limit=1").await["statusCode"], 200);
            socket.event().await;
        }));
        if clients.len() > 10 {
            clients.pop_front().unwrap().await.unwrap();
        }
    }
    for client in clients {
        client.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn client_leaves_the_rooms_of_destroyed_records() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let rooms = async move |cx: Context| sender.send(socket_of(&cx).rooms().len()).unwrap();
    let server = start(builder().route("/rooms", get(rooms))).await;
    let (mut writer, mut other) = (Socket::stock(&server).await, Socket::stock(&server).await);
    let mut fence = Socket::stock(&server).await;
    fence.get("/fence").await;
    writer.get("/todo?done=false").await;
    let mut counts = Vec::new();
    for _ in 0..3 {
        for _ in 0..5 {
            let id = writer.post("/todo", json!({ "done": false })).await["body"]["id"].clone();
            writer.get(&format!("/todo/{id}")).await;
            writer.delete(&format!("/todo/{id}")).await;
        }
        // This push arrives after all earlier ones.
        other.post("/fence", json!({})).await;
        fence.event().await;
        writer.get("/rooms").await;
        counts.push(receiver.recv().await.unwrap());
    }
    assert_eq!(counts[1], counts[2], "{counts:?}");
    server.shutdown().await;
}
