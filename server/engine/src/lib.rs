//! Storage engines: they store records, logs, the ledger, sessions and queues.
//!
//! There is one contract, each implementation is a module, and one suite (`tests/engines`) runs
//! against all of them. The outcome of a write is decided in one place, by
//! [`Write::apply`](backwire_records::write::Write::apply), which is pure. An engine reads the
//! state that the decision needs and stores the result, in one transaction.
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests have clocks and tasks"
    )
)]

mod cascades;
mod counters;
mod error;
mod events;
mod ledger;
mod ledger_entry;
mod memory;
mod migration;
mod partial_record;
mod queues;
mod read_options;
mod record;
mod redis;
mod round_robin;
mod sessions;
#[expect(clippy::disallowed_methods, reason = "the engine in a file has threads and a disk")]
mod sqlite;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room};
use backwire_records::criteria::Criteria;
use backwire_records::model::Models;
use backwire_records::write::Write;
use tokio::sync::mpsc;

pub use backwire_environment::Environment;
pub use backwire_records::answer_memory::{AnswerMemory, ClaimMemory, OutOfMemory};
pub use backwire_records::dangling::{Dangling, Reference};
pub use cascades::{Cascade, Cascades};
pub use error::Error;
pub use events::{Answers, Question, StoreEvent, StoredMessage};
pub use ledger_entry::{KeyLookup, LedgerEntry};
pub use memory::{Memory, Replica};
pub use migration::{MigrationEndpoint, MigrationReport, WaitingMessages, migrate};
pub use queues::{
    Ack, AckOutcome, Batch, Delivery, DeliveryContent, Device, Enqueue, Enqueued, MemoryQueues,
    MessageList, QueueRange, Queues,
};
pub use read_options::{ReadOptions, ReadTime};
pub use record::Record;
pub use redis::{Redis, RedisOptions, RedisUrl};
pub use sessions::PERSON_KEY;
pub use sessions::{MemorySessions, SessionEdit, Sessions, StoredSession};
pub use sqlite::Sqlite;
pub use sqlite::{back_up, restore};
pub use window::Window;

/// The default limit of the time that the reads of one request may take together.
pub const DEFAULT_READ_DEADLINE: Duration = Duration::from_secs(2);

/// The channel for committed changes. Every engine is opened with one and sends each committed
/// change to it, in commit order and once, after the change is durable and before the writer is
/// answered.
///
/// It is bounded. An engine waits while it is full, so writers cannot outrun the fan-out. An engine
/// may leave out changes that nobody [needs](Engine::set_resource_filter).
pub type Tail = mpsc::Sender<Arc<Change>>;

/// Whether this server needs the changes of a resource, see [`Engine::set_resource_filter`].
pub type ResourceFilter = Arc<dyn Fn(&Resource) -> bool + Send + Sync>;

/// Changes that did not reach the [tail](Tail) of an engine which several servers share: the log
/// had dropped them before this server read them, or the store has lost changes that had reached
/// it. Clients of the resource have to resume from their positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissedChanges {
    /// The resource.
    pub resource: Resource,
    /// The offset of the last change that reached the tail. If it is larger than `upto`, the
    /// changes between both have never been, as far as the store knows.
    pub after: u64,
    /// The position after which changes reach the tail again.
    pub upto: Position,
}

