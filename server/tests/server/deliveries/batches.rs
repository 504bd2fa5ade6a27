//! What waits, and is told at once.

use serde_json::{Value, json};

use super::house::House;

#[tokio::test]
async fn what_was_missed_comes_as_one_batch_in_the_order_of_sending_across_events() {
    let house = House::open().await;
    for (number, event) in ["b", "a", "b", "c", "a"].into_iter().enumerate() {
        house.send(json!(["user_1"]), event, number).await;
    }
    let mut ann = house.phone("user_1").await;
    let all = json!([["b", 0], ["a", 1], ["b", 2], ["c", 3], ["a", 4]]);
    assert_eq!(ann.take().await, json!(["batch", all]));
    house.send(json!(["user_1"]), "a", 5).await;
    assert_eq!(ann.take().await, json!(["a", 5]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_batch_ack_does_not_delete_what_came_after() {
    let house = House::open().await;
    house.send(json!(["user_1"]), "news", 1).await;
    let mut ann = house.phone("user_1").await;
    let (batch, said) = ann.next().await;
    assert_eq!(said, json!(["batch", [["news", 1]]]));
    house.send(json!(["user_1"]), "news", 2).await;
    ann.ack(batch).await;
    let (_, second) = ann.next().await;
    assert_eq!(second, json!(["batch", [["news", 2]]]));
    let mut again = house.phone("user_1").await;
    assert_eq!(again.take().await, json!(["batch", [["news", 2]]]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_large_backlog_comes_in_several_batches_and_what_comes_meanwhile_after_them() {
    let house = House::open().await;
    let messages: Vec<_> = (0..450)
        .map(|number| json!({ "rooms": "user_1", "event": "news", "args": [number] }))
        .collect();
    assert_eq!(house.post("shop", None, json!(messages)).await.0, 200);
    let mut ann = house.phone("user_1").await;
    let (first, said) = ann.next().await;
    house.send(json!(["user_1"]), "news", 450).await;
    let mut told: Vec<Value> = said[1].as_array().unwrap().clone();
    assert!(told.len() < 450);
    ann.ack(first).await;
    while told.len() < 451 {
        match ann.take().await {
            Value::Array(said) if said[0] == "batch" => {
                told.extend(said[1].as_array().unwrap().clone());
            }
            one => told.push(one),
        }
    }
    let expected: Vec<_> = (0..451).map(|number| json!(["news", number])).collect();
    assert_eq!(told, expected);
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_waits_for_several_persons_of_one_connection_is_told_once_in_the_order_of_sending() {
    let house = House::open().await;
    let rooms = |number| match number {
        0..250 => json!("user_1"),
        250..300 => json!("user_a"),
        _ => json!(["user_1", "user_a"]),
    };
    let messages: Vec<_> = (0..500)
        .map(|number| json!({ "rooms": rooms(number), "event": "news", "args": [number] }))
        .collect();
    assert_eq!(house.post("shop", None, json!(messages)).await.0, 200);
    let mut ann = house.phone("user_1+user_a").await;
    let mut told = Vec::new();
    while told.len() < 500 {
        let batch = ann.take().await[1].as_array().unwrap().clone();
        assert!(batch.len() <= 200, "{} are told at once", batch.len());
        told.extend(batch);
    }
    let expected: Vec<_> = (0..500).map(|number| json!(["news", number])).collect();
    assert_eq!(told, expected);
    ann.leave(&house, "user_1").await;
    let mut again = house.phone("user_1+user_a").await;
    house.send(json!(["user_1"]), "fence", 500).await;
    assert_eq!(again.take().await, json!(["fence", 500]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_there_was_no_room_for_while_a_batch_was_not_acked_comes_after_it_in_its_order() {
    let house = House::open().await;
    house.send(json!("user_1"), "news", 0).await;
    let mut ann = house.phone("user_1").await;
    let (first, said) = ann.next().await;
    assert_eq!(said, json!(["batch", [["news", 0]]]));
    for number in 1..=100 {
        house.send(json!("user_1"), "news", number).await;
    }
    ann.ack(first).await;
    let mut told = Vec::new();
    while told.len() < 100 {
        match ann.take().await {
            Value::Array(said) if said[0] == "batch" => {
                told.extend(said[1].as_array().unwrap().clone());
            }
            one => told.push(one),
        }
    }
    let expected: Vec<_> = (1..=100).map(|number| json!(["news", number])).collect();
    assert_eq!(told, expected);
    house.server.shutdown().await;
}
