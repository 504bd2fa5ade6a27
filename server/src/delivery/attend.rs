//! What one connection to a site is told: first what waits for its person, then what comes.
//!
//! Invariant: what is told is told in the order of the ids, each once a connection, whichever of its
//! persons it is for. Batches go out one after the other, the next when the one before is acked; what
//! comes meanwhile is read from the queues if there was no room for it. Only when nothing waits that was
//! not told is what comes told as it comes.

use std::collections::BTreeMap;
use std::convert::Infallible;

use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::arrivals::{Arrival, Next};
use super::courier::{Courier, Place};
use super::flake::Flake;
use super::guest::{Guest, Manner, Saying};
use super::present::Present;
use super::rules::Portion;
use crate::clock::now;
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

/// What has been acked, and whose queues it leaves.
type Done = (Acked, Vec<Device>);

/// What waits, and in whose queues.
type Waiting = BTreeMap<Flake, (Delivery, Vec<Device>)>;

/// A connection that is attended to.
struct Attendance {
    courier: Courier,
    line: Line,
    manner: Manner,
    present: Present,
    place: Place,
    gone: oneshot::Receiver<()>,
    /// Up to here all has been told, of every queue.
    told: Flake,
    /// What has been told by itself and is to be acked.
    acks: FuturesUnordered<BoxFuture<'static, (Flake, Option<Done>)>>,
    /// With what the wait for each of these is given up.
    asked: BTreeMap<Flake, AbortHandle>,
    /// How many of these there may be: no more waits in all queues together.
    most: usize,
}

impl Courier {
    /// Attends to somebody until they are gone.
    pub(crate) async fn attend(
        self,
        guest: Guest,
        present: Present,
        line: Line,
        gone: oneshot::Receiver<()>,
    ) {
        line.join(&guest.name, &guest.rooms);
        let devices = present.devices();
        let persons = devices.iter().map(|device| device.person.clone()).collect();
        let place = self.place(guest.name.as_str().into(), persons);
        let mut attendance = Attendance {
            courier: self.clone(),
            line: line.clone(),
            manner: guest.manner(),
            most: guest.site.most_waiting.saturating_mul(devices.len()),
            present,
            place,
            gone,
            told: Flake::ZERO,
            acks: FuturesUnordered::new(),
            asked: BTreeMap::new(),
        };
        if let End::HangUp = attendance.run(&guest).await {
            line.hang_up();
        }
        line.leave();
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
        self.catch_up().await?;
        loop {
            tokio::select! {
                biased;
                // First: who is gone may have acked before.
                Some(acked) = self.acks.next(), if !self.acks.is_empty() => {
                    self.acked(acked).await?;
                }
                _ = &mut self.gone => return Ok(End::Gone),
                next = self.place.arrivals.next() => match next {
                    Next::Arrival(arrival) => self.arrived(&arrival)?,
                    Next::Behind => self.catch_up().await?,
                },
            }
        }
    }

    fn tell(&self, event: &str, arguments: &[Box<RawValue>]) -> Result<(), End> {
        match self.line.tell(event, Arguments(arguments)) {
            true => Ok(()),
            false => Err(End::HangUp),
        }
    }

    fn ask(&self, saying: &Saying) -> Result<site::Acked, End> {
        self.line.ask(saying).ok_or(End::HangUp)
    }

    // What waits
    // ----------

    /// Tells all that waits, in batches.
    async fn catch_up(&mut self) -> Result<(), End> {
        while let Some(waiting) = self.waiting().await? {
            self.batch(waiting).await?;
        }
        Ok(())
    }

    /// The next that waits, if anything does.
    async fn waiting(&mut self) -> Result<Option<Waiting>, End> {
        let mut waiting = self.read(Flake::MAX).await?;
        let Some((&last, _)) = waiting.last_key_value() else { return Ok(None) };
        if self.present.devices().len() > 1 {
            // What is stored between two questions would be found in one queue and not in another. By
            // now, all that goes up to the last is in all of them.
            waiting = self.read(last).await?;
        }
        self.told = waiting.last_key_value().map_or(last, |(&last, _)| last);
        Ok(Some(waiting))
    }

    /// The first that waits in all queues together.
    async fn read(&mut self, mut upto: Flake) -> Result<Waiting, End> {
        let mut all = Waiting::new();
        for device in self.present.devices() {
            let asked = Asked { after: self.told, upto, portion: PORTION, at: now() };
            let batch = self.courier.engine().queues().waiting(device.clone(), asked).await?;
            if let Some(last) = batch.deliveries.last().filter(|_| batch.more) {
                upto = last.id;
            }
            for delivery in batch.deliveries {
                let entry = all.entry(delivery.id).or_insert((delivery, Vec::new()));
                entry.1.push(device.clone());
            }
            all.retain(|id, _| *id <= upto);
            let more;
            (all, more) = first_of(all);
            if let Some((&last, _)) = all.last_key_value().filter(|_| more) {
                upto = last;
            }
        }
        Ok(all)
    }

    async fn batch(&mut self, waiting: Waiting) -> Result<(), End> {
        let mut deliveries = Vec::new();
        let mut queues: BTreeMap<Device, Vec<Flake>> = BTreeMap::new();
        for (id, (delivery, devices)) in waiting {
            if self.asked.contains_key(&id) {
                // Something was lost, and it has been told so when that was found out.
                continue;
            }
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
        if *id <= self.told {
            return Ok(());
        }
        self.told = *id;
        let own = |device: &&Device| persons.contains(&device.person);
        let devices = self.present.devices().iter().filter(own).cloned().collect();
        let acked = self.ask(&self.manner.one(*id, &message.event, &message.args))?;
        self.remember(*id, acked, (Acked::One(*id), devices));
        Ok(())
    }

    fn remember(&mut self, id: Flake, acked: site::Acked, done: Done) {
        let (acked, give_up) = abortable(acked);
        let done = acked.map(move |is_acked| (id, is_acked.unwrap_or(false).then_some(done)));
        self.acks.push(done.boxed());
        self.asked.insert(id, give_up);
        if self.asked.len() > self.most
            && let Some((_, oldest)) = self.asked.pop_first()
        {
            oldest.abort();
        }
    }

    async fn acked(&mut self, (id, done): (Flake, Option<Done>)) -> Result<(), End> {
        self.asked.remove(&id);
        let Some((acked, devices)) = done else { return Ok(()) };
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
            self.remember(id, acked, (Acked::Batch(vec![id]), devices.to_vec()));
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

/// As much as goes into one batch, and whether there is more.
fn first_of(waiting: Waiting) -> (Waiting, bool) {
    let sized = waiting.into_iter().map(|(id, entry)| {
        let size = entry.0.size();
        Ok::<_, Infallible>(((id, entry), size))
    });
    let Ok((first, more)) = PORTION.take(sized);
    (Waiting::from_iter(first), more)
}
