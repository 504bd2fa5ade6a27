//! The engine of one of the servers that share a [store](SharedStore), and the network between the
//! server and the store.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use backwire_engine::{
    Ack, AckOutcome, Answers, Batch, Cascade, Cascades, ChangesSince, CommitOutcome, Device,
    Engine, Enqueue, Enqueued, Environment, Error, KeyLookup, LedgerEntry, Memory, MissedChanges,
    Question, QueueRange, Queues, ReadOptions, Record, ResourceFilter, SessionEdit, Sessions,
    Snapshot, StoreEvent, StoredSession, Tail,
};
use backwire_environment::Watched;
use backwire_records::change::{Attributes, Id, Position, Resource, Room};
use backwire_records::criteria::Criteria;
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::rules::Ttl;
use backwire_records::write::Write;
use parking_lot::Mutex as SyncMutex;
use serde_json::Value;
use tokio::sync::mpsc::{self, UnboundedReceiver, unbounded_channel};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::follower::{Follower, follow_events};
use crate::store::link::Link;
use crate::store::{DEADLINE, SharedStore, Subscription, no_answer};

/// The number of events that may wait for the server.
const MAX_EVENTS: usize = 1_000;

/// The engine of a server, from its start to its end.
pub(crate) struct NodeEngine {
    /// The number of the server among all servers.
    server: usize,
    /// The number of its subscription.
    number: u64,
    environment: Environment,
    link: Arc<Link>,
    /// Held by each write, so that writes run one at a time and in order.
    write_lock: Mutex<()>,
    /// Held by each step of a queue, for the same reason.
    queue_lock: Arc<Mutex<()>>,
    follower: Arc<Follower>,
    missed: SyncMutex<Option<UnboundedReceiver<MissedChanges>>>,
    events: SyncMutex<Option<mpsc::Receiver<StoreEvent>>>,
}

impl NodeEngine {
    pub(crate) fn new(
        server: usize,
        environment: Environment,
        link: Arc<Link>,
        tail: Tail,
    ) -> Self {
        let subscription = link.store().subscribe();
        let number = subscription.number;
        let (missed_sender, missed) = unbounded_channel();
        let (to_events, received) = mpsc::channel(MAX_EVENTS);
        let follower = Arc::new(Follower {
            link: Arc::clone(&link),
            environment: environment.clone(),
            tail,
            missed: missed_sender,
            filter: OnceLock::new(),
            delivered: Watched::default(),
        });
        let Subscription { changes, events, run, heads, .. } = subscription;
        link.connected_to(&run);
        let (to_events_task, new_events) = unbounded_channel();
        let events_task =
            follow_events(environment.clone(), Arc::clone(&link), (events, new_events), to_events);
        environment.spawn(Arc::clone(&follower).follow(
            number,
            (run, heads),
            changes,
            to_events_task,
        ));
        environment.spawn(events_task);
        let (write_lock, queue_lock) = Default::default();
        let (missed, events) = (SyncMutex::new(Some(missed)), SyncMutex::new(Some(received)));
        Self { server, number, environment, link, write_lock, queue_lock, follower, missed, events }
    }

    /// Returns the number of the subscription.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    fn store(&self) -> &SharedStore {
        self.link.store()
    }

    /// Waits for a lock, for as long as for an answer of the store.
    async fn lock_in_time<T>(&self, lock: impl Future<Output = T>) -> Result<T, Error> {
        self.environment.timeout(DEADLINE, lock).await.map_err(|_| no_answer())
    }

    /// Runs a step of a queue after the earlier ones. The step continues if its caller is gone.
    async fn queue_step<T: Send + 'static>(
        &self,
        step: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Error> {
        let turn: OwnedMutexGuard<()> =
            self.lock_in_time(Arc::clone(&self.queue_lock).lock_owned()).await?;
        let (sender, done) = oneshot::channel();
        self.environment.spawn(async move {
            let outcome = step.await;
            drop(turn);
            // The caller may be gone.
            let _ = sender.send(outcome);
        });
        done.await.map_err(|_| no_answer())
    }
}

#[async_trait]
impl Engine for NodeEngine {
    async fn commit(&self, write: Write) -> Result<CommitOutcome, Error> {
        let turn = self.lock_in_time(self.write_lock.lock()).await?;
        let (outcome, run) = self.link.commit(write).await?;
        drop(turn);
        if !outcome.repeated && !outcome.unchanged {
            self.follower.wait_for_delivery(run, &outcome.change).await?;
        }
        Ok(outcome)
    }

    async fn ledger_entry(&self, lookup: KeyLookup) -> Result<Option<LedgerEntry>, Error> {
        let _turn = self.lock_in_time(self.write_lock.lock()).await?;
        let read = move |memory: Arc<Memory>| {
            let lookup = lookup.clone();
            async move { memory.ledger_entry(lookup).await }
        };
        self.link.read(read).await
    }

    async fn find_for(
        &self,
        resource: &Resource,
        criteria: &Criteria,
        options: &ReadOptions,
    ) -> Result<Snapshot<Vec<Record>>, Error> {
        let read = move |memory: Arc<Memory>| async move {
            memory.find_for(resource, criteria, options).await
        };
        let found = self.link.read(read).await;
        found.inspect(|it| self.link.returned(resource, it.position))
    }

    async fn find_one(
        &self,
        resource: &Resource,
        id: &Id,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        let read = move |memory: Arc<Memory>| async move { memory.find_one(resource, id).await };
        let found = self.link.read(read).await;
        found.inspect(|it| self.link.returned(resource, it.position))
    }

