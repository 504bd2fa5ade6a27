//! Tests that every engine must pass.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backwire_engine::{
    AnswerMemory, ChangesSince, CommitOutcome, Enqueue, Error, ReadOptions, Window,
};
use backwire_records::access::Access;
use backwire_records::answer_memory::{ClaimMemory, OutOfMemory};
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use backwire_records::criteria::{Criteria, Filter, Language, Parameters};
use backwire_records::model::{Attribute, Model};
use backwire_records::write::{Action, Key, RecordLimits, Write, WriteError};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::store::{
    DAY, HOUR, NOON, Open, Store, at, attributes, create, default_store, destroy, id, keyed,
    keyed_by, milk, offsets, publish, short_log_store, short_log_window, todo, update,
};

const LAST_EXACT: i64 = (1 << 53) - 1;

// Records and their ids

pub(crate) async fn created_records_get_the_ids_1_2_3(open: Open) {
    let store = default_store(open);
    for expected in 1..=3 {
        assert_eq!(store.apply(milk()).await.id, Id::Integer(expected));
    }
    assert_eq!(
        store.record("2").await,
        Some(json!({"title": "Milk", "createdAt": NOON, "updatedAt": NOON, "id": 2}))
    );
}

pub(crate) async fn id_is_not_assigned_twice(open: Open) {
    let store = default_store(open);
    store.apply(milk()).await;
    store.apply(destroy("1")).await;
    assert_eq!(store.apply(milk()).await.id, id("2"));
}

pub(crate) async fn id_given_by_the_client_is_kept(open: Open) {
    let store = default_store(open);
    for given in [json!("eggs"), json!("0x1"), json!("a\u{80}b"), json!(-7), json!(0)] {
        let change = store.apply(create(json!({"id": given}))).await;
        assert_eq!(change.id.to_json(), given);
        assert_eq!(store.record(&change.id.to_string()).await.unwrap()["id"], given);
    }
    assert_eq!(store.apply(milk()).await.id, id("1"));
    for given in [json!(1.5), json!("a\u{0}b"), json!("a\u{1}b"), json!("\u{7f}")] {
        assert_eq!(store.refusal(create(json!({"id": given}))).await, WriteError::BadId);
    }
    assert_eq!(store.apply(create(json!({"id": null}))).await.id, id("2"));
}

pub(crate) async fn integer_id_given_by_the_client_advances_the_counter(open: Open) {
    let store = default_store(open);
    store.apply(create(json!({"id": 7}))).await;
    store.apply(create(json!({"id": "3"}))).await;
    assert_eq!(store.apply(milk()).await.id, id("8"));
}

pub(crate) async fn id_that_is_not_a_safe_integer_is_refused(open: Open) {
    let store = default_store(open);
    for given in [i64::MAX, i64::MIN, LAST_EXACT + 1, -LAST_EXACT - 1] {
        assert_eq!(store.refusal(create(json!({"id": given}))).await, WriteError::BadId);
        assert_eq!(
            store.refusal(destroy(&given.to_string())).await,
            WriteError::NotFound { resource: todo(), id: Id::Integer(given) }
        );
    }
    assert_eq!(store.apply(create(json!({"id": -LAST_EXACT}))).await.position.offset, 1);
}

pub(crate) async fn creates_continue_after_a_client_gives_the_last_id(open: Open) {
    let store = default_store(open);
    store.apply(create(json!({"id": LAST_EXACT}))).await;
    store.apply(publish(Verb::Create, &(LAST_EXACT - 1).to_string(), json!({}))).await;
    for expected in ["1", "2"] {
        assert_eq!(store.apply(milk()).await.id, id(expected));
    }
}

pub(crate) async fn create_without_an_id_skips_large_ids_given_by_clients(open: Open) {
    let (store, half) = (default_store(open), 1_i64 << 52);
    for given in [4, 2, 1, 0] {
        store.apply(create(json!({"id": half + given}))).await;
    }
    for expected in [3, 5, 6] {
        assert_eq!(store.apply(milk()).await.id, Id::Integer(half + expected));
    }
    store.apply(destroy(&(half + 6).to_string())).await;
    assert_eq!(store.apply(milk()).await.id, Id::Integer(half + 7));
}

pub(crate) async fn records_are_sorted_by_id(open: Open) {
    let store = default_store(open);
    for given in [json!("b"), json!(10), json!("a"), json!(9), json!("B"), json!(-1)] {
        store.apply(create(json!({"id": given}))).await;
    }
    let ids: Vec<Value> = store.records().await.iter().map(|record| record["id"].clone()).collect();
    assert_eq!(Value::from(ids), json!([-1, 9, 10, "B", "a", "b"]));
}

pub(crate) async fn update_keeps_the_other_attributes(open: Open) {
    let store = default_store(open);
    store.apply(create(json!({"title": "Milk", "done": false}))).await;
    let set = json!({"done": true, "id": 9, "createdAt": 0});
    let change = store.apply(at(NOON + 1, update("1", set))).await;
    let expected = json!({
        "title": "Milk", "done": true, "createdAt": NOON, "updatedAt": NOON + 1, "id": 1
    });
    assert_eq!(store.record("1").await, Some(expected));
    assert_eq!(
        Value::Object(change.set.clone()),
        json!({"done": true, "id": 1, "updatedAt": NOON + 1})
    );
}

pub(crate) async fn destroyed_record_no_longer_exists(open: Open) {
    let store = default_store(open);
    store.apply(milk()).await;
    let change = store.apply(destroy("1")).await;
    assert_eq!(change.before.as_ref().unwrap()["title"], "Milk");
    assert_eq!((change.verb, &change.after), (Verb::Destroy, &None));
    assert_eq!(store.record("1").await, None);
    assert!(store.records().await.is_empty());
}

pub(crate) async fn writes_to_a_missing_record_are_refused(open: Open) {
    let store = default_store(open);
    let missing = WriteError::NotFound { resource: todo(), id: id("1") };
    assert_eq!(store.refusal(update("1", json!({}))).await, missing);
    assert_eq!(store.refusal(destroy("1")).await, missing);
}

pub(crate) async fn create_of_an_existing_record_is_refused(open: Open) {
    let store = default_store(open);
    store.apply(create(json!({"id": "eggs"}))).await;
    assert_eq!(
        store.refusal(create(json!({"id": "eggs", "other": true}))).await,
        WriteError::Exists { resource: todo(), id: id("eggs") }
    );
    assert!(!store.record("eggs").await.unwrap().as_object().unwrap().contains_key("other"));
}

