//! Migrations between engines, and from a SocketIO Web Service: everything is the same afterwards,
//! as the contract of engines shows it.
//!
//! A failing test prints its seed, and `BACKWIRE_SEED=… cargo test -p backwire-engine migration`
//! repeats it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backwire_engine::{
    Ack, Cascade, ChangesSince, Device, Enqueue, MigrationEndpoint, MigrationReport, Reference,
    SessionEdit, WaitingMessages, Window, migrate,
};
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use backwire_records::criteria::Criteria;
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::rules::Ttl;
use backwire_records::write::{Action, Key, Publication, Write};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tempfile::TempDir;

use crate::queues::{device_at, keyed as keyed_post, post, resync};
use crate::redis_server::{RedisServer, shared, unused_prefix};
use crate::store::{
    HOUR, NOON, Store, attributes, keyed_by, milk, redis_options, redis_with, sqlite_in,
};

const RESOURCES: [&str; 3] = ["user", "pet", "star"];

/// A store that is opened and closed.
enum TestStore {
    Sqlite(TempDir),
    Redis(String),
}

impl TestStore {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        Self::Sqlite(folder)
    }

    fn redis() -> Self {
        Self::Redis(unused_prefix())
    }

    async fn open(&self, window: Window) -> Store {
        let store = match self {
            Self::Sqlite(folder) => sqlite_in(folder.path(), window, 1 << 16),
            Self::Redis(prefix) => redis_with(redis_options(prefix.clone()), window, 1 << 16),
        };
        store.engine.queues().begin(Node::new(0, 7).unwrap(), NOON).await.unwrap();
        store
    }

    fn migrated(&self) -> MigrationEndpoint {
        match self {
            Self::Sqlite(folder) => MigrationEndpoint::Sqlite(file(folder.path())),
            Self::Redis(prefix) => MigrationEndpoint::Redis(redis_options(prefix.clone())),
        }
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("data/backwire.db")
}

/// Prints the seed if the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with BACKWIRE_SEED={}", self.0);
        }
    }
}

/// The keys of everything that was added to a store, so that all of it can be read.
#[derive(Default)]
struct StoreContents {
    positions: BTreeSet<(String, u64, u64)>,
    keys: Vec<Key>,
    devices: BTreeSet<Device>,
    sessions: BTreeSet<String>,
    posts: Vec<Enqueue>,
}

fn resource(name: &str) -> Resource {
    Resource::parse(name).unwrap()
}

/// Returns the index of one of so many.
fn below(random: &mut StdRng, end: u64) -> u64 {
    random.random_range(0..end)
}

fn record(random: &mut StdRng) -> Attributes {
    let values = [json!(null), json!(-2.5), json!("Größe \"x\"\n"), json!([1, { "b": true }])];
    let value = values[below(random, 4) as usize].clone();
    attributes(json!({ "owner": below(random, 4), "value": value }))
}

fn write(random: &mut StdRng) -> Write {
    let of = RESOURCES[below(random, 3) as usize];
    let id = match below(random, 4) {
        0 => Id::parse("a b").unwrap(),
        other => Id::Integer(other.cast_signed()),
    };
    let action = match below(random, 8) {
        0..3 => Action::Create(record(random)),
        3 | 4 => Action::Update(id, record(random)),
        5 | 6 => Action::Destroy(id),
        _ => Action::Publish(Publication { verb: Verb::Update, id, data: record(random) }),
    };
    let references = match (of, &action) {
        // Pets have an owner, and stars are pairs.
        ("user", Action::Destroy(_)) => [("pet", false), ("star", true)]
            .map(|(name, is_pair)| Reference {
                resource: resource(name),
                attribute: "owner".to_owned(),
                is_pair,
            })
            .into(),
        _ => Vec::new(),
    };
    let origin = (below(random, 3) == 0).then(|| Arc::from("socket-1"));
    let at = NOON + below(random, 1000);
    Write { resource: resource(of), action, references, origin, at, ..milk() }
}

