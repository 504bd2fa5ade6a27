//! Tests of the SQLite engine only.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backwire_engine::{
    Ack, ChangesSince, Enqueue, Enqueued, Error, Reference, SessionEdit, Sqlite, Window,
};
use backwire_records::change::{Change, Id, Position, Room, Verb};
use backwire_records::criteria::{Criteria, Language, Parameters};
use backwire_records::messages::flake::Node;
use backwire_records::model::{Attribute, Model, Models};
use backwire_records::write::{RecordLimits, Write, WriteError};
use futures_util::future::join_all;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::polling::poll;
use crate::queues::{self, device, post, resync};
use crate::redis::TIMEOUT;
use crate::store::{
    DAY, HOUR, NOON, Store, attributes, create, default_store, destroy, keyed, keyed_by, milk,
    offsets, publish, sqlite, sqlite_in, todo, update,
};

fn file(folder: &Path) -> PathBuf {
    folder.join("data/backwire.db")
}

fn open(folder: &Path) -> Store {
    sqlite_in(folder, Window::default(), 4096)
}

/// Opens another connection, as an administrator would.
fn other_connection(folder: &Path) -> Connection {
    Connection::open(file(folder)).unwrap()
}

/// Converts the file to version 14. Up to that version, the keys of messages were stored as they
/// are.
fn go_back_to_the_fourteenth_version(other_connection: &Connection) {
    other_connection
        .execute_batch(
            "DROP TABLE posts;
             CREATE TABLE posts (site TEXT NOT NULL, identity TEXT NOT NULL, key TEXT NOT NULL,
                fingerprint INTEGER NOT NULL, id INTEGER NOT NULL, at INTEGER NOT NULL,
                PRIMARY KEY (site, identity, key));
             UPDATE meta SET value = 14 WHERE name = 'version'",
        )
        .unwrap();
}

/// Converts the file to version 9. Up to that version, the log kept the changes that the table of
/// the ledger referred to.
fn go_back_to_the_ninth_version(other_connection: &Connection) {
    go_back_to_the_fourteenth_version(other_connection);
    other_connection
        .execute_batch(
            "ALTER TABLE resources DROP COLUMN records;
             ALTER TABLE resources DROP COLUMN log_bytes;
             ALTER TABLE records DROP COLUMN changed;
             DROP TABLE cascades;
             INSERT INTO meta SELECT 'epoch', epoch FROM epochs;
             DROP TABLE epochs;
             DROP TABLE first_offsets;
             DROP TABLE ledger;
             DELETE FROM meta WHERE name = 'ledger_bytes';
             CREATE TABLE ledger (key TEXT NOT NULL, identity TEXT NOT NULL, resource TEXT NOT NULL,
                offset INTEGER NOT NULL, PRIMARY KEY (key, identity)) WITHOUT ROWID;
             INSERT INTO ledger SELECT key, identity, resource, offset FROM log WHERE key IS NOT NULL;
             CREATE TABLE unchanged (key TEXT NOT NULL, identity TEXT NOT NULL,
                fingerprint INTEGER NOT NULL, resource TEXT NOT NULL, offset INTEGER NOT NULL,
                id NOT NULL, json TEXT NOT NULL, mark INTEGER NOT NULL, at INTEGER NOT NULL,
                PRIMARY KEY (key, identity));
             UPDATE meta SET value = 9 WHERE name = 'version'",
        )
        .unwrap();
}

/// Converts the file to version 5. Up to that version, the log stored the set values and not only
/// their names.
fn go_back_to_the_fifth_version(other_connection: &Connection) {
    go_back_to_the_sixth_version(other_connection);
    other_connection
        .execute_batch(
            r#"UPDATE log SET attributes =
               (SELECT json_group_object(value, after -> ('$."' || value || '"'))
                FROM json_each(attributes))"#,
        )
        .unwrap();
}

/// Converts the file to version 6. Up to that version, the ledger was a table with complete
/// answers.
fn go_back_to_the_sixth_version(other_connection: &Connection) {
    go_back_to_the_ninth_version(other_connection);
    other_connection
        .execute_batch(
            "DROP TABLE unchanged;
             ALTER TABLE resources DROP COLUMN key_name;
             DROP TABLE ledger;
             CREATE TABLE ledger (identity TEXT NOT NULL, key TEXT NOT NULL,
                fingerprint INTEGER NOT NULL, resource TEXT NOT NULL, offset INTEGER NOT NULL,
                verb INTEGER NOT NULL, id NOT NULL, shown TEXT, mark INTEGER NOT NULL,
                at INTEGER NOT NULL, PRIMARY KEY (identity, key));
             INSERT INTO ledger SELECT identity, key, fingerprint, resource, offset, verb, id,
                                       coalesce(after, before), mark, at
                                FROM log WHERE key IS NOT NULL",
        )
        .unwrap();
}

async fn unavailable(store: &Store) -> String {
    match store.engine.commit(milk()).await {
        Err(Error::Unavailable(reason)) => reason,
        other => panic!("available: {other:?}"),
    }
}

/// Returns the changes as a later start reads them: with its epoch in their positions.
async fn after_restart(store: &Store, log: &[Arc<Change>]) -> Vec<Arc<Change>> {
    let epoch = store.head().await.epoch;
    let changes = log.iter().map(|change| {
        let position = Position { epoch, ..change.position };
        Arc::new(Change { position, ..Change::clone(change) })
    });
    changes.collect()
}

#[tokio::test]
async fn records_log_and_keys_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.apply(keyed("k", milk())).await;
    store.apply(create(json!({"id": "eggs"}))).await;
    store.apply(update("1", json!({"done": true}))).await;
    store.apply(destroy("eggs")).await;
    let (records, head) = (store.records().await, store.head().await);
    let log = store.since("todo", 0).await;
    drop(store);

    let mut store = open(folder.path());
    assert_eq!(store.records().await, records);
    assert_eq!(store.head().await.offset, head.offset);
    assert_eq!(store.since("todo", 0).await, Some(after_restart(&store, &log.unwrap()).await));
    assert!(store.commit(keyed("k", milk())).await.repeated);
    assert_eq!(store.apply(milk()).await.id, crate::store::id("2"));
    assert_eq!(offsets(&store.tail_changes()), [5]);
}

/// Returns the offsets of the changes that a client has missed, or `None` if it must read again.
async fn missed(store: &Store, position: Position) -> Option<Vec<u64>> {
    match store.engine.changes_since(&Room::class(todo()), position).await.unwrap() {
        ChangesSince::Changes { changes, .. } => Some(offsets(&changes)),
        ChangesSince::OutOfReach => None,
    }
}

