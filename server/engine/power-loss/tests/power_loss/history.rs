//! A random history of a store, and what has happened to its disk meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use backwire_engine::{Error, Window};
use backwire_power_loss::{Disk, Fault, Image, Journal};
use backwire_records::change::Id;
use backwire_records::messages::flake::Flake;
use backwire_records::write::Action;
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::model::Model;
use crate::operation::{DEVICES, NOON, Operation, RESOURCES, attributes};
use crate::store::{Answered, Folder, Store};

/// The maximum number of operations that are in progress at a time.
const MAX_CONCURRENT: usize = 8;

/// A violation of a guarantee.
pub(crate) type Violation = String;

/// The beginning of a history, and its course.
pub(crate) struct Plan {
    /// The files.
    pub(crate) image: Image,
    /// Their contents.
    pub(crate) model: Model,
    /// The ids of its messages.
    pub(crate) flakes: BTreeMap<u64, Flake>,
    /// The next number of a key, a message or a tag.
    pub(crate) next_number: u64,
    pub(crate) window: Window,
    /// The number of steps.
    pub(crate) steps: usize,
    /// Which calls of the disk fail.
    pub(crate) faults: Vec<Fault>,
    /// See [`Store::splits_ledger`].
    pub(crate) splits_ledger: bool,
}

/// A history that has ended: its operations, and the calls of the disk.
pub(crate) struct History {
    pub(crate) journal: Journal,
    /// The state when it began.
    pub(crate) start: Model,
    /// All operations in the order in which they were queued.
    pub(crate) operations: Vec<Recorded>,
    pub(crate) flakes: BTreeMap<u64, Flake>,
    pub(crate) next_number: u64,
    pub(crate) window: Window,
    /// The epoch of the positions, and the end of each log; `None` if it could not begin.
    pub(crate) given: Option<(u64, BTreeMap<&'static str, u64>)>,
    /// The number of calls of the disk when it could give its first position.
    pub(crate) opened: usize,
    /// Whether calls of the disk have failed.
    pub(crate) has_failures: bool,
}

/// An operation, and when it was in progress.
pub(crate) struct Recorded {
    pub(crate) operation: Operation,
    /// The number of calls of the disk when it was queued.
    pub(crate) queued: usize,
    /// The number of calls when it was answered.
    pub(crate) answered: usize,
    /// Whether the answer was that the disk has failed.
    pub(crate) has_failed: bool,
}

/// A connection that several threads use, if it could be opened.
type Shared = Arc<Mutex<Option<Connection>>>;

/// A history that is being made.
struct Recorder<'r> {
    store: Store,
    model: Model,
    next_number: u64,
    operations: Vec<Recorded>,
    now: u64,
    /// A connection that makes checkpoints in the middle of a commit.
    hooked: Shared,
    /// Makes checkpoints between commits.
    checkpointer: Shared,
    /// A connection that may have a transaction for some steps.
    reader: Option<Connection>,
    random: &'r mut StdRng,
    may_fail: bool,
}