impl StoreContents {
    /// Does many things at random.
    async fn fill(&mut self, store: &Store, random: &mut StdRng) {
        for number in 0..150_u64 {
            match below(random, 10) {
                0..5 => self.write(store, random, number).await,
                5 => self.edit_session(store, random).await,
                6 | 7 => self.post(store, random, number).await,
                _ => self.use_device(store, random).await,
            }
        }
    }

    async fn write(&mut self, store: &Store, random: &mut StdRng, number: u64) {
        let mut write = write(random);
        let of = write.resource.clone();
        if below(random, 3) > 0 {
            write =
                keyed_by(["", "ann"][below(random, 2) as usize], &format!("k{number}"), 9, write);
            // A refused write leaves no entry.
            self.keys.extend(write.key.clone());
        }
        let _ = store.engine.commit(write.clone()).await;
        let _ = store.engine.commit(write).await;
        let head = store.engine.head(&of).await.unwrap();
        self.positions.insert((of.as_str().to_owned(), head.epoch, head.offset));
    }

    async fn edit_session(&mut self, store: &Store, random: &mut StdRng) {
        let id = format!("s{}", below(random, 6));
        let value = [json!(1), json!({ "a": [] }), json!(null)][below(random, 3) as usize].clone();
        let name = ["cart", "backwire.person"][below(random, 2) as usize].to_owned();
        let until = [u64::MAX, NOON + HOUR][below(random, 2) as usize];
        let set = [(name, Some(value))].into();
        let id_arc = Arc::from(id.as_str());
        let edit = SessionEdit { id: id_arc, set, at: NOON, until, ..SessionEdit::default() };
        store.engine.sessions().edit(edit).await.unwrap();
        self.sessions.insert(id);
    }

    async fn post(&mut self, store: &Store, random: &mut StdRng, number: u64) {
        let persons = [&["ann"][..], &["ann", "bob"], &["bob", "cid"], &[]];
        let persons = persons[below(random, 4) as usize];
        let mut post = post(persons, ["e", "f:g"][below(random, 2) as usize], number);
        post.ttl = Ttl::seconds([0, 3600][below(random, 2) as usize]);
        post.cap = 8;
        if below(random, 2) == 0 {
            post = resync(post);
        }
        if below(random, 2) == 0 {
            post = keyed_post(&format!("p{number}"), 5, post);
            self.posts.push(post.clone());
        }
        store.post(post).await;
    }

    async fn use_device(&mut self, store: &Store, random: &mut StdRng) {
        let person = ["ann", "bob", "cid"][below(random, 3) as usize];
        let device = device_at("shop", person, ["", "phone", "ü:1"][below(random, 3) as usize]);
        let queues = store.engine.queues();
        self.devices.insert(device.clone());
        match below(random, 3) {
            0 => {
                let ttl = Ttl::seconds([0, 3600][below(random, 2) as usize]);
                queues.connect(device, ttl, 2, NOON).await.unwrap();
            }
            1 => store.disconnect(&device, NOON + 5).await,
            _ => {
                let ids = store.ids(&device, NOON).await;
                let count = below(random, 3) as usize;
                let ack = match ids.get(count) {
                    Some(id) => Ack::One(*id),
                    None => Ack::Batch(ids.into_iter().take(count).collect()),
                };
                store.ack(&device, ack, NOON).await;
            }
        }
    }

