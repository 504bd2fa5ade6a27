//! The largest id of a delivery that a node knows. Devices ignore ids that are smaller than one
//! that they have received. Redis may lose its last id in a failover, so each call sends this id,
//! and Redis gives only larger ids.

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
