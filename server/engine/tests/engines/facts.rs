//! What is true of every engine.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use backwire_engine::{Committed, Error, Post, ReadOptions, Since, Window};
use backwire_records::access::Access;
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use backwire_records::criteria::{Criteria, Filter, Language, Parameters};
use backwire_records::model::{Attribute, Model};
use backwire_records::write::{Action, RecordLimits, Refused, Write};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::store::{
    DAY, HOUR, NOON, Open, Store, at, attributes, create, destroy, forgetful, forgetful_window, id,
    keyed, keyed_by, milk, offsets, publish, roomy, todo, update,
};

const LAST_EXACT: i64 = (1 << 53) - 1;

// Records and their ids

pub(crate) async fn created_records_get_the_ids_1_2_3(open: Open) {
    let store = roomy(open);
    for expected in 1..=3 {
        assert_eq!(store.done(milk()).await.id, Id::Integer(expected));
    }
    assert_eq!(
        store.record("2").await,
        Some(json!({"title": "Milk", "createdAt": NOON, "updatedAt": NOON, "id": 2}))
    );
}

pub(crate) async fn an_id_is_not_given_twice(open: Open) {
    let store = roomy(open);
    store.done(milk()).await;
    store.done(destroy("1")).await;
    assert_eq!(store.done(milk()).await.id, id("2"));
}

pub(crate) async fn an_id_given_by_the_client_is_kept(open: Open) {
    let store = roomy(open);
    for given in [json!("eggs"), json!("0x1"), json!("a\u{0}b"), json!(-7), json!(0)] {
        let change = store.done(create(json!({"id": given}))).await;
        assert_eq!(change.id.to_json(), given);
        assert_eq!(store.record(&change.id.to_string()).await.unwrap()["id"], given);
    }
    assert_eq!(store.done(milk()).await.id, id("1"));
    assert_eq!(store.refused(create(json!({"id": 1.5}))).await, Refused::BadId);
    assert_eq!(store.done(create(json!({"id": null}))).await.id, id("2"));
}

pub(crate) async fn an_integer_id_given_by_the_client_moves_the_next_id_past_it(open: Open) {
    let store = roomy(open);
    store.done(create(json!({"id": 7}))).await;
    store.done(create(json!({"id": "3"}))).await;
    assert_eq!(store.done(milk()).await.id, id("8"));
}

pub(crate) async fn an_id_that_javascript_can_not_hold_is_refused(open: Open) {
    let store = roomy(open);
    for given in [i64::MAX, i64::MIN, LAST_EXACT + 1, -LAST_EXACT - 1] {
        assert_eq!(store.refused(create(json!({"id": given}))).await, Refused::BadId);
        assert_eq!(
            store.refused(destroy(&given.to_string())).await,
            Refused::NotFound { resource: todo(), id: Id::Integer(given) }
        );
    }
    assert_eq!(store.done(create(json!({"id": -LAST_EXACT}))).await.position.offset, 1);
}

pub(crate) async fn creates_go_on_after_a_client_gives_the_last_id(open: Open) {
    let store = roomy(open);
    store.done(create(json!({"id": LAST_EXACT}))).await;
    store.done(publish(Verb::Create, &(LAST_EXACT - 1).to_string(), json!({}))).await;
    for expected in ["1", "2"] {
        assert_eq!(store.done(milk()).await.id, id(expected));
    }
}

pub(crate) async fn create_without_an_id_passes_over_large_ids_given_by_clients(open: Open) {
    let (store, half) = (roomy(open), 1_i64 << 52);
    for given in [4, 2, 1, 0] {
        store.done(create(json!({"id": half + given}))).await;
    }
    for expected in [3, 5, 6] {
        assert_eq!(store.done(milk()).await.id, Id::Integer(half + expected));
    }
    store.done(destroy(&(half + 6).to_string())).await;
    assert_eq!(store.done(milk()).await.id, Id::Integer(half + 7));
}

pub(crate) async fn records_come_in_the_order_of_their_ids(open: Open) {
    let store = roomy(open);
    for given in [json!("b"), json!(10), json!("a"), json!(9), json!("B"), json!(-1)] {
        store.done(create(json!({"id": given}))).await;
    }
    let ids: Vec<Value> = store.records().await.iter().map(|record| record["id"].clone()).collect();
    assert_eq!(Value::from(ids), json!([-1, 9, 10, "B", "a", "b"]));
}

pub(crate) async fn an_update_keeps_the_other_attributes(open: Open) {
    let store = roomy(open);
    store.done(create(json!({"title": "Milk", "done": false}))).await;
    let set = json!({"done": true, "id": 9, "createdAt": 0});
    let change = store.done(at(NOON + 1, update("1", set))).await;
    let expected = json!({
        "title": "Milk", "done": true, "createdAt": NOON, "updatedAt": NOON + 1, "id": 1
    });
    assert_eq!(store.record("1").await, Some(expected));
    assert_eq!(
        Value::Object(change.set.clone()),
        json!({"done": true, "id": 1, "updatedAt": NOON + 1})
    );
}

