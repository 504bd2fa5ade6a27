//! The engine in memory, whose data is lost when the process ends. The tests compare the other
//! engines with it. In a simulation a server that starts again [reopens](Memory::reopen) it.
//!
//! One lock guards the whole store, so a commit and a snapshot are each one step. Nothing waits
//! while it is held: the slot in the tail is reserved before, so a write that is cancelled while
//! the tail is full has not committed anything.

mod find;
mod replica;
mod table;
mod value_index;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backwire_environment::HashMap;
use backwire_protocol::planted;
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room, Verb};
use backwire_records::criteria::Criteria;
use backwire_records::model::Model;
use backwire_records::write::{Decision, Key, RecordCounts, StoredState, Write, WriteError};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Mutex as FairMutex;

use super::cascades::{AllCascades, ResourceCascades};
use super::ledger::{self, Ledger, LedgerLimits, Written};
use super::{
    Cascade, Cascades, ChangesSince, CommitOutcome, DEFAULT_READ_DEADLINE, Engine, Environment,
    Error, KeyLookup, LedgerEntry, MemoryQueues, MemorySessions, Queues, ReadOptions, Record,
    Reference, Sessions, Snapshot, Tail, Window, draw_epoch,
};
pub use replica::Replica;
use table::{Row, Table};

/// A store that lives as long as its process.
#[derive(Debug)]
pub struct Memory {
    epoch: u64,
    window: Window,
    /// The lock queues the writers. It is fair, so writers get slots in the tail in the order of
    /// their arrival.
    tail: FairMutex<Tail>,
    read_deadline: Duration,
    environment: Environment,
    data: Arc<Data>,
}

/// The data that a store keeps when it is [reopened](Memory::reopen).
#[derive(Debug)]
struct Data {
    state: Mutex<State>,
    sessions: MemorySessions,
    queues: MemoryQueues,
}

impl Memory {
    /// Returns an empty store with a new epoch.
    #[expect(clippy::disallowed_methods, reason = "a simulation uses `in_environment`")]
    pub fn new(window: Window, tail: Tail) -> Self {
        Self::in_environment(Environment::tokio(), window, tail)
    }

    /// Returns an empty store that has its clock and its random numbers from an environment.
    pub fn in_environment(environment: Environment, window: Window, tail: Tail) -> Self {
        let data = Data {
            state: Mutex::default(),
            sessions: MemorySessions::new(&environment),
            queues: MemoryQueues::new(&window),
        };
        Self::open(environment, window, tail, Arc::new(data))
    }

    /// Returns a store with the data of this one and an epoch of its own, as a server has that
    /// starts again. From now on only the new one may be used. A simulation has no other disk.
    #[must_use]
    pub fn reopen(&self, environment: Environment, tail: Tail) -> Self {
        Self::open(environment, self.window, tail, Arc::clone(&self.data))
    }

    fn open(environment: Environment, window: Window, tail: Tail, data: Arc<Data>) -> Self {
        let epoch = draw_epoch(&environment);
        data.state.lock().restarted(epoch);
        Self {
            epoch,
            window,
            tail: FairMutex::new(tail),
            read_deadline: DEFAULT_READ_DEADLINE,
            environment,
            data,
        }
    }

    /// Sets the limit of the time that the reads of one request may take together.
    #[must_use]
    pub fn with_read_deadline(self, deadline: Duration) -> Self {
        Self { read_deadline: deadline, ..self }
    }

    /// Lets the ids of a resource without records begin at 1 again. This is for tests: a client
    /// that still holds a former record takes a new one with its id for the same.
    pub fn renumber(&self, resource: &Resource) {
        if let Some(table) = self.state().tables.get_mut(resource) {
            table.renumber();
        }
    }

    /// Forgets all idempotency keys, for tests.
    pub fn forget_keys(&self) {
        self.state().ledger = Ledger::default();
    }

    /// Returns the resources that have had a record, for tests.
    pub fn resources(&self) -> Vec<Resource> {
        self.state().tables.keys().cloned().collect()
    }

