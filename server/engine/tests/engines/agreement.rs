//! SQLite and Redis give the same results as memory, for random writes in any order, concurrent
//! writes, several nodes and failures.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backwire_engine::{ChangesSince, CommitOutcome, Error, KeyLookup, Window};
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use backwire_records::criteria::{Case, Criteria, Filter};
use backwire_records::model::{Attribute, Model};
use backwire_records::write::{Action, Key, Publication, RecordLimits, Write};
use futures_util::future::join_all;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::redis_server;
use crate::store::{self, DAY, HOUR, NOON, Store, attributes as record};

const WINDOW: Window = Window {
    count: 6,
    bytes: 1100,
    age: Duration::from_millis(2 * HOUR),
    ledger_age: Duration::from_millis(7 * DAY),
    ledger_bytes: u64::MAX,
};

/// Limits that are lower than the number of ids.
const LIMITS: RecordLimits = RecordLimits { total: 7, per_resource: 4 };

/// The number of keyed writes after which all keys are stored in their table.
const TOGETHER: usize = 1024;

/// The capacity of the tail, for all concurrent writes.
const TAIL: usize = 2 * TOGETHER;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_and_memory_give_the_same_results(steps in vec((pause(), step()), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for (pause, step) in steps {
                world.now = world.now.saturating_add_signed(pause);
                world.take(step).await?;
                let floors = world.floors().await;
                let expected = everything(&world.memory, floors).await;
                prop_assert_eq!(everything(&world.sqlite, floors).await, expected);
                let expected = world.ledger_entries(&world.memory).await;
                prop_assert_eq!(world.ledger_entries(&world.sqlite).await, expected);
                world.check_counts()?;
            }
            Ok(())
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The writes of a step are concurrent and go to the same node.
    #[test]
    fn nodes_of_redis_and_memory_give_the_same_results(
        steps in vec((pause(), 0..2_usize, vec(write(), 1..6)), 1..30),
    ) {
        store::runtime().block_on(async {
            let mut world = RedisWorld::new();
            for (pause, node, writes) in steps {
                world.now = world.now.saturating_add_signed(pause);
                let writes = writes.into_iter().map(|write| Write { at: world.now, ..write });
                world.write(node, &Vec::from_iter(writes)).await?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}

/// Two nodes on the same Redis, and memory.
struct RedisWorld {
    memory: Store,
    nodes: [Store; 2],
    now: u64,
}

impl RedisWorld {
    fn new() -> Self {
        let prefix = redis_server::unused_prefix();
        let nodes =
            [(); 2].map(|()| store::redis_with(store::redis_options(prefix.clone()), WINDOW, TAIL));
        Self { memory: store::memory(WINDOW, TAIL), nodes, now: NOON }
    }

    async fn write(&mut self, node: usize, writes: &[Write]) -> Result<(), TestCaseError> {
        let outcomes = writes.iter().map(|write| outcome(&self.nodes[node], write));
        let outcomes = join_all(outcomes).await;
        let mut expected = Vec::new();
        for write in writes {
            expected.push(outcome(&self.memory, write).await);
        }
        // A repeat is answered after the writes of its group.
        let without_reply = |outcomes: Vec<Outcome>| -> Vec<_> {
            match writes.len() {
                1 => outcomes,
                _ => outcomes.into_iter().map(Outcome::without_reply).collect(),
            }
        };
        prop_assert_eq!(without_reply(outcomes), without_reply(expected));
        let expected = self.memory.tail_changes();
        let expected: Vec<_> = expected.iter().map(anywhere).collect();
        for node in &mut self.nodes {
            let mut received = Vec::new();
            while received.len() < expected.len() {
                received.push(anywhere(&node.tail.recv().await.unwrap()));
            }
            for resource in resources() {
                let of_it = |changes: &[Change]| -> Vec<_> {
                    changes.iter().filter(|it| it.resource == resource).cloned().collect()
                };
                prop_assert_eq!(of_it(&received), of_it(&expected));
            }
        }
        let floors = floors(&self.memory).await;
        let expected = everything(&self.memory, floors).await;
        prop_assert_eq!(everything(&self.nodes[node], floors).await, expected);
        Ok(())
    }
}

/// Returns the floor of the log of each resource.
async fn floors(memory: &Store) -> [u64; 2] {
    let mut floors = [0; 2];
    for (resource, floor) in resources().into_iter().zip(&mut floors) {
        let room = Room::class(resource);
        let head = head(memory, room.resource()).await;
        *floor = head.offset;
        while let Some(offset) = floor.checked_sub(1)
            && missed(memory, &room, Position { offset, ..head }).await.is_some()
        {
            *floor = offset;
        }
    }
    floors
}

#[derive(Debug, Clone)]
enum Step {
    /// Concurrent writes.
    Write(Vec<Write>),
    /// As many keyed writes as needed to store all keys in their table.
    Settle,
    Restart,
    /// Another process vacuums the file, so rows move.
    Vacuum,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        48 => vec(write(), 1..6).prop_map(Step::Write),
        1 => Just(Step::Settle),
        5 => Just(Step::Restart),
        1 => Just(Step::Vacuum),
    ]
}

/// The clock may be set back.
fn pause() -> impl Strategy<Value = i64> {
    let hour = HOUR.cast_signed();
    prop_oneof![
        8 => select(vec![0, 0, 1, hour, -hour]),
        2 => select(vec![100 * hour, 169 * hour, -100 * hour]),
    ]
}

struct World {
    memory: Store,
    sqlite: Store,
    folder: TempDir,
    now: u64,
    /// The latest time so far.
    latest: u64,
    /// The time of the last use of each key.
    used: HashMap<(Arc<str>, Arc<str>), u64>,
    model: Ledger,
    /// The number of keyed writes so far.
    count: usize,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = store::sqlite_in(folder.path(), WINDOW, TAIL);
        let world = Self {
            memory: store::memory(WINDOW, TAIL),
            sqlite,
            folder,
            now: NOON,
            latest: NOON,
            used: HashMap::new(),
            model: Ledger::default(),
            count: 0,
        };
        world.other_connection().execute_batch(FAILURES).unwrap();
        world
    }

    /// Opens another connection, as an administrator would.
    fn other_connection(&self) -> Connection {
        Connection::open(self.folder.path().join("data/backwire.db")).unwrap()
    }

    /// Compares the counters of the file with its contents.
    fn check_counts(&self) -> Result<(), TestCaseError> {
        let other_connection = self.other_connection();
        let mut statement = other_connection.prepare(COUNTS).unwrap();
        let counts = statement.query_map((), |row| {
            Ok((row.get(0)?, [row.get(1)?, row.get(2)?], [row.get(3)?, row.get(4)?]))
        });
        for counts in counts.unwrap() {
            let (name, counted, expected): (String, [i64; 2], [i64; 2]) = counts.unwrap();
            prop_assert_eq!(counted, expected, "{}", name);
        }
        Ok(())
    }

    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Write(writes) => self.write(writes).await?,
            Step::Settle => {
                let writes = (0..TOGETHER).map(|_| self.keyed_write()).collect();
                self.write(writes).await?;
            }
            Step::Restart => {
                // Only one process may have the file open.
                self.sqlite = store::memory(WINDOW, TAIL);
                self.sqlite = store::sqlite_in(self.folder.path(), WINDOW, TAIL);
            }
            Step::Vacuum => self.other_connection().execute_batch("VACUUM").unwrap(),
        }
        Ok(())
    }

    fn keyed_write(&mut self) -> Write {
        self.count += 1;
        let write = store::keyed(&self.count.to_string(), store::create(json!({})));
        Write { action: Action::Upsert(ids()[0].clone(), record(json!({}))), ..write }
    }

    /// Makes writes. Those that could not be stored have no effect. All others have the same
    /// outcome in both engines.
    async fn write(&mut self, writes: Vec<Write>) -> Result<(), TestCaseError> {
        self.latest = self.latest.max(self.now);
        let floors_before = self.floors().await;
        let writes: Vec<_> = writes.into_iter().map(|write| self.at_present(write)).collect();
        let outcomes = join_all(writes.iter().map(|write| outcome(&self.sqlite, write))).await;
        let mut expected = Vec::new();
        for (write, outcome) in writes.iter().zip(&outcomes) {
            expected.push(match outcome {
                Outcome::NotStored => Outcome::NotStored,
                _ => self::outcome(&self.memory, write).await,
            });
        }
        for (write, outcome) in writes.iter().zip(&expected) {
            if let (Some(key), Outcome::Done(_, [false, _])) = (&write.key, outcome) {
                self.used.insert((key.identity.clone(), key.key.clone()), self.now);
            }
        }
        let floors = self.floors().await;
        for ((write, outcome), other) in writes.iter().zip(&outcomes).zip(&expected) {
            for repeat in [outcome, other] {
                self.model.check(write, repeat, floors_before, floors)?;
            }
            self.model.remember(write, outcome);
        }
        let done = |outcomes: Vec<Outcome>| -> Vec<_> {
            outcomes.into_iter().map(|outcome| outcome.above(floors).without_reply()).collect()
        };
        prop_assert_eq!(done(outcomes), done(expected));
        let [received, expected] = [&mut self.sqlite, &mut self.memory].map(|store| {
            let received = store.tail_changes();
            received.iter().map(|change| above(floors, &anywhere(change))).collect::<Vec<_>>()
        });
        for change in &expected {
            prop_assert!(is_different(change), "{:?}", change);
        }
        prop_assert_eq!(received, expected);
        Ok(())
    }

    /// Removes a key that may have expired by a clock that was set back. Engines may differ on such
    /// a key.
    fn at_present(&self, write: Write) -> Write {
        let key = write.key.clone().filter(|key| self.is_certain(key));
        Write { at: self.now, key, ..write }
    }

    /// Whether the clock leaves no doubt that a key has expired or not.
    fn is_certain(&self, key: &Key) -> bool {
        match self.used.get(&(key.identity.clone(), key.key.clone())) {
            Some(at) => *at + 7 * DAY >= self.latest || *at + 7 * DAY < self.now,
            None => true,
        }
    }

    /// Returns what the ledger of a store has of each key.
    async fn ledger_entries(&self, store: &Store) -> Vec<String> {
        let mut entries = Vec::new();
        for key in keys().into_iter().filter(|key| self.is_certain(key)) {
            let lookup = KeyLookup { key: key.clone(), client: None, at: self.now };
            let entry = store.engine.ledger_entry(lookup).await.map(|entry| {
                entry.map(|entry| {
                    let Position { offset, .. } = entry.position();
                    let place = format!("{:?} {} {offset}", entry.verb(), entry.resource());
                    (place, entry.id().clone(), anywhere(&entry.reply("id", &key)))
                })
            });
            entries.push(format!("{key:?}: {entry:?}"));
        }
        entries
    }

    /// Returns the floor of the log of each resource.
    async fn floors(&self) -> [u64; 2] {
        floors(&self.memory).await
    }
}

/// Selects the counters of each resource and their correct values.
const COUNTS: &str = "
    SELECT name, records, log_bytes,
           (SELECT count(*) FROM records WHERE resource = name AND json IS NOT NULL),
           (SELECT ifnull(sum(128 + length(CAST(attributes AS BLOB))
                              + ifnull(length(CAST(before AS BLOB)), 0)
                              + ifnull(length(CAST(after AS BLOB)), 0)), 0)
            FROM log WHERE resource = name)
    FROM resources
";

/// Triggers that make writes fail: one write alone, its whole group, and the commit.
const FAILURES: &str = "
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER one_fails AFTER INSERT ON log WHEN new.after ->> 'b' = 'one'
    BEGIN SELECT raise(ABORT, 'too big'); END;
    CREATE TRIGGER all_fail AFTER INSERT ON log WHEN new.after ->> 'b' = 'all'
    BEGIN SELECT raise(ROLLBACK, 'disk full'); END;
    CREATE TRIGGER the_commit_fails AFTER INSERT ON log WHEN new.after ->> 'b' = 'commit'
    BEGIN INSERT INTO child VALUES (1); END;
";

/// The outcome of a write.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The change, whether the write is a repeat, and whether it had no effect.
    Done(Change, [bool; 2]),
    Refused(String),
    NotStored,
}

