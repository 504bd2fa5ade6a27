//! Subscriptions of the runtime with a filter.

use std::collections::BTreeMap;

use backwire::settings::Limit;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::client::{Socket, builder, position, server, start};
use crate::limits_reached::{count, limits};

const OPEN: &str = r#"/todo?where={"done":false}"#;

/// Returns the room that a read has joined.
fn room_of(ack: &Value) -> String {
    ack["headers"]["backwire-room"].as_str().expect("it has joined a room").to_owned()
}

#[tokio::test]
async fn record_enters_changes_leaves_reenters_and_is_destroyed_in_a_filter() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let room = room_of(&b.get(OPEN).await);
    a.post("/todo", json!({ "title": "Milk", "done": true })).await;
    for set in [
        json!({ "done": false }),
        json!({ "title": "Eggs" }),
        json!({ "done": true }),
        json!({ "done": false }),
    ] {
        a.put("/todo/1", set).await;
    }
    a.delete("/todo/1").await;
    let changes = b.changes(&room, 5).await;
    let verbs: Vec<_> =
        (0..5).map(|index| (changes[index][0].clone(), changes[index][1].clone())).collect();
    let expected = [(2, 1), (3, 2), (4, 4), (5, 1), (6, 3)];
    assert_eq!(verbs, expected.map(|(offset, verb)| (json!(offset), json!(verb))));
    assert_eq!(changes[0][3]["title"], "Milk");
    assert_eq!(changes[2][3], Value::Null);
    server.shutdown().await;
}

#[tokio::test]
async fn equal_filters_share_a_room() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let room = room_of(&socket.get(OPEN).await);
    let again = socket.ask(json!(["get", { "url": "/Todo/", "data": { "where": { "done": false }, "sort": "title" } }])).await;
    assert_eq!(room_of(&again), room);
    assert_ne!(room_of(&socket.get(r#"/todo?where={"done":true}"#).await), room);
    assert!(!room.contains('/'));
    let path = room_of(&socket.get("/todo?path=a/b").await);
    assert!(!path.contains('/'), "{path}");
    server.shutdown().await;
}

#[tokio::test]
async fn limited_list_is_invalidated_when_its_records_may_have_changed() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    for rank in [3, 1, 2] {
        a.post("/todo", json!({ "rank": rank, "done": false })).await;
    }
    let url = r#"/todo?where={"done":false}&sort=rank&limit=2"#;
    let read = b.get(url).await;
    let (room, (epoch, offset)) = (room_of(&read), position(&read));
    assert_eq!((ids(&read), offset), (vec![2, 3], 3));
    // The list is empty before and after.
    a.post("/todo", json!({ "rank": 0, "done": true })).await;
    let quiet = b.ask(json!(["resume", [[room, epoch, offset]]])).await;
    assert_eq!(quiet, json!([[room, epoch, 4, []]]));
    a.put("/todo/1", json!({ "rank": 0 })).await;
    assert_eq!(b.event().await, json!(["push", room, epoch, 5, []]));
    assert_eq!(b.ask(json!(["resume", [[room, epoch, 4]]])).await, json!([[room, null]]));
    let again = b.get(url).await;
    assert_eq!((ids(&again), room_of(&again)), (vec![1, 2], room));
    server.shutdown().await;
}

fn ids(ack: &Value) -> Vec<i64> {
    ack["body"].as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn too_long_filter_is_not_followed() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let long = json!({ "where": { "title": "x".repeat(3000) } });
    let ack = socket.ask(json!(["get", { "url": "/todo", "data": long }])).await;
    assert_eq!((&ack["statusCode"], ack["headers"].get("backwire-room")), (&json!(200), None));
    server.shutdown().await;
}

#[tokio::test]
async fn connection_follows_at_most_a_hundred_filters() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let of = |number: usize| format!("/todo?number={number}");
    let mut room = String::new();
    for number in 0..100 {
        room = room_of(&socket.get(&of(number)).await);
    }
    let one_more = socket.get(&of(100)).await;
    assert_eq!(one_more["headers"].get("backwire-room"), None);
    assert_eq!(room_of(&socket.get(&of(99)).await), room);
    assert_eq!(socket.get("/todo").await["headers"]["backwire-room"], "todo");
    socket.ask(json!(["unsubscribe", room])).await;
    room_of(&socket.get(&of(100)).await);
    server.shutdown().await;
}

