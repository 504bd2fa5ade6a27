//! The store that several servers share, in the place of Redis. It is a process of its own, so it
//! continues if a server ends. It sends the changes and the events of all servers to each of them.
//!
//! A replica of the store can replace it. It has not received the last writes, so these are lost.
//! All connections break, and a server notices that when it connects again.
//!
//! `node` has the engine of each server, which reaches the store over a [`Link`](link::Link).

pub(crate) mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backwire::simulation::changes;
use backwire_engine::{
    CommitOutcome, Device, Engine, Enqueue, Enqueued, Environment, Error, Memory, Replica,
    StoreEvent, StoredMessage,
};
use backwire_records::change::{Change, Resource};
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::write::Write;
use parking_lot::Mutex as SyncMutex;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};

use backwire_checker::history::History;
use backwire_checker::messages::Messages;

/// How long a server waits for an answer of the store.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);

/// How long the store still expects answers of a server that has been killed.
const LEASE: Duration = Duration::from_secs(10);

/// A store, and the servers that use it.
pub(crate) struct SharedStore {
    run: SyncMutex<Run>,
    /// The replica, from the stop of its replication to the failover.
    replica: SyncMutex<Option<StoppedReplica>>,
    history: Arc<History>,
    sent_messages: Arc<Messages>,
    /// When the simulation began.
    begin: Instant,
    /// That of its own process.
    environment: Environment,
    /// The maximum time of a packet to or from the store, in milliseconds.
    max_latency: u64,
    /// Held by each commit and enqueue, so that the subscribers get changes and messages in the
    /// order in which they were stored.
    write_lock: Mutex<()>,
    /// The store does not answer until this time.
    fails_until: SyncMutex<Instant>,
    state: SyncMutex<State>,
}

/// The time from one failover to the next. Each connection belongs to one.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) number: u64,
    pub(crate) memory: Arc<Memory>,
}

struct StoppedReplica {
    replica: Replica,
    /// The offset of the last change of each resource.
    heads: BTreeMap<Resource, u64>,
    sockets: BTreeMap<(usize, Device), u64>,
    recorded: BTreeSet<String>,
    /// The numbers of the messages that were stored since.
    messages: Vec<u64>,
}

#[derive(Default)]
struct State {
    /// The subscribers, by the number of their subscription.
    subscribers: BTreeMap<u64, Subscriber>,
    last_number: u64,
    /// The number of sockets of each device at each server.
    sockets: BTreeMap<(usize, Device), u64>,
    /// The names of the devices that are recorded.
    recorded: BTreeSet<String>,
    /// The channels for the answers to each question.
    questions: BTreeMap<String, UnboundedSender<(u64, String)>>,
}

/// A server that receives changes and events: the sending ends.
struct Subscriber {
    changes: UnboundedSender<Arc<Change>>,
    events: UnboundedSender<StoreEvent>,
}

impl Subscriber {
    /// Returns the sending ends of a connection that has broken.
    fn broken() -> Self {
        Self { changes: unbounded_channel().0, events: unbounded_channel().0 }
    }
}

/// The receiving ends of a server, the number of its subscription, and the heads of all logs at its
/// begin.
pub(crate) struct Subscription {
    pub(crate) number: u64,
    pub(crate) run: Run,
    pub(crate) heads: BTreeMap<Resource, u64>,
    pub(crate) changes: UnboundedReceiver<Arc<Change>>,
    pub(crate) events: UnboundedReceiver<StoreEvent>,
}

impl SharedStore {
    pub(crate) fn new(
        memory: Memory,
        (history, sent_messages): (Arc<History>, Arc<Messages>),
        environment: Environment,
        max_latency: u64,
    ) -> Arc<Self> {
        let begin = environment.now();
        let fails_until = SyncMutex::new(begin);
        let (write_lock, state, replica) = Default::default();
        let run = SyncMutex::new(Run { number: 0, memory: Arc::new(memory) });
        Arc::new(Self {
            run,
            replica,
            history,
            sent_messages,
            begin,
            environment,
            max_latency,
            write_lock,
            fails_until,
            state,
        })
    }