impl Outcome {
    /// Removes the answer of a repeat, which the model has checked. SQLite prunes its log after a
    /// group, and memory after each write.
    fn without_reply(self) -> Self {
        match self {
            Self::Done(change, how @ [true, _]) => {
                let Change { resource, id, verb, mark, at, published, .. } = change;
                let (position, set) = (Position { epoch: 0, offset: 0 }, Attributes::new());
                let change = Change {
                    resource,
                    id,
                    verb,
                    mark,
                    at,
                    published,
                    position,
                    set,
                    previous: 0,
                    before: None,
                    after: None,
                    origin: None,
                    new_members: None,
                };
                Self::Done(change, how)
            }
            other => other,
        }
    }

    fn above(self, floors: [u64; 2]) -> Self {
        match self {
            Self::Done(change, how) => Self::Done(above(floors, &change), how),
            other => other,
        }
    }
}

async fn outcome(store: &Store, write: &Write) -> Outcome {
    match store.engine.commit(write.clone()).await {
        Ok(CommitOutcome { change, repeated, unchanged }) => {
            Outcome::Done(anywhere(&change), [repeated, unchanged])
        }
        Err(Error::Refused(refused)) => Outcome::Refused(refused.to_string()),
        Err(Error::Unavailable(_)) => Outcome::NotStored,
        Err(error) => panic!("{error}"),
    }
}

