//! A store that is replaced by a replica without its last writes, for simulations.

use std::collections::BTreeMap;
use std::sync::Arc;

use backwire_protocol::planted;
use backwire_records::change::Resource;
use backwire_records::messages::flake::Flake;
use parking_lot::Mutex;

use super::table::Table;
use super::{Data, Memory};
use crate::{Environment, Tail};

/// A copy of the data of a store, see [`Memory::replica`].
#[derive(Debug)]
pub struct Replica(Data);

impl Memory {
    /// Returns a copy of the data: that of a replica whose replication stops now.
    pub fn replica(&self) -> Replica {
        Replica(Data {
            state: Mutex::new(self.state().clone()),
            sessions: self.data.sessions.copy(),
            queues: self.data.queues.copy(),
        })
    }

    /// Returns a store with the data of a replica that replaces this store: everything after the
    /// copy is lost. It has an epoch of its own, and gives no id again that may have been lost.
    #[must_use]
    pub fn replaced_by(&self, replica: Replica, environment: Environment, tail: Tail) -> Self {
        let Replica(data) = replica;
        data.queues.note_lost_ids();
        if !planted::has("ids-of-lost-records-given-again") {
            data.state.lock().tables.values_mut().for_each(Table::skip_ids);
        }
        Self::open(environment, self.window, tail, Arc::new(data))
    }

    /// Gives only ids of deliveries that are greater than one that a server knows. This store may
    /// have lost it.
    pub fn give_message_ids_after(&self, known: Flake) {
        self.data.queues.give_ids_after(known);
    }

    /// Returns the epoch of positions.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the head of the log of each resource.
    pub fn heads(&self) -> BTreeMap<Resource, u64> {
        let state = self.state();
        state.tables.iter().map(|(name, table)| (name.clone(), table.counters.head)).collect()
    }

    /// Returns the last offset of a resource up to which this log and the log of an epoch that a
    /// server has followed are the same.
    pub fn common_offset(&self, of: &Resource, followed: u64) -> u64 {
        let state = self.state();
        state.table(of, |table| {
            let first = state.first_after(table, followed).map(|first| first.offset);
            first.map_or(table.counters.head, |first| first - 1)
        })
    }
}