#[tokio::test]
async fn ordinary_restarts_leave_all_positions_valid() {
    let folder = tempfile::tempdir().unwrap();
    let mut positions = Vec::new();
    for _ in 0..5 {
        let store = open(folder.path());
        positions.push(store.head().await);
        store.apply(milk()).await;
        positions.push(store.head().await);
        for position in &positions {
            let expected = (position.offset + 1..=store.head().await.offset).collect();
            assert_eq!(missed(&store, *position).await, Some(expected), "{position}");
        }
        drop(store);
        // Another start, which commits nothing.
        positions.push(open(folder.path()).head().await);
    }
}

#[tokio::test]
async fn restored_file_rejects_positions_that_it_lacks_even_when_its_log_is_longer_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.apply(milk()).await;
    let common = store.head().await;
    let backup = folder.path().join("copy.db");
    other_connection(folder.path()).execute("VACUUM INTO ?1", [backup.to_str()]).unwrap();
    store.apply(milk()).await;
    let lost = store.head().await;
    drop(store);
    // Another start before the restore.
    let also_lost = open(folder.path()).head().await;

    backwire_engine::restore(&backup, &file(folder.path())).unwrap();
    let store = open(folder.path());
    for overtaken in [false, true] {
        let expected = if overtaken { vec![2, 3] } else { vec![] };
        assert_eq!(missed(&store, common).await, Some(expected));
        for position in [lost, also_lost] {
            assert_eq!(missed(&store, position).await, None, "{position}");
        }
        if !overtaken {
            store.apply(milk()).await;
            store.apply(milk()).await;
        }
    }
}

#[tokio::test]
async fn writers_wait_for_the_full_queue_in_order_of_arrival() {
    let mut store = sqlite(Window::default(), 1);
    store.apply(milk()).await;
    // The tail is full, so the writer blocks with at most 256 writes in its group and 1024 in its
    // queue.
    let mut early = VecDeque::from_iter((0..1024 + 256 + 100).map(|_| store.begin(milk())));
    let (_, nothing) = mpsc::channel(1);
    let mut tail = std::mem::replace(&mut store.tail, nothing);
    tokio::spawn(async move { while tail.recv().await.is_some() {} });
    // After these are written, there is room for all waiting writers, but they have not continued
    // yet.
    for offset in 2..1002 {
        assert_eq!(early.pop_front().unwrap().await, offset);
    }
    let late = Vec::from_iter((0..10).map(|_| store.begin(milk())));
    for (offset, write) in (1002..).zip(early) {
        assert_eq!(write.await, offset);
    }
    for (offset, write) in (1382..).zip(late) {
        assert_eq!(write.await, offset);
    }
}

#[tokio::test]
async fn writer_thread_ends_with_its_engine() {
    let Store { engine, mut tail, .. } = default_store(sqlite);
    drop(engine);
    // The thread has the only sender.
    assert_eq!(tail.recv().await, None);
}

#[tokio::test]
async fn change_in_the_tail_is_already_readable() {
    let mut store = default_store(sqlite);
    let engine = Arc::clone(&store.engine);
    let writing = tokio::spawn(async move {
        for _ in 0..50 {
            engine.commit(milk()).await.unwrap();
        }
    });
    for _ in 0..50 {
        let change = store.tail.recv().await.unwrap();
        assert!(store.head().await.offset >= change.position.offset);
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn repeats_in_one_group_commit_are_recognized() {
    let mut store = sqlite(Window::default(), 1);
    store.apply(milk()).await;
    // The writer commits this write and then waits for a place in the tail.
    let stuck = tokio::spawn({
        let engine = Arc::clone(&store.engine);
        async move { engine.commit(milk()).await }
    });
    while store.head().await.offset < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!stuck.is_finished());
    // So these are queued behind it, and form one group.
    let queued = |write| store.engine.commit(write);
    let (first, repeat, missing, last, ()) = tokio::join!(
        biased;
        queued(keyed("k", milk())),
        queued(keyed("k", milk())),
        queued(destroy("9")),
        queued(update("3", json!({"done": true}))),
        async {
            for offset in 1..=4 {
                assert_eq!(store.tail.recv().await.unwrap().position.offset, offset);
            }
        }
    );
    let (first, repeat) = (first.unwrap(), repeat.unwrap());
    assert!(!first.repeated && repeat.repeated);
    assert_eq!(first.change.position, repeat.change.position);
    assert!(matches!(missing, Err(Error::Refused(_))));
    assert_eq!(last.unwrap().change.previous, 3);
    stuck.await.unwrap().unwrap();
}

#[tokio::test]
async fn changes_that_exceed_the_memory_limit_are_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite_in(folder.path(), Window::default(), 4096);
    store.apply(create(json!({ "text": "x".repeat(1 << 20) }))).await;
    for n in 0..10 {
        store.apply(update("1", json!({ "n": n }))).await;
    }
    // Each change contains the record before and after it.
    for room in ["todo", "todo/1"] {
        assert!(store.since(room, 1).await.is_none(), "{room}");
        assert_eq!(store.since(room, 5).await.map(|changes| changes.len()), Some(6), "{room}");
    }
}

#[tokio::test]
async fn client_with_one_write_does_not_wait_for_1000_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite_in(folder.path(), Window::default(), 4096);
    let other_connection = other_connection(folder.path());
    let from = |client: [u8; 4], write| Write { client: Some(client.into()), ..write };
    store.apply(milk()).await;
    // All writes arrive while the file is locked.
    other_connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let many: Vec<_> = (0..1000).map(|_| store.begin(from([10, 0, 0, 1], milk()))).collect();
    let one = store.begin(from([10, 0, 0, 2], milk()));
    other_connection.execute_batch("COMMIT").unwrap();
    // The writer may have started one of the other writes before.
    assert!(one.await <= 4);
    // The writes of one client are committed in order.
    let offsets = join_all(many).await;
    assert!(offsets.is_sorted(), "{offsets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answered_writes_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writers = JoinSet::new();
    let (report, mut answered) = mpsc::unbounded_channel();
    for _ in 0..8 {
        let (engine, report) = (Arc::clone(&store.engine), report.clone());
        writers.spawn(async move {
            while !report.is_closed() {
                let change = engine.commit(keyed("k", milk())).await.unwrap().change;
                let done = engine.commit(update("1", json!({"at": change.at}))).await.unwrap();
                engine.commit(milk()).await.unwrap();
                let _ = report.send(done.change.position.offset);
            }
        });
    }
    let mut last = 0;
    for _ in 0..100 {
        last = last.max(answered.recv().await.unwrap());
    }
    // Copies the files during a write, as a power failure would leave them. The open snapshot
    // prevents SQLite from restarting its journal between the two copies.
    let after = tempfile::tempdir().unwrap();
    fs::create_dir(after.path().join("data")).unwrap();
    let other_connection = other_connection(folder.path());
    other_connection.execute_batch("BEGIN; SELECT count(*) FROM log").unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("data/backwire.db{suffix}");
        fs::copy(folder.path().join(&name), after.path().join(&name)).unwrap();
    }
    answered.close();
    writers.join_all().await;

    let survivor = open(after.path());
    assert!(survivor.head().await.offset >= last);
    let log = survivor.since("todo", 0).await.unwrap();
    assert_eq!(offsets(&log), (1..=log.len() as u64).collect::<Vec<_>>());
    assert!(survivor.commit(keyed("k", milk())).await.repeated);
    assert_eq!(
        missed(&survivor, Position { offset: last, ..store.head().await }).await.unwrap().len(),
        log.len() - last as usize
    );
}