/// A model of the ledger.
#[derive(Default)]
struct Ledger {
    /// The current records.
    records: HashMap<(Resource, Id), Arc<Attributes>>,
    heads: HashMap<Resource, u64>,
    /// The last change of each key, and whether it had no effect.
    first: HashMap<(Arc<str>, Arc<str>), (Change, bool)>,
}

impl Ledger {
    fn remember(&mut self, write: &Write, outcome: &Outcome) {
        let Outcome::Done(change, [false, unchanged]) = outcome else { return };
        let (place, offset) =
            ((change.resource.clone(), change.id.clone()), change.position.offset);
        match &change.after {
            _ if change.published => {}
            Some(record) => drop(self.records.insert(place, Arc::clone(record))),
            None => drop(self.records.remove(&place)),
        }
        if !unchanged {
            self.heads.insert(change.resource.clone(), offset);
        }
        if let Some(key) = &write.key {
            let name = (Arc::clone(&key.identity), Arc::clone(&key.key));
            self.first.insert(name, (change.clone(), *unchanged));
        }
    }

    /// Checks the answer to a repeat: it is the first answer while the log has the change, and the
    /// current record after that. During a group commit, the log may or may not have forgotten the
    /// change.
    fn check(
        &self,
        write: &Write,
        outcome: &Outcome,
        before: [u64; 2],
        after: [u64; 2],
    ) -> Result<(), TestCaseError> {
        let Outcome::Done(answer, [true, _]) = outcome else { return Ok(()) };
        let key = write.key.as_ref().unwrap();
        let (first, unchanged) = &self.first[&(Arc::clone(&key.identity), Arc::clone(&key.key))];
        let index = resources().iter().position(|it| *it == first.resource).unwrap();
        let offset = first.position.offset;
        let now = self.now(first, write);
        let stored = Self::stored(first);
        match () {
            () if *unchanged || offset <= before[index] => prop_assert_eq!(answer, &now),
            () if offset > after[index] => prop_assert_eq!(answer, &stored),
            () => prop_assert!(*answer == now || *answer == stored, "{:?}", answer),
        }
        Ok(())
    }