pub(crate) async fn refused_write_has_no_effect(open: Open) {
    let mut store = default_store(open);
    store.refusal(destroy("1")).await;
    assert_eq!(store.head().await.offset, 0);
    store.apply(milk()).await;
    store.refusal(create(json!({"id": 1}))).await;
    store.refusal(update("2", json!({}))).await;
    assert_eq!(store.head().await.offset, 1);
    assert_eq!(offsets(&store.tail_changes()), [1]);
}

pub(crate) async fn unused_resource_is_empty_at_position_0(open: Open) {
    let store = default_store(open);
    store.apply(milk()).await;
    let cart = Resource::parse("cart").unwrap();
    let carts = store.engine.find(&cart, &Criteria::default()).await.unwrap();
    assert!(carts.value.is_empty());
    assert_eq!(carts.position, Position { offset: 0, ..store.head().await });
    match store.engine.changes_since(&Room::class(cart), carts.position).await.unwrap() {
        ChangesSince::Changes { changes, head } => {
            assert!(changes.is_empty());
            assert_eq!(head, carts.position);
        }
        ChangesSince::OutOfReach => panic!("nothing has happened there yet"),
    }
}

// The ledger

pub(crate) async fn repeated_write_returns_the_first_outcome_and_changes_nothing(open: Open) {
    let mut store = default_store(open);
    let first = store.commit(keyed("k", milk())).await;
    store.apply(update("1", json!({"title": "Eggs"}))).await;
    let repeat = store.commit(at(NOON + 5, keyed("k", milk()))).await;
    assert!(!first.repeated && repeat.repeated);
    let Change { position, verb, id, after, mark, at, .. } = &*repeat.change;
    assert_eq!(
        (position, verb, id, after, mark, at),
        (
            &first.change.position,
            &Verb::Create,
            &first.change.id,
            &first.change.after,
            &first.change.mark,
            &NOON
        )
    );
    assert_eq!(store.head().await.offset, 2);
    assert_eq!(offsets(&store.tail_changes()), [1, 2]);
}

pub(crate) async fn update_without_effect_is_neither_logged_nor_published(open: Open) {
    let mut store = default_store(open);
    let made = store.apply(milk()).await;
    store.apply(create(json!({"title": "Eggs"}))).await;
    for (id, set) in [("1", json!({"title": "Milk"})), ("1", json!({})), ("1", json!({"id": 1}))] {
        let committed = store.commit(at(NOON + 5, update(id, set))).await;
        assert!(committed.unchanged && !committed.repeated);
        let Change { position, verb, after, .. } = &*committed.change;
        // The position is the head of the log, because the record is unchanged up to there.
        assert_eq!((position.offset, verb, after), (2, &Verb::Update, &made.after));
    }
    let upsert = Write { action: Action::Upsert(id("1"), attributes(json!({}))), ..milk() };
    assert!(store.commit(upsert).await.unchanged);
    assert_eq!(store.head().await.offset, 2);
    assert_eq!(offsets(&store.tail_changes()), [1, 2]);
    let changed = store.commit(at(NOON + 5, update("1", json!({"title": null})))).await;
    assert_eq!((changed.unchanged, changed.change.previous), (false, 1));
}

pub(crate) async fn repeated_update_without_effect_does_not_undo_later_changes(open: Open) {
    let mut store = default_store(open);
    store.apply(create(json!({"done": true}))).await;
    let write = || keyed("k", update("1", json!({"done": true})));
    let first = store.commit(write()).await;
    assert!(first.unchanged);
    store.apply(update("1", json!({"done": false}))).await;
    let repeat = store.commit(write()).await;
    assert!(repeat.repeated);
    // Nothing of it is in the log, so it is answered with the record as it is.
    let Change { position, verb, id, after, mark, .. } = &*repeat.change;
    assert_eq!((position.offset, verb, id), (2, &Verb::Update, &first.change.id));
    assert_eq!((&after.as_ref().unwrap()["done"], *mark), (&json!(false), first.change.mark));
    assert_eq!(store.record("1").await.unwrap()["done"], false);
    assert_eq!(offsets(&store.tail_changes()), [1, 2]);
    let other = keyed_by("", "k", 2, update("1", json!({"done": true})));
    assert_eq!(store.refusal(other).await, WriteError::KeyReused);
}

pub(crate) async fn key_of_an_update_without_effect_is_forgotten_after_seven_days(open: Open) {
    let store = default_store(open);
    store.apply(milk()).await;
    let write = |now| at(now, keyed("k", update("1", json!({"title": "Milk"}))));
    assert!(!store.commit(write(NOON)).await.repeated);
    assert!(store.commit(write(NOON + 7 * DAY)).await.repeated);
    assert!(!store.commit(write(NOON + 7 * DAY + 1)).await.repeated);
    assert!(store.commit(write(NOON + 8 * DAY)).await.repeated);
}

pub(crate) async fn repeated_write_returns_the_outcome_of_the_latest_use_of_its_key(open: Open) {
    let store = default_store(open);
    let write = |now, title: &str| at(now, keyed("k", update("1", json!({ "title": title }))));
    store.apply(create(json!({ "title": "Milk" }))).await;
    let changed = store.commit(write(NOON, "Eggs")).await;
    // The key has expired, and the clock goes back later.
    let unchanged = store.commit(write(NOON + 8 * DAY, "Eggs")).await;
    assert!(!changed.unchanged && unchanged.unchanged);
    let repeat = store.commit(write(NOON + 2 * DAY, "Eggs")).await;
    assert!(repeat.repeated);
    assert_eq!(repeat.change.at, unchanged.change.at);
    let changed = store.commit(write(NOON + 16 * DAY, "Oats")).await;
    assert!(!changed.repeated && !changed.unchanged);
    let repeat = store.commit(write(NOON + 10 * DAY, "Oats")).await;
    assert_eq!((repeat.repeated, repeat.change.at), (true, changed.change.at));
}

pub(crate) async fn first_record_decides_the_name_of_the_primary_key(open: Open) {
    let store = default_store(open);
    store.apply(publish(Verb::Create, "1", json!({}))).await;
    assert!(store.engine.keys().await.unwrap().is_empty());
    let model = Arc::new(Model { key: "_id".to_owned(), ..Model::default() });
    store.apply(Write { model, ..milk() }).await;
    store.apply(milk()).await;
    let keys = store.engine.keys().await.unwrap();
    assert_eq!(keys, [(todo(), "_id".to_owned())].into());
}