/// The store of records, logs, ledger and sessions.
///
/// Invariant: a commit stores record, change and ledger entry together or not at all, and a
/// snapshot's position is the head of the log in the same transaction that read the snapshot.
///
/// One process at a time has a store open, except [`Redis`], which several servers share. Each open
/// draws an epoch for its positions; with [`Redis`], each run of Redis does. The positions of
/// former epochs stay valid as in `sqlite/epochs.rs`, or are out of reach as in [`Memory`]. A
/// commit reads the [`StoredState`](backwire_records::write::StoredState) that [`Write::apply`]
/// decides on, and stores its decision.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Receives the declared models once, before anything else, so that the engine can make
    /// indexes. Each write carries its own model.
    async fn declare(&self, _models: &Models) -> Result<(), Error> {
        Ok(())
    }

    /// Commits one write and returns its change. A write whose key the ledger knows is not
    /// committed again: its outcome is returned and nothing reaches the tail. While the log has the
    /// change, the outcome is the stored reply. Afterwards, and for a write that changed nothing,
    /// it has the verb and the id of the write, and the record as it is now, at the head of the
    /// log. If there is no such record now, or the record is not [within](Write::within) the
    /// writer's access, it has only the id, at offset 0. If the write destroyed the record or only
    /// published something, it has only the id, at the position of the write.
    ///
    /// Invariant: a write that [changes nothing](backwire_records::write::Decision::Unchanged)
    /// leaves records, log and tail alone, but the engine remembers its key. A repeat that is
    /// applied after a later change of the record would undo that change.
    ///
    /// Invariant: a published event has a position in the log, and in the chain of its record's
    /// changes, and changes no record.
    ///
    /// Invariant: a write is queued when its future is polled first, and writes are committed in
    /// the order in which they were queued. A connection relies on it: it has several writes in
    /// progress whose order must be kept.
    async fn commit(&self, write: Write) -> Result<CommitOutcome, Error>;

    /// Returns the ledger's entry of a key, if there is one, as a [commit](Self::commit) of a write
    /// with this key would find it. It is refused if another request has used the key. Nothing is
    /// committed, and no record is read.
    ///
    /// Invariant: a lookup is queued when its future is polled first, in the same order as the
    /// writes of its client. So it finds the keys of the writes that were queued before.
    async fn ledger_entry(&self, lookup: KeyLookup) -> Result<Option<LedgerEntry>, Error>;

    /// Returns the records of a resource that the criteria pick, exactly as [`Criteria::pick`]
    /// picks from all of them. [Dangling](Cascades) references are null. Without a sort, records
    /// are in the order of their ids: integers first, then strings.
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

    /// The same for a client. If the answer would be larger than the options allow, or the read
    /// takes longer than it may, the result is an error and never a part of the answer. A read ends
    /// soon after its future is dropped.
    async fn find_for(
        &self,
        resource: &Resource,
        criteria: &Criteria,
        options: &ReadOptions,
    ) -> Result<Snapshot<Vec<Record>>, Error>;

    /// Returns one record, or `None` if it does not exist.
    async fn find_one(
        &self,
        resource: &Resource,
        id: &Id,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error>;

    /// The same for a client. Of the options only the client and the memory matter: one record has
    /// no other bounds.
    async fn find_one_for(
        &self,
        resource: &Resource,
        id: &Id,
        _options: &ReadOptions,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        self.find_one(resource, id).await
    }

    /// Returns the head of the log of a resource: the position that every read of it returns. No
    /// record is read.
    async fn head(&self, resource: &Resource) -> Result<Position, Error>;

    /// Returns the changes of a room after a position. If they are more than an engine can hold in
    /// memory, they are out of reach.
    async fn changes_since(&self, room: &Room, position: Position) -> Result<ChangesSince, Error> {
        self.changes_since_for(room, position, &ReadOptions::default()).await
    }

    /// The same for a client. Changes are also out of reach if they are more than
    /// [`records`](ReadOptions::records), or if there is no [`memory`](ReadOptions::memory) for
    /// them. The memory of each is claimed before it is held, unless others share it. The other
    /// bounds of the options are about records.
    async fn changes_since_for(
        &self,
        room: &Room,
        position: Position,
        options: &ReadOptions,
    ) -> Result<ChangesSince, Error>;

    /// Whether the log of a resource has everything after each of these positions, as
    /// [`changes_since`](Self::changes_since) would report.
    async fn reaches(&self, of: &Resource, positions: &[Position]) -> Result<Vec<bool>, Error> {
        let (room, mut reached) = (Room::class(of.clone()), Vec::new());
        for position in positions {
            let since = self.changes_since(&room, *position).await?;
            reached.push(matches!(since, ChangesSince::Changes { .. }));
        }
        Ok(reached)
    }

    /// Returns the name of the primary key of each resource: that of the [model](Write::model) of
    /// the first written record. Resources without any written record are left out.
    async fn keys(&self) -> Result<BTreeMap<Resource, String>, Error>;

    /// Returns the channel for [missed changes](MissedChanges), once. `None` if the tail of this
    /// engine never misses any.
    fn missed_changes(&self) -> Option<mpsc::UnboundedReceiver<MissedChanges>> {
        None
    }

    /// Sets the filter of the resources whose changes this server needs, once. An engine that
    /// several servers share may leave the changes of other resources out of the [tail](Tail). A
    /// resource has to be read after it becomes needed: the read has the changes that were left out
    /// before.
    fn set_resource_filter(&self, _filter: ResourceFilter) {}

    /// Returns the channel for the [events](StoreEvent) of all servers that share the store, once,
    /// before anything else. `None` if only one server uses it.
    fn events(&self) -> Option<mpsc::Receiver<StoreEvent>> {
        None
    }

    /// Announces a text to all servers that share the store, this one included: as an
    /// [event](StoreEvent::Announced), once and in the order of all events. A store of one server
    /// has no events, and this does nothing.
    async fn announce(&self, _text: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Asks all other servers that share the store, and returns their answers. Each of them gets an
    /// [event](StoreEvent::Asked). It waits for the servers that are running, as far as the store
    /// knows, and not longer than a few seconds. A store of one server has no others.
    async fn ask(&self, _text: &str) -> Result<Answers, Error> {
        Ok(Answers::default())
    }

    /// Answers a question of another server.
    async fn answer(&self, _question: &Question, _text: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Returns metrics of the store.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }

    /// Releases what the engine holds at a store that others share. It is called once, after
    /// everything else.
    async fn close(&self) {}

    /// Returns the cascades: references to destroyed records that are still to be removed. A commit
    /// of a destroy begins them, see [`Write::references`].
    fn cascades(&self) -> &dyn Cascades;

    /// Returns the store of sessions. An engine that cannot store them uses [`MemorySessions`].
    fn sessions(&self) -> &dyn Sessions;

    /// Returns the queues of deliveries. An engine that cannot store them uses [`MemoryQueues`].
    fn queues(&self) -> &dyn Queues;
}

/// A metric in `GET /metrics` that goes up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauge {
    /// The name in the format of Prometheus.
    pub name: &'static str,
    /// The help text, one sentence.
    pub help: &'static str,
    /// The current value.
    pub value: u64,
}