pub(crate) async fn a_destroyed_record_is_gone(open: Open) {
    let store = roomy(open);
    store.done(milk()).await;
    let change = store.done(destroy("1")).await;
    assert_eq!(change.before.as_ref().unwrap()["title"], "Milk");
    assert_eq!((change.verb, &change.after), (Verb::Destroy, &None));
    assert_eq!(store.record("1").await, None);
    assert!(store.records().await.is_empty());
}

pub(crate) async fn writes_to_a_missing_record_are_refused(open: Open) {
    let store = roomy(open);
    let missing = Refused::NotFound { resource: todo(), id: id("1") };
    assert_eq!(store.refused(update("1", json!({}))).await, missing);
    assert_eq!(store.refused(destroy("1")).await, missing);
}

pub(crate) async fn a_create_of_an_existing_record_is_refused(open: Open) {
    let store = roomy(open);
    store.done(create(json!({"id": "eggs"}))).await;
    assert_eq!(
        store.refused(create(json!({"id": "eggs", "other": true}))).await,
        Refused::Exists { resource: todo(), id: id("eggs") }
    );
    assert!(!store.record("eggs").await.unwrap().as_object().unwrap().contains_key("other"));
}

pub(crate) async fn a_refused_write_leaves_nothing_behind(open: Open) {
    let mut store = roomy(open);
    store.refused(destroy("1")).await;
    assert_eq!(store.head().await.offset, 0);
    store.done(milk()).await;
    store.refused(create(json!({"id": 1}))).await;
    store.refused(update("2", json!({}))).await;
    assert_eq!(store.head().await.offset, 1);
    assert_eq!(offsets(&store.heard()), [1]);
}

pub(crate) async fn a_resource_nobody_has_written_to_is_empty_and_stands_at_0(open: Open) {
    let store = roomy(open);
    store.done(milk()).await;
    let cart = Resource::parse("cart").unwrap();
    let carts = store.engine.find(&cart, &Criteria::default()).await.unwrap();
    assert!(carts.value.is_empty());
    assert_eq!(carts.position, Position { offset: 0, ..store.head().await });
    match store.engine.since(&Room::class(cart), carts.position).await.unwrap() {
        Since::Changes { changes, head } => {
            assert!(changes.is_empty());
            assert_eq!(head, carts.position);
        }
        Since::OutOfReach => panic!("nothing has happened there yet"),
    }
}

// The ledger

pub(crate) async fn a_repeat_gets_the_first_outcome_and_changes_nothing(open: Open) {
    let mut store = roomy(open);
    let first = store.commit(keyed("k", milk())).await;
    store.done(update("1", json!({"title": "Eggs"}))).await;
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
    assert_eq!(offsets(&store.heard()), [1, 2]);
}

pub(crate) async fn an_update_without_effect_is_neither_logged_nor_published(open: Open) {
    let mut store = roomy(open);
    let made = store.done(milk()).await;
    store.done(create(json!({"title": "Eggs"}))).await;
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
    assert_eq!(offsets(&store.heard()), [1, 2]);
    let changed = store.commit(at(NOON + 5, update("1", json!({"title": null})))).await;
    assert_eq!((changed.unchanged, changed.change.previous), (false, 1));
}

pub(crate) async fn a_repeated_update_without_effect_does_not_undo_later_changes(open: Open) {
    let mut store = roomy(open);
    store.done(create(json!({"done": true}))).await;
    let write = || keyed("k", update("1", json!({"done": true})));
    let first = store.commit(write()).await;
    assert!(first.unchanged);
    store.done(update("1", json!({"done": false}))).await;
    let repeat = store.commit(write()).await;
    assert!(repeat.repeated);
    // Nothing of it is in the log, so it is answered with the record as it is.
    let Change { position, verb, id, after, mark, .. } = &*repeat.change;
    assert_eq!((position.offset, verb, id), (2, &Verb::Update, &first.change.id));
    assert_eq!((&after.as_ref().unwrap()["done"], *mark), (&json!(false), first.change.mark));
    assert_eq!(store.record("1").await.unwrap()["done"], false);
    assert_eq!(offsets(&store.heard()), [1, 2]);
    let other = keyed_by("", "k", 2, update("1", json!({"done": true})));
    assert_eq!(store.refused(other).await, Refused::KeyReused);
}

pub(crate) async fn the_key_of_an_update_without_effect_is_forgotten_after_seven_days(open: Open) {
    let store = roomy(open);
    store.done(milk()).await;
    let write = |now| at(now, keyed("k", update("1", json!({"title": "Milk"}))));
    assert!(!store.commit(write(NOON)).await.repeated);
    assert!(store.commit(write(NOON + 7 * DAY)).await.repeated);
    assert!(!store.commit(write(NOON + 7 * DAY + 1)).await.repeated);
    assert!(store.commit(write(NOON + 8 * DAY)).await.repeated);
}