    /// Returns the current run.
    pub(crate) fn run(&self) -> Run {
        self.run.lock().clone()
    }

    /// Returns the current data.
    pub(crate) fn memory(&self) -> Arc<Memory> {
        self.run().memory
    }

    /// Stops the replication to the replica, which is to replace the store. Returns `false` if it
    /// is stopped already.
    pub(crate) fn stop_replication(&self) -> bool {
        let (memory, mut replica) = (self.memory(), self.replica.lock());
        if replica.is_some() {
            return false;
        }
        let state = self.state.lock();
        *replica = Some(StoppedReplica {
            replica: memory.replica(),
            heads: memory.heads(),
            sockets: state.sockets.clone(),
            recorded: state.recorded.clone(),
            messages: Vec::new(),
        });
        true
    }

    /// Replaces the store by the replica, which is not reachable for a time. All connections break.
    pub(crate) async fn fail_over(&self, time: Duration) {
        let _lock = self.write_lock.lock().await;
        let Some(stopped) = self.replica.lock().take() else { return };
        let StoppedReplica { replica, heads, sockets, recorded, messages } = stopped;
        let (tail, received) = changes();
        self.environment.spawn(drain(received));
        let former = self.run();
        let memory = former.memory.replaced_by(replica, self.environment.clone(), tail);
        self.history.lost(memory.epoch(), &heads, self.millis_at(self.environment.now()));
        *self.run.lock() = Run { number: former.number + 1, memory: Arc::new(memory) };
        let mut state = self.state.lock();
        let lost: Vec<_> = state.recorded.difference(&recorded).cloned().collect();
        self.sent_messages.lost(&messages, &lost);
        (state.sockets, state.recorded) = (sockets, recorded);
        for subscriber in state.subscribers.values_mut() {
            *subscriber = Subscriber::broken();
        }
        drop(state);
        self.fail(time);
    }

    /// Returns a time in milliseconds since the begin of the simulation.
    fn millis_at(&self, time: Instant) -> u64 {
        u64::try_from((time - self.begin).as_millis()).unwrap_or(u64::MAX)
    }

    /// Prepares the queues of the store. This is called once.
    pub(crate) async fn begin(&self) -> Result<(), Error> {
        self.memory().queues().begin(Node::default(), self.environment.unix_millis()).await
    }

    /// Makes the store unavailable for a time.
    pub(crate) fn fail(&self, time: Duration) {
        *self.fails_until.lock() = self.environment.now() + time;
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        let mut state = self.state.lock();
        state.last_number += 1;
        let number = state.last_number;
        drop(state);
        self.subscribe_again(number)
    }

    /// The same for a server whose connection has broken.
    pub(crate) fn subscribe_again(&self, number: u64) -> Subscription {
        let (to_changes, changes) = unbounded_channel();
        let (to_events, events) = unbounded_channel();
        let run = self.run();
        let subscriber = Subscriber { changes: to_changes, events: to_events };
        self.state.lock().subscribers.insert(number, subscriber);
        Subscription { number, heads: run.memory.heads(), run, changes, events }
    }

    /// Ends the subscription of a killed server after [`LEASE`].
    pub(crate) fn expire(self: &Arc<Self>, number: u64) {
        let store = Arc::clone(self);
        self.environment.spawn(async move {
            store.environment.sleep(LEASE).await;
            store.state.lock().subscribers.remove(&number);
        });
    }