/// Makes a history.
pub(crate) async fn record(
    folder: &Folder,
    disk: &Arc<Disk>,
    plan: Plan,
    random: &mut StdRng,
) -> Result<History, Violation> {
    let may_fail = !plan.faults.is_empty();
    plan.faults.into_iter().for_each(|fault| disk.plan(fault));
    let mut history = History {
        journal: disk.journal(),
        start: plan.model.clone(),
        operations: Vec::new(),
        flakes: plan.flakes.clone(),
        next_number: plan.next_number,
        window: plan.window,
        given: None,
        opened: 0,
        has_failures: false,
    };
    let mut store = match folder.open(disk, plan.window, plan.flakes).await {
        Ok(store) => store,
        Err(error) if may_fail && is_clear(&error) => {
            disk.repair();
            history.has_failures = true;
            history.journal = disk.journal();
            return Ok(history);
        }
        Err(error) => return Err(format!("cannot open: {error}")),
    };
    history.opened = disk.calls();
    store.splits_ledger = plan.splits_ledger;
    let connect = || Arc::new(Mutex::new(store.connect().ok()));
    let mut recorder = Recorder {
        model: plan.model,
        next_number: plan.next_number,
        operations: Vec::new(),
        now: NOON,
        hooked: connect(),
        checkpointer: connect(),
        reader: store.connect().ok(),
        store,
        random,
        may_fail,
    };
    for step in 0..plan.steps {
        // In the last part nothing fails any more.
        if may_fail && step == plan.steps * 3 / 4 {
            recorder.store.disk.repair();
        }
        recorder.step().await?;
    }
    history.has_failures = recorder.store.disk.repair() > 0;
    history.given = recorder.given().await;
    let Recorder { store, operations, next_number, reader, hooked, checkpointer, .. } = recorder;
    history.operations = operations;
    history.next_number = next_number;
    history.flakes = store.flakes.clone();
    store.disk.clear_hooks();
    drop((reader, hooked, checkpointer));
    store.close(folder);
    history.journal = disk.journal();
    Ok(history)
}

