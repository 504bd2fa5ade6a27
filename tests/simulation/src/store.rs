//! The store that several servers share, in the place of Redis. It is a process of its own, so it
//! continues if a server ends. It sends the changes and the events of all servers to each of them.
//!
//! `node` has the engine of each server, which reaches the store over a [`Link`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backwire_engine::{
    Ack, AckOutcome, Answers, CommitOutcome, Device, Engine, Enqueue, Enqueued, Environment, Error,
    Memory, Question, StoreEvent, StoredMessage,
};
use backwire_records::change::Change;
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::rules::Ttl;
use backwire_records::write::Write;
use parking_lot::Mutex as SyncMutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};

use backwire_checker::history::History;

/// How long a server waits for an answer of the store.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);

/// How long the store still expects answers of a server that has been killed.
const LEASE: Duration = Duration::from_secs(10);

/// A store, and the servers that use it.
pub(crate) struct SharedStore {
    pub(crate) memory: Memory,
    history: Arc<History>,
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

#[derive(Default)]
struct State {
    /// The subscribers, by the number of their subscription.
    subscribers: BTreeMap<u64, Subscriber>,
    last_number: u64,
    /// The number of sockets of each device at each server.
    sockets: BTreeMap<(usize, Device), u64>,
    /// The channels for the answers to each question.
    questions: BTreeMap<String, UnboundedSender<(u64, String)>>,
}

/// A server that receives changes and events: the sending ends.
struct Subscriber {
    changes: UnboundedSender<Arc<Change>>,
    events: UnboundedSender<StoreEvent>,
}

/// The receiving ends of a server, and the number of its subscription.
pub(crate) struct Subscription {
    pub(crate) number: u64,
    pub(crate) changes: UnboundedReceiver<Arc<Change>>,
    pub(crate) events: UnboundedReceiver<StoreEvent>,
}

/// The network between a server and the store.
pub(crate) struct Link {
    store: Arc<SharedStore>,
    /// No packet passes until this time.
    cut_until: SyncMutex<Instant>,
}

impl SharedStore {
    pub(crate) fn new(
        memory: Memory,
        history: Arc<History>,
        environment: Environment,
        max_latency: u64,
    ) -> Arc<Self> {
        let fails_until = SyncMutex::new(environment.now());
        let (write_lock, state) = Default::default();
        Arc::new(Self { memory, history, environment, max_latency, write_lock, fails_until, state })
    }

    /// Prepares the queues of the store. This is called once.
    pub(crate) async fn begin(&self) -> Result<(), Error> {
        self.memory.queues().begin(Node::default(), self.environment.unix_millis()).await
    }

    /// Makes the store unavailable for a time.
    pub(crate) fn fail(&self, time: Duration) {
        *self.fails_until.lock() = self.environment.now() + time;
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        let (to_changes, changes) = unbounded_channel();
        let (to_events, events) = unbounded_channel();
        let mut state = self.state.lock();
        state.last_number += 1;
        let number = state.last_number;
        state.subscribers.insert(number, Subscriber { changes: to_changes, events: to_events });
        Subscription { number, changes, events }
    }

    /// Ends the subscription of a killed server after [`LEASE`].
    pub(crate) fn expire(self: &Arc<Self>, number: u64) {
        let store = Arc::clone(self);
        self.environment.spawn(async move {
            store.environment.sleep(LEASE).await;
            store.state.lock().subscribers.remove(&number);
        });
    }

