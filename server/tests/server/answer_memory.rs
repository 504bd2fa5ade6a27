//! The memory of large answers, from the first record that the server reads until the client has
//! read the answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use backwire::change::{Id, Resource};
use backwire::route::Shortcuts;
use backwire::server::Builder;
use backwire::settings::{Limit, Limits, Settings, Store};
use backwire::write::Action;
use backwire::{Context, Server};
use futures_util::future::{Either, join_all, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Method;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use crate::client::{RUNTIME, Socket, ask, builder, position, refusal, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};
use crate::limits_reached::{count, limits};

/// The number of records in the list.
const RECORDS: usize = 5;

/// The size of each record in bytes.
const SIZE: usize = 100_000;

/// A read of one attribute of each record. Only complete records are shared and need no memory.
const LIST: &str = "/todo?select=title";

fn limited(total_unread_bytes: usize) -> Builder {
    let settings = Settings {
        port: 0,
        store: Store::Memory,
        shortcuts: Some(Shortcuts::Write),
        limits: limits(|limits| {
            limits.total_unread_bytes = total_unread_bytes;
            // These tests are about memory, also on a slow machine.
            limits.read_deadline = Duration::from_secs(60);
        }),
        ..Settings::default()
    };
    builder().settings(settings)
}

async fn store_list(server: &Server) {
    for _ in 0..RECORDS {
        let created =
            ask(server, Method::POST, "/todo", json!({ "title": "x".repeat(SIZE) })).await;
        assert_eq!(created.0, 201);
    }
}

/// Returns the number of claimed bytes that the server reports.
pub(crate) async fn claimed(server: &Server) -> usize {
    let metrics = reqwest::get(format!("http://{}/metrics", server.addr())).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("backwire_unread_bytes "));
    line.unwrap_or_else(|| panic!("no such gauge in {metrics}")).parse().unwrap()
}

/// Waits until the server has released all claims.
pub(crate) async fn nothing_is_claimed(server: &Server) {
    while claimed(server).await > 0 {}
}

