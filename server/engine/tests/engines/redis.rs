//! Tests of the Redis engine only: several nodes at the same time, and faults of Redis.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backwire_engine::{
    ChangesSince, Engine, Enqueue, Error, MessageList, MissedChanges, Redis, RedisOptions,
    StoreEvent, Window,
};
use backwire_records::change::{Attributes, Change, Position, Resource, Room};
use backwire_records::criteria::{Criteria, Language, Parameters};
use backwire_records::messages::flake::Node;
use backwire_records::messages::rules::Ttl;
use backwire_records::model::{Attribute, Model, Models};
use backwire_records::write::Write;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::polling::poll;
use crate::queues::{device, post};
use crate::redis_server::{RedisServer, shared, unused_prefix};
use crate::store;
use crate::store::{
    NOON, Store, attributes, create, default_store, destroy, id, keyed, milk, offsets,
    redis_options, redis_with, todo, update,
};

/// How long a test waits for an event.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Opens a node on the data with this prefix.
fn node(prefix: &str) -> Store {
    redis_with(redis_options(prefix.to_owned()), Window::default(), 1 << 16)
}

/// Opens nodes on the same new data.
pub(crate) fn nodes<const N: usize>() -> [Store; N] {
    let prefix = unused_prefix();
    [(); N].map(|()| node(&prefix))
}

/// Receives this many changes.
pub(crate) async fn receive(store: &mut Store, count: usize) -> Vec<Arc<Change>> {
    let mut received = Vec::new();
    while received.len() < count {
        received.push(timeout(TIMEOUT, store.tail.recv()).await.unwrap().unwrap());
    }
    received
}

pub(crate) fn options_of(server: &RedisServer) -> RedisOptions {
    let mut options = redis_options_at(server.url());
    options.deadline = Duration::from_secs(2);
    options
}

fn redis_options_at(url: String) -> RedisOptions {
    let mut options = RedisOptions::new(url);
    options.prefix = unused_prefix();
    options
}

/// Commits a write until Redis is there.
pub(crate) async fn commit_when_possible(store: &Store, write: Write) -> Arc<Change> {
    let commit = async || match store.engine.commit(write.clone()).await {
        Ok(committed) => Some(committed.change),
        Err(Error::Unavailable(_)) => None,
        Err(error) => panic!("{error}"),
    };
    poll("Redis accepts a write", TIMEOUT, commit).await
}

/// Counts the scripts that Redis runs in the meantime.
pub(crate) struct Calls<'s>(&'s RedisServer);

impl<'s> Calls<'s> {
    pub(crate) fn begin(server: &'s RedisServer) -> Self {
        server.command(&["CONFIG", "RESETSTAT"]);
        Self(server)
    }

