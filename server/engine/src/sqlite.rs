//! The engine in one SQLite file. A write is on the disk before it is answered.
//!
//! A dedicated thread writes. It takes the writes that were queued while it was busy, those of all
//! clients in turn, and commits them as one group. So writes that would wait for the disk anyway
//! share its cost, and a single write does not wait for others. Then, in commit order, each change
//! is sent to the tail and its writer is answered.
//!
//! Readers have connections of their own, which never wait for the writer: a read sees one
//! snapshot.

mod backup;
mod cascades;
mod checkpoints;
mod column;
mod control;
mod disk_failure;
mod epochs;
mod expression;
mod files;
mod forget;
mod group;
mod index_scan;
mod indexes;
mod ledger;
mod list;
mod lock;
mod log;
pub(crate) mod migration;
mod operation;
mod prefilter;
mod queues;
mod read_pool;
mod reader;
mod reading;
mod records;
mod row;
mod schema;
mod sessions;
mod space;
mod statement;
mod vacuum;
mod write_queue;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use backwire_records::change::{Attributes, Id, Position, Resource, Room};
use backwire_records::criteria::Criteria;
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::rules::Ttl;
use backwire_records::model::Models;
use backwire_records::write::Write;
use parking_lot::RwLock;
use rusqlite::{Connection, ErrorCode, Transaction, ffi};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{
    Ack, AckOutcome, Batch, Cascade, Cascades, ChangesSince, CommitOutcome, DEFAULT_READ_DEADLINE,
    Device, Engine, Enqueue, Enqueued, Error, Gauge, KeyLookup, LedgerEntry, QueueRange, Queues,
    ReadOptions, Record, SessionEdit, Sessions, Snapshot, StoredSession, Tail, Window,
};

pub use backup::{back_up, restore};
use checkpoints::{Checkpoints, wal_of};
use control::ReadControl;
use disk_failure::DiskFailure;
use epochs::CurrentEpoch;
use files::{SyncFolder, create_database, make_folder_of, sync_folder};
use group::WriterState;
use indexes::Indexes;
use ledger::RecentEntries;
use lock::Lock;
use operation::{Job, Operation, OperationOutcome};
use prefilter::Prefilter;
use queues::Step;
use read_pool::ReadPool;
use reading::Bounds;
use records::Records;
use schema::MAX_WAL_BYTES;
use space::Space;
use write_queue::WriteQueue;
use writer::Writer;

/// The time between two checks of the disk of a store without any writes.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// A store in a file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    epoch: u64,
    is_disk_full: Arc<AtomicBool>,
    readers: ReadPool,
    indexes: RwLock<Arc<Indexes>>,
    /// The writer ends when this is dropped and all queued jobs are done.
    jobs: Arc<WriteQueue>,
}

impl Sqlite {
    /// Opens a store, or creates it. Its folder has to exist, unless it is `data` in the working
    /// directory or below that.
    ///
    /// This blocks: for the disk, and up to 20 seconds for another process that still has the store
    /// open. It needs a tokio runtime, where a task sends committed changes to the tail.
    pub fn open(path: impl AsRef<Path>, window: Window, tail: Tail) -> Result<Self, Error> {
        Self::open_with_folder_sync(path, window, tail, &sync_folder)
    }

