//! The engine on a disk that loses power.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use backwire_engine::{Ack, CommitOutcome, Engine, Error, KeyLookup, QueueRange, Sqlite, Window};
use backwire_power_loss::{Disk, Mounted};
use backwire_records::change::{Change, Position};
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::rules::BatchLimits;
use futures_util::future::{join, join_all};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::model::Outcome;
use crate::operation::{self, NOON, Operation, TTL, models};

/// The maximum number of changes that the tail may hold until a test ends.
const TAIL: usize = 100_000;

/// The deadline of reads. A busy machine must not fail a run.
const READ_DEADLINE: Duration = Duration::from_secs(600);

/// The folder of a store. Files that SQLite does not open are real, and stay for the next store.
pub(crate) struct Folder(TempDir);

/// An open store.
pub(crate) struct Store {
    pub(crate) disk: Arc<Disk>,
    pub(crate) engine: Sqlite,
    /// The ids of messages by their numbers.
    pub(crate) flakes: BTreeMap<u64, Flake>,
    /// Whether a write and its key are stored one after the other: a mistake that a test has to
    /// find.
    pub(crate) splits_ledger: bool,
    path: PathBuf,
    _tail: mpsc::Receiver<Arc<Change>>,
    _mounted: Mounted,
}

/// An operation whose outcome is known.
pub(crate) struct Answered {
    /// The outcome, or the error of a disk that has failed.
    pub(crate) outcome: Result<Outcome, Error>,
    /// The number of calls of the disk when it was answered.
    pub(crate) at: usize,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap().join("backwire.db")
    }

    /// Opens the store on a disk. An error of a disk that fails is returned.
    pub(crate) async fn open(
        &self,
        disk: &Arc<Disk>,
        window: Window,
        flakes: BTreeMap<u64, Flake>,
    ) -> Result<Store, Error> {
        let (disk, path) = (Arc::clone(disk), self.path());
        let mounted = disk.mount(self.0.path());
        let (tail, received) = mpsc::channel(TAIL);
        let sync_folder = |_: &Path| disk.sync_folder();
        let opened = Sqlite::open_with_folder_sync(&path, window, tail, &sync_folder);
        let begun = match opened.map(|engine| engine.with_read_deadline(READ_DEADLINE)) {
            Ok(engine) => match begin(&engine).await {
                Ok(()) => Ok(engine),
                Err(error) => {
                    drop(engine);
                    Err(error)
                }
            },
            Err(error) => Err(error),
        };
        match begun {
            Ok(engine) => Ok(Store {
                disk,
                engine,
                flakes,
                splits_ledger: false,
                path,
                _tail: received,
                _mounted: mounted,
            }),
            Err(error) => {
                self.wait_until_closed(&disk);
                Err(error)
            }
        }
    }

    /// Waits until the engine has closed all files, the lock included.
    pub(crate) fn wait_until_closed(&self, disk: &Disk) {
        disk.wait_until_closed();
        let lock = File::options().write(true).open(self.path().with_extension("db.lock"));
        let Ok(lock) = lock else { return };
        while lock.try_lock().is_err() {
            thread::yield_now();
        }
    }
}

/// Does what a server does first.
async fn begin(engine: &Sqlite) -> Result<(), Error> {
    engine.declare(&models()).await?;
    let begun = engine.queues().begin(Node::new(0, 0).unwrap(), NOON).await;
    begun.map_err(|error| match error {
        Error::Unavailable(reason) => Error::Unavailable(format!("backwire.db: {reason}")),
        other => other,
    })
}

impl Store {
    /// Closes the store, and waits until all files are closed.
    pub(crate) fn close(self, folder: &Folder) {
        let Self { disk, engine, _mounted, .. } = self;
        drop(engine);
        folder.wait_until_closed(&disk);
    }

