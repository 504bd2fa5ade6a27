//! Tests of the sessions of every engine.

use std::sync::Arc;

use backwire_engine::{Error, SessionEdit};
use serde_json::{Value, json};

use crate::store::{HOUR, NOON, Open, Store, default_store};

/// Returns an edit of the session `a`, which expires an hour after noon. Null removes a key.
fn edit(set: Value) -> SessionEdit {
    let set = set.as_object().unwrap().clone().into_iter();
    let set = set.map(|(key, value)| (key, Some(value).filter(|value| !value.is_null())));
    let set = set.collect();
    SessionEdit { id: "a".into(), set, at: NOON, until: NOON + HOUR, ..SessionEdit::default() }
}

impl Store {
    async fn edit(&self, edit: SessionEdit) {
        self.engine.sessions().edit(edit).await.unwrap();
    }

    async fn session(&self, id: &str, now: u64) -> Value {
        let held = self.engine.sessions().load(id, now).await.unwrap();
        held.map_or(Value::Null, |held| Value::Object((*held.values).clone()))
    }
}

pub(crate) async fn session_contains_the_result_of_its_edits(open: Open) {
    let store = default_store(open);
    assert_eq!(store.session("a", NOON).await, Value::Null);
    store.edit(edit(json!({ "name": "Ann", "cart": [1, { "b": 2.5 }] }))).await;
    store.edit(edit(json!({ "name": null, "seen": true }))).await;
    let held = json!({ "cart": [1, { "b": 2.5 }], "seen": true });
    assert_eq!(store.session("a", NOON).await, held);
    assert_eq!(store.session("b", NOON).await, Value::Null);
    store.edit(SessionEdit { clear: true, ..edit(json!({ "new": 1 })) }).await;
    assert_eq!(store.session("a", NOON).await, json!({ "new": 1 }));
}

pub(crate) async fn empty_session_is_removed(open: Open) {
    let store = default_store(open);
    store.edit(edit(json!({ "name": "Ann" }))).await;
    store.edit(edit(json!({ "name": null }))).await;
    assert_eq!(store.session("a", NOON).await, Value::Null);
}

pub(crate) async fn session_expires_after_its_age_from_the_last_edit(open: Open) {
    let store = default_store(open);
    store.edit(edit(json!({ "name": "Ann" }))).await;
    assert_eq!(store.session("a", NOON + HOUR - 1).await, json!({ "name": "Ann" }));
    assert_eq!(store.session("a", NOON + HOUR).await, Value::Null);
    let later = SessionEdit { at: NOON + 1, until: NOON + 2 * HOUR, ..edit(json!({})) };
    store.edit(later).await;
    let held = store.engine.sessions().load("a", NOON + HOUR).await.unwrap().unwrap();
    assert_eq!(held.until, NOON + 2 * HOUR);
    // An edit after the expiry begins a new session.
    let after =
        SessionEdit { at: NOON + 2 * HOUR, until: NOON + 3 * HOUR, ..edit(json!({ "new": 1 })) };
    store.edit(after).await;
    assert_eq!(store.session("a", NOON + 2 * HOUR).await, json!({ "new": 1 }));
}

pub(crate) async fn session_with_a_new_id_is_found_only_by_that_id(open: Open) {
    let store = default_store(open);
    store.edit(edit(json!({ "name": "Ann", "cart": 1 }))).await;
    store.edit(SessionEdit { new_id: Some("b".into()), ..edit(json!({ "cart": 2 })) }).await;
    assert_eq!(store.session("a", NOON).await, Value::Null);
    assert_eq!(store.session("b", NOON).await, json!({ "name": "Ann", "cart": 2 }));
    assert_eq!(store.session("b", NOON + HOUR).await, Value::Null);
    // A missing or empty session may get a new id too.
    store.edit(SessionEdit { new_id: Some("c".into()), ..edit(json!({ "new": 1 })) }).await;
    assert_eq!(store.session("c", NOON).await, json!({ "new": 1 }));
    let emptied =
        SessionEdit { id: "c".into(), new_id: Some("d".into()), ..edit(json!({ "new": null })) };
    store.edit(emptied).await;
    for id in ["a", "c", "d"] {
        assert_eq!(store.session(id, NOON).await, Value::Null);
    }
}