#[tokio::test]
async fn write_that_cannot_be_stored_is_unavailable_and_later_writes_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let other_connection = other_connection(folder.path());
    other_connection.execute_batch("ALTER TABLE log RENAME TO away").unwrap();
    assert!(unavailable(&store).await.contains("no such table"));
    other_connection.execute_batch("ALTER TABLE away RENAME TO log").unwrap();
    store.apply(milk()).await;
    assert_eq!(offsets(&store.tail_changes()), [1]);
    assert_eq!(store.records().await.len(), 1);
}

/// Makes writes of records with this title fail inside of SQLite.
fn fail_on(other_connection: &Connection, title: &str, failure: &str) {
    other_connection
        .execute_batch(&format!(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY);
             CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER failure AFTER INSERT ON log WHEN new.after ->> 'title' = '{title}'
             BEGIN {failure}; END"
        ))
        .unwrap();
}

/// Commits many writes at once, some of which fail, and checks that each reported outcome is
/// correct.
async fn check_outcomes(failure: &str, is_contained: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let other_connection = other_connection(folder.path());
    fail_on(&other_connection, "bad", failure);
    let mut writers = JoinSet::new();
    for n in 0..200 {
        let engine = Arc::clone(&store.engine);
        let title = if n % 50 == 7 { "bad" } else { "good" };
        writers.spawn(async move {
            let outcome = engine.commit(create(json!({"title": title}))).await;
            (title, outcome.map(|committed| committed.change))
        });
    }
    let mut answered = Vec::new();
    for (title, outcome) in writers.join_all().await {
        match outcome {
            Ok(change) => {
                assert_eq!(title, "good");
                answered.push(change.position.offset);
            }
            Err(Error::Unavailable(_)) => assert!(title == "bad" || !is_contained),
            Err(other) => panic!("{other}"),
        }
    }
    answered.sort_unstable();
    assert_eq!(offsets(&store.tail_changes()), answered);
    assert_eq!(answered, (1..=answered.len() as u64).collect::<Vec<_>>());
    assert_eq!(store.records().await.len(), answered.len());
    assert_eq!(
        store.engine.find(&todo(), &Criteria::default()).await.unwrap().position.offset,
        answered.len() as u64
    );

    other_connection.execute_batch("DROP TRIGGER failure").unwrap();
    let next = store.apply(create(json!({"title": "bad"}))).await;
    assert_eq!(next.position.offset, answered.len() as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_write_does_not_affect_its_group() {
    check_outcomes("SELECT raise(ABORT, 'no')", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_transaction_fails_its_whole_group() {
    check_outcomes("SELECT raise(ROLLBACK, 'disk full')", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_commit_fails_its_whole_group() {
    check_outcomes("INSERT INTO child VALUES (1)", false).await;
}

#[tokio::test]
async fn destroy_whose_cascade_fails_leaves_no_trace_in_the_log_or_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.apply(milk()).await;
    store.apply(create(json!({"owner": 1}))).await;
    let other_connection = other_connection(folder.path());
    other_connection
        .execute_batch(
            "CREATE TRIGGER failure BEFORE INSERT ON cascades BEGIN SELECT raise(ABORT, 'no'); END",
        )
        .unwrap();
    let owner = Reference { resource: todo(), attribute: "owner".to_owned(), is_pair: false };
    let destroy = || Write { references: vec![owner.clone()], ..keyed("d", destroy("1")) };
    assert!(matches!(store.engine.commit(destroy()).await, Err(Error::Unavailable(_))));
    assert_eq!(store.head().await.offset, 2);
    other_connection.execute_batch("DROP TRIGGER failure").unwrap();
    let repeat = store.commit(destroy()).await;
    assert_eq!((repeat.repeated, repeat.change.position.offset), (false, 3));
    assert_eq!(store.engine.cascades().unfinished().await.unwrap().len(), 1);
}

#[tokio::test]
async fn locked_file_is_unavailable_until_it_is_unlocked() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let other_connection = other_connection(folder.path());
    other_connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(unavailable(&store).await.contains("locked"));
    other_connection.execute_batch("COMMIT").unwrap();
    store.apply(milk()).await;
}

#[tokio::test]
async fn write_is_based_on_the_file_including_changes_of_other_processes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let other_connection = other_connection(folder.path());
    store.apply(milk()).await;
    other_connection
        .execute_batch(r#"UPDATE records SET json = '{"id":1,"title":"Eggs"}'"#)
        .unwrap();
    store.apply(update("1", json!({"done": true}))).await;
    assert_eq!(store.record("1").await.unwrap()["title"], "Eggs");
    other_connection.execute_batch("DELETE FROM records").unwrap();
    let gone = store.refusal(update("1", json!({"done": false}))).await;
    assert!(matches!(gone, WriteError::NotFound { .. }), "{gone}");
}

#[tokio::test]
async fn write_is_not_based_on_an_uncommitted_write() {
    // A failure of the transaction, of one write, and of the commit.
    let failures = ["SELECT raise(ROLLBACK, 'disk full')", "SELECT raise(ABORT, 'too big')"];
    for failure in failures.into_iter().chain(["INSERT INTO child VALUES (1)"]) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let other_connection = other_connection(folder.path());
        fail_on(&other_connection, "bad", failure);
        store.apply(milk()).await;
        store.apply(milk()).await;
        // Writes that arrive while the file is locked form one group.
        other_connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let writes = [
            update("2", json!({"n": 1})),
            update("1", json!({"title": "good"})),
            update("1", json!({"title": "bad"})),
        ];
        let begun: Vec<_> = writes.map(|write| store.engine.commit(write)).into();
        let commit = async { other_connection.execute_batch("COMMIT").unwrap() };
        let (outcomes, ()) = tokio::join!(join_all(begun), commit);
        assert!(outcomes[2].is_err(), "{failure}");
        store.apply(update("1", json!({"done": true}))).await;
        let title = if outcomes[1].is_ok() { "good" } else { "Milk" };
        assert_eq!(store.record("1").await.unwrap()["title"], title, "{failure}");
    }
}

#[tokio::test]
async fn old_changes_and_keys_are_removed_from_the_file() {
    const BATCH: u32 = 2048;
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite_in(folder.path(), Window { count: 3, ..Window::default() }, 16 * 1024);
    let count = |what: &str| {
        let sql = format!("SELECT count(*) FROM {what}");
        other_connection(folder.path()).query_row(&sql, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    // Only the data to answer repeats of keyed changes stays.
    for n in 0..8 {
        store.apply(create(json!({"id": format!("a{n}")}))).await;
    }
    store.apply(destroy("a1")).await;
    assert_eq!((count("records"), count("log")), (8, 3));
    let many = |from: u32, time: u64| {
        let write = move |n: u32| crate::store::at(time, keyed(&n.to_string(), milk()));
        Vec::from_iter((from..from + BATCH).map(|n| store.begin(write(n))))
    };
    for write in many(0, NOON) {
        write.await;
    }
    store.apply(keyed("destroyed", destroy("a2"))).await;
    // The entries of the last changes may be only in the log.
    assert_eq!((count("log"), (BATCH - 2..=BATCH + 1).contains(&count("ledger"))), (3, true));
    // A week later, at least as many entries are removed as are added.
    for batch in 1..4 {
        for write in many(batch * BATCH, NOON + 8 * DAY) {
            write.await;
        }
    }
    assert_eq!(count("ledger WHERE at < (SELECT max(at) FROM ledger)"), 0);
    let all = count("ledger") + count("log WHERE offset > (SELECT moved FROM resources)");
    assert_eq!((count("log"), all), (3, 3 * BATCH));
    let sum = "SELECT sum(104 + length(resource) + 8) = (SELECT value FROM meta
               WHERE name = 'ledger_bytes') FROM ledger";
    assert!(
        other_connection(folder.path()).query_row(sum, [], |row| row.get::<_, bool>(0)).unwrap()
    );
    assert_eq!(count("records WHERE json IS NULL"), 0);
}

#[tokio::test]
async fn long_log_is_pruned_in_batches_down_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite_in(folder.path(), Window { count: 64, ..Window::default() }, 4096);
    let sql = "SELECT count(*) FROM log";
    for written in 1..200_u32 {
        store.apply(milk()).await;
        let kept: u32 =
            other_connection(folder.path()).query_row(sql, [], |row| row.get(0)).unwrap();
        assert!((written.min(64)..=68).contains(&kept), "{kept} of {written}");
    }
}

#[tokio::test]
async fn keys_survive_a_restart_with_and_without_their_log_entries() {
    let folder = tempfile::tempdir().unwrap();
    let reopen = || sqlite_in(folder.path(), Window { count: 3, ..Window::default() }, 4096);
    let mut first = Vec::new();
    for n in 0..12 {
        let store = reopen();
        first.push(store.apply(keyed(&n.to_string(), milk())).await);
        for (n, first) in first.iter().enumerate() {
            let repeat = store.commit(keyed(&n.to_string(), milk())).await;
            assert!(repeat.repeated);
            let is_in_the_log = store.since("todo", first.position.offset - 1).await.is_some();
            let position = if is_in_the_log { first.position } else { store.head().await };
            assert_eq!(
                (
                    repeat.change.position.offset,
                    &repeat.change.id,
                    &repeat.change.after,
                    repeat.change.at
                ),
                (position.offset, &first.id, &first.after, first.at)
            );
        }
        drop(store);
    }
}

#[tokio::test]
async fn keys_are_stored_in_batches_with_their_identities() {
    const KEYS: usize = 3000;
    let folder = tempfile::tempdir().unwrap();
    let write = |n: usize, identity: &str, fingerprint| {
        keyed_by(identity, &format!("{}", n * 7919 % KEYS), fingerprint, milk())
    };
    let store = open(folder.path());
    let begun = Vec::from_iter((0..KEYS).map(|n| store.begin(write(n, "ann", 1))));
    let mut offsets = Vec::new();
    for write in begun {
        offsets.push(write.await);
    }
    let in_table = |folder: &Path| {
        let sql = "SELECT count(*) FROM ledger";
        other_connection(folder).query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    let settled = in_table(folder.path());
    assert!((1024..3000).contains(&settled), "{settled}");
    drop(store);

    let store = open(folder.path());
    for (n, offset) in offsets.into_iter().enumerate() {
        let repeat = store.commit(write(n, "ann", 1)).await;
        assert_eq!((repeat.repeated, repeat.change.position.offset), (true, offset));
    }
    for n in [0, KEYS - 1] {
        assert_eq!(store.refusal(write(n, "ann", 2)).await, WriteError::KeyReused);
        assert!(!store.commit(write(n, "bob", 1)).await.repeated);
    }
    assert_eq!(in_table(folder.path()), settled);
}

#[tokio::test]
async fn key_of_an_uncommitted_group_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let other_connection = other_connection(folder.path());
    for failure in ["SELECT raise(ROLLBACK, 'disk full')", "INSERT INTO child VALUES (1)"] {
        fail_on(&other_connection, "Milk", failure);
        assert!(store.engine.commit(keyed("k", milk())).await.is_err());
        other_connection
            .execute_batch("DROP TRIGGER failure; DROP TABLE child; DROP TABLE parent")
            .unwrap();
    }
    assert!(!store.commit(keyed("k", milk())).await.repeated);
    assert!(store.commit(keyed("k", milk())).await.repeated);
}

#[tokio::test]
async fn keys_of_writes_without_effect_and_names_of_keys_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let write = || keyed("k", update("1", json!({"title": "Milk"})));
    let store = open(folder.path());
    store.apply(milk()).await;
    assert!(store.commit(write()).await.unchanged);
    drop(store);
    let store = open(folder.path());
    store.apply(update("1", json!({"title": "Eggs"}))).await;
    assert!(store.commit(write()).await.repeated);
    assert_eq!(store.engine.keys().await.unwrap()[&crate::store::todo()], "id");
}

#[tokio::test]
async fn file_of_the_first_version_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.apply(milk()).await;
    drop(store);
    let other_connection = other_connection(folder.path());
    go_back_to_the_fifth_version(&other_connection);
    other_connection
        .execute_batch(
            "ALTER TABLE log DROP COLUMN published;
             ALTER TABLE log DROP COLUMN identity;
             ALTER TABLE log DROP COLUMN key;
             ALTER TABLE log DROP COLUMN fingerprint;
             ALTER TABLE resources DROP COLUMN moved;
             DROP TABLE sessions;
             DROP TABLE persons;
             DROP TABLE devices;
             DROP TABLE messages;
             DROP TABLE inbox;
             DROP TABLE acks;
             DROP TABLE posts;
             DELETE FROM meta WHERE name = 'session_secret';
             UPDATE meta SET value = 1 WHERE name = 'version'",
        )
        .unwrap();
    let store = open(folder.path());
    store.apply(publish(Verb::Update, "1", json!({}))).await;
    let published: Vec<bool> =
        store.since("todo", 0).await.unwrap().iter().map(|change| change.published).collect();
    assert_eq!(published, [false, true]);
    assert_ne!(store.engine.sessions().secret().await.unwrap(), [0; 32]);
    store.connect(&device("ann", ""), NOON).await;
    let id = store.post(post(&["ann"], "e", 1)).await;
    assert_eq!(store.ids(&device("ann", ""), NOON).await, [id]);
}

#[tokio::test]
async fn keys_of_the_fourth_version_are_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let first = store.apply(keyed("k", milk())).await;
    drop(store);
    let other_connection = other_connection(folder.path());
    go_back_to_the_fifth_version(&other_connection);
    other_connection
        .execute_batch(
            "ALTER TABLE log DROP COLUMN identity;
             ALTER TABLE log DROP COLUMN key;
             ALTER TABLE log DROP COLUMN fingerprint;
             ALTER TABLE resources DROP COLUMN moved;
             UPDATE meta SET value = 4 WHERE name = 'version'",
        )
        .unwrap();
    let store = open(folder.path());
    store.apply(keyed("l", milk())).await;
    let repeat = store.commit(keyed("k", milk())).await;
    assert_eq!((repeat.repeated, repeat.change.position.offset), (true, first.position.offset));
    drop(store);
    assert!(open(folder.path()).commit(keyed("l", milk())).await.repeated);
}