pub(crate) async fn repeated_destroy_returns_the_destroyed_record(open: Open) {
    let store = default_store(open);
    store.apply(milk()).await;
    let first = store.apply(keyed("k", destroy("1"))).await;
    let repeat = store.apply(keyed("k", destroy("1"))).await;
    assert_eq!((&repeat.before, &repeat.after), (&first.before, &None));
}

pub(crate) async fn repeated_write_without_log_entry_returns_the_current_record(open: Open) {
    let mut store = short_log_store(open, 2);
    let write = || keyed("k", create(json!({"title": "Milk"})));
    let first = store.apply(write()).await;
    let update_1 = || keyed("l", update("1", json!({"title": "Eggs"})));
    store.apply(update_1()).await;
    store.apply(update("1", json!({"n": 1}))).await;
    for _ in 0..3 {
        store.apply(milk()).await;
    }
    let received = store.tail_changes().len();
    for (write, verb) in [(write(), Verb::Create), (update_1(), Verb::Update)] {
        let mark = write.key.as_ref().unwrap().mark();
        let CommitOutcome { change, repeated, unchanged } = store.commit(write).await;
        assert!(repeated && !unchanged);
        let now = json!({"title": "Eggs", "n": 1});
        let shown = change.after.as_ref().unwrap();
        assert_eq!((&shown["title"], &shown["n"]), (&now["title"], &now["n"]));
        assert_eq!((change.verb, &change.id, change.mark), (verb, &first.id, mark));
        assert_eq!(change.position, store.head().await);
    }
    assert_eq!((received, store.tail_changes().len()), (6, 0));
    let other = keyed_by("", "k", 2, milk());
    assert_eq!(store.refusal(other).await, WriteError::KeyReused);
    assert!(!store.commit(keyed_by("bob", "k", 1, milk())).await.repeated);
}

pub(crate) async fn repeated_write_of_a_destroyed_record_returns_its_id_at_offset_0(open: Open) {
    let store = short_log_store(open, 2);
    let model = Arc::new(Model { key: "_id".to_owned(), ..Model::default() });
    let write = || Write { model: Arc::clone(&model), ..keyed("k", create(json!({"_id": "a"}))) };
    let first = store.apply(write()).await;
    store.apply(destroy("a")).await;
    for _ in 0..4 {
        store.apply(milk()).await;
    }
    let repeat = store.commit(write()).await;
    assert!(repeat.repeated);
    // The reply lacks what the write has set. At another position, the client would ignore it.
    let position = Position { offset: 0, ..first.position };
    assert_eq!((repeat.change.position, repeat.change.verb), (position, Verb::Create));
    assert_eq!(repeat.change.after.as_deref(), Some(&attributes(json!({"_id": "a"}))));
    assert_eq!(store.record("a").await, None);
}

pub(crate) async fn repeated_destroy_without_log_entry_returns_the_id_of_the_recreated_record(
    open: Open,
) {
    let store = short_log_store(open, 2);
    store.apply(create(json!({"id": "a", "title": "Milk"}))).await;
    let first = store.apply(keyed("k", destroy("a"))).await;
    store.apply(create(json!({"id": "a", "title": "Eggs"}))).await;
    for _ in 0..3 {
        store.apply(milk()).await;
    }
    let repeat = store.commit(keyed("k", destroy("a"))).await;
    assert!(repeat.repeated);
    assert_eq!((repeat.change.position, repeat.change.verb), (first.position, Verb::Destroy));
    assert_eq!(repeat.change.before.as_deref(), Some(&attributes(json!({"id": "a"}))));
    assert_eq!(repeat.change.after, None);
    assert!(store.record("a").await.is_some());
}

pub(crate) async fn repeated_write_without_log_entry_returns_no_record_without_write_access(
    open: Open,
) {
    let store = short_log_store(open, 2);
    let own = Filter::read(json!({"by": "ann"})).unwrap();
    let write = || {
        let write = keyed("k", create(json!({"by": "ann"})));
        Write { within: own.clone(), ..write }
    };
    store.apply(write()).await;
    store.apply(update("1", json!({"by": "bob", "secret": 1}))).await;
    for _ in 0..3 {
        store.apply(milk()).await;
    }
    let repeat = store.commit(write()).await;
    assert_eq!((repeat.repeated, repeat.change.position.offset), (true, 0));
    assert_eq!(repeat.change.after.as_deref(), Some(&attributes(json!({"id": 1}))));
}

pub(crate) async fn repeated_publication_without_log_entry_returns_its_position(open: Open) {
    let mut store = short_log_store(open, 2);
    let write = || keyed("k", publish(Verb::Update, "1", json!({"n": 1})));
    let first = store.apply(write()).await;
    for _ in 0..4 {
        store.apply(milk()).await;
    }
    store.tail_changes();
    let repeat = store.commit(write()).await;
    assert!(repeat.repeated && repeat.change.published);
    assert_eq!(repeat.change.position, first.position);
    assert_eq!(repeat.change.after.as_deref(), Some(&attributes(json!({"id": 1}))));
    assert!(store.tail_changes().is_empty());
}

pub(crate) async fn ledger_entry_has_the_stored_reply_and_then_the_id(open: Open) {
    let store = short_log_store(open, 2);
    let write = keyed("k", create(json!({"title": "Milk"})));
    let key = write.key.clone().unwrap();
    assert!(store.ledger_entry(&key).await.unwrap().is_none());
    let first = store.apply(write).await;
    let entry = store.ledger_entry(&key).await.unwrap().unwrap();
    assert_eq!((entry.resource(), entry.id()), (&todo(), &id("1")));
    assert_eq!((entry.verb(), entry.position()), (Verb::Create, first.position));
    assert_eq!(entry.reply("id", &key).after, first.after);
    for _ in 0..4 {
        store.apply(milk()).await;
    }
    let reply = store.ledger_entry(&key).await.unwrap().unwrap().reply("_id", &key);
    let position = Position { offset: 0, ..first.position };
    assert_eq!((reply.position, reply.mark), (position, key.mark()));
    assert_eq!(reply.after.as_deref(), Some(&attributes(json!({"_id": 1}))));
    let other = Key { fingerprint: 2, ..key };
    let refused = store.ledger_entry(&other).await;
    assert!(matches!(refused, Err(Error::Refused(WriteError::KeyReused))), "{refused:?}");
}