    /// Opens a store as [`open`](Self::open) does, and syncs folders with a function: for tests
    /// with a disk in memory, which SQLite knows and the operating system does not.
    pub fn open_with_folder_sync(
        path: impl AsRef<Path>,
        window: Window,
        tail: Tail,
        sync_folder: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        make_folder_of(path, sync_folder)?;
        // The lock comes before anything is read or, in the file of an older version, upgraded.
        let lock = Lock::of(path)?;
        create_database(path)?;
        let failure = DiskFailure::of(path);
        let space = Space::of(path, failure.clone());
        let (mut connection, current, recent) = match begin(path, sync_folder) {
            Err(Error::DiskFull) if space.give_up_reserve() => begin(path, sync_folder),
            begun => begun,
        }
        .map_err(|error| cannot_start(path, error))?;
        if !space.is_full() {
            space.begin();
        }
        let (epoch, is_disk_full) = (current.epoch, Arc::clone(space.flag()));
        let records = Records::new();
        let readers = ReadPool::new(path, DEFAULT_READ_DEADLINE);
        let checkpoints =
            Checkpoints::begin(path, &mut connection, readers.clone(), &failure, MAX_WAL_BYTES)?;
        let state = WriterState {
            current,
            window,
            records,
            recent,
            cascades: None,
            total_records: None,
            sessions: None,
            space,
            failure,
        };
        let jobs = Arc::new(Writer { connection, _lock: lock, state }.spawn(checkpoints, tail)?);
        tokio::spawn(maintain(Arc::clone(&is_disk_full), Arc::downgrade(&jobs)));
        Ok(Self {
            path: path.into(),
            epoch,
            is_disk_full,
            readers,
            indexes: RwLock::default(),
            jobs,
        })
    }
}

impl Sqlite {
    /// Sets the limit of the time that the reads of one request may take together.
    #[must_use]
    pub fn with_read_deadline(mut self, deadline: Duration) -> Self {
        self.readers.set_deadline(deadline);
        self
    }

    /// Has the writer do an operation. The operation is queued when the future is polled first.
    async fn execute(&self, operation: Operation) -> Result<OperationOutcome, Error> {
        let (answer, outcome) = oneshot::channel();
        self.jobs.push(Job { operation, answer });
        outcome.await.map_err(|_| stopped())?
    }
}

#[async_trait]
impl Engine for Sqlite {
    async fn declare(&self, models: &Models) -> Result<(), Error> {
        let (path, indexes) = (self.path.clone(), Arc::new(Indexes::of(models)));
        let made = Arc::clone(&indexes);
        let making = spawn_blocking(move || schema::index(&path, &made)).await;
        making.map_err(|_| stopped())??;
        *self.indexes.write() = indexes;
        Ok(())
    }

    async fn commit(&self, write: Write) -> Result<CommitOutcome, Error> {
        match self.execute(Operation::Write(Box::new(write))).await? {
            OperationOutcome::Write(committed) => Ok(committed),
            other => Err(unexpected_outcome(&other)),
        }
    }

    async fn ledger_entry(&self, lookup: KeyLookup) -> Result<Option<LedgerEntry>, Error> {
        match self.execute(Operation::Lookup(lookup)).await? {
            OperationOutcome::Lookup(entry) => Ok(entry.map(|entry| *entry)),
            other => Err(unexpected_outcome(&other)),
        }
    }

