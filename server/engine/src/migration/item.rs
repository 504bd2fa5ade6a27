//! The contents of a store, in a form that does not depend on the engine.

use std::collections::BTreeMap;

use backwire_records::change::Id;
use serde::Serialize;

/// One thing in a store.
///
/// Items come in this order of their kinds, changes in the order of their log, and ledger entries,
/// cascades and keys of messages beginning with the oldest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) enum Item {
    /// The secret that signs session cookies.
    Secret([u8; 32]),
    /// The id of the last delivery.
    LastDelivery(u64),
    Epoch {
        number: u64,
        epoch: u64,
    },
    Resource {
        name: String,
        head: u64,
        floor: u64,
        next_id: i64,
        key: Option<String>,
    },
    /// The first offset of an epoch in a log.
    FirstOffset {
        resource: String,
        number: u64,
        first: u64,
    },
    Record(StoredRecord),
    Change(StoredChange),
    LedgerEntry(StoredLedgerEntry),
    Cascade {
        resource: String,
        attribute: String,
        id: Id,
        until: u64,
        is_pair: bool,
        origin: Option<String>,
    },
    Session {
        id: String,
        /// The values as JSON.
        values: BTreeMap<String, String>,
        /// `None` if it never expires.
        until: Option<u64>,
    },
    Message {
        id: u64,
        event: String,
        /// A list as JSON.
        args: String,
        /// Whether an ack out of order asks for a resync.
        resync: bool,
    },
    Person(StoredPerson),
    /// The key of a message.
    Post {
        site: String,
        hash: Vec<u8>,
        fingerprint: u64,
        id: u64,
        at: u64,
    },
}

/// A record, or the last offset of one that does not exist.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StoredRecord {
    pub(crate) resource: String,
    pub(crate) id: Id,
    pub(crate) offset: u64,
    /// The offset of its last change that was not only published.
    pub(crate) changed: u64,
    pub(crate) json: Option<String>,
}

/// A change in a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StoredChange {
    pub(crate) resource: String,
    pub(crate) offset: u64,
    pub(crate) previous: u64,
    /// As on the wire.
    pub(crate) verb: u8,
    pub(crate) id: Id,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    /// The names of the attributes that were set, a list as JSON.
    pub(crate) names: String,
    pub(crate) mark: u64,
    pub(crate) published: bool,
    pub(crate) origin: Option<String>,
    pub(crate) at: u64,
}

/// The entry of an idempotency key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StoredLedgerEntry {
    pub(crate) hash: Vec<u8>,
    pub(crate) fingerprint: u64,
    pub(crate) resource: String,
    pub(crate) id: Id,
    pub(crate) offset: u64,
    pub(crate) verb: u8,
    /// 0 changed its record, 1 was only published, 2 changed nothing.
    pub(crate) kind: u8,
    pub(crate) at: u64,
}

/// A person with devices or deliveries.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StoredPerson {
    pub(crate) site: String,
    pub(crate) name: String,
    /// In the order of their ids.
    pub(crate) deliveries: Vec<StoredDelivery>,
    /// In the order in which they were added.
    pub(crate) devices: Vec<StoredDevice>,
}

/// The delivery of a message or of a resync.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StoredDelivery {
    pub(crate) id: u64,
    /// Whether a device has acked it.
    pub(crate) acked: bool,
    /// When it expires, if the person has no device. `u64::MAX` is never.
    pub(crate) until: Option<u64>,
    /// The event, and whether an ack out of order asks for a resync; `None` for a resync.
    pub(crate) event: Option<(String, bool)>,
}

/// A device that is away.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StoredDevice {
    pub(crate) name: String,
    /// In seconds; 0 is forever.
    pub(crate) ttl: u64,
    /// When it disconnected.
    pub(crate) left: u64,
    /// The ids of the deliveries that wait for it.
    pub(crate) queue: Vec<u64>,
}

impl Item {
    /// Returns the name of its kind, in plural.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secrets",
            Self::LastDelivery(_) => "counters",
            Self::Epoch { .. } => "epochs",
            Self::Resource { .. } => "resources",
            Self::FirstOffset { .. } => "first offsets",
            Self::Record(_) => "records",
            Self::Change(_) => "changes",
            Self::LedgerEntry(_) => "idempotency keys",
            Self::Cascade { .. } => "cascades",
            Self::Session { .. } => "sessions",
            Self::Message { .. } => "messages",
            Self::Person(_) => "persons",
            Self::Post { .. } => "keys of messages",
        }
    }
}
