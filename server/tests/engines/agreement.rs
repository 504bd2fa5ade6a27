//! Whatever is written, in whatever order: SQLite does what memory does.

use std::sync::Arc;
use std::time::Duration;

use backwire::change::{Change, Id, Position, Resource, Room, Verb};
use backwire::criteria::Criteria;
use backwire::engine::{Committed, Error, Since, Window};
use backwire::model::{Attribute, Model};
use backwire::write::{Action, Key, Publication, Write};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::store::{self, HOUR, NOON, Store};

const WINDOW: Window = Window { count: 6, age: Duration::from_millis(2 * HOUR) };

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_agrees_with_memory(steps in vec((0..4u64, write()), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut stores = [store::memory(WINDOW, 64), store::sqlite(WINDOW, 64)];
            let mut now = NOON;
            for (pause, write) in steps {
                now += [0, 1, HOUR, 100 * HOUR][pause as usize];
                let write = Write { at: now, ..write };
                let [model, sqlite] = &mut stores;
                prop_assert_eq!(
                    outcome(model, write.clone()).await,
                    outcome(sqlite, write).await
                );
                prop_assert_eq!(everything(model).await, everything(sqlite).await);
            }
            Ok(())
        })?;
    }
}

/// What a write came to, and what the tail heard of it.
async fn outcome(store: &mut Store, write: Write) -> (Result<(Change, bool), String>, Vec<Change>) {
    let outcome = match store.engine.commit(write).await {
        Ok(Committed { change, repeated }) => Ok((anywhere(&change), repeated)),
        Err(Error::Refused(refused)) => Err(refused.to_string()),
        Err(Error::Unavailable(reason)) => panic!("{reason}"),
    };
    (outcome, store.heard().iter().map(anywhere).collect())
}

/// All that can be read of a store.
async fn everything(store: &Store) -> Vec<String> {
    let mut seen = Vec::new();
    for resource in resources() {
        let records = store.engine.find(&resource, &Criteria::default()).await.unwrap();
        let head = records.position;
        seen.push(format!("{resource} at {}: {:?}", head.offset, records.value));
        let rooms = ids().into_iter().map(|id| Room::instance(resource.clone(), id));
        for room in rooms.chain([Room::class(resource.clone())]) {
            if let Some(id) = &room.id {
                let record = store.engine.find_one(&resource, id).await.unwrap();
                seen.push(format!("{room} at {}: {:?}", record.position.offset, record.value));
            }
            for offset in 0..=head.offset + 1 {
                let since = store.engine.since(&room, Position { offset, ..head }).await.unwrap();
                seen.push(format!("{room} since {offset}: {:?}", missed(since)));
            }
        }
    }
    seen
}

fn missed(since: Since) -> Option<(Vec<Change>, u64)> {
    match since {
        Since::Changes { changes, head } => {
            Some((changes.iter().map(anywhere).collect(), head.offset))
        }
        Since::OutOfReach => None,
    }
}

/// A change without what differs from store to store.
fn anywhere(change: &Arc<Change>) -> Change {
    let position = Position { epoch: 0, ..change.position };
    Change { position, ..Change::clone(change) }
}

fn write() -> impl Strategy<Value = Write> {
    let origin = option::of(Just("socket".into()));
    (select(resources().to_vec()), model(), action(), option::of(key()), origin).prop_map(
        |(resource, model, action, key, origin)| Write {
            within: Default::default(),
            resource,
            model: Arc::new(model),
            action,
            key,
            origin,
            at: 0,
        },
    )
}

/// Sometimes no two records may have the same.
fn model() -> impl Strategy<Value = Model> {
    let unique = Attribute { unique: true, ..Attribute::default() };
    select(vec![Model::default(), Model::default().attribute("a", unique)])
}

fn action() -> impl Strategy<Value = Action> {
    let create = (option::weighted(0.6, select(ids().to_vec())), attributes()).prop_map(
        |(id, mut record)| {
            record.extend(id.map(|id| ("id".to_owned(), id.to_json())));
            Action::Create(record)
        },
    );
    let update =
        (select(ids().to_vec()), attributes()).prop_map(|(id, set)| Action::Update(id, set));
    let destroy = select(ids().to_vec()).prop_map(Action::Destroy);
    let verb = select(vec![Verb::Create, Verb::Update, Verb::Destroy]);
    let publish = (verb, select(ids().to_vec()), attributes())
        .prop_map(|(verb, id, data)| Action::Publish(Publication { verb, id, data }));
    prop_oneof![3 => create, 2 => update, 2 => destroy, 2 => publish]
}

fn attributes() -> impl Strategy<Value = Map<String, Value>> {
    let few =
        [json!(0), json!(-0.0), json!(0.1), json!("0"), json!(false), json!([0]), json!([0.0])];
    let value = prop_oneof![
        4 => select(few.to_vec()),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => Just(json!({"deep": [null, true, {}]})),
    ];
    vec((select(vec!["a", "a", "b", "createdAt", "updatedAt", "\u{0}"]), value), 0..4)
        .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn key() -> impl Strategy<Value = Key> {
    (select(vec!["", "ann"]), select(vec!["k", "l", "m"]), 0..4u64).prop_map(
        |(identity, key, request)| Key {
            identity: identity.into(),
            key: key.into(),
            // Mostly the same request, and one that has all bits to be stored.
            fingerprint: if request == 0 { u64::MAX } else { 1 },
        },
    )
}

fn resources() -> [Resource; 2] {
    ["todo", "cart"].map(|name| Resource::parse(name).unwrap())
}

/// Few, so that writes meet.
fn ids() -> [Id; 8] {
    let texts = ["1", "2", "3", "-1", "9007199254740991", "9223372036854775807", "eggs", "Eggs"];
    texts.map(|text| Id::parse(text).unwrap())
}