    async fn head(&self, resource: &Resource) -> Result<Position, Error> {
        let read = move |memory: Arc<Memory>| async move { memory.head(resource).await };
        let found = self.link.read(read).await;
        found.inspect(|it| self.link.returned(resource, *it))
    }

    async fn changes_since_for(
        &self,
        room: &Room,
        position: Position,
        options: &ReadOptions,
    ) -> Result<ChangesSince, Error> {
        let read = move |memory: Arc<Memory>| async move {
            memory.changes_since_for(room, position, options).await
        };
        let since = self.link.read(read).await;
        since.inspect(|since| {
            if let ChangesSince::Changes { head, .. } = since {
                self.link.returned(room.resource(), *head);
            }
        })
    }

    async fn reaches(&self, of: &Resource, positions: &[Position]) -> Result<Vec<bool>, Error> {
        let read = move |memory: Arc<Memory>| async move { memory.reaches(of, positions).await };
        self.link.read(read).await
    }

    async fn keys(&self) -> Result<BTreeMap<Resource, String>, Error> {
        let read = move |memory: Arc<Memory>| async move { memory.keys().await };
        self.link.read(read).await
    }

    fn missed_changes(&self) -> Option<UnboundedReceiver<MissedChanges>> {
        self.missed.lock().take()
    }

    fn set_resource_filter(&self, filter: ResourceFilter) {
        // The server calls this once.
        let _ = self.follower.filter.set(filter);
    }

    fn events(&self) -> Option<mpsc::Receiver<StoreEvent>> {
        self.events.lock().take()
    }

    async fn announce(&self, text: &str) -> Result<(), Error> {
        self.link.announce(text).await
    }

    async fn ask(&self, text: &str) -> Result<Answers, Error> {
        self.link.ask(self.number, text).await
    }

    async fn answer(&self, question: &Question, text: &str) -> Result<(), Error> {
        self.link.answer(self.number, question, text).await
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
impl Cascades for NodeEngine {
    async fn unfinished(&self) -> Result<Vec<Cascade>, Error> {
        self.store().memory().cascades().unfinished().await
    }

    async fn dangling(
        &self,
        cascade: &Cascade,
        after: Option<&Id>,
        limit: usize,
    ) -> Result<Vec<Id>, Error> {
        self.store().memory().cascades().dangling(cascade, after, limit).await
    }

    async fn finish(&self, cascade: &Cascade) -> Result<(), Error> {
        self.store().memory().cascades().finish(cascade).await
    }
}

#[async_trait]
impl Sessions for NodeEngine {
    async fn secret(&self) -> Result<[u8; 32], Error> {
        self.store().memory().sessions().secret().await
    }

    async fn load(&self, id: &str, now: u64) -> Result<Option<StoredSession>, Error> {
        self.store().memory().sessions().load(id, now).await
    }

    async fn find_by_value(
        &self,
        key: &str,
        value: &Value,
        now: u64,
    ) -> Result<Vec<Arc<str>>, Error> {
        self.store().memory().sessions().find_by_value(key, value, now).await
    }

    async fn edit(&self, edit: SessionEdit) -> Result<(), Error> {
        self.store().memory().sessions().edit(edit).await
    }
}

#[async_trait]
impl Queues for NodeEngine {
    async fn begin(&self, _: Node, at: u64) -> Result<(), Error> {
        self.link.clear_sockets(self.server, at).await
    }

    async fn enqueue(&self, post: Enqueue) -> Result<Enqueued, Error> {
        let link = Arc::clone(&self.link);
        self.queue_step(async move {
            let list = post.list.clone().unwrap_or_default();
            // If a message of a list was not stored, the later ones are not stored either.
            let stored = match list.has_failed() {
                true => Err(no_answer()),
                false => link.enqueue(post).await,
            };
            stored.inspect_err(|_| list.set_failed())
        })
        .await?
    }

    async fn connect(
        &self,
        device: Device,
        ttl: Ttl,
        max_devices: usize,
        at: u64,
    ) -> Result<Option<Flake>, Error> {
        let (link, server) = (Arc::clone(&self.link), self.server);
        self.queue_step(async move { link.connect(server, (device, ttl, max_devices), at).await })
            .await?
    }

    async fn restore(
        &self,
        device: Device,
        ttl: Ttl,
        max_devices: usize,
        at: u64,
    ) -> Result<(), Error> {
        let (link, server) = (Arc::clone(&self.link), self.server);
        self.queue_step(async move { link.restore(server, (device, ttl, max_devices), at).await })
            .await?
    }

    async fn disconnect(&self, device: Device, at: u64) -> Result<(), Error> {
        let (link, server) = (Arc::clone(&self.link), self.server);
        self.queue_step(async move { link.disconnect(server, device, at).await }).await
    }

    async fn ack(&self, device: Device, ack: Ack, at: u64) -> Result<AckOutcome, Error> {
        let link = Arc::clone(&self.link);
        self.queue_step(async move { link.ack(device, ack, at).await }).await?
    }

    async fn waiting(&self, device: Device, range: QueueRange) -> Result<Batch, Error> {
        let read = move |memory: Arc<Memory>| {
            let device = device.clone();
            async move { memory.queues().waiting(device, range).await }
        };
        let batch = self.link.read(read).await?;
        batch.deliveries.iter().for_each(|it| self.link.knows(it.id));
        Ok(batch)
    }
}
