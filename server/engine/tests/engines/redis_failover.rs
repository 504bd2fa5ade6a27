//! A replica that has not received the last writes replaces its master: nothing that was lost is
//! taken for something else.

use std::time::Duration;

use backwire_engine::{ChangesSince, MissedChanges, Window};
use backwire_records::change::{Id, Room};
use backwire_records::messages::flake::Node;
use tokio::time::timeout;

use crate::polling::{poll, poll_blocking};
use crate::queues::post;
use crate::redis::{TIMEOUT, commit_when_possible, options_of, receive};
use crate::redis_server::RedisServer;
use crate::store::{NOON, Store, milk, redis_with, todo};

/// A master, and a replica that can replace it. The data have one prefix at both.
struct Pair {
    master: RedisServer,
    replica: RedisServer,
    prefix: String,
}

impl Pair {
    fn start() -> Self {
        let options = ["--save", "", "--repl-diskless-sync-delay", "0"];
        let [master, replica] = [(); 2].map(|()| RedisServer::start(&options));
        let prefix = options_of(&master).prefix;
        let pair = Self { master, replica, prefix };
        follow(&pair.replica, &pair.master);
        pair
    }

    /// Opens a node at one of the servers.
    fn node(&self, server: &RedisServer) -> Store {
        let mut options = options_of(server);
        options.prefix = self.prefix.clone();
        redis_with(options, Window::default(), 1024)
    }

    /// Lets the replica be a master of its own as soon as it has everything so far.
    fn separate(&self) {
        wait_until_current(&self.replica, &self.master);
        promote(&self.replica);
    }

    /// Replaces the data of the master by those of the replica.
    fn take_over(&self) {
        follow(&self.master, &self.replica);
        promote(&self.master);
    }
}

fn promote(replica: &RedisServer) {
    replica.command(&["REPLICAOF", "NO", "ONE"]);
}

fn info(redis: &RedisServer, name: &str) -> Option<String> {
    let info = redis.command(&["INFO", "replication"]);
    info.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned()))
}

fn follow(replica: &RedisServer, master: &RedisServer) {
    replica.command(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    let is_up = || (info(replica, "master_link_status").as_deref() == Some("up")).then_some(());
    poll_blocking("the replica follows", TIMEOUT, is_up);
    wait_until_current(replica, master);
}

fn wait_until_current(replica: &RedisServer, master: &RedisServer) {
    let is_current = || {
        let offset = info(replica, "slave_repl_offset");
        (offset == info(master, "master_repl_offset")).then_some(())
    };
    poll_blocking("the replica is current", TIMEOUT, is_current);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_missed_a_run_of_redis_notices_the_changes_that_the_run_before_lost() {
    let pair = Pair::start();
    let mut node = pair.node(&pair.master);
    let mut missed = node.engine.missed_changes().unwrap();
    for _ in 0..3 {
        node.apply(milk()).await;
    }
    pair.separate();
    for _ in 0..2 {
        node.apply(milk()).await;
    }
    let lost = node.head().await;
    receive(&mut node, 5).await;
    // The next run makes as many changes in the place of the lost ones, and the run after it none.
    let other = pair.node(&pair.replica);
    for _ in 0..2 {
        other.apply(milk()).await;
    }
    pair.take_over();
    let MissedChanges { resource, after, upto } =
        timeout(TIMEOUT, missed.recv()).await.unwrap().unwrap();
    assert_eq!((resource, after, upto.offset), (todo(), 5, 3));
    let changes = receive(&mut node, 2).await;
    assert_eq!(changes.iter().map(|it| it.position.offset).collect::<Vec<_>>(), [4, 5]);
    let since = node.engine.changes_since(&Room::class(todo()), lost).await.unwrap();
    assert!(matches!(since, ChangesSince::OutOfReach));
}

#[tokio::test(flavor = "multi_thread")]
async fn master_that_was_a_replica_in_between_begins_a_new_epoch() {
    let pair = Pair::start();
    let node = pair.node(&pair.master);
    let mut missed = node.engine.missed_changes().unwrap();
    node.apply(milk()).await;
    pair.separate();
    let lost = node.apply(milk()).await.position;
    // No server connects to the other master.
    pair.take_over();
    let again = commit_when_possible(&node, milk()).await.position;
    assert_eq!(again.offset, lost.offset);
    assert_ne!(again.epoch, lost.epoch);
    let MissedChanges { after, upto, .. } = timeout(TIMEOUT, missed.recv()).await.unwrap().unwrap();
    assert_eq!((after, upto.offset), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_lost_records_and_messages_are_not_given_again() {
    let pair = Pair::start();
    let node = pair.node(&pair.master);
    let begin = async |node: &Store, worker| {
        let number = Node::new(0, worker).unwrap();
        node.engine.queues().begin(number, NOON).await.unwrap();
    };
    begin(&node, 1).await;
    node.apply(milk()).await;
    pair.separate();
    let lost = node.apply(milk()).await;
    // The clock of this node is ahead of the other one's.
    let mut message = post(&["ann"], "news", 1);
    message.at = NOON + Duration::from_secs(60).as_millis() as u64;
    let lost_message = node.engine.queues().enqueue(message).await.unwrap();
    let other = pair.node(&pair.replica);
    begin(&other, 2).await;
    let new = other.apply(milk()).await;
    assert_eq!((lost.position.offset, new.position.offset), (2, 2));
    assert_eq!((&lost.id, &new.id), (&Id::Integer(2), &Id::Integer(1002)));
    let message = other.engine.queues().enqueue(post(&["ann"], "news", 2)).await.unwrap();
    assert!(message.id > lost_message.id);
    let next = other.engine.queues().enqueue(post(&["ann"], "news", 3)).await.unwrap();
    assert!(next.id > message.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_have_the_new_epoch_after_redis_was_emptied() {
    let server = RedisServer::start(&["--save", ""]);
    let store = redis_with(options_of(&server), Window::default(), 1024);
    store.apply(milk()).await;
    store.head().await;
    server.command(&["FLUSHALL"]);
    let after = commit_when_possible(&store, milk()).await.position;
    let is_current = async || (store.head().await == after).then_some(());
    poll("reads have the new epoch", TIMEOUT, is_current).await;
}