pub(crate) async fn ledger_entry_is_found_after_all_earlier_writes_of_its_client(open: Open) {
    let store = default_store(open);
    let write = keyed("k", milk());
    let key = write.key.clone().unwrap();
    let commit = store.begin(write);
    assert!(store.ledger_entry(&key).await.unwrap().is_some());
    commit.await;
}

pub(crate) async fn head_is_the_position_of_every_read(open: Open) {
    let store = default_store(open);
    let head = async || store.engine.head(&todo()).await.unwrap();
    assert_eq!((head().await, head().await.offset), (store.head().await, 0));
    for offset in 1..4 {
        let change = store.apply(milk()).await;
        assert_eq!((head().await, offset), (change.position, change.position.offset));
    }
    assert_eq!(head().await, store.head().await);
}

pub(crate) async fn key_is_forgotten_after_the_ledger_age(open: Open) {
    let ledger_age = Duration::from_millis(HOUR);
    let store = open(Window { ledger_age, ..Window::default() }, 4096);
    store.apply(keyed("k", milk())).await;
    assert!(store.commit(at(NOON + HOUR, keyed("k", milk()))).await.repeated);
    assert!(!store.commit(at(NOON + HOUR + 1, keyed("k", milk()))).await.repeated);
    let post = || crate::queues::keyed("k", 1, crate::queues::post(&["ann"], "e", 1));
    let later = |at| Enqueue { at, ..post() };
    store.try_post(post()).await.unwrap();
    assert!(store.try_post(later(NOON + HOUR)).await.unwrap().repeated);
    assert!(!store.try_post(later(NOON + HOUR + 1)).await.unwrap().repeated);
}

pub(crate) async fn oldest_keys_are_forgotten_when_the_ledger_exceeds_its_byte_limit(open: Open) {
    // An entry counts as 116 bytes here.
    let window = Window { ledger_bytes: 20 * 116, ..short_log_window(2) };
    let store = open(window, 4096);
    let write = |n: u32| keyed(&n.to_string(), update("1", json!({"n": n})));
    store.apply(milk()).await;
    for n in 0..60 {
        store.apply(write(n)).await;
    }
    for n in 45..60 {
        assert!(store.commit(write(n)).await.repeated, "{n}");
    }
    // Each commit removes old entries to make room.
    assert!(!store.commit(write(0)).await.repeated);
    assert!(store.commit(write(0)).await.repeated);
    for n in (1..30).rev() {
        assert!(!store.commit(write(n)).await.repeated, "{n}");
    }
}

pub(crate) async fn key_reused_for_another_request_is_refused(open: Open) {
    let store = default_store(open);
    store.apply(keyed_by("ann", "k", 1, milk())).await;
    assert_eq!(store.refusal(keyed_by("ann", "k", 2, milk())).await, WriteError::KeyReused);
    assert_eq!(store.head().await.offset, 1);
}

pub(crate) async fn key_belongs_to_its_identity(open: Open) {
    let store = default_store(open);
    store.apply(keyed_by("ann", "k", 1, milk())).await;
    let other = store.commit(keyed_by("bob", "k", 1, milk())).await;
    assert!(!other.repeated);
    assert_eq!(other.change.id, id("2"));
}

pub(crate) async fn refused_write_does_not_store_its_key(open: Open) {
    let store = default_store(open);
    store.refusal(keyed("k", destroy("1"))).await;
    store.apply(milk()).await;
    assert!(!store.commit(keyed("k", destroy("1"))).await.repeated);
}

pub(crate) async fn key_is_forgotten_after_seven_days(open: Open) {
    let store = default_store(open);
    store.apply(keyed("k", milk())).await;
    assert!(store.commit(at(NOON + 7 * DAY, keyed("k", milk()))).await.repeated);
    let later = at(NOON + 7 * DAY + 1, keyed_by("", "k", 2, milk()));
    assert!(!store.commit(later.clone()).await.repeated);
    assert!(store.commit(at(NOON + 8 * DAY, later)).await.repeated);
}

pub(crate) async fn key_reused_after_seven_days_is_recognized_at_once(open: Open) {
    let store = default_store(open);
    store.apply(keyed("k", milk())).await;
    let again = || store.commit(at(NOON + 8 * DAY, keyed("k", milk())));
    // During this commit, the following writes form a group.
    let first = store.commit(milk());
    let (_, second, third, fourth) = tokio::join!(biased; first, again(), again(), again());
    assert_eq!([second, third, fourth].map(|it| it.repeated), [false, true, true]);
    assert_eq!(store.head().await.offset, 3);
}

// The tail

pub(crate) async fn tail_receives_each_change_once_and_in_order(open: Open) {
    let mut store = default_store(open);
    let mut done = Vec::new();
    done.push(store.apply(milk()).await);
    done.push(store.apply(Write { origin: Some("socket".into()), ..milk() }).await);
    done.push(store.apply(keyed("k", update("2", json!({"done": true})))).await);
    done.push(store.apply(destroy("1")).await);
    let cart = Resource::parse("cart").unwrap();
    done.push(store.apply(Write { resource: cart, ..milk() }).await);
    assert_eq!(offsets(&done), [1, 2, 3, 4, 1]);
    assert_eq!(store.tail_changes(), done);
}

pub(crate) async fn closed_tail_does_not_block_writers(open: Open) {
    let mut store = open(Window::default(), 1);
    store.tail.close();
    store.apply(milk()).await;
    store.apply(milk()).await;
    assert_eq!(store.records().await.len(), 2);
}

pub(crate) async fn cancelled_write_is_in_both_log_and_tail_or_in_neither(open: Open) {
    let mut store = open(Window::default(), 1);
    store.apply(milk()).await;
    // The tail is full now, so this commit would wait. The test cancels it.
    tokio::select! {
        biased;
        _ = store.engine.commit(milk()) => panic!("there was no place in the tail"),
        () = ready(()) => {}
    }
    let last = create(json!({"title": "last"}));
    let engine = Arc::clone(&store.engine);
    let last = tokio::spawn(async move { engine.commit(last).await.unwrap().change });
    let mut received = Vec::new();
    while received.last().is_none_or(|change: &Arc<Change>| change.set["title"] != "last") {
        received.push(store.tail.recv().await.unwrap());
    }
    assert_eq!(received.last(), Some(&last.await.unwrap()));
    assert_eq!(offsets(&received), offsets(&store.since("todo", 0).await.unwrap()));
    assert_eq!(store.records().await.len(), received.len());
}