#[tokio::test]
async fn log_entries_of_the_fifth_version_are_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.apply(create(json!({"title": "Milk", "done": false, "tags": ["a", null]}))).await;
    store.apply(update("1", json!({"done": true, "title": null}))).await;
    store.apply(publish(Verb::Update, "1", json!({"seen": {"by": "Ann"}}))).await;
    store.apply(destroy("1")).await;
    let log = store.since("todo", 0).await.unwrap();
    assert_eq!(log[1].set["done"], true);
    assert!(!log[1].set.contains_key("tags"));
    drop(store);
    let other_connection = other_connection(folder.path());
    go_back_to_the_fifth_version(&other_connection);
    other_connection.execute_batch("UPDATE meta SET value = 5 WHERE name = 'version'").unwrap();
    let store = open(folder.path());
    assert_eq!(store.since("todo", 0).await.unwrap(), after_restart(&store, &log).await);
}

#[tokio::test]
async fn keys_of_the_sixth_version_are_migrated_with_and_without_their_log_entries() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let write = |n: usize| match n {
        5 => keyed("5", destroy("1")),
        n => keyed(&n.to_string(), milk()),
    };
    let mut first = Vec::new();
    for n in 0..12 {
        first.push(store.apply(write(n)).await);
    }
    let log = store.since("todo", 9).await;
    drop(store);
    let other_connection = other_connection(folder.path());
    go_back_to_the_sixth_version(&other_connection);
    other_connection
        .execute_batch(
            "DELETE FROM log WHERE offset <= 9;
             UPDATE resources SET floor = 9, moved = 10;
             DELETE FROM ledger WHERE offset > 10;
             UPDATE meta SET value = 6 WHERE name = 'version'",
        )
        .unwrap();
    for _ in 0..2 {
        let store = open(folder.path());
        let log = after_restart(&store, log.as_ref().unwrap()).await;
        assert_eq!((store.since("todo", 9).await, store.since("todo", 8).await), (Some(log), None));
        for (n, first) in first.iter().enumerate() {
            repeat_is_right(&store, write(n), first, 9).await;
        }
    }
}