/// The result of a read, and the position of the log that it is from.
#[derive(Debug, Clone)]
pub struct Snapshot<T> {
    /// The result.
    pub value: T,
    /// The head of the resource's log at that moment; offset 0 for a resource without any writes.
    pub position: Position,
}

/// The outcome of a write.
#[derive(Debug, Clone)]
pub struct CommitOutcome {
    /// The change. For a repeat it has only [what the ledger knows](Engine::commit) and an answer
    /// needs: the record after a create or an update, the record before a destroy, and no
    /// `previous`, `set` or `origin`.
    pub change: Arc<Change>,
    /// Whether the ledger knew the write. Then nothing was committed and nothing reached the tail.
    pub repeated: bool,
    /// Whether the record had these values already. Then nothing was logged and nothing reached the
    /// tail.
    pub unchanged: bool,
}

impl CommitOutcome {
    /// Returns the outcome of a write that was logged.
    fn changed(change: Arc<Change>) -> Self {
        Self { change, repeated: false, unchanged: false }
    }

    /// Returns the outcome of a write that changes nothing.
    fn unchanged(change: Change) -> Self {
        Self { change: Arc::new(change), repeated: false, unchanged: true }
    }

    /// Returns the outcome of a repeat, which is stored.
    fn repeated(change: Change) -> Self {
        Self { change: Arc::new(change), repeated: true, unchanged: false }
    }

    /// Returns the change to send to the tail, if the write was logged.
    fn logged_change(&self) -> Option<&Arc<Change>> {
        (!self.repeated && !self.unchanged).then_some(&self.change)
    }
}

/// The changes after a position.
#[derive(Debug, Clone)]
pub enum ChangesSince {
    /// All changes after the given position, in commit order, and the head of the log.
    Changes {
        /// The changes.
        changes: Vec<Arc<Change>>,
        /// The head of the log.
        head: Position,
    },
    /// The log does not reach back that far, or it is another log, or there are too many changes.
    OutOfReach,
}

/// Draws a new epoch: below 2⁴⁸, so that it is exact in JavaScript.
fn draw_epoch(environment: &Environment) -> u64 {
    environment.random_u64() >> 16
}
