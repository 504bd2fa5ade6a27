//! Follows the logs and the events of the shared store for one server. If a replica has replaced
//! the store, it does what the engine in Redis does: it compares what it has sent with the new
//! logs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backwire_engine::{
    ChangesSince, Engine, Environment, Error, MissedChanges, ResourceFilter, StoreEvent, Tail,
};
use backwire_environment::Watched;
use backwire_records::change::{Change, Position, Resource, Room};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::store::link::Link;
use crate::store::{DEADLINE, Run, no_answer};

/// How long the changes of other servers may wait for a busy server, in milliseconds.
const MAX_BUSY: u64 = 2_500;

/// Follows the changes of all servers.
pub(crate) struct Follower {
    pub(crate) link: Arc<Link>,
    pub(crate) environment: Environment,
    pub(crate) tail: Tail,
    pub(crate) missed: UnboundedSender<MissedChanges>,
    pub(crate) filter: OnceLock<ResourceFilter>,
    /// For each resource, the run and the offset of the last change that was sent to the tail or
    /// skipped.
    pub(crate) delivered: Watched<BTreeMap<Resource, (u64, u64)>>,
}

/// A step of the follower of one log.
enum Step {
    /// A change that has arrived in a run of the store.
    Change(u64, Arc<Change>),
    /// The server has connected to another run.
    Restart(Run),
}

impl Follower {
    /// Follows all logs until the server ends. `number` is that of its subscription.
    pub(crate) async fn follow(
        self: Arc<Self>,
        number: u64,
        (mut run, mut heads): (Run, BTreeMap<Resource, u64>),
        mut changes: UnboundedReceiver<Arc<Change>>,
        new_events: UnboundedSender<UnboundedReceiver<StoreEvent>>,
    ) {
        // The logs of the resources are followed concurrently.
        let mut logs = BTreeMap::<Resource, UnboundedSender<Step>>::new();
        loop {
            while let Some(change) = changes.recv().await {
                let of = &change.resource;
                let head = heads.remove(of).unwrap_or_default();
                let log = self.log(&mut logs, of, (run.clone(), head));
                // The receiver is dropped only when the server ends.
                let _ = log.send(Step::Change(run.number, change));
            }
            // The connection has broken.
            for (resource, head) in std::mem::take(&mut heads) {
                self.log(&mut logs, &resource, (run.clone(), head));
            }
            self.link.pass().await;
            let subscription = self.link.store().subscribe_again(number);
            (run, changes) = (subscription.run, subscription.changes);
            self.link.connected_to(&run);
            // Logs that are new are followed from their beginning.
            for resource in subscription.heads.keys() {
                self.log(&mut logs, resource, (run.clone(), 0));
            }
            for log in logs.values() {
                let _ = log.send(Step::Restart(run.clone()));
            }
            let _ = new_events.send(subscription.events);
        }
    }

