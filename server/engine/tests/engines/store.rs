//! An engine with the receiver of its tail, and short forms of writes.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use backwire_engine::{
    ChangesSince, CommitOutcome, Engine, Error, KeyLookup, LedgerEntry, Memory, Redis,
    RedisOptions, Sqlite, Window,
};
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use backwire_records::criteria::Criteria;
use backwire_records::write::{Action, Key, Publication, Write, WriteError};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::task::coop::unconstrained;

use crate::redis_server;

pub(crate) const HOUR: u64 = 60 * 60 * 1000;
pub(crate) const DAY: u64 = 24 * HOUR;

/// The default time of all writes.
pub(crate) const NOON: u64 = 1_795_190_400_000;

/// An engine and the receiver of its tail.
pub(crate) struct Store {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) tail: mpsc::Receiver<Arc<Change>>,
    /// Keeps the folder of the file.
    _folder: Option<TempDir>,
}

/// Creates an empty store with this window of the log and this capacity of the tail.
pub(crate) type Open = fn(Window, usize) -> Store;

pub(crate) fn memory(window: Window, capacity: usize) -> Store {
    let (sender, tail) = mpsc::channel(capacity);
    Store { engine: Arc::new(Memory::new(window, sender)), tail, _folder: None }
}

pub(crate) fn sqlite(window: Window, capacity: usize) -> Store {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite_in(folder.path(), window, capacity);
    Store { _folder: Some(folder), ..store }
}

pub(crate) fn sqlite_in(folder: &Path, window: Window, capacity: usize) -> Store {
    let (sender, tail) = mpsc::channel(capacity);
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let engine = Sqlite::open(folder.join("data/backwire.db"), window, sender).unwrap();
    Store { engine: Arc::new(engine), tail, _folder: None }
}

pub(crate) fn redis(window: Window, capacity: usize) -> Store {
    let options = redis_options(redis_server::unused_prefix());
    redis_with(options, window, capacity)
}

pub(crate) fn redis_options(prefix: String) -> RedisOptions {
    let mut options = RedisOptions::new(redis_server::shared().url());
    options.prefix = prefix;
    // Other tests keep the processors busy.
    options.deadline = Duration::from_secs(20);
    options
}

/// Opens a node, in a runtime with several threads.
pub(crate) fn redis_with(options: RedisOptions, window: Window, capacity: usize) -> Store {
    let (sender, tail) = mpsc::channel(capacity);
    let opening = Redis::open(options, window, sender);
    let engine = block_in_place(|| Handle::current().block_on(opening)).unwrap();
    Store { engine: Arc::new(engine), tail, _folder: None }
}

/// Returns a runtime in which all engines can be opened.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Creates a store with the default window and a large tail.
pub(crate) fn default_store(open: Open) -> Store {
    open(Window::default(), 4096)
}

/// Creates a store whose log keeps this many changes for an hour.
pub(crate) fn short_log_store(open: Open, count: u64) -> Store {
    open(short_log_window(count), 4096)
}

pub(crate) fn short_log_window(count: u64) -> Window {
    Window { count, age: Duration::from_millis(HOUR), ..Window::default() }
}

impl Store {
    pub(crate) async fn commit(&self, write: Write) -> CommitOutcome {
        self.engine.commit(write).await.unwrap()
    }

    /// Polls a commit once, so that it has its place in the queue. The returned future resolves to
    /// the offset of its change.
    pub(crate) fn begin(&self, write: Write) -> impl Future<Output = u64> + use<> {
        let engine = Arc::clone(&self.engine);
        let commit = async move { engine.commit(write).await.unwrap() };
        let mut commit = Box::pin(unconstrained(commit));
        let first = commit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        async move {
            let committed = match first {
                Poll::Ready(committed) => committed,
                Poll::Pending => commit.await,
            };
            committed.change.position.offset
        }
    }

    /// Commits a write and returns its change.
    pub(crate) async fn apply(&self, write: Write) -> Arc<Change> {
        self.commit(write).await.change
    }

    /// Looks a key up for no client, as the writes here have none.
    pub(crate) async fn ledger_entry(&self, key: &Key) -> Result<Option<LedgerEntry>, Error> {
        let lookup = KeyLookup { key: key.clone(), client: None, at: NOON };
        self.engine.ledger_entry(lookup).await
    }

    pub(crate) async fn refusal(&self, write: Write) -> WriteError {
        match self.engine.commit(write).await {
            Err(Error::Refused(refused)) => refused,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Returns the changes of the tail since the last call. There is no need to wait, because the
    /// tail has a change before its writer is answered.
    pub(crate) fn tail_changes(&mut self) -> Vec<Arc<Change>> {
        std::iter::from_fn(|| self.tail.try_recv().ok()).collect()
    }

    pub(crate) async fn records(&self) -> Vec<Arc<Attributes>> {
        self.engine.find(&todo(), &Criteria::default()).await.unwrap().value
    }

    pub(crate) async fn record(&self, id: &str) -> Option<Value> {
        let record = self.engine.find_one(&todo(), &self::id(id)).await.unwrap().value?;
        Some(Value::Object(Attributes::clone(&record)))
    }

    pub(crate) async fn head(&self) -> Position {
        self.engine.find(&todo(), &Criteria::default()).await.unwrap().position
    }

    /// Returns the changes in a room after an offset, or `None` if they are out of reach.
    pub(crate) async fn since(&self, room: &str, offset: u64) -> Option<Vec<Arc<Change>>> {
        let head = self.head().await;
        let room = Room::parse(room).unwrap();
        match self.engine.changes_since(&room, Position { offset, ..head }).await.unwrap() {
            ChangesSince::Changes { changes, head: at } => {
                assert_eq!(at, head);
                Some(changes)
            }
            ChangesSince::OutOfReach => None,
        }
    }
}

pub(crate) fn todo() -> Resource {
    Resource::parse("todo").unwrap()
}

pub(crate) fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

pub(crate) fn create(record: Value) -> Write {
    write(Action::Create(attributes(record)))
}

/// Returns a create of a plain record.
pub(crate) fn milk() -> Write {
    create(json!({"title": "Milk"}))
}

pub(crate) fn update(id: &str, set: Value) -> Write {
    write(Action::Update(self::id(id), attributes(set)))
}

pub(crate) fn destroy(id: &str) -> Write {
    write(Action::Destroy(self::id(id)))
}

pub(crate) fn publish(verb: Verb, id: &str, data: Value) -> Write {
    let (id, data) = (self::id(id), attributes(data));
    write(Action::Publish(Publication { verb, id, data }))
}

pub(crate) fn at(at: u64, write: Write) -> Write {
    Write { at, ..write }
}

/// Adds a key of an anonymous caller.
pub(crate) fn keyed(key: &str, write: Write) -> Write {
    keyed_by("", key, 1, write)
}

pub(crate) fn keyed_by(identity: &str, key: &str, fingerprint: u64, write: Write) -> Write {
    let key = Key { identity: identity.into(), key: key.into(), fingerprint };
    Write { key: Some(key), ..write }
}

pub(crate) fn attributes(value: Value) -> Attributes {
    match value {
        Value::Object(attributes) => attributes,
        other => panic!("not an object: {other}"),
    }
}

pub(crate) fn offsets(changes: &[Arc<Change>]) -> Vec<u64> {
    changes.iter().map(|change| change.position.offset).collect()
}

fn write(action: Action) -> Write {
    Write::new(todo(), action, NOON)
}