    /// Asks a store for everything.
    async fn observe(&self, store: &Store) -> Vec<String> {
        let mut seen = Vec::new();
        for name in RESOURCES {
            let of = resource(name);
            let found = store.engine.find(&of, &Criteria::default()).await.unwrap();
            let records: Vec<_> = found.value.iter().map(|it| json!(**it)).collect();
            seen.push(format!("{name} {} {}", found.position.offset, json!(records)));
        }
        for (name, epoch, offset) in &self.positions {
            let position = Position { epoch: *epoch, offset: *offset };
            for room in [name.clone(), format!("{name}/1")] {
                let room = Room::parse(&room).unwrap();
                let since = store.engine.changes_since(&room, position).await.unwrap();
                seen.push(match since {
                    ChangesSince::OutOfReach => format!("{room:?} {offset}: out of reach"),
                    ChangesSince::Changes { changes, head } => {
                        let changes: Vec<_> = changes.iter().map(|it| show(it)).collect();
                        format!("{room:?} {offset} {}: {changes:?}", head.offset)
                    }
                });
            }
        }
        for key in &self.keys {
            let entry = store.ledger_entry(key).await.unwrap();
            seen.push(match entry {
                None => format!("{key:?} is unknown"),
                Some(entry) => {
                    let offset = entry.position().offset;
                    format!("{key:?} {offset} {}", show(&entry.reply("id", key)))
                }
            });
        }
        let cascades = store.engine.cascades().unfinished().await.unwrap();
        seen.extend(cascades.iter().map(|it: &Cascade| format!("{it:?}")));
        seen.push(format!("{:?}", store.engine.keys().await.unwrap()));
        let sessions = store.engine.sessions();
        seen.push(format!("{:?}", sessions.secret().await.unwrap()));
        for id in &self.sessions {
            let session = sessions.load(id, NOON).await.unwrap();
            let session = session.map(|it| (sorted(&it.values), it.until.min(i64::MAX as u64)));
            seen.push(format!("{id} {session:?}"));
        }
        for device in &self.devices {
            for at in [NOON, NOON + 2 * HOUR] {
                seen.push(format!("{device:?} {at} {:?}", store.waiting(device, at).await));
            }
        }
        seen
    }

    /// Goes on with a store: nothing that was done before is done again, and ids go on.
    async fn continue_with(&self, store: &Store) -> Vec<String> {
        let mut seen = Vec::new();
        for post in &self.posts {
            let repeat = store.try_post(post.clone()).await.unwrap();
            assert!(repeat.repeated, "{post:?}");
            seen.push(format!("{:?}", repeat.id));
        }
        for name in RESOURCES {
            let write = Write { resource: resource(name), ..milk() };
            seen.push(show(&*store.apply(write).await));
        }
        for person in ["ann", "bob", "cid"] {
            let device = device_at("shop", person, "new");
            let connected = store.engine.queues().connect(device.clone(), Ttl::seconds(9), 3, NOON);
            seen.push(format!("{}", connected.await.unwrap().is_some()));
            seen.push(format!("{:?}", store.waiting(&device, NOON).await));
        }
        seen
    }
}

fn sorted(values: &Attributes) -> Vec<String> {
    let mut values: Vec<_> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    values.sort();
    values
}

fn show(change: &Change) -> String {
    let position = Position { epoch: 0, ..change.position };
    format!("{:?}", Change { position, ..change.clone() })
}

/// Closes a store so that a migration can use it.
async fn close(store: Store) {
    store.engine.close().await;
}

async fn copy(from: &TestStore, to: &TestStore) -> MigrationReport {
    migrate(from.migrated(), to.migrated(), NOON).await.unwrap()
}

