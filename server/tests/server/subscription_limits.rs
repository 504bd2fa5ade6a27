//! Limits of the subscriptions of a client.

use backwire::Server;
use backwire::settings::{Limit, Limits};
use serde_json::{Value, json};

use crate::client::{Socket, builder, refusal, start};
use crate::limits_reached::{CapturedLog, count};

async fn limited(set: impl FnOnce(&mut Limits)) -> Server {
    let mut limits = Limits::default();
    set(&mut limits);
    start(builder().limits(limits)).await
}

fn is_followed(ack: &Value) -> bool {
    ack["statusCode"] == 200 && ack["headers"].get("backwire-room").is_some()
}

#[tokio::test]
async fn filters_of_one_address_are_limited_and_others_are_not_refused() {
    let log = CapturedLog::start();
    let server = limited(|limits| limits.filters_per_client = 3).await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    for n in 0..3 {
        assert!(is_followed(&a.get(&format!("/todo?n={n}")).await));
    }
    // Filters that are already in use do not count again.
    assert!(is_followed(&b.get("/todo?n=1").await));
    assert!(!is_followed(&b.get("/todo?n=3").await));
    assert_eq!(count(&server, Limit::FiltersPerClient).await, 1);
    assert!(log.lines_of(Limit::FiltersPerClient)[0].contains("client=127.0.0.1"));
    let room = a.get("/todo?n=0").await["headers"]["backwire-room"].clone();
    a.ask(json!(["unsubscribe", room])).await;
    assert!(is_followed(&b.get("/todo?n=3").await));
    server.shutdown().await;
}

#[tokio::test]
async fn filters_of_one_resource_are_limited_and_unindexed_ones_more_strictly() {
    let server = limited(|limits| {
        limits.filters_per_resource = 4;
        limits.unindexed_filters_per_resource = 2;
    })
    .await;
    let mut socket = Socket::runtime(&server).await;
    for n in 0..2 {
        assert!(is_followed(&socket.get(&format!(r#"/todo?where={{"n":{{">":{n}}}}}"#)).await));
    }
    assert!(!is_followed(&socket.get(r#"/todo?where={"n":{">":7}}"#).await));
    for n in 0..2 {
        assert!(is_followed(&socket.get(&format!("/todo?n={n}")).await));
    }
    assert!(!is_followed(&socket.get("/todo?n=3").await));
    assert!(is_followed(&socket.get("/cart?n=3").await));
    assert_eq!(count(&server, Limit::FiltersPerResource).await, 1);
    assert_eq!(count(&server, Limit::UnindexedFiltersPerResource).await, 1);
    server.shutdown().await;
}

#[tokio::test]
async fn filters_of_one_record_with_long_texts_are_limited_by_their_bytes() {
    let server = limited(|limits| limits.subscription_bytes = 100_000).await;
    let mut socket = Socket::runtime(&server).await;
    let text = "x".repeat(1_900);
    let room = |id: usize| {
        let filter = json!({ "Attribute": ["text", { "OneOf": [text] }] });
        json!([format!("todo?[{id},{filter}]"), 0, 0])
    };
    // These filters have 4 MB, of which the server keeps 100 KB.
    let rooms: Vec<_> = (1..2_000).map(room).collect();
    socket.ask(json!(["resume", rooms])).await;
    assert_eq!(count(&server, Limit::SubscriptionBytes).await, 1_999 - 12);
    server.shutdown().await;
}

#[tokio::test]
async fn total_subscriptions_are_limited_with_a_share_for_each_client() {
    let server = limited(|limits| {
        limits.subscription_bytes = 640_000;
        limits.subscription_bytes_total = 100_000;
    })
    .await;
    let (mut greedy, mut other) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let rooms: Vec<_> = (0..5_000).map(|id| json!([format!("todo/{id}"), 0, 0])).collect();
    greedy.ask(json!(["resume", rooms])).await;
    assert!(count(&server, Limit::SubscriptionBytesTotal).await > 4_000);
    assert!(is_followed(&other.get("/todo").await));
    drop(greedy);
    server.shutdown().await;
}

async fn with_records(count: usize, limits: impl FnOnce(&mut Limits)) -> (Server, Socket) {
    let server = limited(limits).await;
    let mut writer = Socket::runtime(&server).await;
    let list: Value = (0..count).map(|n| json!({ "n": n })).collect();
    writer.post("/todo", list).await;
    (server, writer)
}

#[tokio::test]
async fn stock_client_that_reads_more_records_than_it_may_follow_gets_an_error() {
    let (server, mut writer) = with_records(30, |limits| limits.rooms_per_connection = 20).await;
    let mut stock = Socket::stock(&server).await;
    let refused = stock.get("/todo?limit=25").await;
    assert_eq!(refusal(&refused), json!([413, "E_TOO_MANY_ROOMS"]));
    assert_eq!(refused["body"]["limit"], 20);
    assert_eq!(count(&server, Limit::RoomsPerConnection).await, 1);
    // The client receives no changes of records that it has not read.
    writer.post("/todo", json!({})).await;
    assert!(stock.pushes().await.is_empty());
    // Reading the same records again needs no more rooms.
    for _ in 0..5 {
        assert_eq!(stock.get("/todo?limit=15").await["statusCode"], 200);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn stock_client_introduced_to_too_many_records_is_disconnected() {
    let (server, mut writer) = with_records(10, |limits| limits.rooms_per_connection = 20).await;
    let mut stock = Socket::stock(&server).await;
    stock.get("/todo").await;
    let list: Value = (0..30).map(|n| json!({ "n": n })).collect();
    writer.post("/todo", list).await;
    stock.wait_for_close().await;
    assert!(count(&server, Limit::RoomsPerConnection).await > 0);
    server.shutdown().await;
}

#[tokio::test]
async fn filters_that_would_search_too_much_text_read_again_and_others_get_the_push() {
    let server = limited(|limits| limits.searched_bytes = 10_000).await;
    let mut follower = Socket::runtime(&server).await;
    let mut writer = Socket::runtime(&server).await;
    let contains = |count: usize| {
        let conditions: Vec<_> =
            (0..count).map(|n| json!({ "title": { "contains": n.to_string() } })).collect();
        format!("/todo?where={}", json!({ "or": conditions }))
    };
    let room_of = |ack: Value| ack["headers"]["backwire-room"].as_str().unwrap().to_owned();
    let cheap = room_of(follower.get(&contains(2)).await);
    let costly = room_of(follower.get(&contains(3)).await);
    let created = writer.post("/todo", json!({ "title": "0".repeat(2_500) })).await;
    assert_eq!(created["statusCode"], 201);
    assert_eq!(follower.changes(&cheap, 1).await[0][1], 1);
    // The push has only the position of the room, which is ahead of the client's.
    let push = follower.event().await;
    assert_eq!((&push[1], push[3].as_u64(), &push[4]), (&json!(costly), Some(1), &json!([])));
    assert_eq!(count(&server, Limit::SearchedBytes).await, 1);
    server.shutdown().await;
}
