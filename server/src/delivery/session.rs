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
//! `arrivals`. The same holds while the store fails: the connection stays open, and what it needs
//! of the store is repeated until it succeeds.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use backwire_engine::{
    self as engine, Ack, AckOutcome, Batch, Delivery, DeliveryContent, Device, QueueRange,
};
use backwire_protocol::planted;
use backwire_records::messages::flake::Flake;
use backwire_records::messages::message::Message;
use backwire_records::messages::rules::{BatchLimits, Ttl};
use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::arrivals::{Arrival, Next};
use super::connected_devices::ConnectedDevices;
use super::service::DeliveryService;
use super::site_client::{EventFormat, OutgoingEvent, SiteClient};
use crate::sites::UserEvent;
use crate::socket::SEND_BUFFER_POLL_INTERVAL;
use crate::socket::adapter::socket::SendError;
use crate::socket::site_connection::{Acked, SiteConnection};

/// The size of one batch.
const BATCH_SIZE: BatchLimits = BatchLimits { count: 200, bytes: 256 << 10 };

/// The shortest pause after a failure of the store. The longest is twice that: connections do not
/// repeat their steps all at the same time.
const STORE_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Why the task ends.
enum End {
    /// The connection has ended.
    ConnectionClosed,
    /// The connection is ended and the client connects again: an event cannot be sent, messages
    /// were lost, or the client is no longer accepted.
    Disconnect,
}

/// Acked deliveries, with the device whose queue each leaves.
type AckedDeliveries = Vec<(Device, Ack)>;

/// Waiting deliveries by id, with the devices in whose queues they are.
type WaitingDeliveries = BTreeMap<Flake, (Delivery, Vec<Device>)>;

/// The state of one connection: what it was sent, and what it has acked.
struct DeliverySession {
    delivery_service: DeliveryService,
    handle: SiteConnection,
    format: EventFormat,
    connected_devices: ConnectedDevices,
    gone: oneshot::Receiver<()>,
    /// How long the session waits for the ack of a batch before it sends anything else.
    batch_timeout: Duration,
    ttl: Ttl,
    max_devices: usize,
    /// Whether the last step of the store has failed.
    is_store_down: bool,
    /// The deliveries of all queues up to this id were sent.
    sent: Flake,
    /// Whether the queues have later deliveries that are not among the arrivals.
    must_read_queues: bool,
    /// The acks of the sent events. Each resolves with the last id of its event.
    acks: FuturesUnordered<BoxFuture<'static, (Flake, Option<AckedDeliveries>)>>,
    /// The handles that stop waiting for these acks, by the same id.
    unacked: BTreeMap<Flake, AbortHandle>,
    /// The largest number of events without an ack: all queues together hold no more.
    max_unacked: usize,
}

impl DeliveryService {
    /// Runs the task of a connection until the connection ends.
    pub(crate) async fn run_session(
        self,
        site_client: SiteClient,
        connected_devices: ConnectedDevices,
        handle: SiteConnection,
        gone: oneshot::Receiver<()>,
    ) {
        handle.join(&site_client.name);
        // If the site is removed from now on, the connection is ended with it.
        if !self.has_site(&site_client.name) {
            drop(handle.disconnect());
            return handle.leave();
        }
        // The same holds for a later revocation.
        let Some(_registration) = self.site_connections().add(&site_client, &handle) else {
            drop(handle.disconnect());
            return handle.leave();
        };
        let mut session = DeliverySession {
            delivery_service: self.clone(),
            handle: handle.clone(),
            format: site_client.event_format(),
            max_unacked: site_client
                .site
                .most_waiting
                .saturating_mul(connected_devices.devices().len()),
            batch_timeout: site_client.site.batch_timeout,
            ttl: self.ttl(&site_client.site),
            max_devices: site_client.site.most_devices,
            is_store_down: false,
            connected_devices,
            gone,
            sent: Flake::ZERO,
            must_read_queues: false,
            acks: FuturesUnordered::new(),
            unacked: BTreeMap::new(),
        };
        self.report(&site_client, UserEvent::Connected);
        let end = tokio::select! {
            biased;
            end = session.run(&site_client) => end,
            () = self.rejected(&site_client) => End::Disconnect,
        };
        if let End::Disconnect = end {
            drop(handle.disconnect());
        }
        handle.leave();
        self.report(&site_client, UserEvent::Disconnected);
    }
}