    async fn find_for(
        &self,
        resource: &Resource,
        criteria: &Criteria,
        options: &ReadOptions,
    ) -> Result<Snapshot<Vec<Record>>, Error> {
        let (epoch, resource, criteria) = (self.epoch, resource.clone(), criteria.clone());
        let indexes = self.indexes.read().clone();
        let bounds = options.clone();
        let find = move |snapshot: &Transaction<'_>, control: &ReadControl| {
            let (resource, criteria, indexes) = (&resource, &criteria, &*indexes);
            let prefilter = Prefilter { resource, criteria, indexes };
            reader::find(snapshot, epoch, prefilter, Bounds { options: &bounds, control })
        };
        self.readers.read_list(options, find).await
    }

    async fn find_one(
        &self,
        resource: &Resource,
        id: &Id,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        self.find_one_for(resource, id, &ReadOptions::default()).await
    }

    async fn find_one_for(
        &self,
        resource: &Resource,
        id: &Id,
        options: &ReadOptions,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        let (epoch, resource, id) = (self.epoch, resource.clone(), id.clone());
        let memory = options.memory.clone();
        let find = move |snapshot: &Transaction<'_>| {
            reader::find_one(snapshot, epoch, &resource, &id, &memory)
        };
        self.readers.read_for(options.client, find).await?
    }

    async fn head(&self, resource: &Resource) -> Result<Position, Error> {
        let (epoch, resource) = (self.epoch, resource.clone());
        self.readers.read(move |snapshot| reader::head(snapshot, epoch, &resource)).await
    }

    async fn changes_since_for(
        &self,
        room: &Room,
        position: Position,
        options: &ReadOptions,
    ) -> Result<ChangesSince, Error> {
        let (epoch, room, bounds) = (self.epoch, room.clone(), options.clone());
        let since = move |snapshot: &Transaction<'_>, _: &_| {
            reader::since(snapshot, epoch, &room, position, &bounds)
        };
        self.readers.read_list(options, since).await
    }

    async fn reaches(&self, of: &Resource, positions: &[Position]) -> Result<Vec<bool>, Error> {
        let (epoch, of, positions) = (self.epoch, of.clone(), positions.to_owned());
        self.readers.read(move |snapshot| reader::reaches(snapshot, epoch, &of, &positions)).await
    }

    async fn keys(&self) -> Result<BTreeMap<Resource, String>, Error> {
        self.readers.read(reader::keys).await
    }

    fn gauges(&self) -> Vec<Gauge> {
        let wal_bytes = fs::metadata(wal_of(&self.path)).map_or(0, |wal| wal.len());
        let is_full = self.is_disk_full.load(Ordering::Relaxed);
        vec![
            Gauge {
                name: "backwire_wal_bytes",
                help: "Bytes of the write-ahead log of the database.",
                value: wal_bytes,
            },
            Gauge {
                name: "backwire_disk_full",
                help: "1 while the disk is full and nothing but deletes is accepted.",
                value: is_full.into(),
            },
        ]
    }

    fn cascades(&self) -> &dyn Cascades {
        self
    }

    fn sessions(&self) -> &dyn Sessions {
        self
    }

    fn queues(&self) -> &dyn Queues {
        self
    }
}

#[async_trait]
impl Cascades for Sqlite {
    async fn unfinished(&self) -> Result<Vec<Cascade>, Error> {
        self.readers.read_all(|snapshot| cascades::unfinished(snapshot)).await
    }

    async fn dangling(
        &self,
        cascade: &Cascade,
        after: Option<&Id>,
        limit: usize,
    ) -> Result<Vec<Id>, Error> {
        let (cascade, after) = (cascade.clone(), after.cloned());
        let read = move |snapshot: &Transaction<'_>| {
            cascades::dangling(snapshot, &cascade, after.as_ref(), limit)
        };
        self.readers.read_all(read).await
    }

    async fn finish(&self, cascade: &Cascade) -> Result<(), Error> {
        self.execute(Operation::Finish(cascade.clone())).await.map(drop)
    }
}

#[async_trait]
impl Sessions for Sqlite {
    async fn secret(&self) -> Result<[u8; 32], Error> {
        self.readers.read(|snapshot| schema::secret(snapshot)).await
    }

    async fn load(&self, id: &str, now: u64) -> Result<Option<StoredSession>, Error> {
        let id = id.to_owned();
        self.readers.read(move |snapshot| sessions::load(snapshot, &id, now)).await
    }

    async fn find_by_value(
        &self,
        key: &str,
        value: &serde_json::Value,
        now: u64,
    ) -> Result<Vec<Arc<str>>, Error> {
        let (key, value) = (key.to_owned(), value.clone());
        self.readers
            .read_all(move |snapshot| sessions::find_by_value(snapshot, &key, &value, now))
            .await
    }

    async fn edit(&self, edit: SessionEdit) -> Result<(), Error> {
        self.execute(Operation::Edit(edit)).await.map(drop)
    }
}

