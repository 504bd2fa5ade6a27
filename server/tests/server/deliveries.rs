//! What back ends send to people at sites, and who gets it when.

mod acks;
mod batches;
mod devices;
mod house;
mod keys;
mod later_versions;
mod old_clients;
mod origins;
mod random;
mod revoking;
mod runtime;
mod sites;
mod slow_store;
mod waiting;

use std::path::Path;

use backwire::settings::Store;
use serde_json::json;

pub(crate) use house::House;

#[tokio::test]
async fn who_is_there_is_told_at_once_and_acks_it_and_others_are_not_told() {
    let house = House::open().await;
    let (mut ann, mut bob) = (house.phone("user_1").await, house.phone("user_2").await);
    house.send(json!("user_1"), "update_store", 1).await;
    house.send(json!(["user_2"]), "hello", 2).await;
    assert_eq!(ann.take().await, json!(["update_store", 1]));
    assert_eq!(bob.take().await, json!(["hello", 2]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_a_room_of_many_is_told_is_not_acked_and_not_kept() {
    let house = House::open().await;
    let mut ann = house.phone("user_1+staff").await;
    house.send(json!(["staff"]), "lunch", 1).await;
    assert_eq!(ann.next().await, (None, json!(["lunch", 1])));
    house.send(json!(["user_1"]), "fence", 2).await;
    ann.take().await;
    let mut again = house.phone("user_1+staff").await;
    house.send(json!(["staff"]), "dinner", 3).await;
    assert_eq!(again.next().await.1, json!(["dinner", 3]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_person_in_two_of_the_rooms_gets_it_once() {
    let house = House::open().await;
    let mut ann = house.phone("user_1+user_a+staff").await;
    house.send(json!(["user_1", "staff", "user_a", "user_1"]), "news", 1).await;
    house.send(json!(["user_1"]), "fence", 2).await;
    assert_eq!(ann.take().await, json!(["news", 1]));
    assert_eq!(ann.take().await, json!(["fence", 2]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn two_tabs_both_receive_and_one_ack_is_enough() {
    let house = House::open().await;
    let (mut one, mut other) = (house.phone("user_1").await, house.phone("user_1").await);
    house.send(json!(["user_1"]), "news", 1).await;
    assert_eq!(one.next().await.1, json!(["news", 1]));
    assert_eq!(other.take().await, json!(["news", 1]));
    one.socket.send("1").await;
    house.send(json!(["user_1"]), "news", 2).await;
    assert_eq!(other.take().await, json!(["news", 2]));
    other.leave(&house, "user_1").await;
    let mut again = house.phone("user_1").await;
    house.send(json!(["user_1"]), "fence", 3).await;
    assert_eq!(again.take().await, json!(["fence", 3]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn devices_with_names_each_get_everything_and_a_star_is_a_name() {
    let house = House::open().await;
    let device = async |name: &str| {
        house.phone_at("shop", &format!("token=user_1&deviceId={name}")).await.unwrap()
    };
    let (mut phone, mut star) = (device("phone").await, device("*").await);
    house.send(json!(["user_1"]), "news", 1).await;
    assert_eq!(star.take().await, json!(["news", 1]));
    assert_eq!(phone.next().await.1, json!(["news", 1]));
    drop((phone, star));
    let mut phone = device("phone").await;
    assert_eq!(phone.take().await, json!(["batch", [["news", 1]]]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_message_with_a_key_is_sent_once_also_to_a_room_of_many() {
    let house = House::open().await;
    let mut ann = house.phone("user_1+staff").await;
    for rooms in [json!("user_1"), json!("staff")] {
        let message = json!({ "rooms": rooms, "event": "news", "args": [1] });
        for _ in 0..2 {
            let sent = house.post("shop", Some(&rooms.to_string()), message.clone()).await;
            assert_eq!(sent.0, 200);
        }
    }
    house.send(json!(["staff"]), "fence", 2).await;
    house.send(json!(["user_1"]), "fence", 3).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(ann.next().await.1);
    }
    told.sort_by_key(ToString::to_string);
    let news = json!(["news", 1]);
    assert_eq!(told, [json!(["fence", 2]), json!(["fence", 3]), news.clone(), news]);
    let other = json!({ "rooms": "staff", "event": "other" });
    assert_eq!(house.post("shop", Some("\"staff\""), other).await.0, 422);
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_waits_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let file: &Path = &folder.path().join("backwire.db");
        House::with(|_| {}, Store::Sqlite(file.into())).await
    };
    let house = open().await;
    let mut ann = house.phone("user_1").await;
    house.send(json!(["user_1"]), "news", 1).await;
    ann.next().await;
    house.send(json!(["user_2"]), "news", 2).await;
    house.server.shutdown().await;
    let house = open().await;
    let (mut ann, mut bob) = (house.phone("user_1").await, house.phone("user_2").await);
    assert_eq!(ann.take().await, json!(["batch", [["news", 1]]]));
    assert_eq!(bob.take().await, json!(["batch", [["news", 2]]]));
    house.server.shutdown().await;
}
