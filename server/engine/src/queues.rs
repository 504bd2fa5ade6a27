//! Queues of deliveries. A delivery is kept until every device of its person has acked it.
//!
//! A person is the room of one user at a site. A delivery is stored once for all its persons,
//! together with the devices of each of them that have not acked it. A device has a queue of its
//! own from its first connect on. At first, the queue has the deliveries that no device of the
//! person has acked. A person without a known device has deliveries, too, and they expire by
//! themselves.
//!
//! Time is an argument and nothing happens by itself: an expired device or delivery is dropped by
//! the next step that concerns its person, as if it had been dropped in time. Expired data of other
//! persons only takes space, so each step drops a little of it as well.
//!
//! Deliveries that are dropped unread are replaced by a [`DeliveryContent::Resync`]. It waits like
//! any other delivery until it is sent and acked, so no crash can lose it.

mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::message::{self, Message};
use backwire_records::messages::rules::{BatchLimits, Ttl};
use backwire_records::write::Key;
use serde_json::value::RawValue;

use super::Error;

pub use memory::MemoryQueues;

/// The maximum number of expired devices, and of expired deliveries, of other persons that each
/// step drops. It is more than one, so that their number shrinks.
pub(super) const MAX_EXPIRED_PER_STEP: u32 = 2;

/// The store of deliveries. Times are Unix milliseconds.
///
/// Invariant: each method is one step, durable before it returns. Steps happen in the order in
/// which their futures are polled first: a connection relies on it for the order of its acks.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Sets the node that creates ids from now on. It is called once, before anything else. Devices
    /// that were connected when the last process ended are away from now on.
    async fn begin(&self, node: Node, at: u64) -> Result<(), Error>;

    /// Stores a message for all its persons or for none. A message whose key is known is not stored
    /// again: the result is that of the first time.
    ///
    /// Invariant: ids grow in the order of sending, over all sites and restarts.
    async fn enqueue(&self, post: Enqueue) -> Result<Enqueued, Error>;

    /// Adds a socket of a device. Returns the last id that was created: deliveries up to it are for
    /// the backlog, later ones are sent as they arrive.
    ///
    /// A person has at most `max_devices` devices. For a new one, those that have been away the
    /// longest are dropped. If too few are away, this returns `None` and changes nothing.
    async fn connect(
        &self,
        device: Device,
        ttl: Ttl,
        max_devices: usize,
        at: u64,
    ) -> Result<Option<Flake>, Error>;

    /// Records a connected device again, with its queue, if the store has lost it: a replica may
    /// replace the store without the last writes. Does nothing if the device is still recorded, or
    /// if the person has too many other devices.
    async fn restore(
        &self,
        _device: Device,
        _ttl: Ttl,
        _max_devices: usize,
        _at: u64,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Removes a socket of a device. Without any socket, the device is away.
    async fn disconnect(&self, device: Device, at: u64) -> Result<(), Error>;

    /// Removes acked deliveries from the queue of a device. Deliveries that are not in it are
    /// ignored.
    async fn ack(&self, device: Device, ack: Ack, at: u64) -> Result<AckOutcome, Error>;

    /// Returns the deliveries in the queue of a known device, in the order of sending.
    async fn waiting(&self, device: Device, range: QueueRange) -> Result<Batch, Error>;
}

/// A device, which has a queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// The site. One site never sees the deliveries of another.
    pub site: Arc<str>,
    /// The person's room.
    pub person: Arc<str>,
    /// The name that the device gives itself; empty if it gives none. It is a name and not a
    /// pattern.
    pub name: Arc<str>,
}

/// A message that is added to queues.
#[derive(Debug, Clone)]
pub struct Enqueue {
    /// The site.
    pub site: Arc<str>,
    /// The message.
    pub message: Arc<Message>,
    /// The persons whose queues it is added to. A person that is listed twice gets it once.
    pub persons: Vec<Arc<str>>,
    /// The idempotency key. Sites do not share keys.
    pub key: Option<Key>,
    /// How long it is kept for a person without any device, from now on.
    pub ttl: Ttl,
    /// The maximum number of deliveries that wait for a person. If there are more, the queues of
    /// the devices that are the furthest behind are replaced by a resync.
    pub cap: u64,
    /// The time of the step.
    pub at: u64,
    /// The list that it is a part of.
    pub list: Option<MessageList>,
}

/// The messages of one request, in their order. After one that an engine could not store, it should
/// store no other: the request is sent again, and then the first would come after the others.
#[derive(Debug, Clone, Default)]
pub struct MessageList(Arc<AtomicBool>);

impl MessageList {
    /// Records that one of the messages could not be stored.
    pub fn set_failed(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether one of the messages could not be stored.
    pub fn has_failed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A message that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    /// The id of its deliveries.
    pub id: Flake,
    /// Whether its key was known. Then it was stored before, and not again.
    pub repeated: bool,
}

/// The deliveries that a device acks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ack {
    /// A delivery that was sent by itself. If its sender has asked for it (`resync`), it has to be
    /// the first of its event in the queue: otherwise the device has missed a delivery.
    One(Flake),
    /// All deliveries in a batch.
    Batch(Vec<Flake>),
}

/// The outcome of an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckOutcome {
    /// The deliveries were removed from the queue.
    Removed,
    /// The device has missed a delivery, so all deliveries of that event were removed from its
    /// queue. A resync with this id replaces them. It has to be sent to the device, and waits until
    /// it is acked.
    Resync(Flake),
}

/// A range of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRange {
    /// The range begins after this id.
    pub after: Flake,
    /// The range ends with this id.
    pub upto: Flake,
    /// The limits of the batch.
    pub portion: BatchLimits,
    /// The time of the read.
    pub at: u64,
}

/// The first deliveries of a range.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The deliveries, in the order of sending.
    pub deliveries: Vec<Delivery>,
    /// Whether the range has more deliveries.
    pub more: bool,
}

/// A delivery, which waits until it is acked.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The id, by which it is acked.
    pub id: Flake,
    /// The content.
    pub content: DeliveryContent,
}

impl Delivery {
    /// Returns the bytes that count for [`BatchLimits`].
    pub fn size(&self) -> usize {
        match &self.content {
            DeliveryContent::Event { event, args } => message::size(event, args),
            DeliveryContent::Resync => 0,
        }
    }
}

/// The content of a delivery.
#[derive(Debug, Clone)]
pub enum DeliveryContent {
    /// An event of a back end.
    Event {
        /// The name of the event.
        event: String,
        /// The arguments of the event.
        args: Vec<Box<RawValue>>,
    },
    /// Deliveries were dropped unread: the device has to fetch its data again.
    Resync,
}
