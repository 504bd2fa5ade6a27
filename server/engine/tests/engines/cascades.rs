//! Destroys, and references to destroyed records. Reads never show a dangling reference. A cascade
//! removes all dangling references and no others, whatever happens in the meantime.

use std::collections::BTreeMap;
use std::slice::from_ref;
use std::sync::Arc;

use backwire_engine::{Cascade, Reference, Window};
use backwire_records::change::{Attributes, Id, Resource, Verb};
use backwire_records::criteria::{Criteria, Language, Parameters};
use backwire_records::model::{Attribute, Model, Models, Timestamps};
use backwire_records::write::{Action, Publication, Write, WriteError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::redis_server;
use crate::store::{self, Open, Store, attributes, default_store, id, keyed, milk};

fn resource(name: &str) -> Resource {
    Resource::parse(name).unwrap()
}

fn write(of: &str, action: Action) -> Write {
    let references = match (of, &action) {
        ("user", Action::Destroy(_)) => references(),
        _ => Vec::new(),
    };
    let model = Model { timestamps: Timestamps::Off, ..Model::default() };
    Write { resource: resource(of), model: Arc::new(model), action, references, ..milk() }
}

/// Pets have an owner, and pairs have a user as their first side.
fn references() -> Vec<Reference> {
    [("pet", "owner", false), ("pair", "first", true)]
        .map(|(name, attribute, is_pair)| Reference {
            resource: resource(name),
            attribute: attribute.to_owned(),
            is_pair,
        })
        .into()
}

fn create(of: &str, record: Value) -> Write {
    write(of, Action::Create(attributes(record)))
}

fn update(of: &str, id: i64, set: Value) -> Write {
    write(of, Action::Update(Id::Integer(id), attributes(set)))
}

fn destroy(of: &str, id: i64) -> Write {
    write(of, Action::Destroy(Id::Integer(id)))
}

fn publish(of: &str, id: i64) -> Write {
    let data = attributes(json!({ "a": 1 }));
    write(of, Action::Publish(Publication { verb: Verb::Update, id: Id::Integer(id), data }))
}

impl Store {
    async fn all(&self, of: &str, query: Value) -> Vec<Value> {
        let parameters = Parameters::read(Vec::new(), attributes(query)).unwrap();
        let criteria = Criteria::read(parameters, Language::Current).unwrap();
        let found = self.engine.find(&resource(of), &criteria).await.unwrap();
        found.value.iter().map(|it| Value::Object(Attributes::clone(it))).collect()
    }

    async fn one(&self, of: &str, id: i64) -> Value {
        let found = self.engine.find_one(&resource(of), &Id::Integer(id)).await.unwrap();
        found.value.map_or(Value::Null, |it| Value::Object(Attributes::clone(&it)))
    }

    async fn unfinished(&self) -> Vec<Cascade> {
        self.engine.cascades().unfinished().await.unwrap()
    }

    /// Carries out a part of a cascade. Returns whether it has ended.
    async fn advance(&self, cascade: &Cascade, count: usize) -> bool {
        let cascades = self.engine.cascades();
        let ids = cascades.dangling(cascade, None, count).await.unwrap();
        for id in &ids {
            let of = cascade.reference.resource.as_str();
            self.apply(write(of, Action::Detach(id.clone()))).await;
        }
        if ids.is_empty() {
            cascades.finish(cascade).await.unwrap();
        }
        ids.is_empty()
    }

    async fn finish_all(&self) {
        while let Some(cascade) = self.unfinished().await.first() {
            while !self.advance(cascade, 2).await {}
        }
    }
}

/// Creates users 1 and 2, with a pet and a pair each.
async fn filled(open: Open) -> Store {
    let mut store = default_store(open);
    for user in [1, 2] {
        store.apply(create("user", json!({}))).await;
        store.apply(create("pet", json!({ "owner": user }))).await;
        store.apply(create("pair", json!({ "first": user }))).await;
    }
    store.tail_changes();
    store
}

pub(crate) async fn destroy_begins_a_cascade_only_if_a_record_references_the_id(open: Open) {
    let store = filled(open).await;
    store.apply(create("user", json!({}))).await;
    store.apply(destroy("user", 3)).await;
    assert_eq!(store.unfinished().await, []);
    store.apply(destroy("user", 1)).await;
    let begun = store.unfinished().await;
    let expected = references().into_iter().map(|reference| Cascade {
        reference,
        id: Id::Integer(1),
        until: 2,
        origin: None,
    });
    assert_eq!(begun, Vec::from_iter(expected));
    store.finish_all().await;
    assert_eq!(store.unfinished().await, []);
}

pub(crate) async fn dangling_reference_is_null_before_its_cascade_removes_it(open: Open) {
    let mut store = filled(open).await;
    store.apply(destroy("user", 1)).await;
    store.tail_changes();
    let pet = json!({ "owner": null, "id": 1 });
    assert_eq!(store.one("pet", 1).await, pet);
    assert_eq!(store.all("pet", json!({ "owner": 1 })).await, Vec::<Value>::new());
    assert_eq!(store.all("pet", json!({ "where": { "owner": null } })).await, from_ref(&pet));
    let sorted = store.all("pet", json!({ "sort": "owner", "limit": 1 })).await;
    assert_eq!(sorted, from_ref(&pet));
    assert_eq!(store.all("pet", json!({ "limit": 1 })).await, from_ref(&pet));
    store.finish_all().await;
    assert_eq!(store.one("pet", 1).await, pet);
    let received = store.tail_changes();
    assert_eq!(received.len(), 2);
    let before = |at: usize| received[at].before.as_ref().unwrap();
    assert_eq!((before(0)["owner"].as_i64(), &received[0].set["owner"]), (Some(1), &Value::Null));
    assert_eq!((before(1)["first"].as_i64(), received[1].verb), (Some(1), Verb::Destroy));
}

pub(crate) async fn recreated_record_keeps_its_new_references(open: Open) {
    let store = filled(open).await;
    store.apply(create("pet", json!({ "owner": 1 }))).await;
    store.apply(destroy("user", 1)).await;
    store.apply(create("user", json!({ "id": 1 }))).await;
    store.apply(update("pet", 2, json!({ "owner": 1 }))).await;
    store.apply(update("pet", 3, json!({ "owner": "1" }))).await;
    let of_new = || store.all("pet", json!({ "owner": [1, "1"], "select": "owner" }));
    let expected = [json!({ "owner": 1, "id": 2 }), json!({ "owner": "1", "id": 3 })];
    assert_eq!(of_new().await, expected);
    store.finish_all().await;
    assert_eq!(of_new().await, expected);
    // A second destroy removes these references.
    store.apply(destroy("user", 1)).await;
    assert_eq!(of_new().await, Vec::<Value>::new());
    store.finish_all().await;
    assert_eq!(store.all("pet", json!({ "where": { "owner": null } })).await.len(), 3);
}

pub(crate) async fn update_of_a_record_removes_its_dangling_reference(open: Open) {
    let mut store = filled(open).await;
    store.apply(destroy("user", 1)).await;
    store.tail_changes();
    store.apply(update("pet", 1, json!({ "name": "Rex" }))).await;
    let received = store.tail_changes();
    assert_eq!(received[0].set, attributes(json!({ "name": "Rex", "owner": null, "id": 1 })));
    store.apply(create("user", json!({ "id": 1 }))).await;
    store.finish_all().await;
    assert_eq!(store.one("pet", 1).await, json!({ "owner": null, "id": 1, "name": "Rex" }));
}

pub(crate) async fn publication_does_not_make_a_dangling_reference_valid(open: Open) {
    let store = filled(open).await;
    store.apply(destroy("user", 1)).await;
    store.apply(publish("pet", 1)).await;
    store.apply(publish("pet", 1)).await;
    assert_eq!(store.one("pet", 1).await["owner"], Value::Null);
    store.apply(create("user", json!({ "id": 1 }))).await;
    store.finish_all().await;
    assert_eq!(store.one("pet", 1).await["owner"], Value::Null);
}

pub(crate) async fn dangling_pair_is_absent_and_can_be_made_again(open: Open) {
    let store = filled(open).await;
    store.apply(destroy("user", 1)).await;
    assert_eq!(store.one("pair", 1).await, Value::Null);
    assert_eq!(store.all("pair", json!({})).await.len(), 1);
    let gone = store.refusal(destroy("pair", 1)).await;
    assert_eq!(gone, WriteError::NotFound { resource: resource("pair"), id: id("1") });
    let pair = json!({ "id": 1, "first": 1 });
    let made = store.apply(create("pair", pair.clone())).await;
    assert_eq!((made.verb, &made.before), (Verb::Create, &None));
    store.finish_all().await;
    assert_eq!(store.one("pair", 1).await, pair);
}

pub(crate) async fn refused_or_repeated_destroy_begins_no_cascade(open: Open) {
    let store = filled(open).await;
    store.refusal(destroy("user", 7)).await;
    store.apply(keyed("k", destroy("user", 1))).await;
    store.finish_all().await;
    store.apply(create("user", json!({ "id": 1 }))).await;
    store.apply(update("pet", 1, json!({ "owner": 1 }))).await;
    assert!(store.commit(keyed("k", destroy("user", 1))).await.repeated);
    assert_eq!(store.unfinished().await, []);
    store.refusal(write("pet", Action::Detach(id("1")))).await;
    assert_eq!(store.one("pet", 1).await["owner"], 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn references_match_the_model_through_destroys_creates_and_restarts(
        steps in vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        runtime.block_on(check(&steps, || store::sqlite_in(folder.path(), Window::default(), 1024)))?;
    }
}

proptest! {
    // A read from Redis takes many times as long as one from a file.
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn references_in_redis_match_the_model_through_destroys_creates_and_restarts(
        steps in vec(step(), 1..60),
    ) {
        let options = store::redis_options(redis_server::unused_prefix());
        let open = || store::redis_with(options.clone(), Window::default(), 1024);
        store::runtime().block_on(check(&steps, open))?;
    }
}

/// Checks memory, and the engine that this function opens, on the same data each time.
async fn check(steps: &[Step], open: impl Fn() -> Store) -> Result<(), TestCaseError> {
    let mut world = World::new(open).await;
    for step in steps {
        world.take(step).await?;
        world.agrees().await?;
    }
    world.ends().await
}

#[derive(Debug, Clone)]
enum Step {
    Write(&'static str, Kind, i64, Value),
    /// Removes this many references of one cascade.
    Advance(usize),
    Restart,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Create,
    Update,
    Destroy,
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    use Kind::{Create, Destroy, Publish, Update};
    let user = prop_oneof![Just(json!(1)), Just(json!(2)), Just(json!("1")), Just(Value::Null)];
    let id = || 1..6_i64;
    let user_write = (select(vec![Create, Destroy]), 1..3_i64);
    let pet = (select(vec![Create, Create, Update, Destroy, Publish]), id(), user.clone());
    let pair = (select(vec![Create, Create, Destroy, Publish]), id(), user);
    prop_oneof![
        4 => user_write.prop_map(|(kind, id)| Step::Write("user", kind, id, json!({}))),
        6 => pet.prop_map(|(kind, id, user)| Step::Write("pet", kind, id, json!({ "owner": user }))),
        2 => (id(), 0..3).prop_map(|(id, a)| Step::Write("pet", Update, id, json!({ "a": a }))),
        3 => pair.prop_map(|(kind, id, user)| Step::Write("pair", kind, id, json!({ "first": user }))),
        4 => (1..4_usize).prop_map(Step::Advance),
        1 => Just(Step::Restart),
    ]
}

/// The model: each destroy removes all references at once.
type Records = BTreeMap<(&'static str, i64), Attributes>;

struct World<O> {
    model: Records,
    /// The records that result from the changes of each tail.
    replayed: [BTreeMap<(String, Id), Attributes>; 2],
    stores: [Store; 2],
    open: O,
}

impl<O: Fn() -> Store> World<O> {
    async fn new(open: O) -> Self {
        let stores = [store::memory(Window::default(), 1024), indexed(open()).await];
        Self { model: Records::new(), replayed: Default::default(), stores, open }
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Restart => {
                let [_, store] = &mut self.stores;
                // A file is unlocked when its store is dropped.
                *store = store::memory(Window::default(), 1);
                *store = indexed((self.open)()).await;
            }
            Step::Advance(count) => {
                for store in &self.stores {
                    if let Some(cascade) = store.unfinished().await.first() {
                        store.advance(cascade, *count).await;
                    }
                }
            }
            Step::Write(of, kind, id, values) => {
                let is_done = self.expect(of, *kind, *id, values);
                for store in &self.stores {
                    let outcome = store.engine.commit(write_of(of, *kind, *id, values)).await;
                    prop_assert_eq!(outcome.is_ok(), is_done, "{:?}", outcome);
                }
            }
        }
        self.listen();
        Ok(())
    }

    /// Applies a write to the model. Returns whether it is valid.
    fn expect(&mut self, of: &'static str, kind: Kind, id: i64, values: &Value) -> bool {
        let values = attributes(values.clone());
        let (at, is_there) = ((of, id), self.model.contains_key(&(of, id)));
        match kind {
            Kind::Publish => return true,
            Kind::Create if !is_there => {
                let id = [("id".to_owned(), json!(id))];
                self.model.insert(at, values.into_iter().chain(id).collect());
            }
            Kind::Update if is_there => self.model.get_mut(&at).unwrap().extend(values),
            Kind::Destroy if is_there => {
                self.model.remove(&at);
                if of == "user" {
                    self.remove_references(&Id::Integer(id));
                }
            }
            _ => return false,
        }
        true
    }

    fn remove_references(&mut self, user: &Id) {
        let holds = |record: &Attributes, name: &str| {
            record.get(name).and_then(Id::from_json).as_ref() == Some(user)
        };
        self.model.retain(|(of, _), record| *of != "pair" || !holds(record, "first"));
        for record in self.model.values_mut().filter(|record| holds(record, "owner")) {
            record.insert("owner".to_owned(), Value::Null);
        }
    }

    fn listen(&mut self) {
        for (store, replayed) in self.stores.iter_mut().zip(&mut self.replayed) {
            for change in store.tail_changes().into_iter().filter(|change| !change.published) {
                let at = (change.resource.to_string(), change.id.clone());
                match &change.after {
                    Some(after) => drop(replayed.insert(at, Attributes::clone(after))),
                    None => drop(replayed.remove(&at)),
                }
            }
        }
    }

    /// Checks that each read of each engine returns the records that the criteria select from the
    /// model.
    async fn agrees(&self) -> Result<(), TestCaseError> {
        for (of, query) in queries() {
            let parameters = Parameters::read(Vec::new(), attributes(query.clone())).unwrap();
            let criteria = Criteria::read(parameters, Language::Current).unwrap();
            let records = self.model.iter().filter(|((name, _), _)| *name == of);
            let records = records.map(|(_, record)| Ok::<_, ()>(record.clone().into()));
            let expected = criteria.pick(records).unwrap();
            for store in &self.stores {
                let found = store.engine.find(&resource(of), &criteria).await.unwrap().value;
                prop_assert_eq!(&found, &expected, "{} {}", of, query);
            }
        }
        for ((of, id), record) in &self.model {
            for store in &self.stores {
                prop_assert_eq!(store.one(of, *id).await, Value::Object(record.clone()));
            }
        }
        Ok(())
    }

    /// Finishes all cascades, and checks that the logs and the reads agree.
    async fn ends(&mut self) -> Result<(), TestCaseError> {
        for store in &self.stores {
            store.finish_all().await;
            prop_assert_eq!(store.unfinished().await, []);
        }
        self.agrees().await?;
        self.listen();
        let model = self.model.iter();
        let model = model.map(|((of, id), it)| (((*of).to_owned(), Id::Integer(*id)), it.clone()));
        let model = BTreeMap::from_iter(model);
        for replayed in &self.replayed {
            prop_assert_eq!(replayed, &model);
        }
        Ok(())
    }
}

/// Declares indexes on the references, as associations have.
async fn indexed(store: Store) -> Store {
    let mut models = Models::default();
    for (name, attribute) in [("pet", "owner"), ("pair", "first")] {
        let indexed = Attribute { indexed: true, ..Attribute::default() };
        models.declare(name, Model::default().attribute(attribute, indexed)).unwrap();
    }
    store.engine.declare(&models).await.unwrap();
    store
}

fn write_of(of: &str, kind: Kind, id: i64, values: &Value) -> Write {
    match kind {
        Kind::Create => {
            let mut record = attributes(values.clone());
            record.insert("id".to_owned(), json!(id));
            write(of, Action::Create(record))
        }
        Kind::Update => update(of, id, values.clone()),
        Kind::Destroy => destroy(of, id),
        Kind::Publish => publish(of, id),
    }
}

fn queries() -> Vec<(&'static str, Value)> {
    let pets = [
        json!({}),
        json!({ "limit": 2 }),
        json!({ "owner": 1 }),
        json!({ "where": { "owner": null } }),
        json!({ "where": { "owner": { "!": 1 } } }),
        json!({ "where": { "or": [{ "owner": 2 }, { "a": 1 }] } }),
        json!({ "where": { "owner": [1, "1", 2] }, "sort": "a", "limit": 2 }),
        json!({ "sort": "owner DESC", "limit": 3 }),
        json!({ "where": { "a": 1 }, "select": "owner" }),
        json!({ "sort": "a" }),
    ];
    let pairs = [json!({}), json!({ "first": [1, 2] }), json!({ "limit": 1 })];
    let pets = pets.map(|query| ("pet", query)).into_iter();
    pets.chain(pairs.map(|query| ("pair", query))).collect()
}
