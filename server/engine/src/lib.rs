//! Where records, logs, the ledger, sessions and queues live.
//!
//! One contract, an implementation a file, one suite (`tests/engines`) that runs against all of
//! them. What a write does is decided once, by [`Write::apply`](backwire_records::write::Write::apply), which
//! is pure; an engine only finds what it needs and stores what it decided, in one transaction.

mod cascades;
mod counters;
mod error;
mod ledger;
mod memory;
mod queues;
mod read_options;
mod record;
mod sessions;
mod sketch;
mod sqlite;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room};
use backwire_records::criteria::Criteria;
use backwire_records::model::Models;
use backwire_records::write::Write;
use tokio::sync::mpsc;

pub use backwire_records::answer_memory::{AnswerMemory, ClaimMemory, OutOfMemory};
pub use backwire_records::dangling::{Dangling, Reference};
pub use cascades::{Cascade, Cascades};
pub use error::Error;
pub use memory::Memory;
pub use queues::{
    Acked, Asked, Batch, Delivery, Device, MemoryQueues, Outcome, Post, Posted, Queues, Said,
};
pub use read_options::{ReadOptions, ReadTime};
pub use record::Record;
pub use sessions::PERSON;
pub use sessions::{Edit, Held, MemorySessions, Sessions};
pub use sqlite::Sqlite;
pub use sqlite::{back_up, restore};

/// How long the reads of one request may take together, where an engine is opened without another limit.
pub const DEFAULT_READ_DEADLINE: Duration = Duration::from_secs(2);

/// The far end of the log: every engine is opened with one and sends each committed change to it,
/// in commit order and once, after the change is durable and before the writer is answered.
///
/// It is bounded. An engine that finds it full waits, so writers cannot outrun the fan-out.
pub type Tail = mpsc::Sender<Arc<Change>>;

/// Where a site's records, logs, ledger and sessions live.
///
/// Invariant: a commit stores record, change and ledger entry together or not at all, and a
/// snapshot's position is the head of the log in the very transaction that read it.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Told once, before anything else, what is declared of resources: to look records up quicker. What
    /// a write must know of it comes with the write.
    async fn declare(&self, _models: &Models) -> Result<(), Error> {
        Ok(())
    }

    /// Commits one write and answers with its change. A write whose key the ledger knows is not
    /// committed again: its outcome is given back and nothing reaches the tail. While the log has the
    /// change, that is the stored reply. Afterwards, and for a write that changed nothing, it has the
    /// verb and the id of the write, and the record as it is now, at the head of the log. If there is no
    /// such record now, or the write destroyed it or only published something, or it is not
    /// [within](Write::within) what is left to the writer, it has the id alone, at the position of the
    /// write.
    ///
    /// Invariant: a write that [changes nothing](backwire_records::write::Decision::Unchanged) leaves records,
    /// log and tail alone, but the engine remembers its key. A repeat that is applied after a later
    /// change of the record would undo that change.
    ///
    /// Invariant: what is only published has its place in the log, and in the chain of its record's
    /// changes, and leaves the records alone.
    ///
    /// Invariant: a write takes its place in line when its future is polled first, and writes are
    /// committed in the order of their places. A connection counts on it to have several writes in
    /// progress and their order kept.
    async fn commit(&self, write: Write) -> Result<Committed, Error>;

    /// The records of a resource that the criteria pick, exactly as
    /// [`Criteria::pick`] does of all of them. [Dangling](Cascades) references are null. Where they say nothing else, in the order of the ids:
    /// integers first, then strings.
    async fn find(
        &self,
        resource: &Resource,
        criteria: &Criteria,
    ) -> Result<Snapshot<Vec<Arc<Attributes>>>, Error> {
        let Snapshot { value, position } =
            self.find_for(resource, criteria, &ReadOptions::default()).await?;
        let records = value.iter().map(Record::attributes).collect::<Result<_, _>>()?;
        Ok(Snapshot { value: records, position })
    }

    /// The same for a client. If there would be more of it than the options allow, or it takes longer
    /// than a read may take, it is an error and never a part of the answer. A read ends soon after its
    /// future was dropped.
    async fn find_for(
        &self,
        resource: &Resource,
        criteria: &Criteria,
        options: &ReadOptions,
    ) -> Result<Snapshot<Vec<Record>>, Error>;

    /// One record, or `None` where there is none.
    async fn find_one(
        &self,
        resource: &Resource,
        id: &Id,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error>;

    /// The same for a client. Of the options only the memory matters: one record has no other bounds.
    async fn find_one_for(
        &self,
        resource: &Resource,
        id: &Id,
        _options: &ReadOptions,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        self.find_one(resource, id).await
    }

    /// What happened in a room after a position. Where that is more than an engine can have in memory, it is out of
    /// reach.
    async fn since(&self, room: &Room, position: Position) -> Result<Since, Error>;

    /// Whether the log of a resource has everything after each of these positions, as
    /// [`since`](Self::since) would say.
    async fn reaches(&self, of: &Resource, positions: &[Position]) -> Result<Vec<bool>, Error> {
        let (room, mut reached) = (Room::class(of.clone()), Vec::new());
        for position in positions {
            let since = self.since(&room, *position).await?;
            reached.push(matches!(since, Since::Changes { .. }));
        }
        Ok(reached)
    }

    /// The name of the primary key, by resource: that of the [model](Write::model) of the first
    /// written record. Resources without any written record are left out.
    async fn keys(&self) -> Result<HashMap<Resource, String>, Error>;

    /// Numbers about the store that an operator watches.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }

    /// References to destroyed records that are still to be removed. A commit of a destroy begins them, see
    /// [`Write::references`].
    fn cascades(&self) -> &dyn Cascades;

    /// What is kept of visitors. An engine without a place for it has a [`MemorySessions`].
    fn sessions(&self) -> &dyn Sessions;

    /// What waits for people. An engine without a place for it has [`MemoryQueues`].
    fn queues(&self) -> &dyn Queues;
}