    /// Opens another connection to the file, as a tool of an operator does. It never waits.
    pub(crate) fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(std::time::Duration::ZERO)?;
        Ok(connection)
    }

    /// Executes operations, which are all queued before the first is executed.
    pub(crate) async fn execute(&mut self, operations: &[Operation], at: u64) -> Vec<Answered> {
        self.disk.pause_writers();
        let executed = operations.iter().map(|operation| async {
            let outcome = self.try_execute(operation, at).await;
            (outcome, self.disk.calls())
        });
        // All are queued when this is polled first.
        let resumed = async { self.disk.resume_writers() };
        let (answers, ()) = join(join_all(executed), resumed).await;
        let mut answered = Vec::new();
        for ((outcome, at), operation) in answers.into_iter().zip(operations) {
            if let (Ok((_, Some(flake))), Operation::Send { number, .. }) = (&outcome, operation) {
                self.flakes.insert(*number, *flake);
            }
            answered.push(Answered { outcome: outcome.map(|(outcome, _)| outcome), at });
        }
        answered
    }

    /// Returns the outcome, or the error of a disk that has failed.
    async fn try_execute(
        &self,
        operation: &Operation,
        at: u64,
    ) -> Result<(Outcome, Option<Flake>), Error> {
        let queues = self.engine.queues();
        Ok((
            match operation {
                Operation::Write { resource, action, key: Some(key) } if self.splits_ledger => {
                    let write = operation::write(resource, action.clone(), None, at);
                    match self.engine.commit(write).await {
                        Ok(committed) => {
                            self.store_key(resource, committed.change.position.offset, *key);
                            outcome(&committed)
                        }
                        Err(Error::Refused(_)) => Outcome::Refused,
                        Err(error) => return Err(error),
                    }
                }
                Operation::Write { resource, action, key } => {
                    let write = operation::write(resource, action.clone(), *key, at);
                    match self.engine.commit(write).await {
                        Ok(committed) => outcome(&committed),
                        Err(Error::Refused(_)) => Outcome::Refused,
                        Err(error) => return Err(error),
                    }
                }
                Operation::Send { number, persons, has_key } => {
                    let message = operation::message(*number, persons, *has_key, at);
                    let sent = queues.enqueue(message).await?;
                    return Ok((Outcome::Sent { is_repeat: sent.repeated }, Some(sent.id)));
                }
                Operation::Connect { device } => {
                    queues.connect(operation::device(*device), TTL, 10, at).await?;
                    Outcome::Done
                }
                Operation::Ack { device, numbers } => {
                    let flakes = numbers.iter().map(|number| self.flakes[number]).collect();
                    queues.ack(operation::device(*device), Ack::Batch(flakes), at).await?;
                    Outcome::Done
                }
                Operation::Finish { user } => {
                    let cascades = self.engine.cascades();
                    for cascade in cascades.unfinished().await? {
                        if cascade.id == *user {
                            cascades.finish(&cascade).await?;
                        }
                    }
                    Outcome::Done
                }
            },
            None,
        ))
    }

    fn store_key(&self, resource: &str, offset: u64, key: u64) {
        let key = operation::key(key);
        let sql = "UPDATE log SET identity = ?3, key = ?4, fingerprint = ?5
                   WHERE resource = ?1 AND offset = ?2";
        let values = (
            resource,
            offset.cast_signed(),
            &*key.identity,
            &*key.key,
            key.fingerprint.cast_signed(),
        );
        self.connect().unwrap().execute(sql, values).unwrap();
    }

    /// Returns the position of the end of a log.
    pub(crate) async fn head(&self, resource: &str) -> Result<Position, Error> {
        self.engine.head(&operation::resource(resource)).await
    }

    /// Whether the ledger has the write of a key, and what it has of it.
    pub(crate) async fn ledger_entry(
        &self,
        key: u64,
    ) -> Result<Option<backwire_engine::LedgerEntry>, Error> {
        let lookup = KeyLookup { key: operation::key(key), client: None, at: NOON };
        self.engine.ledger_entry(lookup).await
    }

    /// Returns the numbers of the messages that wait for a device, and learns their ids.
    pub(crate) async fn waiting(
        &mut self,
        device: (&'static str, &'static str),
    ) -> Result<Vec<u64>, Error> {
        let portion = BatchLimits { count: usize::MAX, bytes: usize::MAX };
        let range = QueueRange { after: Flake::ZERO, upto: Flake::MAX, portion, at: NOON };
        let batch = self.engine.queues().waiting(operation::device(device), range).await?;
        let mut numbers = Vec::new();
        for delivery in batch.deliveries {
            let backwire_engine::DeliveryContent::Event { args, .. } = &delivery.content else {
                panic!("a resync that nothing has caused");
            };
            let number = args[0].get().parse().unwrap();
            self.flakes.insert(number, delivery.id);
            numbers.push(number);
        }
        Ok(numbers)
    }
}

fn outcome(committed: &CommitOutcome) -> Outcome {
    let (change, id) = (&committed.change, committed.change.id.clone());
    if committed.repeated {
        return Outcome::Repeated { id };
    }
    if committed.unchanged {
        return Outcome::Unchanged { id };
    }
    Outcome::Changed { id, offset: change.position.offset, after: change.after.clone() }
}
