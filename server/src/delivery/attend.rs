//! What one connection to a site is told: first what waits for its person, then what comes.
//!
//! Invariant: what is told of one person is told in the order of the ids, each once a connection. Batches
//! go out one after the other, the next when the one before is acked; what comes meanwhile is in the
//! queue and is read from there. Only when nothing waits that was not told is what comes told as it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::courier::{Arrival, Courier, Place, room_name};
use super::flake::Flake;
use super::guest::{Guest, Manner, Saying};
use super::rules::Portion;
use crate::context::now;
use crate::engine::{self, Acked, Asked, Delivery, Device, Outcome, Said};
use crate::socket::site::{self, Arguments, Line};

/// How much goes into one batch.
const PORTION: Portion = Portion { count: 200, bytes: 256 << 10 };

/// Why a connection is attended to no longer.
enum End {
    /// It is gone.
    Gone,
    /// It has to come again: it can not be told, or the store can not be asked.
    HangUp,
}

impl From<engine::Error> for End {
    fn from(error: engine::Error) -> Self {
        tracing::error!(%error, "a person can not be attended to");
        Self::HangUp
    }
}

/// What has been acked, by which persons.
type Done = (Acked, Vec<Arc<str>>);

/// One of the queues of a connection, and how far it has been told.
struct Queue {
    device: Device,
    told: Flake,
}

/// A connection that is attended to.
struct Attendance {
    courier: Courier,
    line: Line,
    manner: Manner,
    queues: Vec<Queue>,
    /// Of how many of these it has been said that they are there.
    present: usize,
    place: Place,
    gone: oneshot::Receiver<()>,
    /// What has been told by itself and is to be acked.
    acks: FuturesUnordered<BoxFuture<'static, Option<Done>>>,
    /// How many of these there may be: the queue itself is no longer than this.
    most: usize,
}

impl Courier {
    /// Attends to somebody until they are gone.
    pub(crate) async fn attend(self, guest: Guest, line: Line, gone: oneshot::Receiver<()>) {
        line.join(guest.rooms.iter().map(|room| room_name(room)).collect());
        let devices: Vec<_> = guest.devices().collect();
        let persons = devices.iter().map(|device| Arc::clone(&device.person)).collect();
        let place = self.place(guest.name.as_str().into(), persons);
        let queue = |device: &Device| Queue { device: device.clone(), told: Flake::ZERO };
        let mut attendance = Attendance {
            courier: self.clone(),
            line: line.clone(),
            manner: guest.manner(),
            queues: devices.iter().map(queue).collect(),
            present: 0,
            place,
            gone,
            acks: FuturesUnordered::new(),
            most: guest.site.most_waiting,
        };
        if let End::HangUp = attendance.run(&guest).await {
            line.hang_up();
        }
        line.leave();
        for device in devices.into_iter().take(attendance.present) {
            if let Err(error) = self.engine().queues().disconnect(device, now()).await {
                tracing::error!(%error, "can not note that a device is gone");
            }
        }
    }
}

impl Attendance {
    async fn run(&mut self, guest: &Guest) -> End {
        let (Ok(end) | Err(end)) = self.go(guest).await;
        end
    }

    async fn go(&mut self, guest: &Guest) -> Result<End, End> {
        let ttl = self.courier.ttl(&guest.site);
        if let Some((event, settings)) = guest.settings(ttl) {
            self.tell(event, &[settings])?;
        }
        for queue in &self.queues {
            self.courier.engine().queues().connect(queue.device.clone(), ttl, now()).await?;
            self.present += 1;
        }
        self.catch_up().await?;
        loop {
            tokio::select! {
                biased;
                // First: who is gone may have acked before.
                Some(acked) = self.acks.next(), if !self.acks.is_empty() => {
                    self.acked(acked).await?;
                }
                _ = &mut self.gone => return Ok(End::Gone),
                arrival = self.place.arrivals.recv() => match arrival {
                    Some(arrival) => self.arrived(&arrival)?,
                    None => return Ok(End::HangUp),
                },
            }
            if self.place.is_behind.load(Ordering::Acquire) {
                self.catch_up().await?;
            }
        }
    }

    fn tell(&self, event: &str, arguments: &[Box<RawValue>]) -> Result<(), End> {
        match self.line.tell(event, Arguments(arguments)) {
            true => Ok(()),
            false => Err(End::HangUp),
        }
    }

    fn ask(&self, Saying { event, arguments }: &Saying) -> Result<site::Acked, End> {
        self.line.ask(event, Arguments(arguments)).ok_or(End::HangUp)
    }

    // What waits
    // ----------