    pub(crate) fn count(&self) -> u32 {
        let stats = self.0.command(&["INFO", "commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
    }
}

// Several nodes

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_update_one_record_lose_no_update() {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 1250;
    let [one, mut two] = nodes();
    one.apply(create(json!({"id": "shared"}))).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let engine = Arc::clone(if writer % 2 == 0 { &one.engine } else { &two.engine });
        writers.spawn(async move {
            for n in 1..=WRITES {
                let set = json!({ format!("w{writer}"): n });
                let write = keyed(&format!("{writer}-{n}"), update("shared", set));
                // A write that had too many conflicts is repeated, as a client does.
                while let Err(error) = engine.commit(write.clone()).await {
                    assert!(matches!(error, Error::Unavailable(_)), "{error}");
                }
            }
        });
    }
    writers.join_all().await;
    let expected: BTreeMap<_, _> =
        (0..WRITERS).map(|writer| (format!("w{writer}"), json!(WRITES))).collect();
    let record = one.record("shared").await.unwrap();
    for (name, value) in &expected {
        assert_eq!(record[name], *value);
    }
    // Each change has the record after all changes before it.
    let changes = receive(&mut two, (WRITERS * WRITES) as usize + 1).await;
    let mut replayed = Attributes::new();
    for (change, offset) in changes.iter().zip(1..) {
        assert_eq!((change.position.offset, change.previous), (offset, offset - 1));
        replayed.extend(change.set.clone());
        assert_eq!(change.after.as_deref(), Some(&replayed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_create_at_the_same_time_give_each_record_an_id_of_its_own() {
    let [one, two, three] = nodes();
    let mut writers = JoinSet::new();
    for n in 0..12 {
        let engine = Arc::clone(&[&one, &two, &three][n % 3].engine);
        writers.spawn(async move {
            for _ in 0..50 {
                engine.commit(milk()).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let mut ids: Vec<_> = one.records().await.iter().map(|it| it["id"].as_i64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_value_belongs_to_one_record_over_all_nodes() {
    let [one, two] = nodes();
    let unique = Attribute { unique: true, ..Attribute::default() };
    let model = Arc::new(Model::default().attribute("mail", unique));
    let mut committed = 0;
    for n in 0..50 {
        let write = Write { model: Arc::clone(&model), ..create(json!({ "mail": n })) };
        let outcomes =
            tokio::join!(one.engine.commit(write.clone()), two.engine.commit(write.clone()));
        committed += [&outcomes.0, &outcomes.1].iter().filter(|outcome| outcome.is_ok()).count();
    }
    assert_eq!(committed, 50);
    assert_eq!(one.records().await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_of_each_node_receives_the_changes_of_all_once_and_in_order() {
    let mut stores: [Store; 2] = nodes();
    let cart = Resource::parse("cart").unwrap();
    for n in 0..50 {
        for store in &stores {
            store.apply(create(json!({ "n": n }))).await;
            store.apply(Write { resource: cart.clone(), ..create(json!({ "n": n })) }).await;
        }
    }
    for store in &mut stores {
        let received = receive(store, 200).await;
        for resource in [&todo(), &cart] {
            let of_it: Vec<_> =
                received.iter().filter(|it| it.resource == *resource).cloned().collect();
            assert_eq!(offsets(&of_it), (1..=100).collect::<Vec<_>>());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_continues_after_its_connection_was_killed() {
    let server = RedisServer::start(&["--save", ""]);
    let options = options_of(&server);
    let [one, mut two] = [(); 2].map(|()| redis_with(options.clone(), Window::default(), 1 << 16));
    for n in 0..20 {
        commit_when_possible(&one, keyed(&n.to_string(), milk())).await;
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    assert_eq!(offsets(&receive(&mut two, 20).await), (1..=20).collect::<Vec<_>>());
    assert_eq!(one.head().await.offset, 20);
    let engine: &dyn Engine = &*two.engine;
    assert!(engine.missed_changes().unwrap().try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_devices_at_a_node_are_away_when_its_process_begins_again() {
    let [one, two] = nodes();
    let (here, there) = (device("ann", "here"), device("ann", "there"));
    for (store, worker) in [(&one, 1), (&two, 2)] {
        store.engine.queues().begin(Node::new(0, worker).unwrap(), NOON).await.unwrap();
    }
    one.connect(&here, NOON).await;
    two.connect(&there, NOON).await;
    let first = one.post(post(&["ann"], "e", 1)).await;
    let second = two.post(post(&["ann"], "e", 2)).await;
    assert!(first < second);
    one.engine.queues().begin(Node::new(0, 1).unwrap(), NOON).await.unwrap();
    let later = NOON + 3_600_000;
    assert!(two.waiting(&here, later).await.is_empty());
    assert_eq!(two.waiting(&there, later).await, ["e 1", "e 2"]);
    let ttl = Ttl::seconds(0);
    assert!(one.engine.queues().connect(here, ttl, 2, later).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn number_of_a_node_is_free_again_when_its_process_ends_or_is_killed() {
    let prefix = unused_prefix();
    let [one, two] = [node(&prefix), node(&prefix)];
    let number = || Node::new(1, 2).unwrap();
    let begin = |store: &Store| {
        let engine = Arc::clone(&store.engine);
        async move { engine.queues().begin(number(), NOON).await }
    };
    begin(&one).await.unwrap();
    let lease = async || {
        let command = ["HGET".to_owned(), format!("{prefix}:nodes"), "34".to_owned()];
        shared().command(&command.each_ref().map(String::as_str))
    };
    let of_one = lease().await;
    let waiting = tokio::spawn(begin(&two));
    one.engine.close().await;
    timeout(TIMEOUT, waiting).await.unwrap().unwrap().unwrap();
    assert_ne!(lease().await, of_one);
    // A killed process releases nothing, and its lease ends.
    drop(two);
    let forgotten = format!("{prefix}:nodes");
    shared().command(&["HSET", &forgotten, "34", "abc 1"]);
    timeout(TIMEOUT, begin(&one)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn announcement_reaches_all_nodes_once_and_in_order() {
    let [one, two] = nodes();
    let mut received = [&one, &two].map(|store| store.engine.events().unwrap());
    one.engine.announce("ä").await.unwrap();
    two.engine.announce("{}").await.unwrap();
    for events in &mut received {
        for expected in ["ä", "{}"] {
            let event = timeout(TIMEOUT, events.recv()).await.unwrap().unwrap();
            assert!(matches!(&event, StoreEvent::Announced(text) if text == expected), "{event:?}");
        }
    }
    let memory = default_store(store::memory);
    memory.engine.announce("nobody").await.unwrap();
    assert!(memory.engine.events().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn second_node_with_a_number_is_refused_with_the_setting_to_change() {
    let [one, two] = nodes();
    one.engine.queues().begin(Node::new(1, 2).unwrap(), NOON).await.unwrap();
    let refused = two.engine.queues().begin(Node::new(1, 2).unwrap(), NOON).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "database: another server has the number of this one: give each server its own `flakeid` (this one has \
         datacenter 1, worker 2)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_shared_by_all_nodes() {
    let [one, two] = nodes();
    let secrets = [one.engine.sessions().secret().await, two.engine.sessions().secret().await];
    let [first, second] = secrets.map(Result::unwrap);
    assert_eq!(first, second);
}

// Positions

#[tokio::test(flavor = "multi_thread")]
async fn position_stays_valid_over_a_restart_of_the_node() {
    let prefix = unused_prefix();
    let first = node(&prefix);
    first.apply(milk()).await;
    let position = first.head().await;
    drop(first);
    let second = node(&prefix);
    second.apply(milk()).await;
    let room = Room::class(todo());
    let since = second.engine.changes_since(&room, position).await.unwrap();
    let ChangesSince::Changes { changes, .. } = since else { panic!("out of reach") };
    assert_eq!(offsets(&changes), [2]);
}

/// Redis adds a transaction to its file in one write. If it is killed meanwhile, the file ends in
/// the middle of a command. Redis removes this command, and not the transaction before it.
#[test]
fn partial_transaction_of_a_killed_server_has_no_effect() {
    let mut server = RedisServer::start(&["--save", "", "--appendonly", "yes"]);
    let set = |server: &RedisServer, keys: [&str; 2]| {
        let script = "for _, key in ipairs(KEYS) do redis.call('SET', key, '1') end";
        server.command(&["EVAL", script, "2", keys[0], keys[1]]);
    };
    set(&server, ["partial", "other"]);
    server.stop();
    let path = server.folder.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 8).unwrap();
    server.restart();
    set(&server, ["first", "second"]);
    server.restart();
    assert_eq!(server.command(&["EXISTS", "first", "second"]), ":2\r\n");
    assert_eq!(server.command(&["EXISTS", "partial", "other"]), ":0\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_of_redis_keeps_data_and_positions_in_its_append_only_file() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut store = redis_with(options_of(&server), Window::default(), 1024);
    store.apply(keyed("k", milk())).await;
    let position = store.head().await;
    server.restart();
    let change = commit_when_possible(&store, create(json!({"title": "Eggs"}))).await;
    assert_eq!(change.position.offset, 2);
    assert_ne!(change.position.epoch, position.epoch);
    assert_eq!(offsets(&receive(&mut store, 2).await), [1, 2]);
    let since =
        async |position| store.engine.changes_since(&Room::class(todo()), position).await.unwrap();
    let ChangesSince::Changes { changes, .. } = since(position).await else {
        panic!("an ordinary restart resyncs nobody")
    };
    assert_eq!(offsets(&changes), [2]);
    // The former epoch has no change at this offset.
    let lost = Position { offset: 2, ..position };
    assert!(matches!(since(lost).await, ChangesSince::OutOfReach));
    assert!(store.commit(keyed("k", milk())).await.repeated);
}

#[tokio::test(flavor = "multi_thread")]
async fn message_is_not_stored_after_an_earlier_one_of_its_list_has_failed() {
    let mut server = RedisServer::start(&["--save", ""]);
    let store = redis_with(options_of(&server), Window::default(), 1024);
    let (list, arg) = (MessageList::default(), AtomicU64::new(0));
    let enqueue = async |list: Option<&MessageList>| {
        let message = post(&["ann"], "e", arg.fetch_add(1, Ordering::SeqCst));
        store.engine.queues().enqueue(Enqueue { list: list.cloned(), ..message }).await
    };
    enqueue(Some(&list)).await.unwrap();
    server.stop();
    enqueue(Some(&list)).await.unwrap_err();
    server.restart();
    let other = MessageList::default();
    let begin = Instant::now();
    while enqueue(None).await.is_err() {
        assert!(begin.elapsed() < TIMEOUT);
    }
    enqueue(Some(&other)).await.unwrap();
    let error = enqueue(Some(&list)).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(why) if why.contains("an earlier message")));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_redis_has_lost_are_a_gap() {
    let mut server = RedisServer::start(&["--save", ""]);
    let mut store = redis_with(options_of(&server), Window::default(), 1024);
    let mut missed = store.engine.missed_changes().unwrap();
    for _ in 0..3 {
        store.apply(milk()).await;
    }
    let lost = store.head().await;
    server.restart();
    let change = commit_when_possible(&store, milk()).await;
    assert_eq!(change.position.offset, 1);
    let MissedChanges { resource, after, upto } =
        timeout(TIMEOUT, missed.recv()).await.unwrap().unwrap();
    assert_eq!((resource, after, upto.offset), (todo(), 3, 0));
    assert_eq!(offsets(&receive(&mut store, 4).await), [1, 2, 3, 1]);
    let since = store.engine.changes_since(&Room::class(todo()), lost).await.unwrap();
    assert!(matches!(since, ChangesSince::OutOfReach));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_the_log_has_dropped_are_a_gap() {
    let prefix = unused_prefix();
    let window = Window { count: 2, ..Window::default() };
    let one = redis_with(redis_options(prefix.clone()), window, 1024);
    one.apply(milk()).await;
    // The tail of this node is full, so it stops in the middle.
    let mut two = redis_with(redis_options(prefix), window, 1);
    let mut missed = two.engine.missed_changes().unwrap();
    for _ in 0..300 {
        one.apply(milk()).await;
    }
    let mut received = Vec::new();
    while received.last() != Some(&301) {
        received.extend(offsets(&receive(&mut two, 1).await));
    }
    let mut count = 0;
    while let Ok(MissedChanges { after, upto, .. }) = missed.try_recv() {
        count += (upto.offset - after) as usize;
    }
    assert!(count > 0);
    assert_eq!(received.len() + count, 300);
}

// Reads

#[tokio::test(flavor = "multi_thread")]
async fn scan_without_an_index_is_refused_beyond_the_limit() {
    let mut options = redis_options(unused_prefix());
    options.scan_limit = 600;
    let store = redis_with(options, Window::default(), 1 << 16);
    let writes = (0..1300).map(|n| create(json!({ "n": n, "owner": n % 3 })));
    futures_util::future::join_all(writes.map(|write| store.apply(write))).await;
    let find = async |query: Value| {
        let parameters = Parameters::read(Vec::new(), attributes(query)).unwrap();
        let criteria = Criteria::read(parameters, Language::Current).unwrap();
        store.engine.find(&todo(), &criteria).await.map(|found| found.value.len())
    };
    let query = || json!({ "where": { "owner": 1 }, "sort": "n" });
    let refused = find(query()).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "the read of todo looks at more than 600 records: declare n, owner as `indexed`, or ask for fewer with \
         `limit`"
    );
    assert_eq!(find(json!({ "limit": 5 })).await.unwrap(), 5);
    let indexed = Attribute { indexed: true, ..Attribute::default() };
    let mut models = Models::default();
    models.declare("todo", Model::default().attribute("owner", indexed)).unwrap();
    store.engine.declare(&models).await.unwrap();
    assert_eq!(find(query()).await.unwrap(), 433);
    store.apply(update("2", json!({ "owner": 7 }))).await;
    assert_eq!(find(query()).await.unwrap(), 432);
    store.apply(destroy("5")).await;
    assert_eq!(find(query()).await.unwrap(), 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn index_is_complete_although_other_nodes_write_while_it_is_made() {
    let [one, two] = nodes();
    let writes = (0..1500).map(|n| create(json!({ "id": n, "a": n % 2 })));
    futures_util::future::join_all(writes.map(|write| one.apply(write))).await;
    let writer = {
        let engine = Arc::clone(&two.engine);
        tokio::spawn(async move {
            for n in 0..300 {
                engine.commit(update(&(n * 5).to_string(), json!({ "a": 2 }))).await.unwrap();
            }
        })
    };
    let indexed = Attribute { indexed: true, ..Attribute::default() };
    let mut models = Models::default();
    models.declare("todo", Model::default().attribute("a", indexed)).unwrap();
    one.engine.declare(&models).await.unwrap();
    writer.await.unwrap();
    for (value, expected) in [(0, 600), (1, 600), (2, 300)] {
        let parameters = Parameters::read(Vec::new(), attributes(json!({ "a": value }))).unwrap();
        let criteria = Criteria::read(parameters, Language::Current).unwrap();
        let found = one.engine.find(&todo(), &criteria).await.unwrap().value;
        assert_eq!(found.len(), expected, "{value}");
    }
}

// Round trips

#[tokio::test(flavor = "multi_thread")]
async fn write_takes_one_script_if_its_record_is_known_and_two_if_not() {
    let server = RedisServer::start(&["--save", ""]);
    let options = options_of(&server);
    let [one, two] = [(); 2].map(|()| redis_with(options.clone(), Window::default(), 1024));
    for store in [&one, &two] {
        store.apply(create(json!({}))).await;
    }
    let calls = async |write: Write, store: &Store| {
        let calls = Calls::begin(&server);
        store.apply(write).await;
        calls.count()
    };
    assert_eq!(calls(create(json!({"id": "a"})), &one).await, 1);
    assert_eq!(calls(update("a", json!({"n": 1})), &one).await, 1);
    assert_eq!(calls(keyed("k", update("a", json!({"n": 2}))), &one).await, 1);
    // The other node does not know the record.
    assert_eq!(calls(update("a", json!({"n": 3})), &two).await, 2);
    assert_eq!(calls(update("a", json!({"n": 4})), &two).await, 1);
    // The first attempt rests on what has changed.
    assert_eq!(calls(update("a", json!({"n": 5})), &one).await, 3);
    assert_eq!(calls(destroy("a"), &one).await, 1);
    let calls = Calls::begin(&server);
    let creates = (0..64).map(|_| two.apply(create(json!({}))));
    futures_util::future::join_all(creates).await;
    // The first is committed by itself, and the others form a group.
    assert!(calls.count() <= 3, "{}", calls.count());
}

// Faults

#[tokio::test(flavor = "multi_thread")]
async fn store_opens_as_soon_as_redis_has_loaded_its_data() {
    // In microseconds for each key, so that the load takes about a second.
    let slowly = ["--key-load-delay", "4000", "--loading-process-events-interval-bytes", "1024"];
    let mut server = RedisServer::start(&[&slowly[..], &["--save", ""]].concat());
    let options = options_of(&server);
    redis_with(options.clone(), Window::default(), 1024).apply(milk()).await;
    for key in 0..300 {
        server.command(&["SET", &format!("other:{key}"), "a value of another program"]);
    }
    server.command(&["SAVE"]);
    server.restart();
    let reply = server.command(&["GET", "other:0"]);
    assert!(reply.starts_with("-LOADING"), "{reply}");
    let store = redis_with(options, Window::default(), 1024);
    assert_eq!(store.records().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn store_does_not_open_if_redis_loads_its_data_for_too_long() {
    let slowly = ["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"];
    let mut server = RedisServer::start(&[&slowly[..], &["--save", ""]].concat());
    for key in 0..300 {
        server.command(&["SET", &format!("other:{key}"), "a value of another program"]);
    }
    server.command(&["SAVE"]);
    server.restart();
    let (tail, _changes) = mpsc::channel(1);
    let mut options = options_of(&server);
    options.loading_deadline = Duration::ZERO;
    let refused = Redis::open(options, Window::default(), tail).await.unwrap_err().to_string();
    assert!(refused.contains("Redis is loading its data"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn write_while_redis_is_stopped_fails_within_the_deadline_and_works_afterwards() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = redis_with(options_of(&server), Window::default(), 1024);
    store.apply(milk()).await;
    server.stop();
    let begin = Instant::now();
    let failed = store.engine.commit(milk()).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    let failed = store.engine.find(&todo(), &Criteria::default()).await;
    assert!(failed.is_err());
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    server.restart();
    // Redis has started again, so ids are skipped.
    assert_eq!(commit_when_possible(&store, milk()).await.id, id("1002"));
}

#[tokio::test(flavor = "multi_thread")]
async fn write_while_redis_does_not_answer_fails_and_its_repeat_finds_the_outcome() {
    let server = RedisServer::start(&["--save", ""]);
    let mut options = options_of(&server);
    options.deadline = Duration::from_millis(300);
    let store = redis_with(options, Window::default(), 1024);
    store.apply(milk()).await;
    server.command(&["CLIENT", "PAUSE", "2000", "WRITE"]);
    let failed = store.engine.commit(keyed("k", milk())).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    commit_when_possible(&store, keyed("k", milk())).await;
    assert_eq!(store.records().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_memory_of_redis_is_an_error_that_says_what_to_do() {
    let server = RedisServer::start(&["--save", "", "--maxmemory-policy", "noeviction"]);
    let store = redis_with(options_of(&server), Window::default(), 1024);
    store.apply(milk()).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let failed = store.engine.commit(milk()).await.unwrap_err().to_string();
    assert!(failed.contains("raise `maxmemory`"), "{failed}");
    assert_eq!(store.records().await.len(), 1);
    // A write that makes room is done, also in a group with other writes.
    let writes = [milk(), destroy("1"), milk()].map(|write| store.engine.commit(write));
    let outcomes = futures_util::future::join_all(writes).await;
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
    assert!(store.records().await.is_empty());
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(commit_when_possible(&store, milk()).await.position.offset, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_schema_are_refused() {
    let server = shared();
    let options = redis_options(unused_prefix());
    server.command(&["HSET", &format!("{}:meta", options.prefix), "schema", "99"]);
    let (tail, _changes) = mpsc::channel(1);
    let refused = Redis::open(options, Window::default(), tail).await.unwrap_err().to_string();
    assert!(refused.contains("have schema 99, but this version of Backwire reads 1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_redis_is_an_error() {
    let (tail, _changes) = mpsc::channel(1);
    let options = redis_options_at("redis://127.0.0.1:1".to_owned());
    let refused = Redis::open(options, Window::default(), tail).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    let (tail, _changes) = mpsc::channel(1);
    let options = redis_options_at("nonsense".to_owned());
    let refused = Redis::open(options, Window::default(), tail).await.unwrap_err().to_string();
    assert!(refused.contains("the address of Redis does not begin with redis://"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_redis_has_forgotten_are_loaded_again() {
    let server = RedisServer::start(&["--save", ""]);
    let store = redis_with(options_of(&server), Window::default(), 1024);
    store.apply(milk()).await;
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(commit_when_possible(&store, milk()).await.position.offset, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn emptied_redis_begins_a_new_epoch() {
    let server = RedisServer::start(&["--save", ""]);
    let store = redis_with(options_of(&server), Window::default(), 1024);
    let before = store.apply(milk()).await.position;
    server.command(&["FLUSHALL"]);
    let after = commit_when_possible(&store, milk()).await.position;
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn emptied_redis_has_one_epoch_for_all_nodes() {
    let server = RedisServer::start(&["--save", ""]);
    let options = options_of(&server);
    let [one, two] = [(); 2].map(|()| redis_with(options.clone(), Window::default(), 1 << 16));
    let before = one.apply(milk()).await.position;
    two.apply(milk()).await;
    server.command(&["FLUSHALL"]);
    // The numbers of the epochs are the same, and the second node has not noticed it yet.
    let first = commit_when_possible(&one, milk()).await.position;
    let second = commit_when_possible(&two, create(json!({"id": "other"}))).await.position;
    assert_eq!((first.offset, second.offset), (1, 2));
    assert_ne!(first.epoch, before.epoch);
    assert_eq!(first.epoch, second.epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_with_other_prefixes_do_not_see_each_other() {
    let [one, two] = [default_store(crate::store::redis), default_store(crate::store::redis)];
    one.apply(milk()).await;
    assert!(two.records().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn sorted_list_of_many_parts_equals_that_of_memory() {
    let stores = [store::memory, store::redis].map(|open| open(Window::default(), 1 << 16));
    let long = "x".repeat(200);
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(3),
        json!(-2.5),
        json!("b"),
        json!(""),
        json!(format!("{long}1")),
        json!(format!("{long}0")),
        json!([1]),
        json!({"a": 1}),
    ];
    for store in &stores {
        let writes = (0..1700_usize).map(|n| {
            let value = if n % 3 == 0 { json!(n) } else { values[n % values.len()].clone() };
            create(json!({ "a": value, "b": n % 7, "c": n % 1000 }))
        });
        futures_util::future::join_all(writes.map(|write| store.apply(write))).await;
    }
    let attribute = || Attribute { indexed: true, ..Attribute::default() };
    let model = Model::default().attribute("a", attribute()).attribute("b", attribute());
    let mut models = Models::default();
    models.declare("todo", model).unwrap();
    stores[1].engine.declare(&models).await.unwrap();
    let todo = todo();
    let sorts = ["a", "a DESC", "a,c", "a DESC,c DESC", "b", "b DESC", "id DESC", "c", "b,a"];
    let filters = [json!({}), json!({"c": {"<": 40}}), json!({"b": 3}), json!({"a": "b"})];
    for (sort, filter) in sorts.iter().flat_map(|sort| filters.iter().map(move |it| (sort, it))) {
        for window in [json!({"limit": 20}), json!({"skip": 690, "limit": 30}), json!({})] {
            let mut query = attributes(window.clone());
            query.insert("sort".to_owned(), json!(sort));
            query.insert("where".to_owned(), filter.clone());
            let parameters = Parameters::read(Vec::new(), query).unwrap();
            let criteria = Criteria::read(parameters, Language::Current).unwrap();
            let [expected, found] =
                [&stores[0], &stores[1]].map(|it| it.engine.find(&todo, &criteria));
            let (expected, found) = tokio::join!(expected, found);
            assert_eq!(found.unwrap().value, expected.unwrap().value, "{sort} {filter} {window}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_list_is_the_snapshot_at_its_position() {
    let [one, two] = nodes();
    let writes = (0..2000).map(|n| create(json!({ "id": n, "n": 0 })));
    futures_util::future::join_all(writes.map(|write| one.apply(write))).await;
    let writer = {
        let engine = Arc::clone(&two.engine);
        tokio::spawn(async move {
            for n in 1..=400 {
                let write = match n % 3 {
                    0 => destroy(&(n * 4).to_string()),
                    1 => create(json!({ "id": -n, "n": n })),
                    _ => update(&(1999 - n).to_string(), json!({ "n": n })),
                };
                engine.commit(write).await.unwrap();
            }
        })
    };
    let mut snapshots = Vec::new();
    while !writer.is_finished() {
        snapshots.push(one.engine.find(&todo(), &Criteria::default()).await.unwrap());
    }
    writer.await.unwrap();
    let log = one.since("todo", 0).await.unwrap();
    for snapshot in snapshots {
        let mut expected = BTreeMap::new();
        for change in &log[..snapshot.position.offset as usize] {
            match &change.after {
                Some(record) => expected.insert(change.id.clone(), Arc::clone(record)),
                None => expected.remove(&change.id),
            };
        }
        assert_eq!(snapshot.value, Vec::from_iter(expected.into_values()));
    }
}
