//! The task of one connection to a site. It sends first the backlog of its persons, then each
//! message as it arrives.
//!
//! The backlog goes out in batches, each after the ack of the one before. To a stock client, every
//! later message is an event of its own, also one that has to be read from the queues because the
//! connection was too slow. A stock client that does not ack a batch in time gets no further batch,
//! and its events go on. Our runtime gets everything in batches, and nothing before the ack of a
//! batch.
//!
//! Invariant: messages for persons are sent in the order of their ids. A connection gets each of
//! them once, even if the message is for several of its persons.
//!
//! A connection whose send buffer is full is waited for. Its arrivals are bounded meanwhile; see
//! `arrivals`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use backwire_engine::{self as engine, Acked, Asked, Delivery, Device, Outcome, Said};
use backwire_records::messages::flake::Flake;
use backwire_records::messages::message::Message;
use backwire_records::messages::rules::Portion;
use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until};

use super::arrivals::{Arrival, Next};
use super::courier::Courier;
use super::guest::{Guest, Manner, Saying};
use super::present::Present;
use crate::clock::now;
use crate::sites::UserEvent;
use crate::socket::SEND_BUFFER_POLL_INTERVAL;
use crate::socket::site::{self, Arguments, Line, SendError};

/// How much goes into one batch.
const PORTION: Portion = Portion { count: 200, bytes: 256 << 10 };

/// Why the task ends.
enum End {
    /// The connection is gone.
    Gone,
    /// The client has to connect again: it cannot be sent anything, or the store does not answer.
    HangUp,
}

impl From<engine::Error> for End {
    fn from(error: engine::Error) -> Self {
        tracing::error!(%error, "store failed: the connection of a client is ended, and it connects again");
        Self::HangUp
    }
}

/// Acked deliveries, and the queues they leave.
type Done = Vec<(Device, Acked)>;

/// Deliveries that wait, and in whose queues.
type Waiting = BTreeMap<Flake, (Delivery, Vec<Device>)>;

/// A connection and what it was sent.
struct DeliverySession {
    courier: Courier,
    line: Line,
    manner: Manner,
    present: Present,
    gone: oneshot::Receiver<()>,
    /// How long the ack of a batch holds back everything else.
    batch_timeout: Duration,
    /// All deliveries up to this one were sent, of every queue.
    sent: Flake,
    /// Whether the queues have deliveries after that, which were not kept as arrivals.
    must_read_queues: bool,
    /// The acks of what was sent, by the last of its ids.
    acks: FuturesUnordered<BoxFuture<'static, (Flake, Option<Done>)>>,
    /// Gives up waiting for each of these.
    unacked: BTreeMap<Flake, AbortHandle>,
    /// The most of these: no more waits in all queues together.
    most: usize,
}

impl Courier {
    /// Runs the task of a connection until it is gone.
    pub(crate) async fn attend(
        self,
        guest: Guest,
        present: Present,
        line: Line,
        gone: oneshot::Receiver<()>,
    ) {
        line.join(&guest.name);
        // A site that is removed from now on finds the connection.
        if !self.has_site(&guest.name) {
            drop(line.hang_up());
            return line.leave();
        }
        // So does a revocation from now on.
        let Some(_registered) = self.connected().add(&guest, &line) else {
            drop(line.hang_up());
            return line.leave();
        };
        let mut session = DeliverySession {
            courier: self.clone(),
            line: line.clone(),
            manner: guest.manner(),
            most: guest.site.most_waiting.saturating_mul(present.devices().len()),
            batch_timeout: guest.site.batch_timeout,
            present,
            gone,
            sent: Flake::ZERO,
            must_read_queues: false,
            acks: FuturesUnordered::new(),
            unacked: BTreeMap::new(),
        };
        self.report(&guest, UserEvent::Connected);
        let end = tokio::select! {
            biased;
            end = session.run(&guest) => end,
            () = self.rejected(&guest) => End::HangUp,
        };
        if let End::HangUp = end {
            drop(line.hang_up());
        }
        line.leave();
        self.report(&guest, UserEvent::Disconnected);
    }
}

impl DeliverySession {
    async fn run(&mut self, guest: &Guest) -> End {
        let Err(end) = self.send_until_end(guest).await;
        end
    }