impl DeliverySession {
    async fn run(&mut self, site_client: &SiteClient) -> End {
        let Err(end) = self.send_until_end(site_client).await;
        end
    }

    async fn send_until_end(&mut self, site_client: &SiteClient) -> Result<Infallible, End> {
        if let Some((event, arguments)) = site_client.first_event(self.ttl) {
            self.send(event, &arguments).await?;
        }
        self.send_backlog().await?;
        loop {
            if std::mem::take(&mut self.must_read_queues) {
                self.send_waiting().await?;
            }
            tokio::select! {
                biased;
                // Acks come first: the client may have acked before it disconnected.
                Some(acked) = self.acks.next(), if !self.acks.is_empty() => {
                    self.handle_ack(acked).await?;
                }
                _ = &mut self.gone => return Err(End::ConnectionClosed),
                next = self.connected_devices.registration.arrivals.next() => self.handle_next(next).await?,
            }
        }
    }

    // Sending
    // -------

    /// Sends an event as soon as the send buffer has room for it.
    async fn send(&mut self, event: &str, arguments: &[Box<RawValue>]) -> Result<(), End> {
        while sent_unless_full(self.handle.send(event, arguments))?.is_none() {
            self.wait_for_room().await?;
        }
        Ok(())
    }

    /// Sends an event that the client acks, as soon as the send buffer has room for it.
    async fn send_for_ack(&mut self, event: &OutgoingEvent) -> Result<Acked, End> {
        loop {
            if let Some(acked) = sent_unless_full(self.handle.send_for_ack(event))? {
                return Ok(acked);
            }
            self.wait_for_room().await?;
        }
    }

    async fn wait_for_room(&mut self) -> Result<(), End> {
        let room = self.delivery_service.environment().sleep(SEND_BUFFER_POLL_INTERVAL);
        tokio::select! {
            biased;
            Some(acked) = self.acks.next(), if !self.acks.is_empty() => {
                Box::pin(self.handle_ack(acked)).await
            }
            _ = &mut self.gone => Err(End::ConnectionClosed),
            () = room => Ok(()),
        }
    }

    // The queues
    // ----------

    /// Sends the backlog in batches: the messages that were stored before the devices connected.
    async fn send_backlog(&mut self) -> Result<(), End> {
        if self.format == EventFormat::Runtime {
            return self.send_waiting().await;
        }
        let up_to = self.connected_devices.backlog_end;
        while let Some(waiting) = self.next_waiting(up_to).await? {
            if !self.send_batch(waiting).await? {
                break;
            }
        }
        // The rest of the backlog is sent after the next connect.
        self.sent = up_to;
        Ok(())
    }

    /// Sends all waiting deliveries.
    async fn send_waiting(&mut self) -> Result<(), End> {
        while let Some(waiting) = self.next_waiting(Flake::MAX).await? {
            match self.format {
                EventFormat::Runtime => drop(self.send_batch(waiting).await?),
                EventFormat::Stock(_) => self.send_each(waiting).await?,
            }
        }
        Ok(())
    }

    /// Returns the next deliveries up to this id, if there are any. They count as sent.
    async fn next_waiting(&mut self, up_to: Flake) -> Result<Option<WaitingDeliveries>, End> {
        let mut waiting = self.read_queues(up_to).await?;
        let Some((&last, _)) = waiting.last_key_value() else { return Ok(None) };
        if self.connected_devices.devices().len() > 1 {
            // A message that is stored between two reads would be read from one queue and not from
            // another. By now, all queues have all messages up to the last one.
            waiting = self.read_queues(last).await?;
        }
        self.sent = waiting.last_key_value().map_or(last, |(&last, _)| last);
        Ok(Some(waiting))
    }

    /// Reads the first deliveries that wait in all queues together.
    async fn read_queues(&mut self, mut up_to: Flake) -> Result<WaitingDeliveries, End> {
        let mut all = WaitingDeliveries::new();
        for device in self.connected_devices.devices().to_vec() {
            let batch = self.read_queue(&device, up_to).await?;
            if let Some(last) = batch.deliveries.last().filter(|_| batch.more) {
                up_to = last.id;
            }
            for delivery in batch.deliveries {
                let entry = all.entry(delivery.id).or_insert((delivery, Vec::new()));
                entry.1.push(device.clone());
            }
            all.retain(|id, _| *id <= up_to);
            let more;
            (all, more) = first_batch(all);
            if let Some((&last, _)) = all.last_key_value().filter(|_| more) {
                up_to = last;
            }
        }
        Ok(all)
    }

