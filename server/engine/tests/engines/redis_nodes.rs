//! The nodes of a Redis know each other's devices, and answer each other's questions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backwire_engine::{Device, StoreEvent, Window};
use backwire_records::messages::flake::Node;
use backwire_records::messages::rules::Ttl;
use futures_util::FutureExt;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::polling::poll;
use crate::queues::device;
use crate::redis::{TIMEOUT, nodes, options_of};
use crate::redis_server::{RedisServer, shared};
use crate::store::{NOON, Store, create, redis_options, redis_with, update};

async fn begin(store: &Store, worker: u64) {
    store.engine.queues().begin(Node::new(0, worker).unwrap(), NOON).await.unwrap();
}

/// Whether one more device of the person can connect. Only one may be connected.
async fn is_away(store: &Store, other: &Device) -> bool {
    let queues = store.engine.queues();
    let name = format!("{}-other", other.name);
    let new = Device { name: name.into(), ..other.clone() };
    let connected = queues.connect(new.clone(), Ttl::seconds(60), 1, NOON).await.unwrap();
    if connected.is_some() {
        queues.disconnect(new, NOON).await.unwrap();
    }
    connected.is_some()
}

async fn wait_until_away(store: &Store, device: &Device) {
    let has_left = async || is_away(store, device).await.then_some(());
    poll(&format!("{device:?} is not connected"), TIMEOUT, has_left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_a_node_that_ended_are_away_without_its_restart() {
    let [one, two] = nodes();
    begin(&one, 1).await;
    begin(&two, 2).await;
    let (here, there) = (device("ann", "here"), device("bob", "there"));
    one.connect(&here, NOON).await;
    two.connect(&there, NOON).await;
    assert!(!is_away(&two, &here).await);
    // It ends without disconnecting the device.
    drop(one);
    wait_until_away(&two, &here).await;
    assert!(!is_away(&two, &there).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_was_taken_for_dead_restores_its_devices() {
    let options = redis_options(crate::redis_server::unused_prefix());
    let [one, two] = [(); 2].map(|()| redis_with(options.clone(), Window::default(), 1024));
    begin(&one, 1).await;
    begin(&two, 2).await;
    let mut events = one.engine.events().unwrap();
    let here = device("ann", "here");
    one.connect(&here, NOON).await;
    one.connect(&here, NOON).await;
    // The lease of the first node ends, as if it were paused.
    let (nodes, members) =
        (format!("{}:nodes", options.prefix), format!("{}:connected:1", options.prefix));
    let is_dead = async || {
        shared().command(&["HSET", &nodes, "1", "abc 1"]);
        (shared().command(&["SCARD", &members]) == ":0\r\n").then_some(())
    };
    poll("the node has no devices", TIMEOUT, is_dead).await;
    let event = timeout(TIMEOUT, events.recv()).await.unwrap().unwrap();
    assert!(matches!(event, StoreEvent::Missed), "{event:?}");
    let queues = one.engine.queues();
    for _ in 0..2 {
        queues.restore(here.clone(), Ttl::seconds(60), 2, NOON).await.unwrap();
    }
    // It is connected twice, as before.
    one.disconnect(&here, NOON).await;
    assert!(!is_away(&two, &here).await);
    one.disconnect(&here, NOON).await;
    assert!(is_away(&two, &here).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn connects_and_disconnects_that_were_given_up_leave_no_sockets() {
    let server = RedisServer::start(&["--save", ""]);
    let mut options = options_of(&server);
    options.deadline = Duration::from_millis(300);
    let store = redis_with(options, Window::default(), 1024);
    begin(&store, 1).await;
    let [new, second, gone] = ["new", "second", "gone"].map(|person| device(person, "phone"));
    store.connect(&second, NOON).await;
    store.connect(&gone, NOON).await;
    let queues = store.engine.queues();
    // Redis receives all of these, and runs them later.
    server.command(&["CLIENT", "PAUSE", "2000", "ALL"]);
    let connect = |device: &Device| queues.connect(device.clone(), Ttl::seconds(60), 2, NOON);
    let first =
        tokio::join!(connect(&new), connect(&second), queues.disconnect(gone.clone(), NOON));
    assert!(first.0.is_err() && first.1.is_err() && first.2.is_err());
    wait_until_reachable(&store).await;
    wait_until_away(&store, &gone).await;
    wait_until_away(&store, &new).await;
    assert!(!is_away(&store, &second).await);
    store.disconnect(&second, NOON).await;
    assert!(is_away(&store, &second).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_of_a_caller_that_went_away_leaves_no_socket() {
    let [one] = nodes();
    begin(&one, 1).await;
    let phone = device("ann", "phone");
    for _ in 0..20 {
        let queues = one.engine.queues();
        let connect = queues.connect(phone.clone(), Ttl::seconds(60), 2, NOON);
        assert!(connect.now_or_never().is_none());
    }
    wait_until_away(&one, &phone).await;
}

async fn wait_until_reachable(store: &Store) {
    let is_reachable = async || store.engine.announce("").await.ok();
    poll("Redis is reachable", TIMEOUT, is_reachable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn question_is_answered_by_every_running_node() {
    let prefix = crate::redis_server::unused_prefix();
    let mut options = redis_options(prefix);
    options.deadline = Duration::from_secs(5);
    let stores = [(); 4].map(|()| redis_with(options.clone(), Window::default(), 1024));
    let [one, two, three, silent] = &stores;
    // Nobody else is there, and nobody is waited for.
    begin(one, 1).await;
    let alone = one.engine.ask("who").await.unwrap();
    assert_eq!((alone.texts.len(), alone.missing), (0, 0));
    for (store, worker) in [(two, 2), (three, 3), (silent, 4)] {
        begin(store, worker).await;
    }
    for (store, name) in [(one, "one"), (two, "two"), (three, "three")] {
        let (engine, mut events) = (Arc::clone(&store.engine), store.engine.events().unwrap());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let StoreEvent::Asked(question, text) = event else { panic!("{event:?}") };
                engine.answer(&question, &format!("{text} {name}")).await.unwrap();
            }
        });
    }
    // One node does not answer.
    let asked = Instant::now();
    let mut answers = one.engine.ask("ä").await.unwrap();
    answers.texts.sort();
    assert_eq!(
        (answers.texts, answers.missing),
        (vec!["ä three".to_owned(), "ä two".to_owned()], 1)
    );
    assert!(asked.elapsed() >= options.deadline);
    silent.engine.close().await;
    let (asked, others) = (Instant::now(), tokio::join!(one.engine.ask("1"), two.engine.ask("2")));
    for (answers, number) in [(others.0, 1), (others.1, 2)] {
        let answers = answers.unwrap();
        assert_eq!((answers.texts.len(), answers.missing), (2, 0), "{answers:?}");
        assert!(answers.texts.iter().all(|text| text.starts_with(&number.to_string())));
    }
    assert!(asked.elapsed() < options.deadline);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_far_behind_reads_large_changes_in_parts() {
    const SIZE: usize = 500_000;
    const CHANGES: usize = 12;
    // Redis ends connections with more unread bytes than this.
    let server =
        RedisServer::start(&["--save", "", "--client-output-buffer-limit", "normal 4mb 0 0"]);
    let options = options_of(&server);
    let one = redis_with(options.clone(), Window::default(), 1 << 16);
    // A node whose channel is full stops reading.
    let mut two = redis_with(options, Window::default(), 1);
    let title = "x".repeat(SIZE);
    one.apply(create(json!({ "title": title }))).await;
    for n in 0..CHANGES {
        // It has the record before and after it.
        one.apply(update("1", json!({ "n": n }))).await;
    }
    let connections = || {
        let stats = server.command(&["INFO", "stats"]);
        let count = stats.lines().find_map(|it| it.strip_prefix("total_connections_received:"));
        count.unwrap().parse::<u64>().unwrap()
    };
    let (before, mut offsets) = (connections(), Vec::new());
    while offsets.len() <= CHANGES {
        let change = timeout(TIMEOUT, two.tail.recv()).await.unwrap().unwrap();
        offsets.push(change.position.offset);
        // A slow reader is what the test is about: the node falls behind in each step.
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(offsets, (1..=CHANGES as u64 + 1).collect::<Vec<_>>());
    // No connection was made again.
    assert_eq!(connections(), before + 1);
}