pub(crate) async fn repeat_gets_the_outcome_of_the_latest_use_of_its_key(open: Open) {
    let store = roomy(open);
    let write = |now, title: &str| at(now, keyed("k", update("1", json!({ "title": title }))));
    store.done(create(json!({ "title": "Milk" }))).await;
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

pub(crate) async fn the_first_record_decides_the_name_of_the_key(open: Open) {
    let store = roomy(open);
    store.done(publish(Verb::Create, "1", json!({}))).await;
    assert!(store.engine.keys().await.unwrap().is_empty());
    let model = Arc::new(Model { key: "_id".to_owned(), ..Model::default() });
    store.done(Write { model, ..milk() }).await;
    store.done(milk()).await;
    let keys = store.engine.keys().await.unwrap();
    assert_eq!(keys, [(todo(), "_id".to_owned())].into());
}

pub(crate) async fn a_repeated_destroy_shows_the_record_it_destroyed(open: Open) {
    let store = roomy(open);
    store.done(milk()).await;
    let first = store.done(keyed("k", destroy("1"))).await;
    let repeat = store.done(keyed("k", destroy("1"))).await;
    assert_eq!((&repeat.before, &repeat.after), (&first.before, &None));
}

pub(crate) async fn repeat_after_the_log_has_forgotten_the_write_gets_the_record_as_it_is(
    open: Open,
) {
    let mut store = forgetful(open, 2);
    let write = || keyed("k", create(json!({"title": "Milk"})));
    let first = store.done(write()).await;
    let update_1 = || keyed("l", update("1", json!({"title": "Eggs"})));
    store.done(update_1()).await;
    store.done(update("1", json!({"n": 1}))).await;
    for _ in 0..3 {
        store.done(milk()).await;
    }
    let heard = store.heard().len();
    for (write, verb) in [(write(), Verb::Create), (update_1(), Verb::Update)] {
        let mark = write.key.as_ref().unwrap().mark();
        let Committed { change, repeated, unchanged } = store.commit(write).await;
        assert!(repeated && !unchanged);
        let now = json!({"title": "Eggs", "n": 1});
        let shown = change.after.as_ref().unwrap();
        assert_eq!((&shown["title"], &shown["n"]), (&now["title"], &now["n"]));
        assert_eq!((change.verb, &change.id, change.mark), (verb, &first.id, mark));
        assert_eq!(change.position, store.head().await);
    }
    assert_eq!((heard, store.heard().len()), (6, 0));
    let other = keyed_by("", "k", 2, milk());
    assert_eq!(store.refused(other).await, Refused::KeyReused);
    assert!(!store.commit(keyed_by("bob", "k", 1, milk())).await.repeated);
}

pub(crate) async fn repeat_of_a_write_whose_record_is_gone_gets_its_id_at_its_own_position(
    open: Open,
) {
    let store = forgetful(open, 2);
    let model = Arc::new(Model { key: "_id".to_owned(), ..Model::default() });
    let write = || Write { model: Arc::clone(&model), ..keyed("k", create(json!({"_id": "a"}))) };
    let first = store.done(write()).await;
    store.done(destroy("a")).await;
    for _ in 0..4 {
        store.done(milk()).await;
    }
    let repeat = store.commit(write()).await;
    assert!(repeat.repeated);
    // At the head, the client would not learn of the destroy.
    assert_eq!((repeat.change.position, repeat.change.verb), (first.position, Verb::Create));
    assert_eq!(repeat.change.after.as_deref(), Some(&attributes(json!({"_id": "a"}))));
    assert_eq!(store.record("a").await, None);
}

pub(crate) async fn destroy_repeated_after_the_log_gets_the_id_though_the_record_is_there_again(
    open: Open,
) {
    let store = forgetful(open, 2);
    store.done(create(json!({"id": "a", "title": "Milk"}))).await;
    let first = store.done(keyed("k", destroy("a"))).await;
    store.done(create(json!({"id": "a", "title": "Eggs"}))).await;
    for _ in 0..3 {
        store.done(milk()).await;
    }
    let repeat = store.commit(keyed("k", destroy("a"))).await;
    assert!(repeat.repeated);
    assert_eq!((repeat.change.position, repeat.change.verb), (first.position, Verb::Destroy));
    assert_eq!(repeat.change.before.as_deref(), Some(&attributes(json!({"id": "a"}))));
    assert_eq!(repeat.change.after, None);
    assert!(store.record("a").await.is_some());
}

pub(crate) async fn repeat_after_the_log_shows_no_record_that_the_writer_may_not_write_any_more(
    open: Open,
) {
    let store = forgetful(open, 2);
    let own = Filter::read(json!({"by": "ann"})).unwrap();
    let write = || {
        let write = keyed("k", create(json!({"by": "ann"})));
        Write { within: own.clone(), ..write }
    };
    store.done(write()).await;
    store.done(update("1", json!({"by": "bob", "secret": 1}))).await;
    for _ in 0..3 {
        store.done(milk()).await;
    }
    let repeat = store.commit(write()).await;
    assert_eq!((repeat.repeated, repeat.change.position.offset), (true, 1));
    assert_eq!(repeat.change.after.as_deref(), Some(&attributes(json!({"id": 1}))));
}

pub(crate) async fn publication_repeated_after_the_log_gets_its_position(open: Open) {
    let mut store = forgetful(open, 2);
    let write = || keyed("k", publish(Verb::Update, "1", json!({"n": 1})));
    let first = store.done(write()).await;
    for _ in 0..4 {
        store.done(milk()).await;
    }
    store.heard();
    let repeat = store.commit(write()).await;
    assert!(repeat.repeated && repeat.change.published);
    assert_eq!(repeat.change.position, first.position);
    assert_eq!(repeat.change.after.as_deref(), Some(&attributes(json!({"id": 1}))));
    assert!(store.heard().is_empty());
}

pub(crate) async fn key_is_forgotten_after_the_ledger_age(open: Open) {
    let ledger_age = Duration::from_millis(HOUR);
    let store = open(Window { ledger_age, ..Window::default() }, 4096);
    store.done(keyed("k", milk())).await;
    assert!(store.commit(at(NOON + HOUR, keyed("k", milk()))).await.repeated);
    assert!(!store.commit(at(NOON + HOUR + 1, keyed("k", milk()))).await.repeated);
    let post = || crate::queues::keyed("k", 1, crate::queues::post(&["ann"], "e", 1));
    let later = |at| Post { at, ..post() };
    store.posted(post()).await.unwrap();
    assert!(store.posted(later(NOON + HOUR)).await.unwrap().repeated);
    assert!(!store.posted(later(NOON + HOUR + 1)).await.unwrap().repeated);
}

pub(crate) async fn oldest_keys_are_forgotten_when_the_ledger_is_larger_than_its_bytes(open: Open) {
    // An entry counts as 116 bytes here.
    let window = Window { ledger_bytes: 20 * 116, ..forgetful_window(2) };
    let store = open(window, 4096);
    let write = |n: u32| keyed(&n.to_string(), update("1", json!({"n": n})));
    store.done(milk()).await;
    for n in 0..60 {
        store.done(write(n)).await;
    }
    for n in 45..60 {
        assert!(store.commit(write(n)).await.repeated, "{n}");
    }
    // Whatever is committed makes room for itself.
    assert!(!store.commit(write(0)).await.repeated);
    assert!(store.commit(write(0)).await.repeated);
    for n in (1..30).rev() {
        assert!(!store.commit(write(n)).await.repeated, "{n}");
    }
}

pub(crate) async fn a_key_used_for_another_request_is_refused(open: Open) {
    let store = roomy(open);
    store.done(keyed_by("ann", "k", 1, milk())).await;
    assert_eq!(store.refused(keyed_by("ann", "k", 2, milk())).await, Refused::KeyReused);
    assert_eq!(store.head().await.offset, 1);
}

pub(crate) async fn a_key_belongs_to_its_identity(open: Open) {
    let store = roomy(open);
    store.done(keyed_by("ann", "k", 1, milk())).await;
    let other = store.commit(keyed_by("bob", "k", 1, milk())).await;
    assert!(!other.repeated);
    assert_eq!(other.change.id, id("2"));
}

pub(crate) async fn a_key_is_not_remembered_by_a_refused_write(open: Open) {
    let store = roomy(open);
    store.refused(keyed("k", destroy("1"))).await;
    store.done(milk()).await;
    assert!(!store.commit(keyed("k", destroy("1"))).await.repeated);
}

pub(crate) async fn a_key_is_forgotten_after_seven_days(open: Open) {
    let store = roomy(open);
    store.done(keyed("k", milk())).await;
    assert!(store.commit(at(NOON + 7 * DAY, keyed("k", milk()))).await.repeated);
    let later = at(NOON + 7 * DAY + 1, keyed_by("", "k", 2, milk()));
    assert!(!store.commit(later.clone()).await.repeated);
    assert!(store.commit(at(NOON + 8 * DAY, later)).await.repeated);
}

pub(crate) async fn a_key_is_known_at_once_when_it_is_used_again_after_seven_days(open: Open) {
    let store = roomy(open);
    store.done(keyed("k", milk())).await;
    let again = || store.commit(at(NOON + 8 * DAY, keyed("k", milk())));
    // While this is committed those behind it come together.
    let first = store.commit(milk());
    let (_, second, third, fourth) = tokio::join!(biased; first, again(), again(), again());
    assert_eq!([second, third, fourth].map(|it| it.repeated), [false, true, true]);
    assert_eq!(store.head().await.offset, 3);
}

// The tail

pub(crate) async fn the_tail_gets_each_change_once_and_in_order(open: Open) {
    let mut store = roomy(open);
    let mut done = Vec::new();
    done.push(store.done(milk()).await);
    done.push(store.done(Write { origin: Some("socket".into()), ..milk() }).await);
    done.push(store.done(keyed("k", update("2", json!({"done": true})))).await);
    done.push(store.done(destroy("1")).await);
    let cart = Resource::parse("cart").unwrap();
    done.push(store.done(Write { resource: cart, ..milk() }).await);
    assert_eq!(offsets(&done), [1, 2, 3, 4, 1]);
    assert_eq!(store.heard(), done);
}

pub(crate) async fn a_tail_that_nobody_reads_any_more_stops_no_writer(open: Open) {
    let mut store = open(Window::default(), 1);
    store.tail.close();
    store.done(milk()).await;
    store.done(milk()).await;
    assert_eq!(store.records().await.len(), 2);
}

pub(crate) async fn a_writer_that_gives_up_leaves_log_and_tail_alike(open: Open) {
    let mut store = open(Window::default(), 1);
    store.done(milk()).await;
    // The tail is full now, so this one would have to wait; but it does not.
    tokio::select! {
        biased;
        _ = store.engine.commit(milk()) => panic!("there was no place in the tail"),
        () = ready(()) => {}
    }
    let last = create(json!({"title": "last"}));
    let engine = Arc::clone(&store.engine);
    let last = tokio::spawn(async move { engine.commit(last).await.unwrap().change });
    let mut heard = Vec::new();
    while heard.last().is_none_or(|change: &Arc<Change>| change.set["title"] != "last") {
        heard.push(store.tail.recv().await.unwrap());
    }
    assert_eq!(heard.last(), Some(&last.await.unwrap()));
    assert_eq!(offsets(&heard), offsets(&store.since("todo", 0).await.unwrap()));
    assert_eq!(store.records().await.len(), heard.len());
}

// The log

pub(crate) async fn previous_is_the_offset_of_the_records_last_change(open: Open) {
    let store = roomy(open);
    assert_eq!(store.done(milk()).await.previous, 0);
    assert_eq!(store.done(milk()).await.previous, 0);
    assert_eq!(store.done(update("1", json!({"n": 1}))).await.previous, 1);
    assert_eq!(store.done(destroy("2")).await.previous, 2);
    assert_eq!(store.done(destroy("1")).await.previous, 3);
}

pub(crate) async fn a_record_created_again_follows_its_destroy(open: Open) {
    let store = roomy(open);
    store.done(create(json!({"id": "eggs"}))).await;
    store.done(destroy("eggs")).await;
    store.done(milk()).await;
    assert_eq!(store.done(create(json!({"id": "eggs"}))).await.previous, 2);
    assert_eq!(offsets(&store.since("todo/eggs", 1).await.unwrap()), [2, 4]);
}

pub(crate) async fn a_record_created_again_follows_the_floor_when_its_destroy_is_forgotten(
    open: Open,
) {
    let store = forgetful(open, 2);
    store.done(create(json!({"id": "eggs"}))).await;
    store.done(destroy("eggs")).await;
    for _ in 0..3 {
        store.done(milk()).await;
    }
    // Whoever has read further than 3 knows of the destroy; whoever has not is out of reach.
    assert_eq!(store.done(create(json!({"id": "eggs"}))).await.previous, 3);
    assert_eq!(store.since("todo/eggs", 2).await, None);
}

pub(crate) async fn since_gives_a_class_room_what_it_missed(open: Open) {
    let mut store = roomy(open);
    for write in [milk(), milk(), update("1", json!({"done": true})), destroy("2")] {
        store.done(write).await;
    }
    let heard = store.heard();
    for offset in 0..=4 {
        assert_eq!(store.since("todo", offset).await.unwrap(), heard[offset as usize..]);
    }
}

pub(crate) async fn since_gives_an_instance_room_what_it_missed(open: Open) {
    let store = roomy(open);
    let text = create(json!({"id": "eggs"}));
    for write in [milk(), milk(), update("1", json!({"n": 1})), text, destroy("1")] {
        store.done(write).await;
    }
    assert_eq!(offsets(&store.since("todo/1", 0).await.unwrap()), [1, 3, 5]);
    assert_eq!(offsets(&store.since("todo/1", 3).await.unwrap()), [5]);
    assert_eq!(offsets(&store.since("todo/eggs", 0).await.unwrap()), [4]);
    assert!(store.since("todo/9", 0).await.unwrap().is_empty());
}

pub(crate) async fn since_knows_all_of_a_change(open: Open) {
    let store = roomy(open);
    store.done(create(json!({"title": "Milk", "price": 0.1, "tags": ["a", null]}))).await;
    let write = keyed("k", update("1", json!({"price": 1e300})));
    let change = store.done(Write { origin: Some("socket".into()), ..write }).await;
    assert_eq!(store.since("todo", 1).await.unwrap(), [Arc::clone(&change)]);
    assert_eq!(change.before.as_ref().unwrap()["price"], 0.1);
    assert_eq!(change.after.as_ref().unwrap()["price"], 1e300);
    assert_eq!(change.mark, backwire_protocol::mark("k"));
}

// What is only published

pub(crate) async fn a_publication_is_in_the_log_and_leaves_the_records_alone(open: Open) {
    let mut store = roomy(open);
    store.done(milk()).await;
    let milk = store.record("1").await;
    let published = [
        (publish(Verb::Update, "1", json!({"title": "Oats"})), json!({"title": "Oats"})),
        (publish(Verb::Create, "1", json!({"n": 1})), json!({"n": 1, "id": 1})),
        (publish(Verb::Update, "7", json!({"id": 8})), json!({"id": 7})),
    ];
    for (write, said) in published {
        let change = store.done(Write { origin: Some("socket".into()), ..write }).await;
        assert!(change.published && change.before.is_none());
        assert_eq!(Value::Object(change.set.clone()), said);
        assert_eq!(change.after.as_deref(), Some(&change.set));
    }
    let destroy = store.done(publish(Verb::Destroy, "1", json!({"n": 1}))).await;
    assert_eq!((&destroy.after, &destroy.before, destroy.set.len()), (&None, &None, 0));
    assert_eq!(store.record("1").await, milk);
    assert_eq!((store.record("7").await, store.records().await.len()), (None, 1));
    assert_eq!(store.head().await.offset, 5);
    assert_eq!(store.since("todo", 0).await.unwrap(), store.heard());
}

pub(crate) async fn publications_are_links_in_the_chain_of_their_record(open: Open) {
    let store = roomy(open);
    assert_eq!(store.done(publish(Verb::Update, "eggs", json!({}))).await.previous, 0);
    assert_eq!(store.done(create(json!({"id": "eggs"}))).await.previous, 1);
    assert_eq!(store.done(publish(Verb::Update, "eggs", json!({}))).await.previous, 2);
    assert_eq!(store.done(update("eggs", json!({"n": 1}))).await.previous, 3);
    assert_eq!(store.done(destroy("eggs")).await.previous, 4);
    assert_eq!(store.done(publish(Verb::Destroy, "eggs", json!({}))).await.previous, 5);
    assert_eq!(offsets(&store.since("todo/eggs", 1).await.unwrap()), [2, 3, 4, 5, 6]);
}

pub(crate) async fn what_was_published_is_forgotten_with_the_log(open: Open) {
    let store = forgetful(open, 2);
    store.done(publish(Verb::Update, "eggs", json!({}))).await;
    for _ in 0..4 {
        store.done(milk()).await;
    }
    assert_eq!(store.done(publish(Verb::Update, "eggs", json!({}))).await.previous, 3);
}

pub(crate) async fn an_id_that_was_published_is_not_given_to_a_record(open: Open) {
    let store = roomy(open);
    store.done(publish(Verb::Create, "7", json!({}))).await;
    assert_eq!(store.done(milk()).await.id, id("8"));
    let inexact = (LAST_EXACT + 1).to_string();
    assert_eq!(store.refused(publish(Verb::Create, &inexact, json!({}))).await, Refused::BadId);
}

pub(crate) async fn a_publication_that_is_repeated_is_published_once(open: Open) {
    let mut store = roomy(open);
    let write = keyed("k", publish(Verb::Update, "7", json!({"n": 1})));
    store.done(write.clone()).await;
    assert!(store.commit(write).await.repeated);
    assert_eq!(offsets(&store.heard()), [1]);
}

// How far the log reaches

pub(crate) async fn a_position_older_than_the_count_is_out_of_reach(open: Open) {
    let store = forgetful(open, 3);
    for _ in 0..5 {
        store.done(milk()).await;
    }
    assert_eq!(store.since("todo", 1).await, None);
    assert_eq!(store.since("todo/5", 1).await, None);
    assert_eq!(offsets(&store.since("todo", 2).await.unwrap()), [3, 4, 5]);
    assert_eq!(store.records().await.len(), 5);
}

pub(crate) async fn a_position_older_than_the_age_is_out_of_reach(open: Open) {
    let store = forgetful(open, 100);
    for time in [0, 30, 61, 90, 91] {
        store.done(at(NOON + time * HOUR / 60, milk())).await;
    }
    assert_eq!(store.since("todo", 1).await, None);
    assert_eq!(offsets(&store.since("todo", 2).await.unwrap()), [3, 4, 5]);
}

pub(crate) async fn a_position_of_another_log_is_out_of_reach(open: Open) {
    let store = roomy(open);
    store.done(milk()).await;
    let Position { epoch, offset } = store.head().await;
    assert!(epoch < 1 << 48);
    let other = Position { epoch: epoch ^ 1, offset };
    let answer = store.engine.since(&Room::class(todo()), other).await.unwrap();
    assert!(matches!(answer, Since::OutOfReach));
    assert_ne!(epoch, roomy(open).head().await.epoch);
}

pub(crate) async fn a_position_ahead_of_the_log_is_out_of_reach(open: Open) {
    let store = roomy(open);
    store.done(milk()).await;
    assert_eq!(store.since("todo", 1).await.unwrap(), []);
    assert_eq!(store.since("todo", 2).await, None);
    assert_eq!(store.since("todo", u64::MAX).await, None);
}

// Many at once

/// What a resource holds after these changes.
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

/// Lets some tasks write, each so many times.
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

pub(crate) async fn a_snapshot_holds_exactly_what_the_log_says_up_to_its_position(open: Open) {
    let mut store = roomy(open);
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
    let log = store.heard();
    assert_eq!(log.len() as u64, snapshots.last().unwrap().position.offset);
    for snapshot in snapshots {
        assert_eq!(snapshot.value, replay(&log[..snapshot.position.offset as usize]));
    }
}

pub(crate) async fn concurrent_writes_are_all_committed_once_in_a_gapless_order(open: Open) {
    let mut store = roomy(open);
    // Every fifth is refused, which must not cost the others anything.
    let writers = writers(&store, 16, 25, |task, n| match n % 5 {
        4 => destroy("nobody"),
        _ => create(json!({"by": [task, n]})),
    });
    assert_eq!(writers.join_all().await.into_iter().sum::<usize>(), 16 * 20);
    let heard = store.heard();
    assert_eq!(offsets(&heard), (1..=320).collect::<Vec<_>>());
    let authors: BTreeSet<String> =
        heard.iter().map(|change| change.set["by"].to_string()).collect();
    assert_eq!(authors.len(), 320);
    assert_eq!(store.records().await, replay(&heard));
    assert_eq!(store.since("todo", 0).await.unwrap(), heard);
}

pub(crate) async fn concurrent_repeats_are_committed_once(open: Open) {
    let mut store = roomy(open);
    let writers = writers(&store, 8, 20, |_, n| keyed(&n.to_string(), milk()));
    assert_eq!(writers.join_all().await.into_iter().sum::<usize>(), 160);
    assert_eq!(offsets(&store.heard()), (1..=20).collect::<Vec<_>>());
}

/// Users whose mail is unique.
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

pub(crate) async fn a_unique_value_is_had_by_one_record_alone(open: Open) {
    let store = roomy(open);
    for value in [json!("ann"), json!(1.5), json!(7), json!(true), Value::Null, Value::Null] {
        store.done(has_mail(value)).await;
    }
    for value in [json!("ann"), json!(1.5), json!(7), json!(7.0), json!(true)] {
        let taken = Refused::Taken { resource: todo(), attribute: "mail".to_owned() };
        assert_eq!(store.refused(has_mail(value)).await, taken);
    }
    for other in [json!("Ann"), json!(1), json!("7"), json!("true")] {
        store.done(has_mail(other)).await;
    }
    store.done(by_users(update("1", json!({ "mail": "ann" })))).await;
    assert!(matches!(
        store.refused(by_users(update("2", json!({ "mail": "ann" })))).await,
        Refused::Taken { .. }
    ));
    let cart = Resource::parse("cart").unwrap();
    store.done(Write { resource: cart, ..has_mail(json!("ann")) }).await;
}

pub(crate) async fn a_unique_value_is_free_again_when_its_record_is_gone(open: Open) {
    let store = roomy(open);
    store.done(has_mail(json!("ann"))).await;
    store.done(by_users(destroy("1"))).await;
    store.done(has_mail(json!("ann"))).await;
    store.done(by_users(update("2", json!({ "mail": "bob" })))).await;
    store.done(has_mail(json!("ann"))).await;
}

pub(crate) async fn owners_have_unique_values_of_their_own(open: Open) {
    let store = roomy(open);
    let access = Access { owner: Some("by".to_owned()), ..Access::default() };
    let model = Arc::new(Model { access, ..Model::clone(&users()) });
    let by = |person: &str, id: &str| {
        let record = json!({ "id": id, "by": person, "mail": "home" });
        Write { model: Arc::clone(&model), ..create(record) }
    };
    store.done(by("ann", "a")).await;
    store.done(by("bob", "b")).await;
    assert!(matches!(store.refused(by("ann", "c")).await, Refused::Taken { .. }));
    let given = |id, set| Write { model: Arc::clone(&model), ..update(id, set) };
    let refused = store.refused(given("b", json!({ "by": "ann", "mail": "home" }))).await;
    assert!(matches!(refused, Refused::Taken { .. }));
    store.done(given("a", json!({ "mail": "home" }))).await;
    // What changes hands brings its values along.
    assert!(matches!(
        store.refused(given("b", json!({ "by": "ann" }))).await,
        Refused::Taken { .. }
    ));
    store.done(given("b", json!({ "by": "cyd" }))).await;
}

pub(crate) async fn who_may_write_only_some_records_finds_no_others(open: Open) {
    let store = roomy(open);
    store.done(create(json!({ "by": "ann" }))).await;
    store.done(create(json!({ "by": "bob" }))).await;
    let as_ann = |write| Write { within: Filter::read(json!({ "by": "ann" })).unwrap(), ..write };
    for write in [update("2", json!({ "by": "ann" })), destroy("2")] {
        let refused = store.refused(as_ann(write)).await;
        assert!(matches!(refused, Refused::NotFound { .. }), "{refused}");
    }
    for write in [update("1", json!({ "by": "bob" })), create(json!({ "by": "bob" }))] {
        let refused = store.refused(as_ann(write)).await;
        assert!(matches!(refused, Refused::Beyond { .. }), "{refused}");
    }
    store.done(as_ann(update("1", json!({ "done": true })))).await;
    store.done(as_ann(destroy("1"))).await;
}

pub(crate) async fn of_two_claims_in_a_row_the_first_is_granted(open: Open) {
    let store = roomy(open);
    let engine = &store.engine;
    let [first, second] =
        [has_mail(json!("ann")), has_mail(json!("ann"))].map(|write| engine.commit(write));
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok());
    assert!(matches!(second, Err(Error::Refused(Refused::Taken { .. }))));
}

