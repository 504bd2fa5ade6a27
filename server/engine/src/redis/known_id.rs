//! The largest id of a delivery that a node knows. Redis may lose it in a failover, and then gives
//! only larger ones to this node. Devices that have received it ignore smaller ones.

use std::sync::atomic::{AtomicU64, Ordering};

use backwire_records::messages::flake::Flake;

#[derive(Debug, Default)]
pub(super) struct KnownId(AtomicU64);

impl KnownId {
    pub(super) fn add(&self, id: Flake) {
        self.0.fetch_max(id.into(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Flake {
        self.0.load(Ordering::Relaxed).into()
    }
}