    /// Runs a step in the process of the store. The step continues if the caller is gone.
    async fn run<T: Send + 'static>(
        &self,
        step: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, done) = oneshot::channel();
        self.environment.spawn(async move {
            // The caller may be gone.
            let _ = sender.send(step.await);
        });
        done.await.ok()
    }

    async fn commit(&self, write: Write) -> Result<CommitOutcome, Error> {
        let _lock = self.write_lock.lock().await;
        let outcome = self.memory.commit(write).await;
        if let Ok(CommitOutcome { change, repeated: false, unchanged: false }) = &outcome {
            self.history.committed(change);
            for subscriber in self.state.lock().subscribers.values() {
                // The server may be gone.
                let _ = subscriber.changes.send(Arc::clone(change));
            }
        }
        outcome
    }

    async fn enqueue(&self, post: Enqueue) -> Result<Enqueued, Error> {
        let _lock = self.write_lock.lock().await;
        let Enqueue { site, message, persons, .. } = post.clone();
        let enqueued = self.memory.queues().enqueue(post).await?;
        if !enqueued.repeated {
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

impl Link {
    pub(crate) fn new(store: &Arc<SharedStore>) -> Arc<Self> {
        let cut_until = SyncMutex::new(store.environment.now());
        Arc::new(Self { store: Arc::clone(store), cut_until })
    }

    pub(crate) fn store(&self) -> &Arc<SharedStore> {
        &self.store
    }

    /// Cuts the network for a time.
    pub(crate) fn cut(&self, time: Duration) {
        *self.cut_until.lock() = self.store.environment.now() + time;
    }

    /// Waits for as long as a packet needs, and while the network is cut or the store unavailable.
    /// Returns whether it was.
    pub(crate) async fn pass(&self) -> bool {
        let environment = &self.store.environment;
        // Half of the packets take no time, so that two things happen at once.
        let max = self.store.max_latency;
        let millis = (environment.random_u64() % (2 * max + 1)).saturating_sub(max);
        if millis > 0 {
            environment.sleep(Duration::from_millis(millis)).await;
        }
        let mut has_waited = false;
        loop {
            let until = (*self.cut_until.lock()).max(*self.store.fails_until.lock());
            if until <= environment.now() {
                return has_waited;
            }
            has_waited = true;
            environment.sleep_until(until).await;
        }
    }

    /// Reads from the store.
    pub(crate) async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.within_deadline(async {
            self.pass().await;
            let value = read.await;
            self.pass().await;
            value
        })
        .await
    }

    /// Runs a step of the store. If there is no answer within the deadline, the store may still
    /// have executed the step.
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        step: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.within_deadline(async {
            self.pass().await;
            let value = self.store.run(step).await;
            self.pass().await;
            value.unwrap_or_else(|| Err(no_answer()))
        })
        .await
    }

    async fn within_deadline<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let answered = self.store.environment.timeout(DEADLINE, work).await;
        answered.unwrap_or_else(|_| Err(no_answer()))
    }

    pub(crate) async fn commit(&self, write: Write) -> Result<CommitOutcome, Error> {
        let store = Arc::clone(&self.store);
        self.step(async move { store.commit(write).await }).await
    }

    pub(crate) async fn enqueue(&self, post: Enqueue) -> Result<Enqueued, Error> {
        let store = Arc::clone(&self.store);
        self.step(async move { store.enqueue(post).await }).await
    }

    pub(crate) async fn announce(&self, text: &str) -> Result<(), Error> {
        let (store, event) = (Arc::clone(&self.store), StoreEvent::Announced(text.to_owned()));
        self.step(async move {
            store.publish(&event, None);
            Ok(())
        })
        .await
    }

    /// Asks all other servers, and waits for their answers within the deadline.
    pub(crate) async fn ask(&self, asker: u64, text: &str) -> Result<Answers, Error> {
        let (store, environment) = (Arc::clone(&self.store), &self.store.environment);
        let name = format!("{:x}", environment.random_u64());
        let (sender, mut answers) = unbounded_channel();
        store.state.lock().questions.insert(name.clone(), sender);
        let event = StoreEvent::Asked(Question::new(name.clone()), text.to_owned());
        let asked = self.step(async move { Ok(store.publish(&event, Some(asker))) }).await;
        let mut texts = Vec::new();
        let missing = match asked {
            Ok(mut others) => {
                let complete = async {
                    while !others.is_empty() {
                        let Some((number, text)) = answers.recv().await else { break };
                        others.retain(|other| *other != number);
                        texts.push(text);
                    }
                };
                // The servers that have not answered in time remain in `others`.
                let _ = environment.timeout(DEADLINE, complete).await;
                Ok(others.len())
            }
            Err(error) => Err(error),
        };
        self.store.state.lock().questions.remove(&name);
        missing.map(|missing| Answers { texts, missing })
    }

    pub(crate) async fn answer(
        &self,
        by: u64,
        question: &Question,
        text: &str,
    ) -> Result<(), Error> {
        let (store, name, text) =
            (Arc::clone(&self.store), question.name().to_owned(), text.to_owned());
        self.step(async move {
            if let Some(asker) = store.state.lock().questions.get(&name) {
                // The asker may have stopped waiting.
                let _ = asker.send((by, text));
            }
            Ok(())
        })
        .await
    }

    /// Disconnects the devices that were connected to the former process of a server.
    pub(crate) async fn clear_sockets(&self, server: usize, at: u64) -> Result<(), Error> {
        let store = Arc::clone(&self.store);
        self.step(async move {
            for device in store.take_sockets(server) {
                store.memory.queues().disconnect(device, at).await?;
            }
            Ok(())
        })
        .await
    }

    /// Adds a socket of a device. If the server gets no answer, it removes the socket again.
    pub(crate) async fn connect(
        &self,
        server: usize,
        (device, ttl, max_devices): (Device, Ttl, usize),
        at: u64,
    ) -> Result<Option<Flake>, Error> {
        let (store, connected) = (Arc::clone(&self.store), device.clone());
        let is_counted = Arc::new(AtomicBool::new(false));
        let counted = Arc::clone(&is_counted);
        let last = self
            .step(async move {
                let queues = store.memory.queues();
                let last = queues.connect(connected.clone(), ttl, max_devices, at).await?;
                if last.is_some() {
                    store.count_socket(server, &connected, true);
                    counted.store(true, Ordering::Relaxed);
                }
                Ok(last)
            })
            .await;
        if last.is_err() && is_counted.load(Ordering::Relaxed) {
            self.disconnect(server, device, at).await;
        }
        last
    }

    /// Removes a socket of a device. Repeats the step until the store has begun it.
    pub(crate) async fn disconnect(&self, server: usize, device: Device, at: u64) {
        let is_done = Arc::new(AtomicBool::new(false));
        while !is_done.load(Ordering::Relaxed) {
            let (store, device) = (Arc::clone(&self.store), device.clone());
            let done = Arc::clone(&is_done);
            // Without an answer, the store may still have executed the step.
            let _ = self
                .step(async move {
                    done.store(true, Ordering::Relaxed);
                    store.count_socket(server, &device, false);
                    store.memory.queues().disconnect(device, at).await
                })
                .await;
        }
    }

    /// Removes acked deliveries from a queue.
    pub(crate) async fn ack(&self, device: Device, ack: Ack, at: u64) -> Result<AckOutcome, Error> {
        let store = Arc::clone(&self.store);
        self.step(async move { store.memory.queues().ack(device, ack, at).await }).await
    }
}

pub(crate) fn no_answer() -> Error {
    Error::Unavailable(format!("the store did not answer within {DEADLINE:?}"))
}