pub(crate) async fn session_may_never_expire(open: Open) {
    let store = default_store(open);
    store.edit(SessionEdit { until: u64::MAX, ..edit(json!({ "name": "Ann" })) }).await;
    store.edit(SessionEdit { until: u64::MAX, ..edit(json!({ "seen": true })) }).await;
    assert_eq!(store.session("a", NOON).await, json!({ "name": "Ann", "seen": true }));
}

pub(crate) async fn concurrent_edits_of_a_session_are_all_applied(open: Open) {
    let store = Arc::new(default_store(open));
    let edits = (0..32).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.edit(edit(json!({ format!("k{n}"): n }))).await })
    });
    for edit in edits.collect::<Vec<_>>() {
        edit.await.unwrap();
    }
    let held = store.session("a", NOON).await;
    assert_eq!(held.as_object().map(|held| held.len()), Some(32), "{held}");
}

pub(crate) async fn secret_is_stable_and_unique_to_its_store(open: Open) {
    let (one, other) = (default_store(open), default_store(open));
    let secret = one.engine.sessions().secret().await.unwrap();
    assert_eq!(one.engine.sessions().secret().await.unwrap(), secret);
    assert_ne!(other.engine.sessions().secret().await.unwrap(), secret);
}

pub(crate) async fn sessions_are_found_by_a_value(open: Open) {
    let store = default_store(open);
    for (id, who) in [("a", json!(7)), ("b", json!("7")), ("c", json!(7)), ("d", json!("é\""))] {
        store.edit(SessionEdit { id: id.into(), ..edit(json!({ "who": who, "x": 7 })) }).await;
    }
    let holding = async |value: Value, now: u64| {
        let found = store.engine.sessions().find_by_value("who", &value, now).await.unwrap();
        let mut found: Vec<_> = found.iter().map(|id| id.to_string()).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(holding(json!(7), NOON).await, ["a", "c"]);
    assert_eq!(holding(json!("7"), NOON).await, ["b"]);
    assert_eq!(holding(json!("é\""), NOON).await, ["d"]);
    assert!(holding(json!(8), NOON).await.is_empty());
    assert!(holding(json!(7), NOON + HOUR).await.is_empty());
}

pub(crate) async fn new_session_replaces_the_oldest_anonymous_one(open: Open) {
    let store = default_store(open);
    let begin = |id: &str, key: &str, until| SessionEdit {
        id: id.into(),
        until,
        max: Some(3),
        ..edit(json!({ key: 7 }))
    };
    store.edit(begin("ann", "backwire.person", NOON + 1)).await;
    store.edit(begin("old", "cart", NOON + 2)).await;
    store.edit(begin("new", "cart", NOON + 3)).await;
    // Existing sessions can be changed, and can get a new id.
    store.edit(begin("old", "seen", NOON + 2)).await;
    store.edit(SessionEdit { new_id: Some("older".into()), ..begin("old", "x", NOON + 2) }).await;
    store.edit(begin("next", "cart", NOON + 4)).await;
    let there = async || {
        let mut there = Vec::new();
        for id in ["ann", "old", "older", "new", "next", "bob", "cid"] {
            if store.session(id, NOON).await != Value::Null {
                there.push(id);
            }
        }
        there
    };
    assert_eq!(there().await, ["ann", "new", "next"]);
    store.edit(begin("bob", "backwire.person", NOON + 5)).await;
    store.edit(begin("cid", "backwire.person", NOON + 5)).await;
    let refused = store.engine.sessions().edit(begin("new", "cart", NOON + 6)).await;
    assert!(matches!(refused, Err(Error::TooManySessions { limit: 3 })), "{refused:?}");
    assert_eq!(there().await, ["ann", "bob", "cid"]);
    // A removed session makes room.
    store
        .edit(SessionEdit { clear: true, set: Default::default(), ..begin("cid", "", NOON) })
        .await;
    store.edit(begin("new", "cart", NOON + 6)).await;
    assert_eq!(there().await, ["ann", "new", "bob"]);
}
