//! What is true of memory.

use std::collections::BTreeMap;

use backwire_engine::{Acked, Edit, MemoryQueues, MemorySessions, Post, Queues, Sessions, Window};
use backwire_records::messages::rules::Ttl;
use serde_json::json;

use crate::queues::{device, post};
use crate::store::{DAY, NOON, memory, milk};

#[tokio::test]
async fn nobody_gets_a_place_in_the_tail_before_those_who_came_earlier() {
    let mut store = memory(Window::default(), 2);
    store.done(milk()).await;
    store.done(milk()).await;
    let early = store.begin(milk());
    // Two places are free now: one is for the early writer, which has not come back for it yet.
    store.heard();
    let late = store.begin(milk());
    assert_eq!((early.await, late.await), (3, 4));
}

#[tokio::test]
async fn sessions_whose_time_is_up_are_dropped_by_those_that_come() {
    let sessions = MemorySessions::default();
    let edit = |id: &str, at: u64| Edit {
        id: id.into(),
        set: BTreeMap::from([("name".to_owned(), Some(json!("Ann")))]),
        at,
        until: at + 10,
        ..Edit::default()
    };
    for id in ["a", "b", "c"] {
        sessions.edit(edit(id, 0)).await.unwrap();
    }
    sessions.edit(edit("d", 10)).await.unwrap();
    assert_eq!(sessions.count(), 2);
}

#[tokio::test]
async fn persons_whose_time_is_up_are_dropped_by_what_comes() {
    let queues = MemoryQueues::default();
    for person in ["ann", "bob", "cid"] {
        queues.connect(device(person, ""), Ttl::seconds(10), 1, NOON).await.unwrap();
        queues.disconnect(device(person, ""), NOON).await.unwrap();
    }
    queues.post(post(&["dan", "eve"], "e", 1)).await.unwrap();
    assert_eq!(queues.count(), 5);
    // Two go for each that comes.
    let later = NOON + DAY;
    queues.post(Post { at: later, ..post(&["fay"], "e", 2) }).await.unwrap();
    assert_eq!(queues.count(), 4);
    queues.ack(device("nobody", ""), Acked::Batch(Vec::new()), later).await.unwrap();
    queues.ack(device("nobody", ""), Acked::Batch(Vec::new()), later).await.unwrap();
    assert_eq!(queues.count(), 1);
}