// The log

pub(crate) async fn previous_is_the_offset_of_the_last_change_of_the_record(open: Open) {
    let store = default_store(open);
    assert_eq!(store.apply(milk()).await.previous, 0);
    assert_eq!(store.apply(milk()).await.previous, 0);
    assert_eq!(store.apply(update("1", json!({"n": 1}))).await.previous, 1);
    assert_eq!(store.apply(destroy("2")).await.previous, 2);
    assert_eq!(store.apply(destroy("1")).await.previous, 3);
}

pub(crate) async fn recreated_record_follows_its_destroy(open: Open) {
    let store = default_store(open);
    store.apply(create(json!({"id": "eggs"}))).await;
    store.apply(destroy("eggs")).await;
    store.apply(milk()).await;
    assert_eq!(store.apply(create(json!({"id": "eggs"}))).await.previous, 2);
    assert_eq!(offsets(&store.since("todo/eggs", 1).await.unwrap()), [2, 4]);
}

pub(crate) async fn recreated_record_follows_the_floor_when_its_destroy_is_forgotten(open: Open) {
    let store = short_log_store(open, 2);
    store.apply(create(json!({"id": "eggs"}))).await;
    store.apply(destroy("eggs")).await;
    for _ in 0..3 {
        store.apply(milk()).await;
    }
    // A client at or after offset 3 knows of the destroy. Other clients are out of reach.
    assert_eq!(store.apply(create(json!({"id": "eggs"}))).await.previous, 3);
    assert_eq!(store.since("todo/eggs", 2).await, None);
}

pub(crate) async fn since_returns_the_missed_changes_of_a_class_room(open: Open) {
    let mut store = default_store(open);
    for write in [milk(), milk(), update("1", json!({"done": true})), destroy("2")] {
        store.apply(write).await;
    }
    let received = store.tail_changes();
    for offset in 0..=4 {
        assert_eq!(store.since("todo", offset).await.unwrap(), received[offset as usize..]);
    }
}

pub(crate) async fn since_returns_the_missed_changes_of_an_instance_room(open: Open) {
    let store = default_store(open);
    let text = create(json!({"id": "eggs"}));
    for write in [milk(), milk(), update("1", json!({"n": 1})), text, destroy("1")] {
        store.apply(write).await;
    }
    assert_eq!(offsets(&store.since("todo/1", 0).await.unwrap()), [1, 3, 5]);
    assert_eq!(offsets(&store.since("todo/1", 3).await.unwrap()), [5]);
    assert_eq!(offsets(&store.since("todo/eggs", 0).await.unwrap()), [4]);
    assert!(store.since("todo/9", 0).await.unwrap().is_empty());
}

pub(crate) async fn since_returns_complete_changes(open: Open) {
    let store = default_store(open);
    store.apply(create(json!({"title": "Milk", "price": 0.1, "tags": ["a", null]}))).await;
    let write = keyed("k", update("1", json!({"price": 1e300})));
    let change = store.apply(Write { origin: Some("socket".into()), ..write }).await;
    assert_eq!(store.since("todo", 1).await.unwrap(), [Arc::clone(&change)]);
    assert_eq!(change.before.as_ref().unwrap()["price"], 0.1);
    assert_eq!(change.after.as_ref().unwrap()["price"], 1e300);
    assert_eq!(change.mark, backwire_protocol::mark("k"));
}

// Publications

pub(crate) async fn publication_is_logged_and_does_not_change_records(open: Open) {
    let mut store = default_store(open);
    store.apply(milk()).await;
    let milk = store.record("1").await;
    let published = [
        (publish(Verb::Update, "1", json!({"title": "Oats"})), json!({"title": "Oats"})),
        (publish(Verb::Create, "1", json!({"n": 1})), json!({"n": 1, "id": 1})),
        (publish(Verb::Update, "7", json!({"id": 8})), json!({"id": 7})),
    ];
    for (write, expected) in published {
        let change = store.apply(Write { origin: Some("socket".into()), ..write }).await;
        assert!(change.published && change.before.is_none());
        assert_eq!(Value::Object(change.set.clone()), expected);
        assert_eq!(change.after.as_deref(), Some(&change.set));
    }
    let destroy = store.apply(publish(Verb::Destroy, "1", json!({"n": 1}))).await;
    assert_eq!((&destroy.after, &destroy.before, destroy.set.len()), (&None, &None, 0));
    assert_eq!(store.record("1").await, milk);
    assert_eq!((store.record("7").await, store.records().await.len()), (None, 1));
    assert_eq!(store.head().await.offset, 5);
    assert_eq!(store.since("todo", 0).await.unwrap(), store.tail_changes());
}

pub(crate) async fn publications_are_part_of_the_change_chain_of_their_record(open: Open) {
    let store = default_store(open);
    assert_eq!(store.apply(publish(Verb::Update, "eggs", json!({}))).await.previous, 0);
    assert_eq!(store.apply(create(json!({"id": "eggs"}))).await.previous, 1);
    assert_eq!(store.apply(publish(Verb::Update, "eggs", json!({}))).await.previous, 2);
    assert_eq!(store.apply(update("eggs", json!({"n": 1}))).await.previous, 3);
    assert_eq!(store.apply(destroy("eggs")).await.previous, 4);
    assert_eq!(store.apply(publish(Verb::Destroy, "eggs", json!({}))).await.previous, 5);
    assert_eq!(offsets(&store.since("todo/eggs", 1).await.unwrap()), [2, 3, 4, 5, 6]);
}

pub(crate) async fn publication_is_forgotten_with_the_log(open: Open) {
    let store = short_log_store(open, 2);
    store.apply(publish(Verb::Update, "eggs", json!({}))).await;
    for _ in 0..4 {
        store.apply(milk()).await;
    }
    assert_eq!(store.apply(publish(Verb::Update, "eggs", json!({}))).await.previous, 3);
}

pub(crate) async fn published_id_is_not_assigned_to_a_record(open: Open) {
    let store = default_store(open);
    store.apply(publish(Verb::Create, "7", json!({}))).await;
    assert_eq!(store.apply(milk()).await.id, id("8"));
    let inexact = (LAST_EXACT + 1).to_string();
    assert_eq!(store.refusal(publish(Verb::Create, &inexact, json!({}))).await, WriteError::BadId);
}