    /// Sends deliveries as one batch. Returns whether it was acked in time.
    async fn send_batch(&mut self, waiting: WaitingDeliveries) -> Result<bool, End> {
        let mut deliveries = Vec::new();
        let mut queues: BTreeMap<Device, Vec<Flake>> = BTreeMap::new();
        for (id, (delivery, devices)) in waiting {
            if self.unacked.contains_key(&id) {
                // A resync that was already sent when the loss was noticed.
                continue;
            }
            if let (DeliveryContent::Resync, EventFormat::Stock(_)) =
                (&delivery.content, self.format)
            {
                self.resync(id, &devices).await?;
                continue;
            }
            devices.into_iter().for_each(|device| queues.entry(device).or_default().push(id));
            deliveries.push(delivery);
        }
        let Some(last) = deliveries.last().map(|last| last.id) else { return Ok(true) };
        let batch = self.format.batch(&deliveries);
        drop(deliveries);
        let acked = self.send_for_ack(&batch).await?;
        let done = queues.into_iter().map(|(device, ids)| (device, Ack::Batch(ids)));
        self.track_ack(last, acked, done.collect());
        self.wait_for_ack(last).await
    }

    /// Waits for the ack of an event, and sends no messages for persons meanwhile. Returns whether
    /// it was acked in time.
    async fn wait_for_ack(&mut self, id: Flake) -> Result<bool, End> {
        let mut timeout = self.delivery_service.environment().sleep(self.batch_timeout);
        let may_time_out = self.format != EventFormat::Runtime;
        while self.unacked.contains_key(&id) {
            tokio::select! {
                biased;
                Some(acked) = self.acks.next() => self.handle_ack(acked).await?,
                _ = &mut self.gone => return Err(End::ConnectionClosed),
                () = &mut timeout, if may_time_out => return Ok(false),
                next = self.connected_devices.registration.arrivals.next() => match next {
                    Next::Arrival(Arrival { id: Some(_), .. }) => self.must_read_queues = true,
                    next => self.handle_next(next).await?,
                }
            }
        }
        Ok(true)
    }

    /// Sends each delivery as an event of its own.
    async fn send_each(&mut self, waiting: WaitingDeliveries) -> Result<(), End> {
        for (id, (Delivery { content, .. }, devices)) in waiting {
            match content {
                DeliveryContent::Event { event, args } => {
                    self.send_one(id, &event, &args, devices).await?
                }
                DeliveryContent::Resync => self.resync(id, &devices).await?,
            }
        }
        Ok(())
    }

    // Arrivals
    // --------

    async fn handle_next(&mut self, next: Next) -> Result<(), End> {
        let Arrival { id, message, persons } = match next {
            Next::Arrival(arrival) => arrival,
            Next::ReadQueues => {
                self.must_read_queues = true;
                return self.restore_devices().await;
            }
            Next::Disconnect => return Err(End::Disconnect),
        };
        let Message { event, args, .. } = &*message;
        let Some(id) = id else {
            let (event, args) = self.format.unqueued_event(event, args);
            return self.send(event, &args).await;
        };
        // Earlier messages were read from the queues.
        if id <= self.sent {
            return Ok(());
        }
        self.sent = id;
        let is_recipient = |device: &&Device| persons.contains(&device.person);
        let devices =
            self.connected_devices.devices().iter().filter(is_recipient).cloned().collect();
        self.send_one(id, event, args, devices).await
    }

    async fn send_one(
        &mut self,
        id: Flake,
        event: &str,
        args: &[Box<RawValue>],
        devices: Vec<Device>,
    ) -> Result<(), End> {
        let acked = self.send_for_ack(&self.format.one(id, event, args)).await?;
        let done = devices.into_iter().map(|device| (device, Ack::One(id)));
        self.track_ack(id, acked, done.collect());
        Ok(())
    }

    // Acks
    // ----

    /// Waits for the ack of a sent event in the background. If too many events are unacked, the
    /// session stops waiting for the oldest.
    fn track_ack(&mut self, id: Flake, acked: Acked, done: AckedDeliveries) {
        let (acked, give_up) = abortable(acked);
        let done = acked.map(move |is_acked| (id, is_acked.unwrap_or(false).then_some(done)));
        self.acks.push(done.boxed());
        self.unacked.insert(id, give_up);
        if self.unacked.len() > self.max_unacked
            && let Some((_, oldest)) = self.unacked.pop_first()
        {
            oldest.abort();
        }
    }

