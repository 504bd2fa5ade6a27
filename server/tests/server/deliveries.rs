//! Messages of back ends to persons and groups of a site, and when they arrive.

mod acks;
mod batches;
mod devices;
mod keys;
mod later_versions;
mod old_clients;
mod origins;
mod push_service;
mod random;
mod revoking;
mod runtime;
mod sites;
mod slow_store;
mod waiting;

use std::path::Path;

use backwire::settings::Store;
use serde_json::json;

pub(crate) use push_service::{DeviceConnection, PushService};

#[tokio::test]
async fn message_is_sent_at_once_to_its_person_only() {
    let service = PushService::open().await;
    let (mut ann, mut bob) = (service.connect("user_1").await, service.connect("user_2").await);
    service.send(json!("user_1"), "update_store", 1).await;
    service.send(json!(["user_2"]), "hello", 2).await;
    assert_eq!(ann.take().await, json!(["update_store", 1]));
    assert_eq!(bob.take().await, json!(["hello", 2]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn group_message_has_no_ack_and_is_not_stored() {
    let service = PushService::open().await;
    let mut ann = service.connect("user_1+staff").await;
    service.send(json!(["staff"]), "lunch", 1).await;
    assert_eq!(ann.next().await, (None, json!(["lunch", 1])));
    service.send(json!(["user_1"]), "fence", 2).await;
    ann.take().await;
    let mut again = service.connect("user_1+staff").await;
    service.send(json!(["staff"]), "dinner", 3).await;
    assert_eq!(again.next().await.1, json!(["dinner", 3]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn person_in_two_recipient_rooms_gets_the_message_once() {
    let service = PushService::open().await;
    let mut ann = service.connect("user_1+user_a+staff").await;
    service.send(json!(["user_1", "staff", "user_a", "user_1"]), "news", 1).await;
    service.send(json!(["user_1"]), "fence", 2).await;
    assert_eq!(ann.take().await, json!(["news", 1]));
    assert_eq!(ann.take().await, json!(["fence", 2]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn two_tabs_receive_a_message_and_one_ack_removes_it() {
    let service = PushService::open().await;
    let (mut one, mut other) = (service.connect("user_1").await, service.connect("user_1").await);
    service.send(json!(["user_1"]), "news", 1).await;
    assert_eq!(one.next().await.1, json!(["news", 1]));
    assert_eq!(other.take().await, json!(["news", 1]));
    one.socket.send("1").await;
    service.send(json!(["user_1"]), "news", 2).await;
    assert_eq!(other.take().await, json!(["news", 2]));
    other.leave(&service, "user_1").await;
    let mut again = service.connect("user_1").await;
    service.send(json!(["user_1"]), "fence", 3).await;
    assert_eq!(again.take().await, json!(["fence", 3]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn each_named_device_gets_every_message_and_a_star_is_a_name() {
    let service = PushService::open().await;
    let device = async |name: &str| {
        service.connect_to("shop", &format!("token=user_1&deviceId={name}")).await.unwrap()
    };
    let (mut phone, mut star) = (device("phone").await, device("*").await);
    service.send(json!(["user_1"]), "news", 1).await;
    assert_eq!(star.take().await, json!(["news", 1]));
    assert_eq!(phone.next().await.1, json!(["news", 1]));
    drop((phone, star));
    let mut phone = device("phone").await;
    assert_eq!(phone.take().await, json!(["batch", [["news", 1]]]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn keyed_message_is_sent_once_to_a_person_and_to_a_group() {
    let service = PushService::open().await;
    let mut ann = service.connect("user_1+staff").await;
    for rooms in [json!("user_1"), json!("staff")] {
        let message = json!({ "rooms": rooms, "event": "news", "args": [1] });
        for _ in 0..2 {
            let sent = service.post("shop", Some(&rooms.to_string()), message.clone()).await;
            assert_eq!(sent.0, 200);
        }
    }
    service.send(json!(["staff"]), "fence", 2).await;
    service.send(json!(["user_1"]), "fence", 3).await;
    let mut received = Vec::new();
    for _ in 0..4 {
        received.push(ann.next().await.1);
    }
    received.sort_by_key(ToString::to_string);
    let news = json!(["news", 1]);
    assert_eq!(received, [json!(["fence", 2]), json!(["fence", 3]), news.clone(), news]);
    let other = json!({ "rooms": "staff", "event": "other" });
    assert_eq!(service.post("shop", Some("\"staff\""), other).await.0, 422);
    service.server.shutdown().await;
}

#[tokio::test]
async fn queued_messages_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let file: &Path = &folder.path().join("backwire.db");
        PushService::with(|_| {}, Store::Sqlite(file.into())).await
    };
    let service = open().await;
    let mut ann = service.connect("user_1").await;
    service.send(json!(["user_1"]), "news", 1).await;
    ann.next().await;
    service.send(json!(["user_2"]), "news", 2).await;
    service.server.shutdown().await;
    let service = open().await;
    let (mut ann, mut bob) = (service.connect("user_1").await, service.connect("user_2").await);
    assert_eq!(ann.take().await, json!(["batch", [["news", 1]]]));
    assert_eq!(bob.take().await, json!(["batch", [["news", 2]]]));
    service.server.shutdown().await;
}
