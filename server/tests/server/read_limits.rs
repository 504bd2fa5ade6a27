//! Limits of one read: time, records and bytes.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::routing::get;
use backwire::engine::Error;
use backwire::model::{Attribute, Model};
use backwire::server::Builder;
use backwire::settings::{Limit, Limits, Store};
use backwire::{Context, Server};
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::client::{Socket, builder, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};
use crate::limits_reached::{CapturedLog, count};

fn limited(change: impl FnOnce(&mut Limits)) -> Builder {
    let mut limits = Limits::default();
    change(&mut limits);
    builder().limits(limits)
}

fn in_file(builder: Builder) -> (TempDir, Builder) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::Sqlite(folder.path().join("backwire.db"));
    (folder, builder.store(store))
}

async fn post(server: &Server, path: &str, record: Value) {
    let url = format!("http://{}{path}", server.addr());
    let response = Client::new().post(url).json(&record).send().await.unwrap();
    assert_eq!(response.status(), 201, "{record}");
}

/// Reads a path, and returns status and body.
async fn read(server: &Server, path: &str) -> (u16, Value) {
    let response = reqwest::get(format!("http://{}{path}", server.addr())).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Reads a path that is refused, and returns status, code and limit.
async fn refused(server: &Server, path: &str) -> Value {
    let (status, body) = read(server, path).await;
    json!([status, body["code"], body["limit"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn long_operands_of_string_operators_do_not_delay_others() {
    // The deadline is long, so the test passes because the search is fast and not because it was
    // stopped.
    let builder = limited(|limits| limits.read_deadline = Duration::from_secs(3600));
    let (_folder, builder) = in_file(builder.body_limit(2 << 20));
    let server = start(builder).await;
    for _ in 0..4 {
        post(&server, "/todo", json!({ "text": "a".repeat(1_000_000) })).await;
    }
    let needle = format!("{}b", "a".repeat(500_000));
    let (client, url) = (Client::new(), format!("http://{}/todo", server.addr()));
    let pattern = format!("%{needle}");
    let operators =
        [("contains", &needle), ("like", &pattern), ("startsWith", &needle), ("endsWith", &needle)];
    let attacks = operators.map(|(operator, operand)| {
        let filter = json!({ "where": { "text": { operator: operand } } });
        let request = client.get(&url).json(&filter).send();
        async { request.await.unwrap().json::<Value>().await.unwrap() }
    });
    let attack = tokio::spawn(join_all(attacks));
    assert_eq!(read(&server, "/health").await.0, 200);
    assert_eq!(read(&server, "/todo/1").await.0, 200);
    assert_eq!(attack.await.unwrap(), [json!([]), json!([]), json!([]), json!([])]);
    // This operand is short enough for a url.
    let needle = "a".repeat(60_000);
    let filter = format!("%7B%22text%22:%7B%22contains%22:%22{needle}b%22%7D%7D");
    assert_eq!(read(&server, &format!("/todo?where={filter}")).await, (200, json!([])));
    let short = "%7B%22text%22:%7B%22contains%22:%22aaaa%22%7D%7D";
    let found = read(&server, &format!("/todo?where={short}&select=id")).await;
    assert_eq!(found.1.as_array().unwrap().len(), 4);
    server.shutdown().await;
}

#[tokio::test]
async fn read_over_its_deadline_is_503_without_retry_after() {
    let log = CapturedLog::start();
    let server = start(limited(|limits| limits.read_deadline = Duration::from_nanos(1))).await;
    post(&server, "/todo", json!({ "title": "Milk" })).await;
    let response = reqwest::get(format!("http://{}/todo", server.addr())).await.unwrap();
    assert_eq!(response.status(), 503);
    // A client that retries automatically would never stop.
    assert!(!response.headers().contains_key("retry-after"));
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], "E_READ_DEADLINE");
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("read_deadline: 1ns") && message.contains("indexed"), "{message}");
    let mut socket = Socket::runtime(&server).await;
    let ack = socket.get("/todo").await;
    assert_eq!(
        (&ack["statusCode"], &ack["body"]["code"]),
        (&json!(503), &json!("E_READ_DEADLINE"))
    );
    assert_eq!(read(&server, "/todo/1").await.0, 200);
    assert_eq!(count(&server, Limit::ReadDeadline).await, 2);
    assert_eq!(log.lines_of(Limit::ReadDeadline).len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn answer_with_too_many_records_is_413_and_not_truncated() {
    let log = CapturedLog::start();
    let builder = limited(|limits| limits.answer_records = 3);
    let all = get(async |cx: Context| {
        let resource = backwire::change::Resource::parse("todo").unwrap();
        let all = cx.engine().find(&resource, &Default::default()).await.unwrap().value;
        all.len().to_string()
    });
    let (_folder, in_file) = in_file(limited(|limits| limits.answer_records = 3));
    for builder in [builder, in_file] {
        let server = start(builder.route("/all", all.clone())).await;
        for number in 0..4 {
            post(&server, "/todo", json!({ "n": number })).await;
        }
        let too_large = json!([413, "E_ANSWER_TOO_LARGE", 3]);
        for path in
            ["/todo", "/todo?limit=4", "/todo?sort=n", "/todo?sort=n&limit=4", "/todo?skip=0"]
        {
            assert_eq!(refused(&server, path).await, too_large, "{path}");
        }
        for path in ["/todo?limit=3", "/todo?skip=1", "/todo?sort=n&limit=3&skip=1", "/todo?n=1"] {
            assert_eq!(read(&server, path).await.0, 200, "{path}");
        }
        let mut socket = Socket::runtime(&server).await;
        let ack = socket.get("/todo").await;
        assert_eq!(ack["body"]["code"], "E_ANSWER_TOO_LARGE");
        assert!(ack["body"]["message"].as_str().unwrap().contains("`limit`"), "{ack}");
        assert_eq!(Socket::stock(&server).await.get("/todo").await["statusCode"], 413);
        // A custom handler may read more records than the limit.
        assert_eq!(read(&server, "/all").await, (200, json!(4)));
        assert_eq!(count(&server, Limit::AnswerRecords).await, 7);
        server.shutdown().await;
    }
    assert_eq!(log.lines_of(Limit::AnswerRecords).len(), 2);
}

#[tokio::test]
async fn answer_with_too_many_bytes_is_413() {
    let bytes = |limits: &mut Limits| limits.answer_bytes = 1_000;
    let (_folder, in_file) = in_file(limited(bytes));
    for builder in [limited(bytes), in_file] {
        let server = start(builder).await;
        for _ in 0..3 {
            post(&server, "/todo", json!({ "text": "x".repeat(400) })).await;
        }
        let too_large = json!([413, "E_ANSWER_TOO_LARGE", 1_000]);
        for path in ["/todo", "/todo?sort=text", "/todo?omit=createdAt", "/todo?limit=3"] {
            assert_eq!(refused(&server, path).await, too_large, "{path}");
        }
        for path in ["/todo?limit=2", "/todo?select=id", "/todo?omit=text", "/todo/1"] {
            assert_eq!(read(&server, path).await.0, 200, "{path}");
        }
        post(&server, "/big", json!({ "text": "x".repeat(1_000) })).await;
        assert_eq!(refused(&server, "/big/1").await, too_large);
        assert_eq!(read(&server, "/big/1?select=id").await.0, 200);
        assert_eq!(count(&server, Limit::AnswerBytes).await, 5);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn sort_over_its_memory_limit_is_413() {
    let (_folder, builder) = in_file(limited(|limits| limits.sort_bytes = 2_000));
    let server = start(builder).await;
    for n in 0..20 {
        post(&server, "/todo", json!({ "n": n, "text": "x".repeat(100) })).await;
    }
    let path = "/todo?sort=text";
    assert_eq!(refused(&server, path).await, json!([413, "E_ANSWER_TOO_LARGE", 2_000]));
    // Absent attributes take memory too.
    let names: Vec<_> = (0..100).map(|n| format!("absent{n}")).collect();
    let absent = format!("/todo?limit=1&skip=10&sort={}", names.join(","));
    assert_eq!(refused(&server, &absent).await, json!([413, "E_ANSWER_TOO_LARGE", 2_000]));
    let message = read(&server, path).await.1["message"].to_string();
    assert!(message.contains("sort_bytes: 2000") && message.contains("indexed"), "{message}");
    // The sort keeps no more than it needs.
    for path in ["/todo", "/todo?sort=text&limit=2", "/todo?sort=text&n=1", "/todo?sort=id&limit=3"]
    {
        assert_eq!(read(&server, path).await.0, 200, "{path}");
    }
    assert_eq!(count(&server, Limit::SortBytes).await, 3);
    server.shutdown().await;
}

/// Begins to read lists and never ends.
struct Endless {
    begun: Semaphore,
    ended: Semaphore,
}

struct Ended<'a>(&'a Semaphore);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

#[async_trait]
impl Interceptor for Endless {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        if let Call::Find = call {
            self.begun.add_permits(1);
            let _ended = Ended(&self.ended);
            pending::<()>().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn read_ends_when_its_client_disconnects() {
    let endless = Arc::new(Endless { begun: Semaphore::new(0), ended: Semaphore::new(0) });
    let server = start(builder().engine(intercepted_by(&endless))).await;
    let mut http = TcpStream::connect(server.addr()).await.unwrap();
    http.write_all(b"GET /todo HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    endless.begun.acquire().await.unwrap().forget();
    assert_eq!(endless.ended.available_permits(), 0);
    drop(http);
    endless.ended.acquire().await.unwrap().forget();
    let mut socket = Socket::runtime(&server).await;
    socket.send(r#"421["get",{"url":"/todo"}]"#).await;
    endless.begun.acquire().await.unwrap().forget();
    assert_eq!(endless.ended.available_permits(), 0);
    drop(socket);
    endless.ended.acquire().await.unwrap().forget();
    server.shutdown().await;
}

fn pets(builder: Builder) -> Builder {
    let user = Model::default().attribute("pets", Attribute::collection("pet", "owner"));
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    builder.resource("user", user).unwrap().resource("pet", pet).unwrap()
}

#[tokio::test]
async fn populated_records_count_and_are_in_memory_once() {
    let (_folder, in_file) = in_file(builder());
    for builder in [builder(), in_file] {
        let server = start(pets(builder)).await;
        // If each pet had a copy of its owner, this would take 1,000 times 900 KB, or 900 MB.
        post(&server, "/user", json!({ "biography": "x".repeat(900_000) })).await;
        let all: Vec<_> = (0..1_000).map(|_| json!({ "owner": 1 })).collect();
        post(&server, "/pet", all.into()).await;
        let too_large = json!([413, "E_ANSWER_TOO_LARGE", 16 << 20]);
        assert_eq!(refused(&server, "/pet?populate=owner").await, too_large);
        let (status, pets) = read(&server, "/pet?populate=owner&limit=2").await;
        assert_eq!((status, pets.as_array().unwrap().len()), (200, 2));
        assert_eq!(pets[1]["owner"]["biography"].as_str().unwrap().len(), 900_000);
        assert_eq!(read(&server, "/pet").await.1.as_array().unwrap().len(), 1_000);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn too_large_collection_is_refused_by_reads_and_omitted_after_writes() {
    let few = |limits: &mut Limits| limits.answer_records = 4;
    let (_folder, in_file) = in_file(limited(few));
    for builder in [limited(few), in_file] {
        let server = start(pets(builder)).await;
        post(&server, "/user", json!({ "name": "Ann" })).await;
        for _ in 0..4 {
            post(&server, "/pet", json!({ "owner": 1 })).await;
        }
        let too_large = json!([413, "E_ANSWER_TOO_LARGE", 4]);
        assert_eq!(refused(&server, "/user/1?populate=pets").await, too_large);
        assert_eq!(read(&server, "/user/1/pets").await.1.as_array().unwrap().len(), 4);
        // The record is changed, and the response confirms that.
        let url = format!("http://{}/user/1/pets/4", server.addr());
        let added = Client::new().put(&url).send().await.unwrap();
        assert_eq!(added.status(), 200);
        let user: Value = added.json().await.unwrap();
        assert_eq!((&user["name"], user.get("pets")), (&json!("Ann"), None));
        let removed = Client::new().delete(&url).send().await.unwrap();
        let user: Value = removed.json().await.unwrap();
        assert_eq!(user["pets"].as_array().unwrap().len(), 3);
        server.shutdown().await;
    }
}
