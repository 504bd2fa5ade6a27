//! Tests of the memory engine only.

use std::collections::BTreeMap;

use backwire_engine::{
    Ack, Enqueue, Environment, MemoryQueues, MemorySessions, Queues, SessionEdit, Sessions, Window,
};
use backwire_records::messages::rules::Ttl;
use serde_json::json;

use crate::queues::{device, post};
use crate::store::{DAY, NOON, memory, milk};

#[tokio::test]
async fn writers_wait_for_the_tail_in_order_of_arrival() {
    let mut store = memory(Window::default(), 2);
    store.apply(milk()).await;
    store.apply(milk()).await;
    let early = store.begin(milk());
    // Two places are free now. One is reserved for the early writer, which has not used it yet.
    store.tail_changes();
    let late = store.begin(milk());
    assert_eq!((early.await, late.await), (3, 4));
}

#[tokio::test]
async fn new_sessions_remove_expired_ones() {
    let sessions = MemorySessions::new(&Environment::tokio());
    let edit = |id: &str, at: u64| SessionEdit {
        id: id.into(),
        set: BTreeMap::from([("name".to_owned(), Some(json!("Ann")))]),
        at,
        until: at + 10,
        ..SessionEdit::default()
    };
    for id in ["a", "b", "c"] {
        sessions.edit(edit(id, 0)).await.unwrap();
    }
    sessions.edit(edit("d", 10)).await.unwrap();
    assert_eq!(sessions.count(), 2);
}

#[tokio::test]
async fn new_messages_remove_expired_persons() {
    let queues = MemoryQueues::default();
    for person in ["ann", "bob", "cid"] {
        queues.connect(device(person, ""), Ttl::seconds(10), 1, NOON).await.unwrap();
        queues.disconnect(device(person, ""), NOON).await.unwrap();
    }
    queues.enqueue(post(&["dan", "eve"], "e", 1)).await.unwrap();
    assert_eq!(queues.count(), 5);
    // Each new one removes two expired ones.
    let later = NOON + DAY;
    queues.enqueue(Enqueue { at: later, ..post(&["fay"], "e", 2) }).await.unwrap();
    assert_eq!(queues.count(), 4);
    queues.ack(device("nobody", ""), Ack::Batch(Vec::new()), later).await.unwrap();
    queues.ack(device("nobody", ""), Ack::Batch(Vec::new()), later).await.unwrap();
    assert_eq!(queues.count(), 1);
}