pub(crate) async fn repeated_publication_is_published_once(open: Open) {
    let mut store = default_store(open);
    let write = keyed("k", publish(Verb::Update, "7", json!({"n": 1})));
    store.apply(write.clone()).await;
    assert!(store.commit(write).await.repeated);
    assert_eq!(offsets(&store.tail_changes()), [1]);
}

// Limits of the log

pub(crate) async fn position_beyond_the_count_limit_is_out_of_reach(open: Open) {
    let store = short_log_store(open, 3);
    for _ in 0..5 {
        store.apply(milk()).await;
    }
    assert_eq!(store.since("todo", 1).await, None);
    assert_eq!(store.since("todo/5", 1).await, None);
    assert_eq!(offsets(&store.since("todo", 2).await.unwrap()), [3, 4, 5]);
    assert_eq!(store.records().await.len(), 5);
}

pub(crate) async fn position_beyond_the_age_limit_is_out_of_reach(open: Open) {
    let store = short_log_store(open, 100);
    for time in [0, 30, 61, 90, 91] {
        store.apply(at(NOON + time * HOUR / 60, milk())).await;
    }
    assert_eq!(store.since("todo", 1).await, None);
    assert_eq!(offsets(&store.since("todo", 2).await.unwrap()), [3, 4, 5]);
}

pub(crate) async fn position_of_another_log_is_out_of_reach(open: Open) {
    let store = default_store(open);
    store.apply(milk()).await;
    let Position { epoch, offset } = store.head().await;
    assert!(epoch < 1 << 48);
    let other = Position { epoch: epoch ^ 1, offset };
    let answer = store.engine.changes_since(&Room::class(todo()), other).await.unwrap();
    assert!(matches!(answer, ChangesSince::OutOfReach));
    assert_ne!(epoch, default_store(open).head().await.epoch);
}

pub(crate) async fn position_ahead_of_the_log_is_out_of_reach(open: Open) {
    let store = default_store(open);
    store.apply(milk()).await;
    assert_eq!(store.since("todo", 1).await.unwrap(), []);
    assert_eq!(store.since("todo", 2).await, None);
    assert_eq!(store.since("todo", u64::MAX).await, None);
}

// Concurrency

/// Returns the records that result from these changes.
fn replay(changes: &[Arc<Change>]) -> Vec<Arc<Attributes>> {
    let mut records = BTreeMap::new();
    for change in changes {
        match &change.after {
            Some(record) => records.insert(change.id.clone(), Arc::clone(record)),
            None => records.remove(&change.id),
        };
    }
    records.into_values().collect()
}

/// Starts tasks that write this many times each.
fn writers(store: &Store, tasks: u64, writes: u64, write: fn(u64, u64) -> Write) -> JoinSet<usize> {
    let mut writers = JoinSet::new();
    for task in 0..tasks {
        let engine = Arc::clone(&store.engine);
        writers.spawn(async move {
            let mut committed = 0;
            for n in 0..writes {
                committed += usize::from(engine.commit(write(task, n)).await.is_ok());
            }
            committed
        });
    }
    writers
}

pub(crate) async fn snapshot_equals_the_log_replayed_up_to_its_position(open: Open) {
    let mut store = default_store(open);
    let mut writers = writers(&store, 4, 60, |task, n| match n % 4 {
        0 => create(json!({"id": format!("{task}")})),
        1 => milk(),
        2 => update(&task.to_string(), json!({"n": n})),
        _ => destroy(&task.to_string()),
    });
    let mut snapshots = Vec::new();
    while !writers.is_empty() {
        snapshots.push(store.engine.find(&todo(), &Criteria::default()).await.unwrap());
        while writers.try_join_next().is_some() {}
    }
    snapshots.push(store.engine.find(&todo(), &Criteria::default()).await.unwrap());
    let log = store.tail_changes();
    assert_eq!(log.len() as u64, snapshots.last().unwrap().position.offset);
    for snapshot in snapshots {
        assert_eq!(snapshot.value, replay(&log[..snapshot.position.offset as usize]));
    }
}

pub(crate) async fn concurrent_writes_are_all_committed_once_in_a_gapless_order(open: Open) {
    let mut store = default_store(open);
    // Every fifth write is refused, which must not affect the others.
    let writers = writers(&store, 16, 25, |task, n| match n % 5 {
        4 => destroy("nobody"),
        _ => create(json!({"by": [task, n]})),
    });
    assert_eq!(writers.join_all().await.into_iter().sum::<usize>(), 16 * 20);
    let received = store.tail_changes();
    assert_eq!(offsets(&received), (1..=320).collect::<Vec<_>>());
    let authors: BTreeSet<String> =
        received.iter().map(|change| change.set["by"].to_string()).collect();
    assert_eq!(authors.len(), 320);
    assert_eq!(store.records().await, replay(&received));
    assert_eq!(store.since("todo", 0).await.unwrap(), received);
}

pub(crate) async fn concurrent_repeats_are_committed_once(open: Open) {
    let mut store = default_store(open);
    let writers = writers(&store, 8, 20, |_, n| keyed(&n.to_string(), milk()));
    assert_eq!(writers.join_all().await.into_iter().sum::<usize>(), 160);
    assert_eq!(offsets(&store.tail_changes()), (1..=20).collect::<Vec<_>>());
}

/// Returns a model of users with a unique mail.
fn users() -> Arc<Model> {
    let mail = Attribute { unique: true, ..Attribute::default() };
    Arc::new(Model::default().attribute("mail", mail))
}

fn by_users(write: Write) -> Write {
    Write { model: users(), ..write }
}

fn has_mail(mail: Value) -> Write {
    by_users(create(json!({ "mail": mail })))
}

pub(crate) async fn unique_value_belongs_to_one_record(open: Open) {
    let store = default_store(open);
    for value in [json!("ann"), json!(1.5), json!(7), json!(true), Value::Null, Value::Null] {
        store.apply(has_mail(value)).await;
    }
    for value in [json!("ann"), json!(1.5), json!(7), json!(7.0), json!(true)] {
        let taken = WriteError::Taken { resource: todo(), attribute: "mail".to_owned() };
        assert_eq!(store.refusal(has_mail(value)).await, taken);
    }
    for other in [json!("Ann"), json!(1), json!("7"), json!("true")] {
        store.apply(has_mail(other)).await;
    }
    store.apply(by_users(update("1", json!({ "mail": "ann" })))).await;
    assert!(matches!(
        store.refusal(by_users(update("2", json!({ "mail": "ann" })))).await,
        WriteError::Taken { .. }
    ));
    let cart = Resource::parse("cart").unwrap();
    store.apply(Write { resource: cart, ..has_mail(json!("ann")) }).await;
}

