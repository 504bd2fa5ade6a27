//! The engine of one of the servers that share a [store](SharedStore), and the network between the
//! server and the store.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use backwire_engine::{
    Ack, AckOutcome, Answers, Batch, Cascades, ChangesSince, CommitOutcome, Device, Engine,
    Enqueue, Enqueued, Environment, Error, Gap, Interest, KeyLookup, LedgerEntry, Question,
    QueueRange, Queues, ReadOptions, Record, Sessions, Snapshot, StoreEvent, Tail,
};
use backwire_environment::Watched;
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room};
use backwire_records::criteria::Criteria;
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::rules::Ttl;
use backwire_records::write::Write;
use parking_lot::Mutex as SyncMutex;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::store::{DEADLINE, Link, SharedStore, Subscription, no_answer};

/// How long the changes of other servers may wait for a busy server, in milliseconds.
const MAX_BUSY: u64 = 2_500;

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
    gaps: SyncMutex<Option<UnboundedReceiver<Gap>>>,
    events: SyncMutex<Option<mpsc::Receiver<StoreEvent>>>,
}

/// Follows the changes of all servers.
struct Follower {
    link: Arc<Link>,
    environment: Environment,
    tail: Tail,
    gaps: UnboundedSender<Gap>,
    interest: OnceLock<Interest>,
    /// For each resource, the offset of the last change that was sent to the tail or skipped.
    delivered: Watched<BTreeMap<Resource, u64>>,
}