    async fn send_until_end(&mut self, guest: &Guest) -> Result<Infallible, End> {
        let ttl = self.courier.ttl(&guest.site);
        if let Some((event, settings)) = guest.settings(ttl) {
            self.send(event, &[settings]).await?;
        }
        self.send_backlog().await?;
        loop {
            if std::mem::take(&mut self.must_read_queues) {
                self.catch_up().await?;
            }
            tokio::select! {
                biased;
                // First: a client that is gone may have acked before.
                Some(acked) = self.acks.next(), if !self.acks.is_empty() => {
                    self.acked(acked).await?;
                }
                _ = &mut self.gone => return Err(End::Gone),
                next = self.present.place.arrivals.next() => self.arrived(next).await?,
            }
        }
    }

    // Sending
    // -------

    /// Sends an event, when the send buffer has room for it.
    async fn send(&mut self, event: &str, arguments: &[Box<RawValue>]) -> Result<(), End> {
        while sent(self.line.send(event, Arguments(arguments)))?.is_none() {
            self.wait_for_room().await?;
        }
        Ok(())
    }

    /// Sends an event that is to be acked, when the send buffer has room for it.
    async fn send_for_ack(&mut self, saying: &Saying) -> Result<site::Acked, End> {
        loop {
            if let Some(acked) = sent(self.line.send_for_ack(saying))? {
                return Ok(acked);
            }
            self.wait_for_room().await?;
        }
    }