/// Checks the answer to a repeat of a create of milk or a destroy of the first.
async fn repeat_is_right(store: &Store, write: Write, first: &Change, floor: u64) {
    let repeat = store.commit(write).await;
    assert!(repeat.repeated, "{first:?}");
    let change = &repeat.change;
    assert_eq!((&change.id, change.at, change.verb), (&first.id, first.at, first.verb));
    let shown = |change: &Change| change.after.clone().or(change.before.clone()).unwrap();
    let only_id = || Arc::new(attributes(json!({ "id": first.id.to_json() })));
    let is_gone = first.id == crate::store::id("1");
    let (offset, record) = match first.position.offset {
        offset if offset > floor => (offset, shown(first)),
        offset if first.verb == Verb::Destroy => (offset, only_id()),
        _ if is_gone => (0, only_id()),
        _ => (store.head().await.offset, shown(first)),
    };
    assert_eq!((change.position.offset, shown(change)), (offset, record));
}

#[tokio::test]
async fn keys_of_the_ninth_version_are_migrated_without_their_records() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let write = |n: usize| match n {
        7 => keyed("7", destroy("1")),
        n => keyed_by(&(n % 3).to_string(), &n.to_string(), 1, milk()),
    };
    let mut first = Vec::new();
    for n in 0..40 {
        first.push(store.apply(write(n)).await);
    }
    drop(store);
    let other_connection = other_connection(folder.path());
    go_back_to_the_ninth_version(&other_connection);
    // The file has the state before it could shrink, and the log has forgotten the changes that it
    // kept for keys.
    other_connection
        .execute_batch(
            r#"PRAGMA auto_vacuum = NONE;
               VACUUM;
               UPDATE resources SET floor = 30, moved = 20;
               DELETE FROM ledger WHERE offset > 20;
               INSERT INTO unchanged VALUES ('u', 'ann', 1, 'todo', 12, 3, '{"id":3}', 5, 1)"#,
        )
        .unwrap();
    other_connection.execute("UPDATE unchanged SET at = ?1", [NOON.cast_signed()]).unwrap();
    for _ in 0..2 {
        let store = open(folder.path());
        for (n, first) in first.iter().enumerate() {
            repeat_is_right(&store, write(n), first, 30).await;
        }
        let other = keyed_by("0", "3", 2, milk());
        assert_eq!(store.refusal(other).await, WriteError::KeyReused);
        let unchanged = keyed_by("ann", "u", 1, update("3", json!({"title": "Milk"})));
        let repeat = store.commit(unchanged).await;
        assert_eq!((repeat.repeated, repeat.change.position.offset), (true, 40));
        assert_eq!(repeat.change.after.as_ref().unwrap()["title"], "Milk");
        let count =
            |sql: &str| other_connection.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM log"), 10);
        assert_eq!(count("SELECT count(*) FROM ledger"), 41);
        assert_eq!(count("PRAGMA auto_vacuum"), 2);
    }
}