pub(crate) async fn unique_value_is_available_again_after_its_record_is_destroyed(open: Open) {
    let store = default_store(open);
    store.apply(has_mail(json!("ann"))).await;
    store.apply(by_users(destroy("1"))).await;
    store.apply(has_mail(json!("ann"))).await;
    store.apply(by_users(update("2", json!({ "mail": "bob" })))).await;
    store.apply(has_mail(json!("ann"))).await;
}

pub(crate) async fn unique_values_are_separate_for_each_owner(open: Open) {
    let store = default_store(open);
    let access = Access { owner: Some("by".to_owned()), ..Access::default() };
    let model = Arc::new(Model { access, ..Model::clone(&users()) });
    let by = |person: &str, id: &str| {
        let record = json!({ "id": id, "by": person, "mail": "home" });
        Write { model: Arc::clone(&model), ..create(record) }
    };
    store.apply(by("ann", "a")).await;
    store.apply(by("bob", "b")).await;
    assert!(matches!(store.refusal(by("ann", "c")).await, WriteError::Taken { .. }));
    let given = |id, set| Write { model: Arc::clone(&model), ..update(id, set) };
    let refused = store.refusal(given("b", json!({ "by": "ann", "mail": "home" }))).await;
    assert!(matches!(refused, WriteError::Taken { .. }));
    store.apply(given("a", json!({ "mail": "home" }))).await;
    // A record with a new owner keeps its values, which must be unique there.
    assert!(matches!(
        store.refusal(given("b", json!({ "by": "ann" }))).await,
        WriteError::Taken { .. }
    ));
    store.apply(given("b", json!({ "by": "cyd" }))).await;
}

pub(crate) async fn caller_with_partial_write_access_finds_no_other_records(open: Open) {
    let store = default_store(open);
    store.apply(create(json!({ "by": "ann" }))).await;
    store.apply(create(json!({ "by": "bob" }))).await;
    let as_ann = |write| Write { within: Filter::read(json!({ "by": "ann" })).unwrap(), ..write };
    for write in [update("2", json!({ "by": "ann" })), destroy("2")] {
        let refused = store.refusal(as_ann(write)).await;
        assert!(matches!(refused, WriteError::NotFound { .. }), "{refused}");
    }
    for write in [update("1", json!({ "by": "bob" })), create(json!({ "by": "bob" }))] {
        let refused = store.refusal(as_ann(write)).await;
        assert!(matches!(refused, WriteError::OutsideAccess { .. }), "{refused}");
    }
    store.apply(as_ann(update("1", json!({ "done": true })))).await;
    store.apply(as_ann(destroy("1"))).await;
}

pub(crate) async fn first_of_two_concurrent_unique_values_is_accepted(open: Open) {
    let store = default_store(open);
    let engine = &store.engine;
    let [first, second] =
        [has_mail(json!("ann")), has_mail(json!("ann"))].map(|write| engine.commit(write));
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok());
    assert!(matches!(second, Err(Error::Refused(WriteError::Taken { .. }))));
}

pub(crate) async fn upsert_creates_a_missing_record_and_updates_an_existing_one(open: Open) {
    let store = default_store(open);
    let put = |title: &str| {
        let set = serde_json::from_value(json!({ "title": title })).unwrap();
        Write { action: Action::Upsert(Id::Integer(7), set), ..create(json!({})) }
    };
    assert_eq!(store.apply(put("Milk")).await.verb, Verb::Create);
    let change = store.apply(put("Oat milk")).await;
    assert_eq!((change.verb, change.position.offset), (Verb::Update, 2));
    assert_eq!(store.apply(create(json!({}))).await.id, Id::Integer(8));
}

pub(crate) async fn model_defines_its_primary_key_and_validates_records(open: Open) {
    let store = default_store(open);
    let short = Attribute { max: Some(3.into()), ..Attribute::default() };
    let model = Model { key: "_id".to_owned(), ..Model::default().attribute("name", short) };
    let of = |write| Write { model: Arc::new(model.clone()), ..write };
    let change = store.apply(of(create(json!({ "_id": "a", "id": 9, "name": "Ann" })))).await;
    assert_eq!(change.id, Id::Text("a".into()));
    assert_eq!(change.after.as_ref().unwrap()["_id"], "a");
    assert_eq!(change.after.as_ref().unwrap()["id"], 9);
    let refused = store.refusal(of(update("a", json!({ "name": "Anna" })))).await;
    assert_eq!(refused.to_string(), "name is at most 3 characters long");
}

pub(crate) async fn answer_over_its_limits_is_an_error_and_not_a_partial_result(open: Open) {
    let store = default_store(open);
    for number in 0..10 {
        store.apply(create(json!({"a": number % 3, "text": "x".repeat(100)}))).await;
    }
    let find = async |data: Value, records: usize, bytes: usize| {
        let parameters = Parameters::read(Vec::new(), attributes(data)).unwrap();
        let criteria = Criteria::read(parameters, Language::Current).unwrap();
        let options = ReadOptions { records, bytes, ..ReadOptions::default() };
        let found = store.engine.find_for(&todo(), &criteria, &options).await;
        found.map(|found| found.value.len()).map_err(|error| error.to_string())
    };
    for sort in [json!([]), json!("a"), json!("a DESC"), json!("text,a"), json!("id DESC")] {
        let find = async |mut data: Value, records: usize| {
            data["sort"] = sort.clone();
            find(data, records, usize::MAX).await
        };
        for (data, records, count) in [
            (json!({}), 10, 10),
            (json!({"limit": 9}), 9, 9),
            (json!({"skip": 1}), 9, 9),
            (json!({"skip": 9, "limit": 4}), 1, 1),
            (json!({"where": {"a": 0}}), 4, 4),
        ] {
            assert_eq!(find(data.clone(), records).await, Ok(count), "{sort} {data}");
            let refused = find(data.clone(), records - 1).await.unwrap_err();
            let limit = format!("(answer_records: {})", records - 1);
            assert!(refused.contains(&limit), "{sort} {data} {refused}");
        }
    }
    // `{"id":1}` to `{"id":10}`
    let ids = || json!({"select": "id"});
    assert_eq!(find(ids(), 10, 81).await, Ok(10));
    assert!(find(ids(), 10, 80).await.unwrap_err().contains("(answer_bytes: 80)"));
}