    /// Returns a change, for a planted bug.
    fn last_change(&self, of: &Resource) -> Option<Arc<Change>> {
        self.state().table(of, |table| table.log.back().cloned())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.data.state.lock()
    }

    /// Reads a resource together with the head of its log.
    fn snapshot<T>(
        &self,
        resource: &Resource,
        read: impl FnOnce(&Table, Option<&ResourceCascades>) -> T,
    ) -> Snapshot<T> {
        let state = self.state();
        let cascades = state.cascades.of(resource);
        state.table(resource, |table| Snapshot {
            value: read(table, cascades),
            position: table.counters.position(self.epoch),
        })
    }
}

#[async_trait]
impl Engine for Memory {
    async fn commit(&self, write: Write) -> Result<CommitOutcome, Error> {
        // The reservation fails if the receiver is gone: the server is closing.
        if planted::has("acked-before-commit")
            && self.environment.random_u64().is_multiple_of(16)
            && let Some(change) = self.last_change(&write.resource)
        {
            return Ok(CommitOutcome::changed(change));
        }
        let tail = self.tail.lock().await;
        let slot = tail.reserve().await.ok();
        let mut state = self.state();
        let committed = state.commit(write, self.epoch, &self.window)?;
        let is_skipped =
            |it: &Change| planted::has("tail-skips-destroys") && it.verb == Verb::Destroy;
        if let Some((change, slot)) = committed.logged_change().zip(slot)
            && !is_skipped(change)
        {
            slot.send(Arc::clone(change));
        }
        Ok(committed)
    }

    async fn ledger_entry(&self, lookup: KeyLookup) -> Result<Option<LedgerEntry>, Error> {
        // Writes that were queued before come first.
        let _tail = self.tail.lock().await;
        Ok(self.state().ledger_entry(&lookup, self.epoch, &self.window)?)
    }

    async fn find_for(
        &self,
        resource: &Resource,
        criteria: &Criteria,
        options: &ReadOptions,
    ) -> Result<Snapshot<Vec<Record>>, Error> {
        let Snapshot { value: all, position } = self.snapshot(resource, |table, cascades| {
            table.rows.values().filter_map(|row| row.read(cascades)).collect::<Vec<_>>()
        });
        // The lock is not held while records are filtered.
        let value =
            find::find(&self.environment, all, criteria, options, self.read_deadline).await?;
        if planted::has("position-of-list-after-read") {
            self.environment.sleep(Duration::from_millis(3)).await;
            return Ok(Snapshot { value, position: self.head(resource).await? });
        }
        Ok(Snapshot { value, position })
    }

    async fn find_one(
        &self,
        resource: &Resource,
        id: &Id,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        let mut found =
            self.snapshot(resource, |table, cascades| table.rows.get(id)?.read(cascades));
        if planted::has("position-of-read-too-new") {
            found.position.offset += 1;
        }
        Ok(found)
    }

    async fn head(&self, resource: &Resource) -> Result<Position, Error> {
        Ok(self.state().table(resource, |table| table.counters.position(self.epoch)))
    }

    /// The changes are those of the log, so they need no memory.
    async fn changes_since_for(
        &self,
        room: &Room,
        position: Position,
        options: &ReadOptions,
    ) -> Result<ChangesSince, Error> {
        let state = self.state();
        Ok(state.table(room.resource(), |table| {
            if !state.reaches(table, position) {
                return ChangesSince::OutOfReach;
            }
            let limit = options.records.saturating_add(1);
            let mut changes = table.since(room.id(), position.offset, limit);
            if planted::has("resume-lacks-last-change") {
                changes.pop();
            }
            match options.check_records(changes.len()) {
                Ok(()) => {
                    ChangesSince::Changes { changes, head: table.counters.position(self.epoch) }
                }
                Err(_) => ChangesSince::OutOfReach,
            }
        }))
    }