impl NodeEngine {
    pub(crate) fn new(
        server: usize,
        environment: Environment,
        link: Arc<Link>,
        tail: Tail,
    ) -> Self {
        let Subscription { number, changes, events } = link.store().subscribe();
        let (to_gaps, gaps) = unbounded_channel();
        let (to_events, received) = mpsc::channel(MAX_EVENTS);
        let follower = Arc::new(Follower {
            link: Arc::clone(&link),
            environment: environment.clone(),
            tail,
            gaps: to_gaps,
            interest: OnceLock::new(),
            delivered: Watched::default(),
        });
        environment.spawn(Arc::clone(&follower).follow(changes));
        environment.spawn(follow_events(environment.clone(), Arc::clone(&link), events, to_events));
        let (write_lock, queue_lock) = Default::default();
        let (gaps, events) = (SyncMutex::new(Some(gaps)), SyncMutex::new(Some(received)));
        Self { server, number, environment, link, write_lock, queue_lock, follower, gaps, events }
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

impl Follower {
    async fn follow(self: Arc<Self>, mut changes: UnboundedReceiver<Arc<Change>>) {
        // The logs of the resources are followed concurrently.
        let mut logs = BTreeMap::<Resource, UnboundedSender<Arc<Change>>>::new();
        while let Some(change) = changes.recv().await {
            let log = logs.entry(change.resource.clone()).or_insert_with(|| {
                let (sender, receiver) = unbounded_channel();
                let after = change.position.offset - 1;
                let log = Arc::clone(&self).follow_log(change.resource.clone(), after, receiver);
                self.environment.spawn(log);
                sender
            });
            // The receiver is dropped only when the server ends.
            let _ = log.send(change);
        }
    }

    async fn follow_log(
        self: Arc<Self>,
        resource: Resource,
        mut last: u64,
        mut changes: UnboundedReceiver<Arc<Change>>,
    ) {
        while let Some(change) = changes.recv().await {
            self.link.pass().await;
            // A server is sometimes busy.
            let random = self.environment.random_u64();
            if random.is_multiple_of(24) {
                let millis = (random >> 8) % MAX_BUSY;
                self.environment.sleep(Duration::from_millis(millis)).await;
            }
            let Position { epoch, offset } = change.position;
            if offset <= last {
                continue;
            }
            let memory = &self.link.store().memory;
            let before = Position { epoch, offset: last };
            let is_kept = memory.reaches(&resource, &[before]).await.is_ok_and(|it| it == [true]);
            let is_needed = self.interest.get().is_none_or(|needs| needs(&resource));
            if is_kept {
                // The engine skips changes that the server does not need.
                if is_needed {
                    // The server may be closing.
                    let _ = self.tail.send(change).await;
                }
                last = offset;
            } else {
                let Ok(upto) = memory.head(&resource).await else { return };
                // The server may be closing.
                let _ = self.gaps.send(Gap { resource: resource.clone(), after: last, upto });
                last = upto.offset;
            }
            self.delivered.update(|delivered| {
                delivered.insert(resource.clone(), last);
            });
        }
    }

    /// Waits until a change was sent to the tail or skipped.
    async fn wait_for_delivery(&self, change: &Change) -> Result<(), Error> {
        let has = |delivered: &BTreeMap<Resource, u64>| {
            delivered.get(&change.resource).is_some_and(|last| *last >= change.position.offset)
        };
        let has_reached = self.delivered.wait_for(has);
        let reached = self.environment.timeout(DEADLINE, has_reached).await;
        reached.map_err(|_| no_answer())
    }
}

/// Passes the events of the store on to the server. If an event had to wait, this may drop it and
/// all that are queued, and send [`StoreEvent::Missed`] instead.
async fn follow_events(
    environment: Environment,
    link: Arc<Link>,
    mut events: UnboundedReceiver<StoreEvent>,
    to_server: mpsc::Sender<StoreEvent>,
) {
    while let Some(mut event) = events.recv().await {
        if link.pass().await && environment.random_u64().is_multiple_of(2) {
            while events.try_recv().is_ok() {}
            event = StoreEvent::Missed;
        }
        // The server may be closing.
        let _ = to_server.send(event).await;
    }
}

#[async_trait]
impl Engine for NodeEngine {
    async fn commit(&self, write: Write) -> Result<CommitOutcome, Error> {
        let turn = self.lock_in_time(self.write_lock.lock()).await?;
        let outcome = self.link.commit(write).await?;
        drop(turn);
        if !outcome.repeated && !outcome.unchanged {
            self.follower.wait_for_delivery(&outcome.change).await?;
        }
        Ok(outcome)
    }

    async fn ledger_entry(&self, lookup: KeyLookup) -> Result<Option<LedgerEntry>, Error> {
        let _turn = self.lock_in_time(self.write_lock.lock()).await?;
        self.link.read(self.store().memory.ledger_entry(lookup)).await
    }

    async fn find_for(
        &self,
        resource: &Resource,
        criteria: &Criteria,
        options: &ReadOptions,
    ) -> Result<Snapshot<Vec<Record>>, Error> {
        self.link.read(self.store().memory.find_for(resource, criteria, options)).await
    }

    async fn find_one(
        &self,
        resource: &Resource,
        id: &Id,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        self.link.read(self.store().memory.find_one(resource, id)).await
    }

    async fn head(&self, resource: &Resource) -> Result<Position, Error> {
        self.link.read(self.store().memory.head(resource)).await
    }

    async fn changes_since_for(
        &self,
        room: &Room,
        position: Position,
        options: &ReadOptions,
    ) -> Result<ChangesSince, Error> {
        self.link.read(self.store().memory.changes_since_for(room, position, options)).await
    }

    async fn reaches(&self, of: &Resource, positions: &[Position]) -> Result<Vec<bool>, Error> {
        self.link.read(self.store().memory.reaches(of, positions)).await
    }

    async fn keys(&self) -> Result<BTreeMap<Resource, String>, Error> {
        self.link.read(self.store().memory.keys()).await
    }

    fn gaps(&self) -> Option<UnboundedReceiver<Gap>> {
        self.gaps.lock().take()
    }

    fn set_interest(&self, interest: Interest) {
        // The server calls this once.
        let _ = self.follower.interest.set(interest);
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
        self.store().memory.cascades()
    }

    fn sessions(&self) -> &dyn Sessions {
        self.store().memory.sessions()
    }

    fn queues(&self) -> &dyn Queues {
        self
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

    async fn disconnect(&self, device: Device, at: u64) -> Result<(), Error> {
        let (link, server) = (Arc::clone(&self.link), self.server);
        self.queue_step(async move { link.disconnect(server, device, at).await }).await
    }

    async fn ack(&self, device: Device, ack: Ack, at: u64) -> Result<AckOutcome, Error> {
        let link = Arc::clone(&self.link);
        self.queue_step(async move { link.ack(device, ack, at).await }).await?
    }

    async fn waiting(&self, device: Device, range: QueueRange) -> Result<Batch, Error> {
        self.link.read(self.store().memory.queues().waiting(device, range)).await
    }
}