/// Reads over HTTP, as a client with this address.
async fn get(server: &Server, address: &str, path: &str) -> (u16, Value) {
    let url = format!("http://{}{path}", server.addr());
    let request = Client::new().get(url).header("x-forwarded-for", address);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Reads over a socket, as a client with this address.
async fn get_by_socket(server: &Server, address: &str, path: &str) -> (u16, Value) {
    let headers = [("x-forwarded-for", address)];
    let mut socket = Socket::connect_with(server, "", &headers, RUNTIME).await;
    let mut ack = socket.get(path).await;
    (ack["statusCode"].as_u64().unwrap() as u16, ack["body"].take())
}

/// Returns true for the complete list and false for a refusal. Panics for anything else.
fn is_whole((status, body): &(u16, Value)) -> bool {
    if *status == 503 {
        assert_eq!(body["code"], "E_BUSY", "{body}");
        return false;
    }
    let records = body.as_array().expect("a list");
    let is_complete = |it: &Value| it["title"].as_str().unwrap().len() == SIZE;
    assert!(*status == 200 && records.len() == RECORDS && records.iter().all(is_complete));
    true
}

/// Blocks lists after the engine has read them, before the server answers.
struct Gate {
    arrivals: mpsc::UnboundedSender<()>,
    permits: Semaphore,
}

#[async_trait]
impl Interceptor for Gate {
    async fn after(&self, call: Call<'_>) {
        if let Call::Find = call {
            self.arrivals.send(()).unwrap();
            self.permits.acquire().await.unwrap().forget();
        }
    }
}

fn gate() -> (Arc<Gate>, mpsc::UnboundedReceiver<()>) {
    let (arrivals, arrived) = mpsc::unbounded_channel();
    (Arc::new(Gate { arrivals, permits: Semaphore::new(0) }), arrived)
}

#[tokio::test]
async fn concurrently_read_lists_fit_in_the_budget() {
    const BUDGET: usize = 4 << 20;
    const CLIENTS: usize = 5;
    const REQUESTS: usize = 3;
    let (gate, mut arrived) = gate();
    let server = start(limited(BUDGET).engine(intercepted_by(&gate))).await;
    store_list(&server).await;
    let server = &server;
    let mut answers = FuturesUnordered::new();
    for client in 1..=CLIENTS {
        for _ in 0..REQUESTS {
            answers.push(Either::Left(Box::pin(async move {
                get(server, &format!("10.0.0.{client}"), LIST).await
            })));
            answers.push(Either::Right(Box::pin(async move {
                get_by_socket(server, &format!("10.0.0.{client}"), LIST).await
            })));
        }
    }
    let (mut held, mut refused) = (0, 0);
    while held + refused < 2 * CLIENTS * REQUESTS {
        match select(Box::pin(arrived.recv()), answers.next()).await {
            Either::Left((arrival, _)) => {
                arrival.unwrap();
                held += 1;
            }
            Either::Right((answer, _)) => {
                assert!(!is_whole(&answer.unwrap()));
                refused += 1;
            }
        }
    }
    // No answer is complete, and all that is in memory has been claimed.
    let claimed = claimed(server).await;
    assert!(held > 0 && held * RECORDS * SIZE <= claimed, "{held} lists, {claimed} claimed");
    assert!(claimed <= BUDGET, "{claimed}");
    assert_eq!(count(server, Limit::TotalUnreadBytes).await, refused as u64);
    gate.permits.add_permits(held);
    while let Some(answer) = answers.next().await {
        assert!(is_whole(&answer));
        held -= 1;
    }
    assert_eq!(held, 0);
    drop(answers);
    nothing_is_claimed(server).await;
}

#[tokio::test]
async fn only_answers_of_reads_are_refused_while_others_are_read() {
    // One list fits in the share of a client, and then one record does not.
    const BUDGET: usize = 4 * 600_000;
    let (gate, mut arrived) = gate();
    // This route is a GET that writes.
    let touch = axum::routing::get(async |cx: Context| {
        let (todo, id) = (Resource::parse("todo").unwrap(), Id::Integer(1));
        let touched = json!({ "done": 4 }).as_object().unwrap().clone();
        let change = cx.commit(todo, Action::Update(id, touched)).await?;
        Ok::<_, backwire::Error>(Json(change.after.as_deref().cloned()))
    });
    let server = limited(BUDGET).engine(intercepted_by(&gate)).route("/touch", touch);
    let server = start(server).await;
    store_list(&server).await;
    let list = Box::pin(get(&server, "127.0.0.1", LIST));
    let Either::Left((_, list)) = select(Box::pin(arrived.recv()), list).await else {
        panic!("answered before it was read");
    };
    let mut socket = Socket::runtime(&server).await;
    let busy = json!([503, "E_BUSY"]);
    for path in ["/todo/1", LIST] {
        assert_eq!(refusal(&socket.get(path).await), busy);
        let (status, refused) = ask(&server, Method::GET, path, Value::Null).await;
        assert_eq!(json!([status, refused["code"]]), busy);
        assert_eq!(
            (&refused["limit"], refused["message"].as_str().unwrap().contains("total_unread")),
            (&json!(BUDGET), true)
        );
    }
    assert_eq!(socket.get("/todo/9").await["statusCode"], 404);
    // A read is known by its path as well, and so is a write.
    let by_shortcut =
        ask(&server, Method::POST, "/todo/find", json!({ "select": ["title"] })).await;
    assert_eq!(by_shortcut.0, 503);
    for (method, path) in
        [(Method::PUT, "/todo/1"), (Method::GET, "/todo/update/1?done=1"), (Method::GET, "/touch")]
    {
        let (status, record) = ask(&server, method, path, json!({ "done": 2 })).await;
        assert_eq!((status, record["title"].as_str().unwrap().len()), (200, SIZE));
    }
    assert_eq!(socket.put("/todo/1", json!({ "done": 3 })).await["statusCode"], 200);
    // The server releases the claims of a disconnected client.
    drop(list);
    nothing_is_claimed(&server).await;
    assert_eq!(ask(&server, Method::GET, "/todo/1", Value::Null).await.0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn write_without_memory_for_its_answer_is_refused_and_not_done() {
    let folder = tempfile::tempdir().unwrap();
    // One record fits in the share of a client, and two do not.
    let set = |limits: &mut Limits| limits.total_unread_bytes = 4 * 250_000;
    let store = Store::Sqlite(folder.path().join("backwire.db"));
    let server = start(builder().limits(limits(set)).store(store)).await;
    store_list(&server).await;
    let mut socket = Socket::runtime(&server).await;
    for number in 1..=20 {
        let request = json!(["put", { "url": "/todo/1", "data": { "number": number } }]);
        socket.send(format!("42{number}{request}")).await;
    }
    let (mut done, mut refused) = (0, 0);
    for number in 1..=20 {
        let reply = socket.ack(number).await;
        match reply["statusCode"].as_u64() {
            Some(200) => done = number,
            _ => {
                assert_eq!(refusal(&reply), json!([503, "E_BUSY"]));
                refused += 1;
            }
        }
    }
    assert!(done > 0 && refused > 0, "{done} {refused}");
    assert_eq!(socket.get("/todo/1").await["body"]["number"], done);
    assert_eq!(count(&server, Limit::TotalUnreadBytes).await, refused);
    nothing_is_claimed(&server).await;
    server.shutdown().await;
}

#[tokio::test]
async fn rooms_without_memory_for_their_changes_are_answered_with_resync() {
    const BUDGET: usize = 4 * 700_000;
    let (gate, mut arrived) = gate();
    let server = start(limited(BUDGET).engine(intercepted_by(&gate))).await;
    store_list(&server).await;
    let mut socket = Socket::runtime(&server).await;
    let (epoch, _) = position(&socket.get("/todo/1").await);
    let list = Box::pin(get(&server, "127.0.0.1", LIST));
    let Either::Left((_, list)) = select(Box::pin(arrived.recv()), list).await else {
        panic!("answered before it was read");
    };
    let rooms = ["todo", "todo/1", "todo/9", "todo/1", "todo/2"];
    let resume = json!(["resume", rooms.map(|room| json!([room, epoch, 0]))]);
    let mut known = async || {
        let missed = socket.ask(resume.clone()).await;
        let known = |room: &Value| Some(room.get(3)?.as_array()?.len());
        missed.as_array().unwrap().iter().map(known).collect::<Vec<_>>()
    };
    // One record fits beside the list, and a room without changes needs nothing.
    assert_eq!(known().await, [None, Some(1), Some(0), None, None]);
    drop(list);
    nothing_is_claimed(&server).await;
    assert_eq!(known().await, [Some(RECORDS), Some(1), Some(0), Some(1), Some(1)]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_list_is_complete_or_refused_and_all_claims_are_released() {
    let folder = tempfile::tempdir().unwrap();
    for store in [Store::Memory, Store::Sqlite(folder.path().join("backwire.db"))] {
        let set = |limits: &mut Limits| {
            limits.total_unread_bytes = 8 << 20;
            limits.answer_bytes = 3 * RECORDS * SIZE;
        };
        let server = start(builder().limits(limits(set)).store(store)).await;
        store_list(&server).await;
        for _ in 0..4 * RECORDS {
            let record = json!({ "title": "x".repeat(SIZE) });
            assert_eq!(ask(&server, Method::POST, "/large", record).await.0, 201);
        }
        let server = &server;
        let visit = async |number: usize| {
            let address = &format!("10.0.0.{}", number % 4);
            match number % 6 {
                0 => is_whole(&get(server, address, "/todo").await),
                1 => is_whole(&get_by_socket(server, address, LIST).await),
                2 => {
                    let refused = get(server, address, "/large").await;
                    assert!([413, 503].contains(&refused.0), "{refused:?}");
                    false
                }
                3 => {
                    let url = format!("http://{}/todo", server.addr());
                    let head = Client::new().head(url).header("x-forwarded-for", address);
                    assert!([200, 503].contains(&head.send().await.unwrap().status().as_u16()));
                    false
                }
                4 => {
                    leave_early(server, address).await;
                    false
                }
                _ => {
                    let headers = [("x-forwarded-for", &**address)];
                    let mut socket = Socket::connect_with(server, "", &headers, RUNTIME).await;
                    socket.send(r#"421["get",{"url":"/todo"}]"#).await;
                    false
                }
            }
        };
        let whole = join_all((0..60).map(visit)).await;
        assert!(whole.contains(&true));
        nothing_is_claimed(server).await;
    }
}

/// Reads only the first byte of a list.
async fn leave_early(server: &Server, address: &str) {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let head = format!(
        "GET /todo HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: {address}\r\n\r\n",
        server.addr()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0];
    stream.read_exact(&mut first).await.unwrap();
}