#[async_trait]
impl Queues for Sqlite {
    async fn begin(&self, node: Node, at: u64) -> Result<(), Error> {
        self.execute(Operation::Step(Step::Begin(node), at)).await.map(drop)
    }

    async fn enqueue(&self, post: Enqueue) -> Result<Enqueued, Error> {
        let at = post.at;
        match self.execute(Operation::Step(Step::Enqueue(post), at)).await? {
            OperationOutcome::Step(queues::StepOutcome::Enqueued(posted)) => Ok(posted),
            other => Err(unexpected_outcome(&other)),
        }
    }

    async fn connect(
        &self,
        device: Device,
        ttl: Ttl,
        max_devices: usize,
        at: u64,
    ) -> Result<Option<Flake>, Error> {
        match self.execute(Operation::Step(Step::Connect(device, ttl, max_devices), at)).await? {
            OperationOutcome::Step(queues::StepOutcome::Connected(last)) => Ok(last),
            other => Err(unexpected_outcome(&other)),
        }
    }

    async fn disconnect(&self, device: Device, at: u64) -> Result<(), Error> {
        self.execute(Operation::Step(Step::Disconnect(device), at)).await.map(drop)
    }

    async fn ack(&self, device: Device, acked: Ack, at: u64) -> Result<AckOutcome, Error> {
        match self.execute(Operation::Step(Step::Ack(device, acked), at)).await? {
            OperationOutcome::Step(queues::StepOutcome::Acked(outcome)) => Ok(outcome),
            other => Err(unexpected_outcome(&other)),
        }
    }

    async fn waiting(&self, device: Device, range: QueueRange) -> Result<Batch, Error> {
        self.readers.read(move |snapshot| queues::waiting(snapshot, &device, range)).await
    }
}

/// Opens the writer's connection, and begins a new epoch.
fn begin(
    path: &Path,
    sync: SyncFolder<'_>,
) -> Result<(Connection, CurrentEpoch, RecentEntries), Error> {
    let mut connection = schema::create(path, sync)?;
    let begun = CurrentEpoch::begin(&mut connection)
        .and_then(|current| Ok((current, RecentEntries::load(&connection)?)));
    let (current, recent) = begun.map_err(|error| schema::in_file(path, error))?;
    Ok((connection, current, recent))
}

/// Adds advice to the error of a full disk. Each start writes a little, and more in the file of an
/// older version.
fn cannot_start(path: &Path, error: Error) -> Error {
    match error {
        Error::DiskFull => Error::Unavailable(format!(
            "{}: the disk is full, and there is no reserve for a start: free some space, 16 MiB at least; \
             the file of an older version needs more",
            path.display()
        )),
        other => other,
    }
}

/// Has the writer check whether a full disk has room again, also if there are no writes.
async fn maintain(is_disk_full: Arc<AtomicBool>, jobs: Weak<WriteQueue>) {
    loop {
        sleep(MAINTENANCE_INTERVAL).await;
        let Some(jobs) = jobs.upgrade() else { return };
        // If the queue is not empty, other writes check it.
        if is_disk_full.load(Ordering::Relaxed) && jobs.is_empty() {
            jobs.push(Job { operation: Operation::Maintain, answer: oneshot::channel().0 });
        }
    }
}

/// The outcome of an operation always has the same kind as the operation. This error is for the
/// case that it does not.
fn unexpected_outcome(outcome: &OperationOutcome) -> Error {
    Error::Unavailable(format!("the outcome is of another operation: {outcome:?}"))
}

fn stopped() -> Error {
    Error::Unavailable("the writer has stopped".to_owned())
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        // SQLite's memory that is shared with other processes is a file, too.
        let is_full = error.sqlite_error().is_some_and(|it| {
            it.code == ErrorCode::DiskFull || it.extended_code == ffi::SQLITE_IOERR_SHMSIZE
        });
        if is_full { Self::DiskFull } else { Self::Unavailable(error.to_string()) }
    }
}