#[tokio::test]
async fn published_event_reaches_filters_that_may_contain_the_record() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let room = room_of(&socket.get(OPEN).await);
    let todos = server.publisher().pubsub("todo").unwrap();
    todos.publish_create(json!({ "id": 7, "done": true }), None).await.unwrap();
    todos.publish_create(json!({ "id": 8, "done": false }), None).await.unwrap();
    todos.publish_update(8, json!({ "title": "Eggs" }), None).await.unwrap();
    todos.publish_destroy(8, None).await.unwrap();
    let changes = socket.changes(&room, 3).await;
    let verbs = [0, 1, 2].map(|index| (&changes[index][0], &changes[index][1]));
    assert_eq!(verbs, [(&json!(2), &json!(1)), (&json!(3), &json!(2)), (&json!(4), &json!(3))]);
    server.shutdown().await;
}

#[tokio::test]
async fn resume_returns_records_that_entered_and_left_the_filter() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    a.post("/todo", json!({ "done": false })).await;
    let read = a.get(OPEN).await;
    let (room, (epoch, offset)) = (room_of(&read), position(&read));
    a.put("/todo/1", json!({ "done": true })).await;
    a.post("/todo", json!({ "done": true })).await;
    let created = a.post("/todo", json!({ "done": false })).await["body"].clone();
    let missed = b.ask(json!(["resume", [[room, epoch, offset]]])).await;
    let expected = json!([[room, epoch, 4, [[2, 4, 1, null, 0], [4, 1, 3, created, 0]]]]);
    assert_eq!(missed, expected);
    a.put("/todo/3", json!({ "done": true })).await;
    assert_eq!(b.changes(&room, 1).await[0][1], 4);
    let none = b.ask(json!(["resume", [["todo?{", epoch, 0]]])).await;
    assert_eq!(none, json!([["todo?{", null]]));
    server.shutdown().await;
}

#[tokio::test]
async fn unsubscribed_filter_receives_no_changes() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let room = room_of(&b.get(OPEN).await);
    b.ask(json!(["unsubscribe", room])).await;
    b.get("/cart").await;
    a.post("/todo", json!({ "done": false })).await;
    assert!(b.pushes().await.is_empty());
    server.shutdown().await;
}

/// Applies a change to a filtered list.
fn apply(list: &mut BTreeMap<String, Value>, change: &Value) {
    let id = change[2].to_string();
    match change[1].as_u64() {
        Some(1) => drop(list.insert(id, change[3].clone())),
        Some(2) => {
            let record = list.get_mut(&id).expect("what changes is there");
            for (name, value) in change[3].as_object().unwrap() {
                record[name] = value.clone();
            }
        }
        _ => drop(list.remove(&id)),
    }
}

fn filters() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..3).prop_map(|n| json!({ "n": n })),
        (0..3).prop_map(|n| json!({ "n": { ">": n } })),
        Just(json!({ "or": [{ "n": 0 }, { "done": true }] })),
        Just(json!({ "not": { "done": [true, null] } })),
    ]
}

fn writes() -> impl Strategy<Value = Vec<(u8, u8, Value)>> {
    let set = prop_oneof![
        (0..4).prop_map(|n| json!({ "n": n })),
        any::<bool>().prop_map(|done| json!({ "done": done })),
    ];
    prop::collection::vec((0..4u8, 1..6u8, set), 1..30)
}