    async fn reaches(&self, of: &Resource, positions: &[Position]) -> Result<Vec<bool>, Error> {
        let state = self.state();
        let is_reached = |table: &Table, position: &Position| state.reaches(table, *position);
        Ok(state.table(of, |table| positions.iter().map(|at| is_reached(table, at)).collect()))
    }

    async fn keys(&self) -> Result<BTreeMap<Resource, String>, Error> {
        let state = self.state();
        let named = state
            .tables
            .iter()
            .filter_map(|(resource, table)| Some((resource.clone(), table.key.clone()?)));
        Ok(named.collect())
    }

    fn cascades(&self) -> &dyn Cascades {
        self
    }

    fn sessions(&self) -> &dyn Sessions {
        &self.data.sessions
    }

    fn queues(&self) -> &dyn Queues {
        &self.data.queues
    }
}

#[async_trait]
impl Cascades for Memory {
    async fn unfinished(&self) -> Result<Vec<Cascade>, Error> {
        Ok(self.state().unfinished.clone())
    }

    async fn dangling(
        &self,
        cascade: &Cascade,
        after: Option<&Id>,
        limit: usize,
    ) -> Result<Vec<Id>, Error> {
        let Cascade { reference, id, until, .. } = cascade;
        Ok(self.state().table(&reference.resource, |table| {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let rows = table.rows.range((start, Bound::Unbounded));
            let dangling = rows.filter(|(_, row)| {
                let held = row.record.get(&reference.attribute).and_then(Id::from_json);
                held.as_ref() == Some(id) && row.changed <= *until
            });
            dangling.map(|(id, _)| id.clone()).take(limit).collect()
        }))
    }

    async fn finish(&self, cascade: &Cascade) -> Result<(), Error> {
        let mut state = self.state();
        if state.cascades.remove(cascade) {
            state.unfinished.retain(|other| other != cascade);
        }
        Ok(())
    }
}

#[derive(Debug, Default, Clone)]
struct State {
    /// The epochs of all starts.
    epochs: Vec<u64>,
    tables: HashMap<Resource, Table>,
    cascades: AllCascades,
    /// The same cascades, in the order in which they began.
    unfinished: Vec<Cascade>,
    ledger: Ledger<Written>,
    /// The number of records of all resources.
    records: u64,
}

impl State {
    fn restarted(&mut self, epoch: u64) {
        if planted::has("ledger-lost-at-restart") {
            self.ledger = Ledger::default();
        }
        self.epochs.push(epoch);
    }

    fn commit(
        &mut self,
        write: Write,
        epoch: u64,
        window: &Window,
    ) -> Result<CommitOutcome, WriteError> {
        if let Some(key) = &write.key
            && !planted::has("ledger-off")
            && let Some(written) = self.recall(key, write.at, window)?
        {
            return Ok(CommitOutcome::repeated(self.answer(written, &write, epoch)));
        }
        let id = write.id()?;
        if let Some(table) = self.tables.get_mut(&write.resource) {
            let own = id.as_ref().and_then(|id| table.rows.get(id));
            let values = write.unique_values(own.map(|row| &*row.record));
            table.index_values(&values);
        }
        let cascades = self.cascades.of(&write.resource);
        let stored_state =
            self.table(&write.resource, |table| table.stored_state(id, &write, epoch, cascades))?;
        let records = RecordCounts { total: self.records, ..stored_state.records };
        let stored_state = StoredState { records, ..stored_state };
        let free = stored_state.next_id;
        let (key, model) = (write.key.clone(), Arc::clone(&write.model));
        let references = write.references.clone();
        let (committed, written) = match write.apply(stored_state)? {
            Decision::Changed(change) => {
                let written = Written::logged(&change);
                let committed = self.store(Arc::new(change), free, &model, window);
                self.begin_cascades(references, &committed.change);
                (committed, written)
            }
            Decision::Unchanged(change) => {
                let written = Written::unchanged(&change);
                (CommitOutcome::unchanged(change), written)
            }
        };
        if let Some(key) = key {
            let (at, bytes) = (written.at, written.bytes());
            self.ledger.remember(&key, at, written, bytes, LedgerLimits::of(window, at));
        }
        Ok(committed)
    }