    /// Runs a step in the process of the store, if its connection still belongs to the current run.
    /// The step continues if the caller is gone.
    async fn execute<T: Send + 'static>(
        self: &Arc<Self>,
        connection: u64,
        step: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Option<Result<T, Error>> {
        let (sender, done) = oneshot::channel();
        let store = Arc::clone(self);
        self.environment.spawn(async move {
            let outcome = match store.run().number == connection {
                true => step.await,
                false => Err(no_answer()),
            };
            // The caller may be gone.
            let _ = sender.send(outcome);
        });
        done.await.ok()
    }

    async fn commit(&self, connection: u64, write: Write) -> Result<CommitOutcome, Error> {
        let _lock = self.write_lock.lock().await;
        let memory = self.memory_of(connection)?;
        let outcome = memory.commit(write).await;
        if let Ok(CommitOutcome { change, repeated: false, unchanged: false }) = &outcome {
            self.history.committed(change);
            for subscriber in self.state.lock().subscribers.values() {
                // The server may be gone.
                let _ = subscriber.changes.send(Arc::clone(change));
            }
        }
        outcome
    }

    /// Returns the data if a connection still belongs to the current run.
    fn memory_of(&self, connection: u64) -> Result<Arc<Memory>, Error> {
        let Run { number, memory } = self.run();
        if number == connection { Ok(memory) } else { Err(no_answer()) }
    }

    /// Stores a message for a server that knows the id of another one.
    async fn enqueue(
        &self,
        connection: u64,
        post: Enqueue,
        known_id: Flake,
    ) -> Result<Enqueued, Error> {
        let _lock = self.write_lock.lock().await;
        let Enqueue { site, message, persons, .. } = post.clone();
        let memory = self.memory_of(connection)?;
        memory.give_message_ids_after(known_id);
        let enqueued = memory.queues().enqueue(post).await?;
        if !enqueued.repeated {
            let number = message.args.first().and_then(|arg| arg.get().parse().ok());
            if let Some(number) = number {
                self.sent_messages.stored(number);
            }
            if let Some(replica) = &mut *self.replica.lock() {
                replica.messages.extend(number);
            }
            let stored = StoredMessage { id: enqueued.id, site, persons, message };
            self.publish(&StoreEvent::MessageStored(stored), None);
        }
        Ok(enqueued)
    }

    /// Sends an event to all servers, or to all except one. Returns the numbers of their
    /// subscriptions.
    fn publish(&self, event: &StoreEvent, except: Option<u64>) -> Vec<u64> {
        let state = self.state.lock();
        let others = state.subscribers.iter().filter(|(number, _)| Some(**number) != except);
        let send = |(number, subscriber): (&u64, &Subscriber)| {
            // The server may be gone.
            let _ = subscriber.events.send(event.clone());
            *number
        };
        others.map(send).collect()
    }

    /// Records a device, unless it is known.
    fn record(&self, device: &Device) {
        if self.state.lock().recorded.insert(device.name.to_string()) {
            self.sent_messages.recorded(&device.name);
        }
    }

    /// Adds or removes a socket of a device at a server.
    fn count_socket(&self, server: usize, device: &Device, is_connected: bool) {
        let mut state = self.state.lock();
        let sockets = state.sockets.entry((server, device.clone())).or_default();
        *sockets = if is_connected { *sockets + 1 } else { sockets.saturating_sub(1) };
    }

    /// Removes the sockets of a server's former process, and returns the device of each.
    fn take_sockets(&self, server: usize) -> Vec<Device> {
        let is_of_server = |(at, _): &(usize, Device), _: &mut u64| *at == server;
        let mut devices = Vec::new();
        for ((_, device), count) in self.state.lock().sockets.extract_if(.., is_of_server) {
            devices.extend((0..count).map(|_| device.clone()));
        }
        devices
    }
}

/// Receives changes that nobody needs: the store sends its changes to the servers itself.
pub(crate) async fn drain(mut changes: mpsc::Receiver<Arc<Change>>) {
    while changes.recv().await.is_some() {}
}

pub(crate) fn no_answer() -> Error {
    Error::Unavailable(format!("the store did not answer within {DEADLINE:?}"))
}