    fn stored(first: &Change) -> Change {
        let (previous, set) = (0, Attributes::new());
        let before = first.before.clone().filter(|_| first.verb == Verb::Destroy);
        Change { previous, set, before, origin: None, ..first.clone() }
    }

    fn now(&self, first: &Change, write: &Write) -> Change {
        let record = self.records.get(&(first.resource.clone(), first.id.clone()));
        let record = record.filter(|record| {
            let is_left = write.within.matches(*record, Case::Sensitive);
            is_left && !first.published && first.verb != Verb::Destroy
        });
        let shown = record.cloned();
        let shown =
            shown.unwrap_or_else(|| Arc::new(self::record(json!({"id": first.id.to_json()}))));
        let (before, after) = match first.verb {
            Verb::Destroy => (Some(shown), None),
            _ => (None, Some(shown)),
        };
        let offset = match record {
            Some(_) => self.heads.get(&first.resource).copied().unwrap_or_default(),
            None if first.published || first.verb == Verb::Destroy => first.position.offset,
            // The reply lacks what the write has set.
            None => 0,
        };
        let position = Position { offset, ..first.position };
        Change { position, before, after, ..Self::stored(first) }
    }
}

/// Returns everything that a store returns to reads.
async fn everything(store: &Store, floors: [u64; 2]) -> Vec<String> {
    let mut seen = Vec::new();
    for (resource, floor) in resources().into_iter().zip(floors) {
        let records = store.engine.find(&resource, &Criteria::default()).await.unwrap();
        let head = records.position;
        assert_eq!(store.engine.head(&resource).await.unwrap(), head);
        seen.push(format!("{resource} at {}: {:?}", head.offset, records.value));
        let rooms = ids().into_iter().map(|id| Room::instance(resource.clone(), id));
        for room in rooms.chain([Room::class(resource.clone())]) {
            if let Some(id) = room.id() {
                let record = store.engine.find_one(&resource, id).await.unwrap();
                seen.push(format!("{room} at {}: {:?}", record.position.offset, record.value));
            }
            for offset in [floor.saturating_sub(1), floor, floor + 2, head.offset + 1] {
                let missed = missed(store, &room, Position { offset, ..head }).await;
                let missed = missed.map(|(changes, head)| {
                    let changes = changes.iter().map(|change| above(floors, change));
                    (changes.collect::<Vec<_>>(), head)
                });
                seen.push(format!("{room} since {offset}: {missed:?}"));
            }
        }
    }
    seen
}