#[test]
fn list_that_applies_its_pushes_equals_a_fresh_read() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let all = (filters(), writes());
    let outcome = runner.run(&all, |(filter, writes)| {
        runtime.block_on(follow(&filter, &writes));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

async fn follow(filter: &Value, writes: &[(u8, u8, Value)]) {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let url = format!("/todo?where={filter}");
    let room = room_of(&b.get(&url).await);
    for (verb, id, set) in writes {
        match verb {
            0 | 1 => drop(a.post("/todo", set.clone()).await),
            2 => drop(a.put(&format!("/todo/{id}"), set.clone()).await),
            _ => drop(a.delete(&format!("/todo/{id}")).await),
        }
    }
    // The fence is a change of another resource, which is pushed after all of these.
    b.get("/fence").await;
    a.post("/fence", json!({})).await;
    let mut list = BTreeMap::new();
    loop {
        let push = b.event().await;
        if push[1] == "fence" {
            break;
        }
        assert_eq!(push[1], room);
        push[4].as_array().unwrap().iter().for_each(|change| apply(&mut list, change));
    }
    let read = a.get(&url).await["body"].as_array().unwrap().clone();
    let read: BTreeMap<_, _> = read.into_iter().map(|it| (it["id"].to_string(), it)).collect();
    assert_eq!(list, read);
    server.shutdown().await;
}

/// A filtered list, as the runtime keeps it. It reads again if a push shows that it has missed
/// changes.
struct FollowedList {
    url: String,
    room: String,
    offset: u64,
    records: BTreeMap<String, Value>,
}

impl FollowedList {
    async fn read(socket: &mut Socket, url: String) -> Self {
        let ack = socket.get(&url).await;
        let (room, (_, offset)) = (room_of(&ack), position(&ack));
        let records = ack["body"].as_array().unwrap().iter();
        let records = records.map(|it| (it["id"].to_string(), it.clone())).collect();
        Self { url, room, offset, records }
    }

    /// Applies a push. Returns false if changes before it are missing.
    fn take(&mut self, push: &Value) -> bool {
        // A push without changes has only the position of the room.
        if push[3].as_u64().unwrap() > self.offset {
            return false;
        }
        for change in push[4].as_array().unwrap() {
            let offset = change[0].as_u64().unwrap();
            if offset > self.offset {
                apply(&mut self.records, change);
                self.offset = offset;
            }
        }
        true
    }
}

/// A filter that was not compared with a change has missed it. A fresh read returns the correct
/// list.
#[tokio::test]
async fn lists_with_skipped_filters_equal_a_fresh_read() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = start(builder().limits(limits(|it| it.searched_bytes = 2_000))).await;
    for run in 0..30 {
        let (mut writer, mut follower) =
            (Socket::runtime(&server).await, Socket::runtime(&server).await);
        let mut lists = Vec::new();
        for searches in 1..4 {
            let contains = |n: usize| json!({ "title": { "contains": n.to_string() } });
            let any: Vec<_> = (0..searches).map(contains).collect();
            let url = format!("/todo{run}?where={}", json!({ "or": any }));
            lists.push(FollowedList::read(&mut follower, url).await);
        }
        for _ in 0..random.random_range(1..30) {
            let length = if random.random_bool(0.5) { 20 } else { 1_500 };
            let digit = random.random_range(0..5).to_string();
            let todo = json!({ "title": digit.repeat(random.random_range(0..length)) });
            let url = format!("/todo{run}/{}", random.random_range(1..6));
            match random.random_range(0..4) {
                0 => drop(writer.delete(&url).await),
                1 => drop(writer.put(&url, todo).await),
                _ => drop(writer.post(&format!("/todo{run}"), todo).await),
            }
        }
        // This record is in each list, and the server skips no filter for it.
        let last = writer.post(&format!("/todo{run}"), json!({ "title": "0" })).await;
        let last = last["body"]["id"].to_string();
        while !lists.iter().all(|list| list.records.contains_key(&last)) {
            let push = follower.event().await;
            let list = lists.iter_mut().find(|list| push[1] == list.room).unwrap();
            if !list.take(&push) {
                *list = FollowedList::read(&mut follower, list.url.clone()).await;
            }
        }
        for list in lists {
            let truth = FollowedList::read(&mut writer, list.url).await;
            assert_eq!(list.records, truth.records, "run {run}");
        }
    }
    assert!(count(&server, Limit::SearchedBytes).await > 0);
    server.shutdown().await;
}