    /// Tells all that waits, in batches.
    async fn catch_up(&mut self) -> Result<(), End> {
        self.place.is_behind.store(false, Ordering::Release);
        loop {
            let waiting = self.waiting().await?;
            if waiting.is_empty() {
                return Ok(());
            }
            self.batch(waiting).await?;
        }
    }

    /// The next that waits in all queues, and in which of them.
    async fn waiting(&mut self) -> Result<BTreeMap<Flake, (Delivery, Vec<Device>)>, End> {
        let mut all = BTreeMap::new();
        for queue in &mut self.queues {
            let asked = Asked { after: queue.told, upto: Flake::MAX, portion: PORTION, at: now() };
            let device = &queue.device;
            let batch = self.courier.engine().queues().waiting(device.clone(), asked).await?;
            for delivery in batch.deliveries {
                queue.told = delivery.id;
                let entry = all.entry(delivery.id).or_insert((delivery, Vec::new()));
                entry.1.push(device.clone());
            }
        }
        Ok(all)
    }

    async fn batch(
        &mut self,
        waiting: BTreeMap<Flake, (Delivery, Vec<Device>)>,
    ) -> Result<(), End> {
        let mut deliveries = Vec::new();
        let mut queues: BTreeMap<Device, Vec<Flake>> = BTreeMap::new();
        for (id, (delivery, devices)) in waiting {
            let is_event_of_its_own =
                matches!((&delivery.said, self.manner), (Said::Resync, Manner::Stock(_)));
            if is_event_of_its_own {
                self.resync(id, &devices).await?;
                continue;
            }
            devices.into_iter().for_each(|device| queues.entry(device).or_default().push(id));
            deliveries.push(delivery);
        }
        if deliveries.is_empty() {
            return Ok(());
        }
        let acked = self.ask(&self.manner.batch(&deliveries))?;
        drop(deliveries);
        if !self.until(acked).await? {
            return Ok(());
        }
        for (device, ids) in queues {
            self.courier.engine().queues().ack(device, Acked::Batch(ids), now()).await?;
        }
        Ok(())
    }

    /// Waits for the ack of a batch; meanwhile, what was told by itself may be acked.
    async fn until(&mut self, mut acked: site::Acked) -> Result<bool, End> {
        loop {
            tokio::select! {
                biased;
                is_acked = &mut acked => return Ok(is_acked),
                Some(acked) = self.acks.next(), if !self.acks.is_empty() => {
                    self.acked(acked).await?;
                }
                _ = &mut self.gone => return Err(End::Gone),
            }
        }
    }

    // What comes
    // ----------

    fn arrived(&mut self, Arrival { id, message, persons }: &Arrival) -> Result<(), End> {
        let mut told = Vec::new();
        for queue in &mut self.queues {
            if queue.told < *id && persons.contains(&queue.device.person) {
                queue.told = *id;
                told.push(Arc::clone(&queue.device.person));
            }
        }
        if told.is_empty() {
            return Ok(());
        }
        let saying = self.manner.one(*id, &message.event, &message.args);
        let (acked, id) = (self.ask(&saying)?, *id);
        self.remember(acked, (Acked::One(id), told));
        Ok(())
    }

    fn remember(&mut self, acked: site::Acked, done: Done) {
        if self.acks.len() >= self.most {
            // What they were for does not wait any more.
            self.acks.clear();
        }
        self.acks.push(acked.map(|is_acked| is_acked.then_some(done)).boxed());
    }

    async fn acked(&mut self, done: Option<Done>) -> Result<(), End> {
        let Some((acked, persons)) = done else { return Ok(()) };
        let own = |queue: &&Queue| persons.contains(&queue.device.person);
        let devices: Vec<_> = self.queues.iter().filter(own).map(|it| it.device.clone()).collect();
        for device in devices {
            let queues = self.courier.engine().queues();
            if let Outcome::Resync(id) = queues.ack(device.clone(), acked.clone(), now()).await? {
                self.resync(id, &[device]).await?;
            }
        }
        Ok(())
    }

    /// Says that something was lost. Stock clients have no ack for it.
    async fn resync(&mut self, id: Flake, devices: &[Device]) -> Result<(), End> {
        if self.manner == Manner::Runtime {
            let acked = self.ask(&self.manner.batch(&[Delivery { id, said: Said::Resync }]))?;
            let persons = devices.iter().map(|device| Arc::clone(&device.person)).collect();
            self.remember(acked, (Acked::Batch(vec![id]), persons));
            return Ok(());
        }
        self.tell(self.manner.resync(), &[])?;
        for device in devices {
            let queues = self.courier.engine().queues();
            queues.ack(device.clone(), Acked::Batch(vec![id]), now()).await?;
        }
        Ok(())
    }
}