/// Returns the size of the file after a checkpoint, and the number of its bytes in use.
fn size(folder: &Path) -> [u64; 2] {
    let other_connection = other_connection(folder);
    let number = |sql| other_connection.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
    number("PRAGMA wal_checkpoint(TRUNCATE)");
    let free = number("PRAGMA freelist_count") * number("PRAGMA page_size");
    let all = fs::metadata(file(folder)).unwrap().len();
    [all, all - u64::from(free)]
}

/// Returns the number of rows of a table.
fn count(folder: &Path, what: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM {what}");
    other_connection(folder).query_row(&sql, [], |row| row.get::<_, u32>(0)).unwrap().into()
}

/// Updates a record this many times, with keys like those of the runtime: a random prefix for each
/// page, and a counter.
async fn many_updates(store: &mut Store, from: u64, count: u64, text: &str, at: u64) {
    let write = |n: u64| {
        let page = (n % 50 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let update = update("1", json!({ "text": text, "n": n }));
        crate::store::at(at, keyed_by("2c1743a3-91ab", &format!("{page:016x}-{n}"), 1, update))
    };
    // Writes few at a time, because the log may exceed its limit by that many.
    for first in (from..from + count).step_by(64) {
        let begun = (first..(from + count).min(first + 64)).map(|n| store.begin(write(n)));
        for write in Vec::from_iter(begun) {
            write.await;
        }
        store.tail_changes();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_update_of_2_kb_costs_at_most_300_bytes_after_its_log_entry_is_gone() {
    const WRITES: u64 = 5000;
    let folder = tempfile::tempdir().unwrap();
    let mut store = sqlite_in(folder.path(), Window { count: 100, ..Window::default() }, 4096);
    let text = "x".repeat(2000);
    store.apply(milk()).await;
    many_updates(&mut store, 0, 1000, &text, NOON).await;
    let before = size(folder.path());
    many_updates(&mut store, 1000, WRITES, &text, NOON).await;
    let after = size(folder.path());
    let [growth, cost] = [0, 1].map(|it| after[it].saturating_sub(before[it]) / WRITES);
    println!("a write costs {cost} bytes of the file, which has grown by {growth}");
    assert!(cost <= 300 && growth <= 300, "{before:?} {after:?}");
    assert!(count(folder.path(), "ledger") >= 1000 + WRITES - 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn file_shrinks_after_the_entries_of_its_ledger_expire() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = sqlite_in(folder.path(), Window { count: 10, ..Window::default() }, 4096);
    store.apply(milk()).await;
    many_updates(&mut store, 0, 24_000, "", NOON).await;
    let [full, _] = size(folder.path());
    // Each new entry of the table removes two. The last 100 may still be only in memory.
    many_updates(&mut store, 24_000, 12_100, "", NOON + 8 * DAY).await;
    let [shrunk, used] = size(folder.path());
    println!("{full} bytes before, {shrunk} after; {used} in use");
    assert_eq!(count(folder.path(), "ledger WHERE at < (SELECT max(at) FROM ledger)"), 0);
    assert!(shrunk < full && shrunk - used <= 1 << 19, "{shrunk} of {full}");
}

#[tokio::test(flavor = "multi_thread")]
async fn file_shrinks_after_its_log_is_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let text = "x".repeat(2000);
    store.apply(milk()).await;
    many_updates(&mut store, 0, 2000, &text, NOON).await;
    let [full, used] = size(folder.path());
    println!("a write costs {} bytes with its log entry", used / 2000);
    for n in 0..50 {
        many_updates(&mut store, 2000 + n, 1, &text, NOON + 2 * DAY).await;
    }
    let [shrunk, _] = size(folder.path());
    assert!(shrunk < 2 << 20, "{shrunk} of {full}");
}

#[test]
fn sqlite_is_built_with_the_options_of_the_workspace() {
    let connection = Connection::open_in_memory().unwrap();
    let mut options = connection.prepare("PRAGMA compile_options").unwrap();
    let options: Vec<String> =
        options.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    // SQLite does not list the effect of USE_ALLOCA.
    for expected in ["DEFAULT_MEMSTATUS=0", "LIKE_DOESNT_MATCH_BLOBS", "OMIT_SHARED_CACHE"] {
        assert!(options.iter().any(|option| option == expected), "{expected}: {options:?}");
    }
    assert!(!options.iter().any(|option| option == "ENABLE_API_ARMOR"), "{options:?}");
}

#[tokio::test]
async fn sessions_and_their_secret_survive_a_restart_and_expired_ones_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let edit = |id: &str, at: u64| SessionEdit {
        id: id.into(),
        set: BTreeMap::from([("name".to_owned(), Some(json!("Ann")))]),
        at,
        until: at + HOUR,
        ..SessionEdit::default()
    };
    let store = open(folder.path());
    for id in ["a", "b", "c"] {
        store.engine.sessions().edit(edit(id, NOON)).await.unwrap();
    }
    let secret = store.engine.sessions().secret().await.unwrap();
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.engine.sessions().secret().await.unwrap(), secret);
    assert!(store.engine.sessions().load("a", NOON).await.unwrap().is_some());
    // Each new one removes two expired ones.
    store.engine.sessions().edit(edit("d", NOON + HOUR)).await.unwrap();
    let count =
        |sql: &str| other_connection(folder.path()).query_row(sql, [], |row| row.get::<_, i64>(0));
    assert_eq!(count("SELECT count(*) FROM sessions").unwrap(), 2);
}

#[tokio::test]
async fn queued_messages_survive_a_restart_and_all_devices_are_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    let store = open(folder.path());
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    let mut ids = Vec::new();
    for arg in 1..=3 {
        ids.push(
            store.post(queues::keyed(&format!("k{arg}"), arg, post(&["ann"], "e", arg))).await,
        );
        store.post(resync(post(&["bob"], "e", arg))).await;
    }
    store.ack(&phone, Ack::One(ids[1]), NOON).await;
    drop(store);

    let store = open(folder.path());
    // The clock may have been set back in the meantime.
    store.engine.queues().begin(Node::default(), NOON - DAY).await.unwrap();
    assert_eq!(store.ids(&phone, NOON - DAY).await, [ids[0], ids[2]]);
    assert_eq!(store.ids(&desk, NOON - DAY).await, ids);
    let again = queues::keyed("k2", 2, post(&["ann"], "e", 2));
    assert_eq!(store.try_post(again).await.unwrap(), Enqueued { id: ids[1], repeated: true });
    let next = store.post(Enqueue { at: NOON - DAY, ..post(&["ann"], "e", 4) }).await;
    assert!(next > ids[2]);
    assert!(store.ids(&desk, NOON).await.is_empty());
}

