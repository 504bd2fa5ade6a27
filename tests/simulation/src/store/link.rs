//! The network between a server and the shared store, and the steps that go over it. A connection
//! belongs to one [run](super::Run) of the store, and breaks at its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backwire_engine::{
    Ack, AckOutcome, Answers, CommitOutcome, Device, Engine, Enqueue, Enqueued, Error, Memory,
    Question, StoreEvent,
};
use backwire_records::change::{Position, Resource};
use backwire_records::messages::flake::Flake;
use backwire_records::messages::rules::Ttl;
use backwire_records::write::Write;
use parking_lot::Mutex as SyncMutex;
use tokio::sync::mpsc::unbounded_channel;

use super::{DEADLINE, Run, SharedStore, no_answer};

/// The network between a server and the store.
pub(crate) struct Link {
    store: Arc<SharedStore>,
    /// No packet passes until this time.
    cut_until: SyncMutex<Instant>,
    /// The last run that the server has connected to.
    last_run: AtomicU64,
    /// The highest offset that a read has returned, by resource and epoch.
    read: SyncMutex<BTreeMap<(Resource, u64), u64>>,
    /// The largest id of a message that the server knows.
    known_id: SyncMutex<Flake>,
}

impl Link {
    pub(crate) fn new(store: &Arc<SharedStore>) -> Arc<Self> {
        let cut_until = SyncMutex::new(store.environment.now());
        let (last_run, read, known_id) = Default::default();
        Arc::new(Self { store: Arc::clone(store), cut_until, last_run, read, known_id })
    }

    /// Records that the server has connected to a run. It ignores the answers of former ones.
    pub(crate) fn connected_to(&self, run: &Run) {
        self.last_run.store(run.number, Ordering::Relaxed);
    }

    /// Records that a read has returned a position.
    pub(crate) fn returned(&self, resource: &Resource, Position { epoch, offset }: Position) {
        let mut read = self.read.lock();
        let highest = read.entry((resource.clone(), epoch)).or_default();
        *highest = offset.max(*highest);
    }

    /// Returns the highest offset that a read has returned in an epoch.
    pub(crate) fn highest_read(&self, resource: &Resource, epoch: u64) -> u64 {
        self.read.lock().get(&(resource.clone(), epoch)).copied().unwrap_or_default()
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

    /// Reads from the store. If the connection breaks, the server connects and reads again.
    pub(crate) async fn read<T, F: Future<Output = Result<T, Error>>>(
        &self,
        read: impl Fn(Arc<Memory>) -> F,
    ) -> Result<T, Error> {
        self.within_deadline(async {
            loop {
                let connection = self.store.run().number;
                self.pass().await;
                let Ok(memory) = self.store.memory_of(connection) else { continue };
                let value = read(memory).await;
                self.pass().await;
                if self.has_arrived(connection) {
                    return value;
                }
            }
        })
        .await
    }

    /// Whether an answer has arrived over a connection that may have broken meanwhile.
    fn has_arrived(&self, connection: u64) -> bool {
        self.store.run().number == connection
            || self.last_run.load(Ordering::Relaxed) <= connection
                && self.store.environment.random_u64().is_multiple_of(2)
    }

    /// Runs a step of the store. If there is no answer within the deadline, the store may still
    /// have executed the step.
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        step: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = self.store.run().number;
        self.step_on(connection, step).await
    }

    /// The same over a connection of a run.
    async fn step_on<T: Send + 'static>(
        &self,
        connection: u64,
        step: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.within_deadline(async {
            self.pass().await;
            let value = self.store.execute(connection, step).await;
            self.pass().await;
            let value = value.filter(|_| self.has_arrived(connection));
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

    /// Commits a write. Returns the number of the run in which it was committed, too.
    pub(crate) async fn commit(&self, write: Write) -> Result<(CommitOutcome, u64), Error> {
        let (store, connection) = (Arc::clone(&self.store), self.store.run().number);
        let commit = async move { store.commit(connection, write).await };
        Ok((self.step_on(connection, commit).await?, connection))
    }

    pub(crate) async fn enqueue(&self, post: Enqueue) -> Result<Enqueued, Error> {
        let (store, connection) = (Arc::clone(&self.store), self.store.run().number);
        let known_id = *self.known_id.lock();
        let enqueue = async move { store.enqueue(connection, post, known_id).await };
        let enqueued = self.step_on(connection, enqueue).await?;
        self.knows(enqueued.id);
        Ok(enqueued)
    }

    /// Records that the server knows the id of a message.
    pub(crate) fn knows(&self, id: Flake) {
        let mut known_id = self.known_id.lock();
        *known_id = id.max(*known_id);
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
                store.memory().queues().disconnect(device, at).await?;
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
                let memory = store.memory();
                let connecting = memory.queues().connect(connected.clone(), ttl, max_devices, at);
                let last = connecting.await?;
                if last.is_some() {
                    store.count_socket(server, &connected, true);
                    store.record(&connected);
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

    /// Records a connected device again, if the store has lost it.
    pub(crate) async fn restore(
        &self,
        server: usize,
        (device, ttl, max_devices): (Device, Ttl, usize),
        at: u64,
    ) -> Result<(), Error> {
        let store = Arc::clone(&self.store);
        self.step(async move {
            let key = (server, device.clone());
            if store.state.lock().sockets.get(&key).is_some_and(|count| *count > 0) {
                return Ok(());
            }
            let memory = store.memory();
            let restoring = memory.queues().connect(device.clone(), ttl, max_devices, at);
            if restoring.await?.is_some() {
                store.count_socket(server, &device, true);
                store.record(&device);
            }
            Ok(())
        })
        .await
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
                    store.memory().queues().disconnect(device, at).await
                })
                .await;
        }
    }

    /// Removes acked deliveries from a queue.
    pub(crate) async fn ack(&self, device: Device, ack: Ack, at: u64) -> Result<AckOutcome, Error> {
        let store = Arc::clone(&self.store);
        let known_id = *self.known_id.lock();
        self.step(async move {
            let memory = store.memory();
            memory.give_message_ids_after(known_id);
            memory.queues().ack(device, ack, at).await
        })
        .await
    }
}
