//! What waits for people: deliveries, each kept until every device of its person has acked it.
//!
//! A person is somebody's own room at a site. A delivery is stored once for all persons it is for, and
//! beside it, for each of them, who still waits for it. A device has a queue of its own from its first
//! connect on; it begins with what no device of the person is done with yet. A person that no device is
//! known of has deliveries all the same, and they have their own time.
//!
//! Time is an argument and nothing happens by itself: whoever is due to be forgotten is forgotten by
//! the next step that concerns them, as if it had happened in time. For others it is a matter of space
//! only, so each step forgets a few of those as well.
//!
//! What is dropped unread is replaced by a delivery that says so, [`Said::Resync`]. It waits like any
//! other until it has been told and acked, so no crash can lose it.

mod memory;

use std::sync::Arc;

use async_trait::async_trait;
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::message::{self, Message};
use backwire_records::messages::rules::{Portion, Ttl};
use backwire_records::write::Key;
use serde_json::value::RawValue;

use super::Error;

pub use memory::MemoryQueues;

/// Devices and deliveries that may be forgotten by each step, beside those it is about: more than one,
/// so that their number shrinks.
pub(super) const FORGOTTEN_PER_STEP: u32 = 2;

/// Where deliveries live. Times are Unix milliseconds.
///
/// Invariant: each of these is one step, durable before it is answered. Steps happen in the order in
/// which their futures are polled first: a connection counts on it for the order of its acks.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Told once, before anything else: who draws the ids from here on. Whoever was connected when the
    /// last process ended is away since now.
    async fn begin(&self, node: Node, at: u64) -> Result<(), Error>;

    /// Stores a message for all its persons or for none. One whose key is known is not stored again: it
    /// is answered as it was the first time.
    ///
    /// Invariant: ids grow in the order of sending, over all sites and restarts.
    async fn post(&self, post: Post) -> Result<Posted, Error>;

    /// A socket of a device is there. Gives the last id that was drawn: what waits up to it is for the
    /// batch, what comes after it is told as it comes.
    ///
    /// A person has at most so many devices. For a new one, those that have been away the longest are
    /// forgotten; if too few are away, this gives none and nothing has happened.
    async fn connect(
        &self,
        device: Device,
        ttl: Ttl,
        most: usize,
        at: u64,
    ) -> Result<Option<Flake>, Error>;

    /// A socket of a device is gone. With the last of them, the device is away.
    async fn disconnect(&self, device: Device, at: u64) -> Result<(), Error>;

    /// Removes from a device's queue what it is done with. What does not wait there is no matter.
    async fn ack(&self, device: Device, acked: Acked, at: u64) -> Result<Outcome, Error>;

    /// What waits for a device that is known, in the order of sending.
    async fn waiting(&self, device: Device, asked: Asked) -> Result<Batch, Error>;
}

/// Where a queue is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// One site never sees what waits at another.
    pub site: Arc<str>,
    /// The person's room.
    pub person: Arc<str>,
    /// As the device calls itself; empty for one that does not. It is a name and no pattern.
    pub name: Arc<str>,
}

/// A message on its way into queues.
#[derive(Debug, Clone)]
pub struct Post {
    /// Where it was sent.
    pub site: Arc<str>,
    /// What was sent.
    pub message: Arc<Message>,
    /// Whose queues it goes into. A person that is named twice gets it once.
    pub persons: Vec<Arc<str>>,
    /// By which a repeat is known. Keys of one site are not those of another.
    pub key: Option<Key>,
    /// How long it is kept for a person without any device, from now on.
    pub ttl: Ttl,
    /// Deliveries that may wait for a person. When there are more, the devices that are the furthest
    /// behind lose their place and have to start over.
    pub cap: u64,
    /// When this happens.
    pub at: u64,
}

/// A message that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posted {
    /// The id of its deliveries.
    pub id: Flake,
    /// Whether its key was known: it was stored before, and not again.
    pub repeated: bool,
}

/// What a device is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acked {
    /// A delivery that was told by itself. Where its sender has asked for it, it has to be the first of
    /// its event in the queue: else the device has missed something.
    One(Flake),
    /// Everything in a batch.
    Batch(Vec<Flake>),
}

/// What came of an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What was acked does not wait any more.
    Removed,
    /// The device has lost its place: all that waited for it of that event is gone. It has to be told so,
    /// and then this id is to be acked; until then it waits in place of what is gone.
    Resync(Flake),
}

/// Which part of a queue is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// What was sent after this
    pub after: Flake,
    /// and up to this,
    pub upto: Flake,
    /// and no more than this at once.
    pub portion: Portion,
    /// When this is asked.
    pub at: u64,
}

/// The first of what was asked for.
#[derive(Debug, Clone)]
pub struct Batch {
    /// In the order of sending.
    pub deliveries: Vec<Delivery>,
    /// Whether more waits after them.
    pub more: bool,
}

/// Something that waits until it is acked.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// By which it is acked.
    pub id: Flake,
    /// What it says.
    pub said: Said,
}

impl Delivery {
    /// The bytes that count for a [`Portion`].
    pub fn size(&self) -> usize {
        match &self.said {
            Said::Event { event, args } => message::size(event, args),
            Said::Resync => 0,
        }
    }
}

/// What a delivery says.
#[derive(Debug, Clone)]
pub enum Said {
    /// What a back end has sent.
    Event {
        /// Its name.
        event: String,
        /// Its arguments.
        args: Vec<Box<RawValue>>,
    },
    /// Something was dropped unread: the device has to start over.
    Resync,
}