#[tokio::test]
async fn message_is_one_row_for_all_recipients_and_is_removed_with_the_last_ack() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    for arg in 0..50 {
        store.post(post(&["ann", "bob"], "e", arg)).await;
    }
    let tables = ["messages", "inbox", "acks"];
    let count = |table| {
        let sql = format!("SELECT count(*) FROM {table}");
        other_connection(folder.path()).query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(tables.map(count), [50, 100, 0]);
    // Acks in order only advance the floor of a device.
    let ids = store.ids(&phone, NOON).await;
    for id in &ids {
        store.ack(&phone, Ack::One(*id), NOON).await;
    }
    assert_eq!(tables.map(count), [50, 100, 0]);
    // Other acks are stored one by one.
    store.ack(&desk, Ack::One(ids[9]), NOON).await;
    store.post(post(&["ann"], "e", 50)).await;
    store.post(post(&["ann"], "e", 51)).await;
    let next = store.ids(&phone, NOON).await;
    store.ack(&phone, Ack::One(next[1]), NOON).await;
    assert_eq!(tables.map(count), [52, 101, 1]);
    for device in [phone, desk, device("bob", "")] {
        store.connect(&device, NOON).await;
        let ids = store.ids(&device, NOON).await;
        store.ack(&device, Ack::Batch(ids), NOON).await;
    }
    assert_eq!(tables.map(count), [0, 0, 0]);
}

#[tokio::test]
async fn expired_persons_and_old_keys_are_removed_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..8 {
        let person = n.to_string();
        store.connect(&device(&person, ""), NOON).await;
        store.disconnect(&device(&person, ""), NOON).await;
        let never_came = format!("never {n}");
        store.post(queues::keyed(&person, 1, post(&[&person, &never_came], "e", n))).await;
    }
    for n in 8..13 {
        let key = n.to_string();
        let later = Enqueue { at: NOON + 8 * DAY, ..post(&["bob"], "e", n) };
        store.post(queues::keyed(&key, 1, later)).await;
    }
    let count = |table| {
        let sql = format!("SELECT count(*) FROM {table}");
        other_connection(folder.path()).query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let tables = ["persons", "devices", "messages", "inbox", "posts"];
    assert_eq!(tables.map(count), [1, 0, 5, 5, 5]);
}

#[tokio::test]
async fn file_of_an_unknown_version_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let other_connection = other_connection(folder.path());
    other_connection.execute_batch("UPDATE meta SET value = 99 WHERE name = 'version'").unwrap();
    let (tail, _) = mpsc::channel(1);
    let error = Sqlite::open(file(folder.path()), Window::default(), tail).unwrap_err();
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[tokio::test]
async fn file_that_is_not_a_store_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    let notes = "Buy milk. ".repeat(100);
    fs::write(&file, &notes).unwrap();
    let (tail, _) = mpsc::channel(1);
    assert!(Sqlite::open(&file, Window::default(), tail).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), notes);
}

/// Returns models with a todo that has indexes on these attributes.
fn indexed_by(names: &[&str]) -> Models {
    let indexed = Attribute { indexed: true, ..Attribute::default() };
    let with = |model: Model, name: &&str| model.attribute(*name, indexed.clone());
    let mut models = Models::default();
    models.declare("todo", names.iter().fold(Model::default(), with)).unwrap();
    models
}

#[tokio::test]
async fn declared_index_is_used_and_is_dropped_when_no_longer_declared() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.engine.declare(&indexed_by(&["owner"])).await.unwrap();
    // A connection plans queries with the indexes that existed when it was opened.
    let plan = || -> String {
        let query = "EXPLAIN QUERY PLAN SELECT json FROM records WHERE resource = 'todo'
                     AND json IS NOT NULL AND json_extract(json, '$.\"owner\"') = ? ORDER BY id";
        other_connection(folder.path()).query_row(query, ["ann"], |row| row.get("detail")).unwrap()
    };
    let indexed = Attribute { indexed: true, ..Attribute::default() };
    for owner in [indexed, Attribute::model("user")] {
        let mut models = Models::default();
        models.declare("todo", Model::default().attribute("owner", owner)).unwrap();
        store.engine.declare(&models).await.unwrap();
        assert!(plan().contains("declared todo owner"), "{}", plan());
        store.engine.declare(&Models::default()).await.unwrap();
        assert!(!plan().contains("declared"), "{}", plan());
    }
}

#[tokio::test]
async fn index_with_another_definition_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.apply(create(json!({"owner": "ann"}))).await;
    let older = "CREATE INDEX \"declared todo owner\" ON records (offset) WHERE resource = 'todo'";
    other_connection(folder.path()).execute(older, ()).unwrap();
    store.engine.declare(&indexed_by(&["owner"])).await.unwrap();
    assert_eq!(found(&store, json!({"sort": "owner", "limit": 1})).await, Ok(1));
}

#[tokio::test]
async fn query_with_an_index_reads_only_part_of_a_long_list() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.engine.declare(&indexed_by(&["rank", "list", "same"])).await.unwrap();
    for number in 0..100 {
        let text = number.to_string();
        store
            .apply(create(json!({"rank": number, "list": number % 5, "text": text, "same": 7})))
            .await;
    }
    // A read of this row fails, because only SQLite accepts names without quotes.
    let spoil = "UPDATE records SET json = '{rank:50,list:9,text:\"50\",same:7}' WHERE id = 51";
    other_connection(folder.path()).execute(spoil, ()).unwrap();
    for (asked, count) in [
        (json!({"limit": 10}), 10),
        (json!({"sort": "rank", "skip": 10, "limit": 10}), 10),
        (json!({"sort": "rank DESC", "limit": 10}), 10),
        (json!({"sort": "rank DESC,text", "limit": 10}), 10),
        (json!({"sort": "id DESC", "limit": 10}), 10),
        (json!({"sort": "same", "limit": 10}), 10),
        (json!({"sort": "same DESC", "limit": 10}), 10),
        (json!({"where": {"list": 3}, "sort": "text", "limit": 30}), 20),
        (json!({"where": {"list": 3}, "sort": "rank", "limit": 30}), 20),
        (json!({"where": {"rank": {"<": 45}}, "sort": "rank DESC", "limit": 10}), 10),
        (json!({"where": {"rank": {">": 55}}, "sort": "rank", "limit": 10}), 10),
        (json!({"where": {"id": {">": 60}}, "limit": 10}), 10),
        (json!({"where": {"text": {"<": "3"}}, "sort": "rank", "limit": 10}), 10),
    ] {
        assert_eq!(found(&store, asked.clone()).await, Ok(count), "{asked}");
    }
    assert!(found(&store, json!({"sort": "rank"})).await.is_err());
    assert!(found(&store, json!({"sort": "text", "limit": 10})).await.is_err());
}

