//! Queued messages that are sent as batches.

use std::time::Duration;

use backwire::settings::Store;
use backwire::sites::Site;
use serde_json::{Value, json};

use super::push_service::PushService;

#[tokio::test]
async fn missed_messages_arrive_as_one_batch_in_send_order() {
    let service = PushService::open().await;
    for (number, event) in ["b", "a", "b", "c", "a"].into_iter().enumerate() {
        service.send(json!(["user_1"]), event, number).await;
    }
    let mut ann = service.connect("user_1").await;
    let all = json!([["b", 0], ["a", 1], ["b", 2], ["c", 3], ["a", 4]]);
    assert_eq!(ann.take().await, json!(["batch", all]));
    service.send(json!(["user_1"]), "a", 5).await;
    assert_eq!(ann.take().await, json!(["a", 5]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn batch_ack_keeps_later_messages() {
    let service = PushService::open().await;
    service.send(json!(["user_1"]), "news", 1).await;
    let mut ann = service.connect("user_1").await;
    let (batch, event) = ann.next().await;
    assert_eq!(event, json!(["batch", [["news", 1]]]));
    service.send(json!(["user_1"]), "news", 2).await;
    ann.ack(batch).await;
    let (_, second) = ann.next().await;
    assert_eq!(second, json!(["news", 2]));
    let mut again = service.connect("user_1").await;
    assert_eq!(again.take().await, json!(["batch", [["news", 2]]]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn large_backlog_is_sent_in_batches_before_later_messages() {
    let service = PushService::open().await;
    let messages: Vec<_> = (0..450)
        .map(|number| json!({ "rooms": "user_1", "event": "news", "args": [number] }))
        .collect();
    assert_eq!(service.post("shop", None, json!(messages)).await.0, 200);
    let mut ann = service.connect("user_1").await;
    let (first, event) = ann.next().await;
    service.send(json!(["user_1"]), "news", 450).await;
    let mut received: Vec<Value> = event[1].as_array().unwrap().clone();
    assert!(received.len() < 450);
    ann.ack(first).await;
    while received.len() < 451 {
        match ann.take().await {
            Value::Array(event) if event[0] == "batch" => {
                received.extend(event[1].as_array().unwrap().clone());
            }
            one => received.push(one),
        }
    }
    let expected: Vec<_> = (0..451).map(|number| json!(["news", number])).collect();
    assert_eq!(received, expected);
    service.server.shutdown().await;
}

#[tokio::test]
async fn messages_for_several_persons_of_one_connection_are_sent_once_in_order() {
    let service = PushService::open().await;
    let rooms = |number| match number {
        0..250 => json!("user_1"),
        250..300 => json!("user_a"),
        _ => json!(["user_1", "user_a"]),
    };
    let messages: Vec<_> = (0..500)
        .map(|number| json!({ "rooms": rooms(number), "event": "news", "args": [number] }))
        .collect();
    assert_eq!(service.post("shop", None, json!(messages)).await.0, 200);
    let mut ann = service.connect("user_1+user_a").await;
    let mut received = Vec::new();
    while received.len() < 500 {
        let batch = ann.take().await[1].as_array().unwrap().clone();
        assert!(batch.len() <= 200, "{} are received at once", batch.len());
        received.extend(batch);
    }
    let expected: Vec<_> = (0..500).map(|number| json!(["news", number])).collect();
    assert_eq!(received, expected);
    ann.leave(&service, "user_1").await;
    let mut again = service.connect("user_1+user_a").await;
    service.send(json!(["user_1"]), "fence", 500).await;
    assert_eq!(again.take().await, json!(["fence", 500]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn events_sent_before_the_ack_of_a_batch_follow_it_one_by_one() {
    let service = PushService::open().await;
    service.send(json!("user_1"), "news", 0).await;
    let mut ann = service.connect("user_1+staff").await;
    let (first, batch) = ann.next().await;
    assert_eq!(batch, json!(["batch", [["news", 0]]]));
    for number in 1..=100 {
        service.send(json!("user_1"), "news", number).await;
    }
    service.send(json!("staff"), "all", 0).await;
    // A message for a group does not wait.
    assert_eq!(ann.next().await, (None, json!(["all", 0])));
    ann.ack(first).await;
    for number in 1..=100 {
        assert_eq!(ann.take().await, json!(["news", number]));
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn unacked_batch_does_not_hold_back_events_after_its_timeout() {
    let timeout = |site: &mut Site| site.batch_timeout = Duration::from_millis(50);
    let service = PushService::with(timeout, Store::Memory).await;
    let messages: Vec<_> = (0..250)
        .map(|number| json!({ "rooms": "user_1", "event": "news", "args": [number] }))
        .collect();
    assert_eq!(service.post("shop&resync=true", None, json!(messages)).await.0, 200);
    service.send(json!("user_1"), "other", 250).await;
    let mut ann = service.connect("user_1").await;
    let (late, batch) = ann.next().await;
    assert_eq!(batch[1].as_array().unwrap().len(), 200);
    // The server sends no further batch, but events.
    service.send(json!("user_1"), "other", 251).await;
    assert_eq!(ann.take().await, json!(["other", 251]));
    // A late ack counts. The rest of the backlog is sent at the next connect.
    ann.ack(late).await;
    ann.leave(&service, "user_1").await;
    let mut again = service.connect("user_1").await;
    let rest = (200..250).map(|number| json!(["news", number]));
    let rest: Vec<_> = rest.chain([json!(["other", 250])]).collect();
    assert_eq!(again.take().await, json!(["batch", rest]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn ack_of_an_event_before_its_batch_is_out_of_order() {
    let timeout = |site: &mut Site| site.batch_timeout = Duration::from_millis(50);
    let service = PushService::with(timeout, Store::Memory).await;
    let news = |number| json!({ "rooms": "user_1", "event": "news", "args": [number] });
    assert_eq!(service.post("shop&resync=true", None, news(1)).await.0, 200);
    service.send(json!("user_1"), "other", 2).await;
    let mut ann = service.connect("user_1").await;
    assert_eq!(ann.next().await.1, json!(["batch", [["news", 1], ["other", 2]]]));
    assert_eq!(service.post("shop&resync=true", None, news(3)).await.0, 200);
    assert_eq!(ann.take().await, json!(["news", 3]));
    assert_eq!(ann.next().await.1, json!(["resync"]));
    let mut again = service.connect("user_1").await;
    assert_eq!(again.take().await, json!(["batch", [["other", 2]]]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn connected_client_gets_each_message_as_an_event() {
    let service = PushService::open().await;
    let mut ann = service.connect("user_1+staff").await;
    let rooms = |number: usize| if number.is_multiple_of(3) { "staff" } else { "user_1" };
    for part in 0..3 {
        let messages: Vec<_> = (part * 900..(part + 1) * 900)
            .map(|number| json!({ "rooms": rooms(number), "event": "news", "args": [number] }))
            .collect();
        assert_eq!(service.post("shop", None, json!(messages)).await.0, 200);
        let mut numbers = Vec::new();
        for _ in 0..900 {
            let (ack, event) = ann.next().await;
            assert_eq!(
                (event[0].as_str(), ack.is_some()),
                (Some("news"), event[1].as_u64().unwrap() % 3 > 0)
            );
            numbers.push(event[1].as_u64().unwrap() as usize);
            if ack.is_some() {
                ann.ack(ack).await;
            }
        }
        assert_eq!(numbers, (part * 900..(part + 1) * 900).collect::<Vec<_>>());
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn slow_client_gets_each_message_as_an_event() {
    let service =
        PushService::build(|_| {}, |builder| builder.store(Store::Memory).unread(4)).await;
    let mut ann = service.connect("user_1").await;
    let long = "x".repeat(20_000);
    for part in 0..4 {
        let messages: Vec<_> = (part * 200..(part + 1) * 200)
            .map(|number| json!({ "rooms": "user_1", "event": "news", "args": [number, long] }))
            .collect();
        for half in messages.chunks(20) {
            assert_eq!(service.post("shop", None, json!(half)).await.0, 200);
        }
    }
    for number in 0..800 {
        assert_eq!(ann.take().await, json!(["news", number, long]));
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn group_message_reaches_a_newly_connected_client() {
    let service = PushService::open().await;
    for number in 0..50 {
        let mut ann = service.connect("user_1+staff").await;
        service.send(json!("staff"), "all", number).await;
        assert_eq!(ann.next().await, (None, json!(["all", number])));
    }
    service.server.shutdown().await;
}
