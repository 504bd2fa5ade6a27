//! The effect of acks on a queue.

use backwire::settings::Store;
use serde_json::json;

use super::push_service::PushService;

#[tokio::test]
async fn unacked_messages_are_sent_again_and_acked_ones_are_not() {
    let service = PushService::open().await;
    let mut ann = service.connect("user_1").await;
    for number in 1..=3 {
        service.send(json!(["user_1"]), "news", number).await;
    }
    assert_eq!(ann.next().await.1, json!(["news", 1]));
    let (second, _) = ann.next().await;
    ann.ack(second).await;
    ann.leave(&service, "user_1").await;
    let mut again = service.connect("user_1").await;
    assert_eq!(again.take().await, json!(["batch", [["news", 1]]]));
    again.leave(&service, "user_1").await;
    let mut at_last = service.connect("user_1").await;
    service.send(json!(["user_1"]), "fence", 4).await;
    assert_eq!(at_last.take().await, json!(["fence", 4]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn out_of_order_ack_of_a_resync_message_clears_the_queue() {
    let service = PushService::open().await;
    let mut ann = service.connect("user_1").await;
    for (number, resync) in [(1, "true"), (2, "true"), (3, "false"), (4, "0")] {
        let message = json!({ "rooms": ["user_1"], "event": "news", "args": number });
        let sent = service.post(&format!("shop&resync={resync}"), None, message).await;
        assert_eq!(sent.0, 200);
    }
    service.send(json!(["user_1"]), "other", 5).await;
    let mut acks = Vec::new();
    for _ in 0..5 {
        acks.push(ann.next().await.0);
    }
    // With `resync=false`, out-of-order acks have no effect.
    ann.ack(acks[3]).await;
    ann.ack(acks[2]).await;
    ann.ack(acks[1]).await;
    assert_eq!(ann.next().await.1, json!(["resync"]));
    let mut again = service.connect("user_1").await;
    assert_eq!(again.take().await, json!(["batch", [["other", 5]]]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn acks_are_remembered_up_to_the_queue_limit_of_a_connection() {
    let service = PushService::with(|site| site.most_waiting = 3, Store::Memory).await;
    let mut ann = service.connect("user_1+user_a").await;
    for (number, person) in ["user_1", "user_a", "user_1", "user_a"].into_iter().enumerate() {
        service.send(json!(person), "news", number).await;
    }
    let mut acks = Vec::new();
    for _ in 0..4 {
        acks.push(ann.next().await.0);
    }
    ann.ack(acks[0]).await;
    ann.leave(&service, "user_1").await;
    let mut again = service.connect("user_1+user_a").await;
    let left = json!([["news", 1], ["news", 2], ["news", 3]]);
    assert_eq!(again.take().await, json!(["batch", left]));
    service.server.shutdown().await;
}