    fn begin_cascades(&mut self, references: Vec<Reference>, change: &Change) {
        if change.verb != Verb::Destroy {
            return;
        }
        for reference in references {
            let Some(table) = self.tables.get(&reference.resource) else { continue };
            let holds = |row: &Row| {
                let held = row.record.get(&reference.attribute).and_then(Id::from_json);
                held.as_ref() == Some(&change.id)
            };
            if table.rows.values().any(holds) {
                let (until, id, origin) =
                    (table.counters.head, change.id.clone(), change.origin.clone());
                let cascade = Cascade { until, id, reference, origin };
                let (reference, id) = (&cascade.reference, &cascade.id);
                self.unfinished.retain(|other| (&other.reference, &other.id) != (reference, id));
                self.cascades.insert(&cascade);
                self.unfinished.push(cascade);
            }
        }
    }

    /// Returns the write that had this key, if the ledger knows it.
    fn recall(&self, key: &Key, at: u64, window: &Window) -> Result<Option<Written>, WriteError> {
        let entry = self.ledger.recall(key, window.ledger_cutoff(at));
        entry.map(|entry| entry.answer(key)).transpose()
    }

    fn ledger_entry(
        &self,
        lookup: &KeyLookup,
        epoch: u64,
        window: &Window,
    ) -> Result<Option<LedgerEntry>, WriteError> {
        let written = self.recall(&lookup.key, lookup.at, window)?;
        Ok(written.map(|written| {
            let logged =
                self.table(&written.resource, |table| table.logged(&written).map(ledger::stored));
            LedgerEntry::new(written, epoch, logged)
        }))
    }

    /// Returns the answer to a repeat of a write.
    fn answer(&self, written: Written, write: &Write, epoch: u64) -> Change {
        self.table(&written.resource.clone(), |table| match table.logged(&written) {
            Some(change) => ledger::stored(change),
            None => {
                let cascades = self.cascades.of(&written.resource);
                let record = table.rows.get(&written.id).and_then(|row| row.read(cascades));
                written.answer(write, record, table.counters.position(epoch))
            }
        })
    }

    fn store(
        &mut self,
        change: Arc<Change>,
        free: i64,
        model: &Model,
        window: &Window,
    ) -> CommitOutcome {
        let table = self.tables.entry(change.resource.clone()).or_default();
        table.begin_epoch(change.position);
        if !change.published {
            table.key.get_or_insert_with(|| model.key.clone());
        }
        self.records -= table.counters.records;
        table.store(&change, free);
        self.records += table.counters.records;
        table.truncate(window, change.at);
        CommitOutcome::changed(change)
    }

    /// Whether all changes after a position are still in the log. A position of a former start is
    /// one of this log if no later start has committed a change at its offset or before.
    fn reaches(&self, table: &Table, position: Position) -> bool {
        if !self.epochs.contains(&position.epoch) {
            return false;
        }
        let is_kept =
            table.counters.reaches(position.offset) || planted::has("truncated-log-resumed");
        let first = self.first_after(table, position.epoch);
        is_kept
            && (first.is_none_or(|first| position.offset < first.offset)
                || planted::has("lost-position-resumed"))
    }

    /// Returns the first position of a start after the one with an epoch.
    fn first_after<'t>(&self, table: &'t Table, epoch: u64) -> Option<&'t Position> {
        let start = self.epochs.iter().position(|other| *other == epoch)?;
        let is_later = |epoch: u64| self.epochs[start + 1..].contains(&epoch);
        table.first_positions.iter().find(|first| is_later(first.epoch))
    }

    /// Reads a resource. A resource without any writes is empty, and is not added to the store.
    fn table<T>(&self, resource: &Resource, read: impl FnOnce(&Table) -> T) -> T {
        match self.tables.get(resource) {
            Some(table) => read(table),
            None => read(&Table::default()),
        }
    }
}