async fn everything_is_the_same_at_the_other_engine(
    from: fn() -> TestStore,
    to: fn() -> TestStore,
) {
    let given = std::env::var("BACKWIRE_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().unwrap());
    let seed = Seed(seed);
    let mut random = StdRng::seed_from_u64(seed.0);
    let window = Window { count: 25, ..Window::default() };
    let (from, to, back) = (from(), to(), from());
    let mut contents = StoreContents::default();
    let store = from.open(window).await;
    contents.fill(&store, &mut random).await;
    close(store).await;
    // The second start may be another epoch.
    let store = from.open(window).await;
    contents.fill(&store, &mut random).await;
    close(store).await;
    // All devices are away since the third start.
    let store = from.open(window).await;
    let before = contents.observe(&store).await;
    close(store).await;
    let first = copy(&from, &to).await;
    assert!(first.counts["records"] > 0 && first.counts["persons"] > 0, "{first:?}");
    let second = copy(&to, &back).await;
    assert_eq!(second, first);
    let mut proceeded = Vec::new();
    for place in [&to, &back, &from] {
        let store = place.open(window).await;
        assert_eq!(contents.observe(&store).await, before);
        proceeded.push(contents.continue_with(&store).await);
        close(store).await;
    }
    assert_eq!(proceeded[0], proceeded[2]);
    assert_eq!(proceeded[1], proceeded[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn migration_from_sqlite_to_redis_and_back_keeps_everything() {
    everything_is_the_same_at_the_other_engine(TestStore::sqlite, TestStore::redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migration_from_redis_to_sqlite_and_back_keeps_everything() {
    everything_is_the_same_at_the_other_engine(TestStore::redis, TestStore::sqlite).await;
}

async fn refusal(from: &TestStore, to: &TestStore) -> String {
    migrate(from.migrated(), to.migrated(), NOON).await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn target_with_data_is_refused_and_stays_as_it_is() {
    let (from, redis, sqlite) = (TestStore::sqlite(), TestStore::redis(), TestStore::sqlite());
    for place in [&from, &redis, &sqlite] {
        let store = place.open(Window::default()).await;
        store.apply(milk()).await;
        close(store).await;
    }
    let refused = refusal(&from, &redis).await;
    assert!(refused.contains("the target is not empty: choose another database"), "{refused}");
    let refused = refusal(&redis, &sqlite).await;
    assert!(
        refused.contains("backwire.db: the file exists already: name another one"),
        "{refused}"
    );
    for place in [&redis, &sqlite] {
        assert_eq!(place.open(Window::default()).await.records().await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn store_of_a_running_server_is_refused_and_no_server_starts_meanwhile() {
    let (redis, sqlite) = (TestStore::redis(), TestStore::sqlite());
    let node = redis.open(Window::default()).await;
    node.apply(milk()).await;
    let refused = refusal(&redis, &sqlite).await;
    assert!(refused.contains("a server with the number 7 uses the data in Redis: stop it first"));
    assert!(
        !file(match &sqlite {
            TestStore::Sqlite(folder) => folder.path(),
            TestStore::Redis(_) => unreachable!(),
        })
        .exists()
    );
    close(node).await;
    copy(&redis, &sqlite).await;
    let TestStore::Redis(prefix) = &redis else { unreachable!() };
    // A migration that is in progress.
    let end = u64::MAX >> 12;
    let lease = format!("abc {end}");
    shared().command(&["HSET", &format!("{prefix}:nodes"), "migration", &lease]);
    let store = redis_with(redis_options(prefix.clone()), Window::default(), 1);
    let refused = store.engine.queues().begin(Node::default(), NOON).await.unwrap_err().to_string();
    assert!(refused.contains("a migration of the data is in progress"), "{refused}");
    let refused = refusal(&redis, &TestStore::sqlite()).await;
    assert!(refused.contains("another migration is in progress"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_a_migration_that_was_killed_are_opened_by_no_server_and_replaced_by_the_next() {
    let (from, to) = (TestStore::sqlite(), TestStore::redis());
    let store = from.open(Window::default()).await;
    store.apply(milk()).await;
    close(store).await;
    let TestStore::Redis(prefix) = &to else { unreachable!() };
    let key = |name: &str| format!("{prefix}:{name}");
    shared().command(&["HSET", &key("meta"), "schema", "migrating"]);
    shared().command(&["HSET", &key("records:todo"), "i8000000000000009", "9 9 {}"]);
    let (tail, _changes) = tokio::sync::mpsc::channel(1);
    let options = redis_options(prefix.clone());
    let refused = backwire_engine::Redis::open(options, Window::default(), tail).await;
    assert!(refused.unwrap_err().to_string().contains("have schema migrating"));
    copy(&from, &to).await;
    let store = to.open(Window::default()).await;
    assert_eq!(store.records().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_socketio_web_service_wait_after_it_is_replaced() {
    let server = RedisServer::start(&["--save", ""]);
    let push = |key: &str, items: &[&str]| {
        let words: Vec<_> = ["RPUSH", key].into_iter().chain(items.iter().copied()).collect();
        server.command(&words);
    };
    // The first version has a queue for each event, and later versions one for each device.
    push("/shop:socket.io:user_1:news", &[r#"10:["news",1]"#, r#"30:["news",{"a":[2]}]"#]);
    push("/shop:socket.io:user_1:other", &[r#"20:["other"]"#]);
    push("/shop:socket.io:user_2:tab-1:news", &[r#"10:["news",1]"#, r#"40:["news",3]"#]);
    push("/shop:socket.io:user_2:tab-2:news", &[r#"40:["news",3]"#]);
    push("/shop:socket.io:staff:news", &[r#"50:["news",4]"#]);
    push("/gone:socket.io:user_1:news", &[r#"60:["news",5]"#]);
    push("/shop:socket.io:user_3:undefined", &["70:[null,null]"]);
    server.command(&["SET", "something:else", "1"]);
    server.command(&["PEXPIRE", "/shop:socket.io:user_1:other", "60000"]);
    let messages = WaitingMessages {
        user_room_prefixes: [("shop".to_owned(), "user_".to_owned())].into(),
        ttl: Ttl::seconds(3600),
    };
    for to in [TestStore::redis(), TestStore::sqlite()] {
        let mut options = redis_options(unused_prefix());
        options.url = server.url();
        let from = MigrationEndpoint::WebService(options, messages.clone());
        let MigrationReport { counts, left_out, .. } =
            migrate(from, to.migrated(), NOON).await.unwrap();
        assert_eq!((counts["messages"], counts["persons"]), (4, 2));
        let expected = [
            "/gone:socket.io:user_1:news: there is no site gone with a userRoomPrefix",
            "/shop:socket.io:staff:news: the room is not that of a person: it does not begin with user_",
            "/shop:socket.io:user_3:undefined: an item is no message with an id and an event",
        ];
        assert_eq!(left_out, expected);
        let store = to.open(Window::default()).await;
        let device = |person: &str, name: &str| device_at("shop", person, name);
        let waiting = async |person, name, at| {
            store
                .engine
                .queues()
                .connect(device(person, name), Ttl::seconds(9), 9, at)
                .await
                .unwrap();
            store.waiting(&device(person, name), at).await
        };
        // Its time is over before that of the others.
        let late = waiting("user_1", "", NOON + 120_000).await;
        assert_eq!(late, ["news 1", "news {\"a\":[2]}"]);
        assert_eq!(waiting("user_2", "tab-2", NOON).await, ["news 3"]);
        assert_eq!(waiting("user_2", "tab-1", NOON).await, ["news 1", "news 3"]);
        assert_eq!(waiting("user_2", "tab-3", NOON).await, ["news 1", "news 3"]);
        assert!(store.post(post(&["user_1"], "next", 1)).await > Flake::from(40));
    }
    // The service may still be started again.
    assert!(server.command(&["LLEN", "/shop:socket.io:user_1:news"]).contains(":2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_of_another_version_is_refused() {
    let from = TestStore::redis();
    let TestStore::Redis(prefix) = &from else { unreachable!() };
    let to = TestStore::sqlite();
    assert!(refusal(&from, &to).await.contains("there are no data of Backwire"));
    shared().command(&["HSET", &format!("{prefix}:meta"), "schema", "2"]);
    let refused = refusal(&from, &to).await;
    assert!(refused.contains("have schema 2, but this version of Backwire reads 1"), "{refused}");
}