impl Recorder<'_> {
    async fn given(&self) -> Option<(u64, BTreeMap<&'static str, u64>)> {
        let mut heads = BTreeMap::new();
        let mut epoch = 0;
        for name in RESOURCES {
            let head = self.store.head(name).await.ok()?;
            (epoch, _) = (head.epoch, heads.insert(name, head.offset));
        }
        Some((epoch, heads))
    }

    async fn step(&mut self) -> Result<(), Violation> {
        match self.random.random_range(0..20) {
            // Another process does not know that the disk has failed for this one.
            10..16 if self.may_fail => self.batch().await,
            0..10 => self.batch().await,
            10 | 11 => self.batch_with_checkpoint().await,
            12 | 13 => self.checkpoint_with_batch().await,
            14 | 15 => {
                let mode = *["PASSIVE", "FULL", "RESTART", "TRUNCATE"].choose(self.random).unwrap();
                checkpoint(&self.checkpointer, mode);
                Ok(())
            }
            16 | 17 => {
                self.toggle_reader();
                Ok(())
            }
            _ => self.cascade().await,
        }
    }

    /// Begins a transaction that reads, or ends it.
    fn toggle_reader(&self) {
        let Some(reader) = &self.reader else { return };
        let sql = match reader.is_autocommit() {
            true => "BEGIN; SELECT count(*) FROM meta",
            false => "COMMIT",
        };
        // It fails if the disk does.
        let _ = reader.execute_batch(sql);
    }

    /// Executes concurrent operations.
    async fn batch(&mut self) -> Result<(), Violation> {
        let count = match self.store.splits_ledger {
            true => 1,
            false => self.random.random_range(1..=MAX_CONCURRENT),
        };
        let operations: Vec<_> = (0..count).map(|_| self.operation()).collect();
        self.execute(operations).await
    }

    /// Makes a checkpoint in the middle of a commit.
    async fn batch_with_checkpoint(&mut self) -> Result<(), Violation> {
        let calls = self.store.disk.calls() + self.random.random_range(0..20);
        let hooked = Arc::clone(&self.hooked);
        let hook = Box::new(move || checkpoint(&hooked, "PASSIVE"));
        self.store.disk.before_call(calls, hook);
        self.batch().await
    }

    /// Executes operations in the middle of a checkpoint.
    async fn checkpoint_with_batch(&mut self) -> Result<(), Violation> {
        let calls = self.store.disk.calls() + self.random.random_range(0..12);
        let (reached, is_reached) = oneshot::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        let hook = Box::new(move || {
            let _ = reached.send(());
            // The operations may need the thread that runs this.
            let _ = wait.recv_timeout(Duration::from_secs(2));
        });
        self.store.disk.before_call(calls, hook);
        let checkpointer = Arc::clone(&self.checkpointer);
        let mut made = spawn_blocking(move || checkpoint(&checkpointer, "PASSIVE"));
        let is_done = tokio::select! {
            biased;
            _ = is_reached => false,
            _ = &mut made => true,
        };
        if is_done {
            self.store.disk.clear_hooks();
        }
        let done = self.batch().await;
        drop(go_on);
        if !is_done {
            made.await.unwrap();
        }
        done
    }

    /// Continues a cascade.
    async fn cascade(&mut self) -> Result<(), Violation> {
        let Some(user) = self.model.cascades.keys().next().cloned() else { return Ok(()) };
        let mut pets = self.model.dangling_pets();
        pets.truncate(4);
        let detach =
            |id: Id| Operation::Write { resource: "pet", action: Action::Detach(id), key: None };
        let operations = match pets.is_empty() {
            true => vec![Operation::Finish { user }],
            false => pets.into_iter().map(detach).collect(),
        };
        self.execute(operations).await
    }

    /// Executes operations, and compares their outcomes with those of the model.
    async fn execute(&mut self, operations: Vec<Operation>) -> Result<(), Violation> {
        let queued = self.store.disk.calls();
        self.now += 1000;
        let answers = self.store.execute(&operations, self.now).await;
        for (operation, Answered { outcome, at }) in operations.into_iter().zip(answers) {
            let has_failed = match outcome {
                Ok(outcome) => {
                    let expected = self.model.apply(&operation);
                    if outcome != expected {
                        return Err(format!("{operation:?}: {outcome:?}, expected {expected:?}"));
                    }
                    false
                }
                Err(Error::DiskFull | Error::Unavailable(_)) if self.may_fail => true,
                Err(error) => return Err(format!("{operation:?}: {error}")),
            };
            self.operations.push(Recorded { operation, queued, answered: at, has_failed });
        }
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn operation(&mut self) -> Operation {
        match self.random.random_range(0..20) {
            0..3 => self.send(),
            3 => Operation::Connect { device: *DEVICES.choose(self.random).unwrap() },
            4 | 5 => self.ack(),
            6 | 7 if self.store.splits_ledger => self.write(),
            6 | 7 => self.repeat(),
            _ => self.write(),
        }
    }

    fn send(&mut self) -> Operation {
        let repeated = self.model.sent.iter().next_back().copied();
        let persons = match self.random.random_range(0..3) {
            0 => vec!["ann"],
            1 => vec!["bob"],
            _ => vec!["ann", "bob"],
        };
        match repeated {
            Some(number) if self.random.random_bool(0.2) => {
                Operation::Send { number, persons: vec!["ann"], has_key: true }
            }
            _ => {
                let has_key = self.random.random_bool(0.5);
                Operation::Send { number: self.number(), persons, has_key }
            }
        }
    }

    fn ack(&mut self) -> Operation {
        let device = *DEVICES.choose(self.random).unwrap();
        let mut numbers = self.model.waiting(device).unwrap_or_default();
        numbers.retain(|number| self.store.flakes.contains_key(number));
        numbers.truncate(self.random.random_range(1..4));
        Operation::Ack { device, numbers }
    }

    /// Returns an earlier write with a key, or a write.
    fn repeat(&mut self) -> Operation {
        let keyed: Vec<_> =
            self.operations.iter().filter(|it| it.operation.key().is_some()).collect();
        match keyed.choose(self.random) {
            Some(recorded) => recorded.operation.clone(),
            None => self.write(),
        }
    }

    fn write(&mut self) -> Operation {
        let resource = *["pet", "pet", "note", "user"].choose(self.random).unwrap();
        let action = match resource {
            "pet" => self.write_of_pet(),
            "note" => self.write_of_note(),
            _ => self.write_of_user(),
        };
        let may_have_key = !self.store.splits_ledger || matches!(action, Action::Create(_));
        let has_key = self.random.random_bool(0.6) && may_have_key;
        let key = has_key.then(|| self.number());
        Operation::Write { resource, action, key }
    }

    fn write_of_pet(&mut self) -> Action {
        let ids = self.model.tables["pet"].ids();
        let mut set = attributes(json!({}));
        let tag = self.random.random_range(0..30);
        let color = *["red", "blue", "green"].choose(self.random).unwrap();
        set.insert("color".to_owned(), color.into());
        if self.random.random_bool(0.5) {
            set.insert("tag".to_owned(), tag.into());
        }
        if self.random.random_bool(0.6) {
            let owner = self.model.tables["user"].ids().choose(self.random).map(Id::to_json);
            set.insert("owner".to_owned(), owner.unwrap_or(Value::Null));
        }
        match (ids.choose(self.random), self.random.random_range(0..8)) {
            (Some(id), 0) => Action::Destroy(id.clone()),
            (Some(id), 1..5) => Action::Update(id.clone(), set),
            _ => {
                set.entry("owner").or_insert(Value::Null);
                Action::Create(set)
            }
        }
    }

    fn write_of_note(&mut self) -> Action {
        let id = Id::parse(&format!("n{}", self.random.random_range(0..12))).unwrap();
        // Without our checkpoints, the log has to grow until the engine makes one.
        let lengths =
            if self.may_fail { [10, 1000, 20_000, 80_000] } else { [10, 100, 1000, 6000] };
        let length = *lengths.choose(self.random).unwrap();
        let text = format!("{} {}", self.number(), "x".repeat(length));
        match self.random.random_range(0..6) {
            0 => Action::Destroy(id),
            // Often it has this value already.
            1 => Action::Upsert(id, attributes(json!({ "text": "same" }))),
            _ => Action::Upsert(id, attributes(json!({ "text": text }))),
        }
    }

    fn write_of_user(&mut self) -> Action {
        let ids = self.model.tables["user"].ids();
        let name = self.number();
        match (ids.choose(self.random), self.random.random_range(0..6)) {
            (Some(id), 0 | 1) => Action::Destroy(id.clone()),
            (Some(id), 2) => Action::Update(id.clone(), attributes(json!({ "name": name }))),
            _ => Action::Create(attributes(json!({ "name": name }))),
        }
    }
}