pub(crate) async fn reads_of_one_request_share_a_deadline(open: Open) {
    let store = default_store(open);
    store.apply(milk()).await;
    let options = ReadOptions::default();
    let find = async || store.engine.find_for(&todo(), &Criteria::default(), &options).await;
    assert_eq!(find().await.unwrap().value.len(), 1);
    options.time.spend(Duration::from_secs(2));
    assert!(matches!(find().await, Err(Error::ReadDeadline(_))));
}

/// Memory that counts what is claimed.
#[derive(Debug)]
struct Claims {
    limit: usize,
    claimed: AtomicUsize,
    refused: AtomicUsize,
}

impl ClaimMemory for Claims {
    fn add_read(&self, bytes: usize) -> Result<(), OutOfMemory> {
        if self.claimed.load(Ordering::SeqCst) + bytes > self.limit {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(OutOfMemory { limit: self.limit });
        }
        self.claimed.fetch_add(bytes, Ordering::SeqCst);
        Ok(())
    }

    fn set_written(&self, _: usize) -> Result<(), OutOfMemory> {
        Ok(())
    }
}

pub(crate) async fn changes_without_memory_for_them_are_out_of_reach(open: Open) {
    const SIZE: usize = 100_000;
    let store = default_store(open);
    store.apply(create(json!({ "text": "x".repeat(SIZE) }))).await;
    for n in 1..10 {
        store.apply(update("1", json!({ "n": n }))).await;
    }
    let start = Position { offset: 0, ..store.head().await };
    for room in [Room::class(todo()), Room::instance(todo(), id("1"))] {
        // Each change has the record twice, and the first has it once.
        for (limit, is_enough) in [(10 * SIZE, false), (60 * SIZE, true)] {
            let claimed = (AtomicUsize::new(0), AtomicUsize::new(0));
            let claims = Arc::new(Claims { limit, claimed: claimed.0, refused: claimed.1 });
            let memory = AnswerMemory::new(Arc::clone(&claims) as Arc<dyn ClaimMemory>);
            let options = ReadOptions { memory, ..ReadOptions::default() };
            let since = store.engine.changes_since_for(&room, start, &options).await.unwrap();
            let claimed = claims.claimed.load(Ordering::SeqCst);
            match since {
                ChangesSince::Changes { changes, .. } => {
                    let is_shared = claimed == 0;
                    assert!(is_shared || (is_enough && claimed > 19 * SIZE), "{room} {claimed}");
                    assert_eq!(changes.len(), 10);
                }
                // The read ended with the first change that did not fit.
                ChangesSince::OutOfReach => {
                    assert!(!is_enough && claims.refused.load(Ordering::SeqCst) == 1, "{room}");
                }
            }
        }
    }
}

pub(crate) async fn changes_beyond_the_records_of_a_read_are_out_of_reach(open: Open) {
    let store = default_store(open);
    store.apply(milk()).await;
    for n in 1..40 {
        store.apply(update("1", json!({ "n": n }))).await;
    }
    let head = store.head().await;
    for room in [Room::class(todo()), Room::instance(todo(), id("1"))] {
        let missed = async |offset, records| {
            let options = ReadOptions { records, ..ReadOptions::default() };
            let position = Position { offset, ..head };
            match store.engine.changes_since_for(&room, position, &options).await.unwrap() {
                ChangesSince::Changes { changes, .. } => Some(changes.len()),
                ChangesSince::OutOfReach => None,
            }
        };
        assert_eq!(missed(0, 40).await, Some(40));
        assert_eq!(missed(0, 39).await, None);
        assert_eq!(missed(39, 1).await, Some(1));
        assert_eq!(missed(39, 0).await, None);
        assert_eq!(missed(40, 0).await, Some(0));
    }
}

pub(crate) async fn log_stays_within_its_byte_limit(open: Open) {
    let mut store = open(Window { bytes: 10_000, ..Window::default() }, 4096);
    let text = "x".repeat(1000);
    store.apply(create(json!({ "n": 0, "text": text }))).await;
    for n in 1..20 {
        store.apply(update("1", json!({ "n": n }))).await;
    }
    store.tail_changes();
    let head = store.engine.find_one(&todo(), &id("1")).await.unwrap().position;
    let missed = async |offset| {
        let room = Room::class(todo());
        match store.engine.changes_since(&room, Position { offset, ..head }).await.unwrap() {
            ChangesSince::Changes { changes, .. } => Some(changes.len()),
            ChangesSince::OutOfReach => None,
        }
    };
    // Each change contains the record twice.
    assert_eq!(missed(head.offset - 4).await, Some(4));
    assert_eq!(missed(head.offset - 5).await, None);
}

pub(crate) async fn write_that_adds_a_record_beyond_the_limits_is_refused(open: Open) {
    let store = open(Window::default(), 4096);
    let limits = RecordLimits { total: 3, per_resource: 2 };
    let limited = |write| Write { limits, ..write };
    let cart = |write| Write { resource: Resource::parse("cart").unwrap(), ..limited(write) };
    let upsert = |id: i64| Write {
        action: Action::Upsert(Id::Integer(id), attributes(json!({ "n": 1 }))),
        ..create(json!({}))
    };
    store.apply(limited(keyed("k", milk()))).await;
    store.apply(limited(milk())).await;
    let full = WriteError::TooManyOfResource { resource: todo(), limit: 2 };
    for write in [milk(), upsert(7)] {
        assert_eq!(store.refusal(limited(write)).await, full);
    }
    store.apply(cart(milk())).await;
    for write in [milk(), upsert(7)] {
        assert_eq!(store.refusal(cart(write)).await, WriteError::TooManyRecords { limit: 3 });
    }
    // All other writes succeed: a repeat, an update, a publication, and a destroy, which makes
    // room.
    store.apply(limited(keyed("k", milk()))).await;
    store.apply(limited(upsert(1))).await;
    store.apply(limited(update("1", json!({ "n": 2 })))).await;
    store.apply(limited(publish(Verb::Create, "9", json!({})))).await;
    store.apply(limited(destroy("2"))).await;
    store.apply(cart(milk())).await;
    assert_eq!(store.refusal(limited(milk())).await, WriteError::TooManyRecords { limit: 3 });
}