/// Returns the number of found records, or the error.
async fn found(store: &Store, asked: Value) -> Result<usize, String> {
    let parameters = Parameters::read(Vec::new(), attributes(asked)).unwrap();
    let criteria = Criteria::read(parameters, Language::Current).unwrap();
    let found = store.engine.find(&todo(), &criteria).await;
    found.map(|found| found.value.len()).map_err(|error| error.to_string())
}

/// Earlier versions advanced the counter for every id that a client gave.
#[tokio::test]
async fn creates_continue_after_an_earlier_version_exhausted_the_id_counter() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).apply(create(json!({"id": "eggs"}))).await;
    let set = "UPDATE resources SET next_id = 9007199254740992";
    other_connection(folder.path()).execute_batch(set).unwrap();
    let store = open(folder.path());
    let first = (1_i64 << 52) + 1;
    store.apply(create(json!({"id": first + 1}))).await;
    for expected in [first, first + 2] {
        assert_eq!(store.apply(milk()).await.id, Id::Integer(expected));
    }
    drop(store);
    assert_eq!(open(folder.path()).apply(milk()).await.id, Id::Integer(first + 3));
}

/// A reader that does not end prevents SQLite from reusing the write-ahead log.
#[tokio::test(flavor = "multi_thread")]
async fn write_ahead_log_shrinks_after_a_long_reader_of_another_process_has_ended() {
    const LIMIT: u64 = 64 << 20;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let log = file(folder.path()).with_file_name("backwire.db-wal");
    let size = || std::fs::metadata(&log).map_or(0, |log| log.len());
    let reader = other_connection(folder.path());
    let snapshot = reader.unchecked_transaction().unwrap();
    let count = || -> i64 {
        snapshot.query_row("SELECT count(*) FROM records", (), |row| row.get(0)).unwrap()
    };
    assert_eq!(count(), 0);
    let text = "x".repeat(1 << 20);
    while size() <= LIMIT {
        store.apply(create(json!({ "text": text }))).await;
    }
    assert_eq!(count(), 0);
    let gauge = || store.engine.gauges().into_iter().find(|it| it.name == "backwire_wal_bytes");
    assert!(gauge().unwrap().value > LIMIT);
    snapshot.commit().unwrap();
    // Nobody writes.
    let has_shrunk = async || {
        let is_small = size() <= LIMIT && gauge().unwrap().value <= LIMIT;
        is_small.then_some(())
    };
    poll("the log shrinks", TIMEOUT, has_shrunk).await;
    assert!(count_of_records(&reader) > 0);
}

fn count_of_records(other_connection: &Connection) -> i64 {
    other_connection.query_row("SELECT count(*) FROM records", (), |row| row.get(0)).unwrap()
}

/// After a restart, the keys of the log are read in the order of their time.
#[tokio::test]
async fn key_from_before_the_clock_was_set_back_is_known_after_its_log_entry_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let open = || sqlite_in(folder.path(), Window { count: 6, ..Window::default() }, 64);
    let first = || Write { at: NOON, ..keyed("first", milk()) };
    let store = open();
    store.apply(first()).await;
    for _ in 0..3 {
        store.apply(milk()).await;
    }
    store.apply(Write { at: NOON - HOUR, ..keyed("second", milk()) }).await;
    drop(store);
    let store = open();
    // The log has forgotten the first change and still has the change of the second key.
    for _ in 0..2 {
        store.apply(milk()).await;
    }
    drop(store);
    assert!(open().commit(first()).await.repeated);
}

/// Earlier versions did not count records and the bytes of the log.
#[tokio::test]
async fn records_and_log_bytes_of_the_thirteenth_version_are_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let window = Window { count: 3, ..Window::default() };
    let store = sqlite_in(folder.path(), window, 4096);
    for _ in 0..5 {
        store.apply(milk()).await;
    }
    store.apply(destroy("1")).await;
    store.apply(publish(Verb::Update, "9", json!({ "title": "Größe" }))).await;
    drop(store);
    let counts = || {
        let sql = "SELECT records, log_bytes FROM resources";
        other_connection(folder.path())
            .query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?]))
            .unwrap()
    };
    let before: [i64; 2] = counts();
    assert_eq!(before[0], 4);
    go_back_to_the_fourteenth_version(&other_connection(folder.path()));
    let columns = "ALTER TABLE resources DROP COLUMN records;
                   ALTER TABLE resources DROP COLUMN log_bytes;
                   UPDATE meta SET value = 13 WHERE name = 'version'";
    other_connection(folder.path()).execute_batch(columns).unwrap();
    let store = open(folder.path());
    assert_eq!(counts(), before);
    let limits = RecordLimits { total: 4, ..RecordLimits::default() };
    let refused = store.refusal(Write { limits, ..milk() }).await;
    assert_eq!(refused, WriteError::TooManyRecords { limit: 4 });
}

#[tokio::test]
async fn keys_of_messages_of_the_fourteenth_version_are_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let id = store.post(queues::keyed("k", 7, post(&["ann"], "e", 1))).await;
    drop(store);
    let other_connection = other_connection(folder.path());
    go_back_to_the_fourteenth_version(&other_connection);
    let insert = "INSERT INTO posts VALUES ('shop', '', 'k', 7, ?1, ?2)";
    let stored = (u64::from(id) ^ 1 << 63).cast_signed();
    other_connection.execute(insert, (stored, NOON.cast_signed())).unwrap();
    let store = open(folder.path());
    let repeat = store.try_post(queues::keyed("k", 7, post(&["ann"], "e", 1))).await.unwrap();
    assert_eq!((repeat.id, repeat.repeated), (id, true));
    let other = store.try_post(queues::keyed("k", 8, post(&["ann"], "e", 1))).await;
    assert!(other.is_err());
}