    async fn wait_for_room(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            Some(acked) = self.acks.next(), if !self.acks.is_empty() => {
                Box::pin(self.acked(acked)).await
            }
            _ = &mut self.gone => Err(End::Gone),
            () = sleep(SEND_BUFFER_POLL_INTERVAL) => Ok(()),
        }
    }

    // The queues
    // ----------

    /// Sends what waited before the devices were there, in batches.
    async fn send_backlog(&mut self) -> Result<(), End> {
        if self.manner == Manner::Runtime {
            return self.catch_up().await;
        }
        let upto = self.present.backlog_end;
        while let Some(waiting) = self.waiting(upto).await? {
            if !self.send_batch(waiting).await? {
                break;
            }
        }
        // The rest of the backlog comes at the next connect.
        self.sent = upto;
        Ok(())
    }

    /// Sends all that waits.
    async fn catch_up(&mut self) -> Result<(), End> {
        while let Some(waiting) = self.waiting(Flake::MAX).await? {
            match self.manner {
                Manner::Runtime => drop(self.send_batch(waiting).await?),
                Manner::Stock(_) => self.send_each(waiting).await?,
            }
        }
        Ok(())
    }

    /// The next deliveries, up to this id, if there are any. They count as sent.
    async fn waiting(&mut self, upto: Flake) -> Result<Option<Waiting>, End> {
        let mut waiting = self.read(upto).await?;
        let Some((&last, _)) = waiting.last_key_value() else { return Ok(None) };
        if self.present.devices().len() > 1 {
            // A message that is stored between two reads would be found in one queue and not in
            // another. By now, all up to the last one are in all of them.
            waiting = self.read(last).await?;
        }
        self.sent = waiting.last_key_value().map_or(last, |(&last, _)| last);
        Ok(Some(waiting))
    }

    /// The first deliveries that wait in all queues together.
    async fn read(&mut self, mut upto: Flake) -> Result<Waiting, End> {
        let mut all = Waiting::new();
        for device in self.present.devices() {
            let asked = Asked { after: self.sent, upto, portion: PORTION, at: now() };
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

    /// Sends deliveries as one batch. Returns whether it was acked in time.
    async fn send_batch(&mut self, waiting: Waiting) -> Result<bool, End> {
        let mut deliveries = Vec::new();
        let mut queues: BTreeMap<Device, Vec<Flake>> = BTreeMap::new();
        for (id, (delivery, devices)) in waiting {
            if self.unacked.contains_key(&id) {
                // A resync, which was sent when the loss was found out.
                continue;
            }
            if let (Said::Resync, Manner::Stock(_)) = (&delivery.said, self.manner) {
                self.resync(id, &devices).await?;
                continue;
            }
            devices.into_iter().for_each(|device| queues.entry(device).or_default().push(id));
            deliveries.push(delivery);
        }
        let Some(last) = deliveries.last().map(|last| last.id) else { return Ok(true) };
        let batch = self.manner.batch(&deliveries);
        drop(deliveries);
        let acked = self.send_for_ack(&batch).await?;
        let done = queues.into_iter().map(|(device, ids)| (device, Acked::Batch(ids)));
        self.remember(last, acked, done.collect());
        self.wait_for_ack(last).await
    }

    /// Waits until something is acked, and holds back messages for persons meanwhile. Returns
    /// whether it was acked in time.
    async fn wait_for_ack(&mut self, id: Flake) -> Result<bool, End> {
        let deadline = tokio::time::Instant::now() + self.batch_timeout;
        let may_time_out = self.manner != Manner::Runtime;
        while self.unacked.contains_key(&id) {
            tokio::select! {
                biased;
                Some(acked) = self.acks.next() => self.acked(acked).await?,
                _ = &mut self.gone => return Err(End::Gone),
                () = sleep_until(deadline), if may_time_out => return Ok(false),
                next = self.present.place.arrivals.next() => match next {
                    Next::Arrival(Arrival { id: Some(_), .. }) => self.must_read_queues = true,
                    next => self.arrived(next).await?,
                }
            }
        }
        Ok(true)
    }

    /// Sends each delivery as an event of its own.
    async fn send_each(&mut self, waiting: Waiting) -> Result<(), End> {
        for (id, (Delivery { said, .. }, devices)) in waiting {
            match said {
                Said::Event { event, args } => self.send_one(id, &event, &args, devices).await?,
                Said::Resync => self.resync(id, &devices).await?,
            }
        }
        Ok(())
    }

    // Arrivals
    // --------

    async fn arrived(&mut self, next: Next) -> Result<(), End> {
        let Arrival { id, message, persons } = match next {
            Next::Arrival(arrival) => arrival,
            Next::ReadQueues => {
                self.must_read_queues = true;
                return Ok(());
            }
            Next::Disconnect => return Err(End::HangUp),
        };
        let Message { event, args, .. } = &*message;
        let Some(id) = id else {
            let (event, args) = self.manner.unqueued_event(event, args);
            return self.send(event, &args).await;
        };
        // Those before were read from the queues.
        if id <= self.sent {
            return Ok(());
        }
        self.sent = id;
        let own = |device: &&Device| persons.contains(&device.person);
        let devices = self.present.devices().iter().filter(own).cloned().collect();
        self.send_one(id, event, args, devices).await
    }

    async fn send_one(
        &mut self,
        id: Flake,
        event: &str,
        args: &[Box<RawValue>],
        devices: Vec<Device>,
    ) -> Result<(), End> {
        let acked = self.send_for_ack(&self.manner.one(id, event, args)).await?;
        let done = devices.into_iter().map(|device| (device, Acked::One(id)));
        self.remember(id, acked, done.collect());
        Ok(())
    }

    // Acks
    // ----

    fn remember(&mut self, id: Flake, acked: site::Acked, done: Done) {
        let (acked, give_up) = abortable(acked);
        let done = acked.map(move |is_acked| (id, is_acked.unwrap_or(false).then_some(done)));
        self.acks.push(done.boxed());
        self.unacked.insert(id, give_up);
        if self.unacked.len() > self.most
            && let Some((_, oldest)) = self.unacked.pop_first()
        {
            oldest.abort();
        }
    }

    async fn acked(&mut self, (id, done): (Flake, Option<Done>)) -> Result<(), End> {
        self.unacked.remove(&id);
        for (device, acked) in done.into_iter().flatten() {
            let queues = self.courier.engine().queues();
            if let Outcome::Resync(id) = queues.ack(device.clone(), acked, now()).await? {
                self.resync(id, &[device]).await?;
            }
        }
        Ok(())
    }

    /// Reports that messages were lost. Stock clients have no ack for it.
    async fn resync(&mut self, id: Flake, devices: &[Device]) -> Result<(), End> {
        if self.manner == Manner::Runtime {
            let resync = self.manner.batch(&[Delivery { id, said: Said::Resync }]);
            let acked = self.send_for_ack(&resync).await?;
            let done = devices.iter().map(|device| (device.clone(), Acked::Batch(vec![id])));
            self.remember(id, acked, done.collect());
            return Ok(());
        }
        self.send(self.manner.resync(), &[]).await?;
        for device in devices {
            let queues = self.courier.engine().queues();
            queues.ack(device.clone(), Acked::Batch(vec![id]), now()).await?;
        }
        Ok(())
    }
}

/// The result of a send, or `None` if the send buffer has no room.
fn sent<T>(outcome: Result<T, SendError>) -> Result<Option<T>, End> {
    match outcome {
        Ok(sent) => Ok(Some(sent)),
        Err(SendError::NoRoom) => Ok(None),
        Err(SendError::Closed) => Err(End::HangUp),
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
