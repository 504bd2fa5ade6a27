//! What an ack takes off a queue.

use backwire::settings::Store;
use serde_json::json;

use super::house::House;

#[tokio::test]
async fn what_is_not_acked_comes_again_and_what_is_does_not() {
    let house = House::open().await;
    let mut ann = house.phone("user_1").await;
    for number in 1..=3 {
        house.send(json!(["user_1"]), "news", number).await;
    }
    assert_eq!(ann.next().await.1, json!(["news", 1]));
    let (second, _) = ann.next().await;
    ann.ack(second).await;
    ann.leave(&house, "user_1").await;
    let mut again = house.phone("user_1").await;
    assert_eq!(again.take().await, json!(["batch", [["news", 1]]]));
    again.leave(&house, "user_1").await;
    let mut at_last = house.phone("user_1").await;
    house.send(json!(["user_1"]), "fence", 4).await;
    assert_eq!(at_last.take().await, json!(["fence", 4]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn an_ack_out_of_order_of_what_was_sent_for_it_clears_the_queue() {
    let house = House::open().await;
    let mut ann = house.phone("user_1").await;
    for (number, resync) in [(1, "true"), (2, "true"), (3, "false"), (4, "0")] {
        let message = json!({ "rooms": ["user_1"], "event": "news", "args": number });
        let sent = house.post(&format!("shop&resync={resync}"), None, message).await;
        assert_eq!(sent.0, 200);
    }
    house.send(json!(["user_1"]), "other", 5).await;
    let mut acks = Vec::new();
    for _ in 0..5 {
        acks.push(ann.next().await.0);
    }
    // `resync=false` is false: these are out of order and nothing comes of it.
    ann.ack(acks[3]).await;
    ann.ack(acks[2]).await;
    ann.ack(acks[1]).await;
    assert_eq!(ann.next().await.1, json!(["resync"]));
    let mut again = house.phone("user_1").await;
    assert_eq!(again.take().await, json!(["batch", [["other", 5]]]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn acks_count_of_as_many_as_may_wait_for_all_persons_of_a_connection() {
    let house = House::with(|site| site.most_waiting = 3, Store::Memory).await;
    let mut ann = house.phone("user_1+user_a").await;
    for (number, person) in ["user_1", "user_a", "user_1", "user_a"].into_iter().enumerate() {
        house.send(json!(person), "news", number).await;
    }
    let mut acks = Vec::new();
    for _ in 0..4 {
        acks.push(ann.next().await.0);
    }
    ann.ack(acks[0]).await;
    ann.leave(&house, "user_1").await;
    let mut again = house.phone("user_1+user_a").await;
    let left = json!([["news", 1], ["news", 2], ["news", 3]]);
    assert_eq!(again.take().await, json!(["batch", left]));
    house.server.shutdown().await;
}