/// A number of `GET /metrics` that goes up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauge {
    /// Its name in the format of Prometheus.
    pub name: &'static str,
    /// A sentence about it.
    pub help: &'static str,
    /// The number at present.
    pub value: u64,
}

/// Something read, and the place in the log it was read at.
#[derive(Debug, Clone)]
pub struct Snapshot<T> {
    /// What was read.
    pub value: T,
    /// The head of the resource's log at that moment; offset 0 for a resource nobody has written to.
    pub position: Position,
}

/// The outcome of a write.
#[derive(Debug, Clone)]
pub struct Committed {
    /// What happened; of a repeat, what [the ledger has of it](Engine::commit), as far as an answer
    /// needs it: the record after a create or an update, the record before a destroy, and no `previous`,
    /// `set` or `origin`.
    pub change: Arc<Change>,
    /// Whether the ledger knew the write: nothing was committed and nothing reached the tail.
    pub repeated: bool,
    /// Whether the record had these values already: nothing was logged and nothing reached the
    /// tail.
    pub unchanged: bool,
}

impl Committed {
    /// A change that was logged.
    fn changed(change: Arc<Change>) -> Self {
        Self { change, repeated: false, unchanged: false }
    }

    /// The answer to a write that changes nothing.
    fn unchanged(change: Change) -> Self {
        Self { change: Arc::new(change), repeated: false, unchanged: true }
    }

    /// The stored outcome of a repeat.
    fn repeated(change: Change) -> Self {
        Self { change: Arc::new(change), repeated: true, unchanged: false }
    }

    /// The change to send to the tail, if the write made one.
    fn news(&self) -> Option<&Arc<Change>> {
        (!self.repeated && !self.unchanged).then_some(&self.change)
    }
}

/// The answer to "what did I miss?".
#[derive(Debug, Clone)]
pub enum Since {
    /// Everything after the given position, in commit order, and where the log stands now.
    Changes {
        /// What was missed.
        changes: Vec<Arc<Change>>,
        /// The head of the log.
        head: Position,
    },
    /// The log does not reach back that far, or it is another log, or there is too much in it.
    OutOfReach,
}

/// The limits of each resource's log, and of the ledger. The engine may drop entries outside of either bound.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Changes kept per resource, and a sixteenth more at most.
    pub count: u64,
    /// Bytes of these changes per resource. The oldest are forgotten first.
    pub bytes: u64,
    /// How long a change is kept.
    pub age: Duration,
    /// How long the key of a write or a post is known, and its repeat therefore harmless.
    pub ledger_age: Duration,
    /// Bytes that what is remembered of the keys of writes may take. The oldest entries are dropped
    /// first, a few with each write.
    pub ledger_bytes: u64,
}

impl Default for Window {
    /// 10,000 changes, 1 GiB and 24 hours; of the ledger 7 days and 1 GiB.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self { count: 10_000, bytes: 1 << 30, age: day, ledger_age: 7 * day, ledger_bytes: 1 << 30 }
    }
}

impl Window {
    /// What happened before this may be forgotten.
    fn cutoff(&self, now: u64) -> u64 {
        before(now, self.age)
    }

    /// A key that was used before this is not known any more, also where it has not been dropped yet.
    fn ledger_cutoff(&self, now: u64) -> u64 {
        before(now, self.ledger_age)
    }
}

fn before(now: u64, age: Duration) -> u64 {
    now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// Draws the name of a new log: below 2⁴⁸, so that it is exact in JavaScript.
fn draw_epoch() -> u64 {
    rand::random::<u64>() >> 16
}
