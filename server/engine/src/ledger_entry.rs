//! The entry of a write in the ledger, for callers that do not repeat the write itself.

use std::net::IpAddr;
use std::sync::Arc;

use backwire_records::change::{Change, Id, Position, Resource, Verb};
use backwire_records::write::Key;

use crate::ledger::Written;

/// A question about an idempotency key.
#[derive(Debug, Clone)]
pub struct KeyLookup {
    /// The key. The entry of another request with the same key is an error.
    pub key: Key,
    /// The client that asks. Its lookups and its writes are in one order.
    pub client: Option<IpAddr>,
    /// The time, in milliseconds since 1970. It decides whether the entry has expired.
    pub at: u64,
}

/// The entry of a write in the ledger, and what the log still has of the write.
#[derive(Debug, Clone)]
pub struct LedgerEntry {
    written: Written,
    epoch: u64,
    logged: Option<Arc<Change>>,
}

impl LedgerEntry {
    /// Creates the entry. `logged` is the stored reply, while the log has the change.
    pub(super) fn new(written: Written, epoch: u64, logged: Option<Change>) -> Self {
        Self { written, epoch, logged: logged.map(Arc::new) }
    }

    /// Returns the resource of the write.
    pub fn resource(&self) -> &Resource {
        &self.written.resource
    }

    /// Returns the id of the written record.
    pub fn id(&self) -> &Id {
        &self.written.id
    }

    /// Returns the verb of the write.
    pub fn verb(&self) -> Verb {
        self.written.verb
    }

    /// Returns the position of the write. If the write changed nothing, it is the head of the log
    /// at that time.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.written.offset }
    }

    /// Returns the stored reply while the log has the change. Afterwards, and for a write that
    /// changed nothing, returns a change that has only the id of the record, as the primary key of
    /// this name.
    pub fn reply(self, primary_key: &str, key: &Key) -> Arc<Change> {
        let Self { written, epoch, logged } = self;
        logged.unwrap_or_else(|| Arc::new(written.answer_with_id(primary_key, key.mark(), epoch)))
    }
}
