//! The costs of reads and changes for Redis and the nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use backwire_engine::{ChangesSince, Enqueue, Window};
use backwire_records::change::{Position, Resource, Room};
use backwire_records::messages::message::Message;
use backwire_records::write::Write;
use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::time::timeout;

use crate::queues::post;
use crate::redis::{Calls, TIMEOUT, nodes, options_of, receive};
use crate::redis_server::{RedisServer, shared};
use crate::store::{Store, create, milk, offsets, redis_options, redis_with, todo, update};

fn cart(write: Write) -> Write {
    Write { resource: Resource::parse("cart").unwrap(), ..write }
}

async fn changes_since(store: &Store, room: &str, position: Position) -> (Vec<u64>, Position) {
    let room = Room::parse(room).unwrap();
    match store.engine.changes_since(&room, position).await.unwrap() {
        ChangesSince::Changes { changes, head } => (offsets(&changes), head),
        ChangesSince::OutOfReach => panic!("out of reach"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_resource_that_nobody_follows_are_not_decoded() {
    let options = redis_options(crate::redis_server::unused_prefix());
    let [one, mut two] = [(); 2].map(|()| redis_with(options.clone(), Window::default(), 1024));
    two.engine.set_resource_filter(Arc::new(|resource| resource.as_str() == "cart"));
    let (mut missed_by_one, mut missed_by_two) =
        (one.engine.missed_changes().unwrap(), two.engine.missed_changes().unwrap());
    one.apply(milk()).await;
    one.apply(cart(milk())).await;
    // The next entry cannot be decoded.
    let log = format!("{}:log:todo", options.prefix);
    shared().command(&["XADD", &log, "2-0", "i", "nonsense"]);
    let missed = timeout(TIMEOUT, missed_by_one.recv()).await.unwrap().unwrap();
    assert_eq!((missed.resource, missed.after, missed.upto.offset), (todo(), 1, 2));
    one.apply(cart(milk())).await;
    let received = receive(&mut two, 2).await;
    assert!(received.iter().all(|change| change.resource.as_str() == "cart"));
    assert!(missed_by_two.try_recv().is_err());
    // A writer is answered although nobody follows its resource.
    two.apply(Write { resource: Resource::parse("other").unwrap(), ..milk() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_follows_before_it_reads_misses_no_change() {
    const CHANGES: u64 = 400;
    let [one, mut two] = nodes();
    let follows = Arc::new(AtomicBool::new(false));
    let is_needed = Arc::clone(&follows);
    two.engine.set_resource_filter(Arc::new(move |_| is_needed.load(Ordering::SeqCst)));
    let mut position = two.head().await;
    let writer = tokio::spawn(async move {
        for _ in 0..CHANGES {
            one.apply(milk()).await;
        }
        one
    });
    while position.offset < CHANGES {
        follows.store(true, Ordering::SeqCst);
        let (missed, head) = changes_since(&two, "todo", position).await;
        assert_eq!(missed, (position.offset + 1..=head.offset).collect::<Vec<_>>());
        position = head;
        while position == head && head.offset < CHANGES {
            let next = receive(&mut two, 1).await[0].position;
            if next.offset > head.offset {
                assert_eq!(next.offset, head.offset + 1);
                position = next;
            }
        }
        follows.store(false, Ordering::SeqCst);
    }
    drop(writer.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_the_end_of_a_log_are_shared() {
    let server = RedisServer::start(&["--save", ""]);
    let options = options_of(&server);
    let [one, mut two] = [(); 2].map(|()| redis_with(options.clone(), Window::default(), 1024));
    let former = one.apply(milk()).await.position;
    let position = one.apply(milk()).await.position;
    receive(&mut two, 2).await;
    let (begin, calls) = (Instant::now(), Calls::begin(&server));
    for _ in 0..1_000 {
        let reached = two.engine.reaches(&todo(), &[former, position]).await.unwrap();
        assert_eq!(reached, [true, true]);
        assert_eq!(changes_since(&two, "todo", position).await, (Vec::new(), position));
        assert_eq!(changes_since(&two, "todo/1", position).await, (Vec::new(), position));
    }
    // The result of a read is used for a second.
    let expected = 2 * (begin.elapsed().as_secs() as u32 + 1);
    assert!(calls.count() <= expected, "{} > {expected}", calls.count());
    // A change ends its use at once, and unknown positions are never reached.
    one.apply(milk()).await;
    receive(&mut two, 1).await;
    assert_eq!(changes_since(&two, "todo", position).await.0, [3]);
    let unknown = Position { epoch: position.epoch + 1, ..position };
    let later = Position { offset: 4, ..position };
    let reached = two.engine.reaches(&todo(), &[position, unknown, later]).await.unwrap();
    assert_eq!(reached, [true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_log_is_read_in_pages() {
    const SIZE: u32 = 100_000;
    let server = RedisServer::start(&["--save", ""]);
    let store = redis_with(options_of(&server), Window::default(), 1024);
    let (begin, title) = (store.head().await, "x".repeat(SIZE as usize));
    store.apply(create(json!({ "title": title }))).await;
    let mut of_record = vec![1];
    for n in 0..19 {
        let change = store.apply(update("1", json!({ "n": n }))).await;
        of_record.push(change.position.offset);
        store.apply(create(json!({ "title": title }))).await;
    }
    // An update has the record before and after it.
    let (all, updates) = ((1..=39).collect(), 19 * 2 * SIZE);
    for (room, offsets, bytes) in
        [("todo", all, updates + 20 * SIZE), ("todo/1", of_record, updates + SIZE)]
    {
        let calls = Calls::begin(&server);
        assert_eq!(changes_since(&store, room, begin).await.0, offsets);
        let pages = calls.count();
        assert!((bytes / (256 << 10)..=bytes / SIZE + 1).contains(&pages), "{room}: {pages}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_of_events_has_a_maximum_size() {
    let server = RedisServer::start(&["--save", ""]);
    let options = options_of(&server);
    let store = redis_with(options.clone(), Window::default(), 1024);
    let events = format!("{}:events", options.prefix);
    let send = async |bytes: usize| {
        let args = vec![to_raw_value(&"x".repeat(bytes)).unwrap()];
        let post = post(&["ann"], "news", 1);
        let message = Message { args, ..Message::clone(&post.message) };
        store.post(Enqueue { message: Arc::new(message), cap: 1, ..post }).await;
    };
    let length = || {
        let length = server.command(&["XLEN", &events]);
        length.trim().trim_start_matches(':').parse::<usize>().unwrap()
    };
    for _ in 0..20 {
        send(1_000_000).await;
    }
    assert_eq!(length(), 8);
    let memory = server.command(&["MEMORY", "USAGE", &events, "SAMPLES", "0"]);
    let memory: usize = memory.trim().trim_start_matches(':').parse().unwrap();
    assert!(memory < 10 << 20, "{memory}");
    for _ in 0..1_000 {
        send(10).await;
    }
    // More than 1,000 are dropped several at a time.
    for _ in 0..120 {
        send(10).await;
        assert!((1_000..1_050).contains(&length()), "{}", length());
    }
}
