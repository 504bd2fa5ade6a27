//! The limits of undeclared resources that clients may create.
//!
//! The first record of an undeclared resource creates it, and the server keeps its name and its log
//! for ever. So a client that used a new resource for each record would fill the disk and the
//! memory.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use backwire_environment::HashSet;
use backwire_records::change::Resource;
use parking_lot::RwLock;

use crate::address_quota::AddressQuota;
use crate::error::{Error, Result};
use crate::settings::{Limit, Limits};

/// The undeclared resources that have had a record.
#[derive(Debug)]
pub(crate) struct UndeclaredResources {
    known: RwLock<HashSet<Resource>>,
    max: usize,
    quota: AddressQuota,
}

impl UndeclaredResources {
    /// `known` are the undeclared resources of the store.
    pub(crate) fn new(known: BTreeSet<Resource>, limits: &Limits) -> Self {
        let quota = AddressQuota::new(limits.undeclared_resources_per_address);
        Self {
            known: RwLock::new(known.into_iter().collect()),
            max: limits.undeclared_resources,
            quota,
        }
    }

    /// Counts an undeclared resource if it is new. Returns an error if a limit is reached. If the
    /// first write fails, the resource counts until the server restarts.
    pub(crate) fn begin(
        &self,
        resource: &Resource,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<()> {
        if self.known.read().contains(resource) {
            return Ok(());
        }
        let mut known = self.known.write();
        if known.contains(resource) {
            return Ok(());
        }
        if known.len() >= self.max {
            return Err(Error::QuotaReached { limit: Limit::UndeclaredResources, max: self.max });
        }
        if !self.quota.take(address, now) {
            let limit = Limit::UndeclaredResourcesPerAddress;
            return Err(Error::QuotaReached { limit, max: self.quota.max() });
        }
        known.insert(resource.clone());
        Ok(())
    }
}