pub(crate) async fn an_upsert_creates_what_is_not_there_and_updates_what_is(open: Open) {
    let store = roomy(open);
    let put = |title: &str| {
        let set = serde_json::from_value(json!({ "title": title })).unwrap();
        Write { action: Action::Upsert(Id::Integer(7), set), ..create(json!({})) }
    };
    assert_eq!(store.done(put("Milk")).await.verb, Verb::Create);
    let change = store.done(put("Oat milk")).await;
    assert_eq!((change.verb, change.position.offset), (Verb::Update, 2));
    assert_eq!(store.done(create(json!({}))).await.id, Id::Integer(8));
}

pub(crate) async fn a_model_has_its_own_key_and_checks_its_records(open: Open) {
    let store = roomy(open);
    let short = Attribute { max: Some(3.into()), ..Attribute::default() };
    let model = Model { key: "_id".to_owned(), ..Model::default().attribute("name", short) };
    let of = |write| Write { model: Arc::new(model.clone()), ..write };
    let change = store.done(of(create(json!({ "_id": "a", "id": 9, "name": "Ann" })))).await;
    assert_eq!(change.id, Id::Text("a".into()));
    assert_eq!(change.after.as_ref().unwrap()["_id"], "a");
    assert_eq!(change.after.as_ref().unwrap()["id"], 9);
    let refused = store.refused(of(update("a", json!({ "name": "Anna" })))).await;
    assert_eq!(refused.to_string(), "name is at most 3 characters long");
}