    /// Returns the follower of a log, or begins after an offset in a run.
    fn log<'l>(
        self: &Arc<Self>,
        logs: &'l mut BTreeMap<Resource, UnboundedSender<Step>>,
        resource: &Resource,
        begin: (Run, u64),
    ) -> &'l UnboundedSender<Step> {
        logs.entry(resource.clone()).or_insert_with(|| {
            let (sender, receiver) = unbounded_channel();
            let log = Arc::clone(self).follow_log(resource.clone(), begin, receiver);
            self.environment.spawn(log);
            sender
        })
    }

    async fn follow_log(
        self: Arc<Self>,
        resource: Resource,
        (mut run, mut last): (Run, u64),
        mut steps: UnboundedReceiver<Step>,
    ) {
        // Whether the rest of what the former run has sent is lost.
        let mut is_broken = false;
        while let Some(step) = steps.recv().await {
            match step {
                Step::Change(..) if is_broken => continue,
                Step::Change(number, change) => {
                    self.link.pass().await;
                    self.be_busy().await;
                    let is_over = self.link.store().run().number != number;
                    if is_over && self.environment.random_u64().is_multiple_of(2) {
                        is_broken = true;
                        continue;
                    }
                    last = self.receive(&run, change, last, is_over).await;
                }
                Step::Restart(new) => {
                    is_broken = false;
                    last = self.compare(&resource, (&run, &new), last).await;
                    run = new;
                }
            }
            self.delivered.update(|delivered| {
                delivered.insert(resource.clone(), (run.number, last));
            });
        }
    }

    /// A server is sometimes busy.
    async fn be_busy(&self) {
        let random = self.environment.random_u64();
        if random.is_multiple_of(24) {
            let millis = (random >> 8) % MAX_BUSY;
            self.environment.sleep(Duration::from_millis(millis)).await;
        }
    }

    /// Receives the next change of a log, or reports missed ones. Returns the offset to continue
    /// after.
    async fn receive(&self, run: &Run, change: Arc<Change>, last: u64, is_over: bool) -> u64 {
        let (resource, Position { epoch, offset }) = (change.resource.clone(), change.position);
        if offset <= last {
            return last;
        }
        let before = Position { epoch, offset: last };
        let kept = run.memory.reaches(&resource, &[before]).await;
        // The changes that a former run has sent do not depend on the current log.
        if is_over || kept.is_ok_and(|it| it == [true]) {
            // The engine skips changes that the server does not need.
            if self.filter.get().is_none_or(|needs| needs(&resource)) {
                // The server may be closing.
                let _ = self.tail.send(change).await;
            }
            return offset;
        }
        let Ok(upto) = run.memory.head(&resource).await else { return last };
        self.report(&resource, last, upto);
        upto.offset
    }

    /// Compares a log with what was sent, in another run, as the engine in Redis does: it may have
    /// lost changes. Returns the offset to continue after.
    async fn compare(&self, resource: &Resource, (run, new): (&Run, &Run), last: u64) -> u64 {
        let (memory, followed) = (&new.memory, run.memory.epoch());
        let common = memory.common_offset(resource, followed);
        let seen = last.max(self.link.highest_read(resource, followed));
        if common < seen {
            let upto = Position { epoch: memory.epoch(), offset: common };
            self.report(resource, seen, upto);
        }
        let mut last = last.min(common);
        // The changes that other servers have made before this one has connected.
        let after = Position { epoch: memory.epoch(), offset: last };
        let room = Room::class(resource.clone());
        match memory.changes_since(&room, after).await {
            Ok(ChangesSince::Changes { changes, .. }) => {
                for change in changes {
                    last = self.receive(new, change, last, false).await;
                }
            }
            Ok(ChangesSince::OutOfReach) | Err(_) => {
                let Ok(upto) = memory.head(resource).await else { return last };
                self.report(resource, last, upto);
                last = upto.offset;
            }
        }
        last
    }

    fn report(&self, resource: &Resource, after: u64, upto: Position) {
        // The server may be closing.
        let _ = self.missed.send(MissedChanges { resource: resource.clone(), after, upto });
    }

    /// Waits until a change of a run was sent to the tail or skipped. It fails if the store has
    /// lost the change.
    pub(crate) async fn wait_for_delivery(&self, run: u64, change: &Change) -> Result<(), Error> {
        let last = |delivered: &BTreeMap<Resource, (u64, u64)>| {
            delivered.get(&change.resource).copied().unwrap_or_default()
        };
        let has_reached = self.delivered.wait_for(|delivered| {
            let (current, offset) = last(delivered);
            current > run || current == run && offset >= change.position.offset
        });
        let reached = self.environment.timeout(DEADLINE, has_reached).await;
        reached.map_err(|_| no_answer())?;
        if last(&self.delivered.get()).0 == run { Ok(()) } else { Err(no_answer()) }
    }
}

/// Passes the events of the store on to the server. If an event had to wait, this may drop it and
/// all that are queued, and send [`StoreEvent::Missed`] instead. The same is sent after the
/// connection has broken.
pub(crate) async fn follow_events(
    environment: Environment,
    link: Arc<Link>,
    (mut events, mut new_events): (
        UnboundedReceiver<StoreEvent>,
        UnboundedReceiver<UnboundedReceiver<StoreEvent>>,
    ),
    to_server: mpsc::Sender<StoreEvent>,
) {
    loop {
        while let Some(mut event) = events.recv().await {
            if link.pass().await && environment.random_u64().is_multiple_of(2) {
                while events.try_recv().is_ok() {}
                event = StoreEvent::Missed;
            }
            if let StoreEvent::MessageStored(stored) = &event {
                link.knows(stored.id);
            }
            // The server may be closing.
            let _ = to_server.send(event).await;
        }
        // The follower of the changes connects again.
        let Some(again) = new_events.recv().await else { return };
        events = again;
        // The server may be closing.
        let _ = to_server.send(StoreEvent::Missed).await;
    }
}
