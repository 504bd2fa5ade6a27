//! The engine of the simulated server: the one in memory, with the latency of a disk. Its
//! commits are recorded in the [`History`], and survive a crash of the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backwire_engine::{
    Cascades, ChangesSince, CommitOutcome, Engine, Environment, Error, KeyLookup, LedgerEntry,
    Memory, Queues, ReadOptions, Record, Sessions, Snapshot,
};
use backwire_records::change::{Attributes, Id, Position, Resource, Room};
use backwire_records::criteria::Criteria;
use backwire_records::write::Write;
use parking_lot::Mutex as SyncMutex;
use tokio::sync::Mutex;

use backwire_checker::history::History;

pub(crate) struct SimulatedEngine {
    memory: Memory,
    history: Arc<History>,
    environment: Environment,
    /// The longest time that a step takes, in milliseconds.
    max_latency: u64,
    /// One write at a time, in the order in which they were queued.
    writer: Mutex<()>,
    /// Until when the disk fails.
    fails_until: SyncMutex<Instant>,
}

impl SimulatedEngine {
    pub(crate) fn new(
        memory: Memory,
        history: Arc<History>,
        environment: Environment,
        max_latency: u64,
    ) -> Self {
        let fails_until = SyncMutex::new(environment.now());
        let writer = Mutex::default();
        Self { memory, history, environment, max_latency, writer, fails_until }
    }

    /// Returns the engine of the next start of the server, with the same data.
    pub(crate) fn reopen(&self, environment: Environment, tail: backwire_engine::Tail) -> Self {
        let memory = self.memory.reopen(environment.clone(), tail);
        Self::new(memory, Arc::clone(&self.history), environment, self.max_latency)
    }

    /// Lets the disk fail for a time.
    pub(crate) fn fail(&self, time: Duration) {
        *self.fails_until.lock() = self.environment.now() + time;
    }

    /// Takes the time of the disk. An error is one of the disk: nothing was stored.
    async fn work(&self) -> Result<(), Error> {
        self.latency().await;
        match self.environment.now() < *self.fails_until.lock() {
            true => Err(Error::Unavailable("the disk fails".to_owned())),
            false => Ok(()),
        }
    }

    async fn latency(&self) {
        // Half of the time there is none, so that two things happen at once.
        let millis = self.environment.random_u64() % (2 * self.max_latency + 1);
        let millis = millis.saturating_sub(self.max_latency);
        if millis > 0 {
            self.environment.sleep(Duration::from_millis(millis)).await;
        }
    }
}

#[async_trait]
impl Engine for SimulatedEngine {
    async fn commit(&self, write: Write) -> Result<CommitOutcome, Error> {
        let turn = self.writer.lock().await;
        self.work().await?;
        let outcome = self.memory.commit(write).await;
        if let Ok(CommitOutcome { change, repeated: false, unchanged: false }) = &outcome {
            self.history.committed(change);
        }
        drop(turn);
        self.latency().await;
        outcome
    }

    async fn ledger_entry(&self, lookup: KeyLookup) -> Result<Option<LedgerEntry>, Error> {
        let _turn = self.writer.lock().await;
        self.work().await?;
        self.memory.ledger_entry(lookup).await
    }

    async fn find_for(
        &self,
        resource: &Resource,
        criteria: &Criteria,
        options: &ReadOptions,
    ) -> Result<Snapshot<Vec<Record>>, Error> {
        self.work().await?;
        let found = self.memory.find_for(resource, criteria, options).await;
        self.latency().await;
        found
    }

    async fn find_one(
        &self,
        resource: &Resource,
        id: &Id,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        self.work().await?;
        let found = self.memory.find_one(resource, id).await;
        self.latency().await;
        found
    }

    async fn head(&self, resource: &Resource) -> Result<Position, Error> {
        self.work().await?;
        self.memory.head(resource).await
    }

    async fn changes_since_for(
        &self,
        room: &Room,
        position: Position,
        options: &ReadOptions,
    ) -> Result<ChangesSince, Error> {
        self.work().await?;
        let changes = self.memory.changes_since_for(room, position, options).await;
        self.latency().await;
        changes
    }

    async fn reaches(&self, of: &Resource, positions: &[Position]) -> Result<Vec<bool>, Error> {
        self.work().await?;
        self.memory.reaches(of, positions).await
    }

    async fn keys(&self) -> Result<BTreeMap<Resource, String>, Error> {
        self.memory.keys().await
    }

    fn cascades(&self) -> &dyn Cascades {
        self.memory.cascades()
    }

    fn sessions(&self) -> &dyn Sessions {
        self.memory.sessions()
    }

    fn queues(&self) -> &dyn Queues {
        self.memory.queues()
    }
}