pub(crate) async fn answer_beyond_its_bounds_is_an_error_and_no_part(open: Open) {
    let store = roomy(open);
    for number in 0..10 {
        store.done(create(json!({"a": number % 3, "text": "x".repeat(100)}))).await;
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
    let store = roomy(open);
    store.done(milk()).await;
    let options = ReadOptions::default();
    let find = async || store.engine.find_for(&todo(), &Criteria::default(), &options).await;
    assert_eq!(find().await.unwrap().value.len(), 1);
    options.time.spend(Duration::from_secs(2));
    assert!(matches!(find().await, Err(Error::ReadDeadline(_))));
}

pub(crate) async fn log_keeps_to_its_bytes(open: Open) {
    let mut store = open(Window { bytes: 10_000, ..Window::default() }, 4096);
    let text = "x".repeat(1000);
    store.done(create(json!({ "n": 0, "text": text }))).await;
    for n in 1..20 {
        store.done(update("1", json!({ "n": n }))).await;
    }
    store.heard();
    let head = store.engine.find_one(&todo(), &id("1")).await.unwrap().position;
    let missed = async |offset| {
        let room = Room::class(todo());
        match store.engine.since(&room, Position { offset, ..head }).await.unwrap() {
            Since::Changes { changes, .. } => Some(changes.len()),
            Since::OutOfReach => None,
        }
    };
    // Each has the record twice.
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
    store.done(limited(keyed("k", milk()))).await;
    store.done(limited(milk())).await;
    let full = Refused::TooManyOfResource { resource: todo(), limit: 2 };
    for write in [milk(), upsert(7)] {
        assert_eq!(store.refused(limited(write)).await, full);
    }
    store.done(cart(milk())).await;
    for write in [milk(), upsert(7)] {
        assert_eq!(store.refused(cart(write)).await, Refused::TooManyRecords { limit: 3 });
    }
    // All others work: a repeat, what changes a record, a publication, and a destroy, which makes room.
    store.done(limited(keyed("k", milk()))).await;
    store.done(limited(upsert(1))).await;
    store.done(limited(update("1", json!({ "n": 2 })))).await;
    store.done(limited(publish(Verb::Create, "9", json!({})))).await;
    store.done(limited(destroy("2"))).await;
    store.done(cart(milk())).await;
    assert_eq!(store.refused(limited(milk())).await, Refused::TooManyRecords { limit: 3 });
}