async fn head(store: &Store, resource: &Resource) -> Position {
    store.engine.find(resource, &Criteria::default()).await.unwrap().position
}

async fn missed(store: &Store, room: &Room, position: Position) -> Option<(Vec<Change>, u64)> {
    match store.engine.changes_since(room, position).await.unwrap() {
        ChangesSince::Changes { changes, head } => {
            Some((changes.iter().map(anywhere).collect(), head.offset))
        }
        ChangesSince::OutOfReach => None,
    }
}

/// Returns whether a logged change has modified its record, or is marked as only published.
fn is_different(change: &Change) -> bool {
    let without_times = |record: &Option<Arc<Attributes>>| {
        let mut record = record.as_deref().cloned().unwrap_or_default();
        record.retain(|name, _| name != "updatedAt");
        record
    };
    change.verb != Verb::Update
        || change.published
        || without_times(&change.before) != without_times(&change.after)
}

/// Returns a change without a `previous` below the floor. That may differ, because SQLite prunes
/// its log after a group, and memory after each write.
fn above(floors: [u64; 2], change: &Change) -> Change {
    let index = resources().iter().position(|resource| *resource == change.resource).unwrap();
    Change { previous: change.previous.max(floors[index]), ..change.clone() }
}

/// Returns a change without the values that differ between stores.
fn anywhere(change: &Arc<Change>) -> Change {
    let position = Position { epoch: 0, ..change.position };
    Change { position, ..Change::clone(change) }
}

fn write() -> impl Strategy<Value = Write> {
    let origin = option::of(Just("socket".into()));
    let within = option::weighted(0.1, Just(json!({"a": 0})));
    let fields =
        (select(resources().to_vec()), model(), action(), within, option::of(key()), origin);
    fields.prop_map(|(resource, model, action, within, key, origin)| Write {
        within: within.map(|within| Filter::read(within).unwrap()).unwrap_or_default(),
        model: Arc::new(model),
        key,
        limits: LIMITS,
        origin,
        ..Write::new(resource, action, 0)
    })
}

/// Returns a model. Some models have a unique attribute.
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
    let upsert =
        (select(ids().to_vec()), attributes()).prop_map(|(id, set)| Action::Upsert(id, set));
    prop_oneof![3 => create, 2 => update, 1 => upsert, 2 => destroy, 2 => publish]
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
    let failure = option::weighted(0.05, select(vec!["one", "all", "commit"]));
    (vec((select(vec!["a", "a", "b", "createdAt", "updatedAt", "\u{0}"]), value), 0..4), failure)
        .prop_map(|(pairs, failure)| {
            let failure = failure.map(|failure| ("b", json!(failure)));
            let pairs = pairs.into_iter().chain(failure);
            pairs.map(|(name, value)| (name.to_owned(), value)).collect()
        })
}

const IDENTITIES: [&str; 2] = ["", "ann"];

const KEYS: [&str; 3] = ["k", "l", "m"];

/// A usual fingerprint, and one that uses all bits.
const FINGERPRINTS: [u64; 2] = [1, u64::MAX];

fn key() -> impl Strategy<Value = Key> {
    let fingerprint = prop_oneof![3 => Just(FINGERPRINTS[0]), 1 => Just(FINGERPRINTS[1])];
    (select(&IDENTITIES), select(&KEYS), fingerprint).prop_map(|(identity, key, fingerprint)| Key {
        identity: identity.into(),
        key: key.into(),
        fingerprint,
    })
}

/// Returns all keys with all fingerprints.
fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    for (identity, key) in IDENTITIES.into_iter().flat_map(|it| KEYS.map(|key| (it, key))) {
        keys.extend(FINGERPRINTS.map(|fingerprint| Key {
            identity: identity.into(),
            key: key.into(),
            fingerprint,
        }));
    }
    keys
}

fn resources() -> [Resource; 2] {
    ["todo", "cart"].map(|name| Resource::parse(name).unwrap())
}

/// Returns a few ids, so that writes conflict.
fn ids() -> [Id; 11] {
    let small = ["1", "2", "3", "-1", "eggs", "Eggs"];
    // 2⁵² and the next id, which creates without an id skip, the largest id, and one that is too
    // large.
    let large = ["4503599627370496", "4503599627370497", "4503599627370499"];
    let largest = ["9007199254740991", "9223372036854775807"];
    let mut texts = small.into_iter().chain(large).chain(largest);
    std::array::from_fn(|_| texts.next().unwrap()).map(|text| Id::parse(text).unwrap())
}