    async fn handle_ack(
        &mut self,
        (id, done): (Flake, Option<AckedDeliveries>),
    ) -> Result<(), End> {
        self.unacked.remove(&id);
        for (device, acked) in done.into_iter().flatten() {
            if let AckOutcome::Resync(id) = self.store_ack(&device, acked).await? {
                self.resync(id, &[device]).await?;
            }
        }
        Ok(())
    }

    /// Tells the client that messages were lost. Stock clients do not ack this event.
    async fn resync(&mut self, id: Flake, devices: &[Device]) -> Result<(), End> {
        if self.format == EventFormat::Runtime {
            let resync = self.format.batch(&[Delivery { id, content: DeliveryContent::Resync }]);
            let acked = self.send_for_ack(&resync).await?;
            let done = devices.iter().map(|device| (device.clone(), Ack::Batch(vec![id])));
            self.track_ack(id, acked, done.collect());
            return Ok(());
        }
        self.send(self.format.resync(), &[]).await?;
        for device in devices {
            self.store_ack(device, Ack::Batch(vec![id])).await?;
        }
        Ok(())
    }

    // The store
    // ---------

    /// Reads the first deliveries that wait in the queue of a device, up to this id.
    async fn read_queue(&mut self, device: &Device, up_to: Flake) -> Result<Batch, End> {
        loop {
            let (queues, at) = (self.delivery_service.engine().queues(), self.unix_millis());
            let range = QueueRange { after: self.sent, upto: up_to, portion: BATCH_SIZE, at };
            let read = queues.waiting(device.clone(), range).await;
            if let Some(batch) = self.stored(read).await? {
                return Ok(batch);
            }
        }
    }

    /// Removes acked deliveries from the queue of a device.
    async fn store_ack(&mut self, device: &Device, acked: Ack) -> Result<AckOutcome, End> {
        loop {
            let (queues, at) = (self.delivery_service.engine().queues(), self.unix_millis());
            let outcome = queues.ack(device.clone(), acked.clone(), at).await;
            if let Some(outcome) = self.stored(outcome).await? {
                return Ok(outcome);
            }
            // The failed attempt may have put a resync into the queue.
            self.must_read_queues = true;
        }
    }

    /// Has the store record again that the devices are connected, in case that it has lost it.
    async fn restore_devices(&mut self) -> Result<(), End> {
        if planted::has("devices-not-restored") {
            return Ok(());
        }
        for device in self.connected_devices.devices().to_vec() {
            loop {
                let (queues, at) = (self.delivery_service.engine().queues(), self.unix_millis());
                let (ttl, max) = (self.ttl, self.max_devices);
                let restored = queues.restore(device.clone(), ttl, max, at).await;
                if self.stored(restored).await?.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Returns the outcome of a step of the store. If it failed, returns `None` after a pause, and
    /// the step is to be repeated. Nothing is sent meanwhile.
    async fn stored<T>(&mut self, outcome: Result<T, engine::Error>) -> Result<Option<T>, End> {
        let was_down = std::mem::replace(&mut self.is_store_down, outcome.is_err());
        let error = match outcome {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        if !was_down {
            tracing::error!(%error, "the store fails: a connection of a site waits for it");
        }
        let environment = self.delivery_service.environment();
        let delay = STORE_RETRY_DELAY.mul_f64(1.0 + environment.random_fraction());
        let pause = environment.sleep(delay);
        tokio::select! {
            biased;
            _ = &mut self.gone => Err(End::ConnectionClosed),
            () = pause => Ok(None),
        }
    }

    fn unix_millis(&self) -> u64 {
        self.delivery_service.environment().unix_millis()
    }
}

/// Returns the result of a send, or `None` if the send buffer has no room.
fn sent_unless_full<T>(outcome: Result<T, SendError>) -> Result<Option<T>, End> {
    match outcome {
        Ok(sent) => Ok(Some(sent)),
        Err(SendError::NoRoom) => Ok(None),
        Err(SendError::Closed) => Err(End::Disconnect),
    }
}

/// Returns the deliveries that fit into one batch, and whether there are more.
fn first_batch(waiting: WaitingDeliveries) -> (WaitingDeliveries, bool) {
    let sized = waiting.into_iter().map(|(id, entry)| {
        let size = entry.0.size();
        Ok::<_, Infallible>(((id, entry), size))
    });
    let Ok((first, more)) = BATCH_SIZE.take(sized);
    (WaitingDeliveries::from_iter(first), more)
}