/// Whether the error of an open says what is wrong.
pub(crate) fn is_clear(error: &Error) -> bool {
    matches!(error, Error::DiskFull) || error.to_string().contains("backwire.db")
}

/// Makes a checkpoint. It may do nothing: if others read or write, or the disk fails.
fn checkpoint(connection: &Mutex<Option<Connection>>, mode: &str) {
    // The connection may be in a call itself.
    let connection = connection.try_lock();
    if let Some(connection) = connection.as_ref().and_then(|it| it.as_ref()) {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let _ = connection.query_row(&sql, (), |_| Ok(()));
    }
}

impl History {
    /// Whether there was no store, and the disk has failed while it was created.
    pub(crate) fn has_failed_to_create(&self) -> bool {
        self.has_failures && self.opened == 0 && self.start.is_empty()
    }

    /// Returns what a power cut after this many calls must and may leave: the state after all
    /// operations that were answered, and the later ones in the order in which they were queued.
    pub(crate) fn at(&self, calls: usize) -> (Model, Vec<&Recorded>) {
        let mut model = self.start.clone();
        let is_durable = |it: &Recorded| !it.has_failed && it.answered <= calls;
        let last = self.operations.iter().rposition(is_durable).map_or(0, |last| last + 1);
        for recorded in self.operations[..last].iter().filter(|it| !it.has_failed) {
            model.apply(&recorded.operation);
        }
        let later = self.operations[last..].iter().filter(|it| it.queued <= calls);
        (model, later.collect())
    }

    /// Returns the keys of the last writes before a cut, and of the ones in progress.
    pub(crate) fn keys_at(&self, calls: usize) -> BTreeSet<u64> {
        let begun = self.operations.iter().filter(|it| it.queued <= calls);
        let keys: Vec<_> = begun.filter_map(|it| it.operation.key()).collect();
        keys.into_iter().rev().take(16).collect()
    }
}
