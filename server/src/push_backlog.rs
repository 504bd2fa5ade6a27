//! Limits the pushes that are committed and not sent yet.
//!
//! The fan-out sends changes in the order of the log, so each push waits for those before it. A
//! stock client gets a packet for each change: one change of a resource with a thousand stock
//! clients delays later changes as much as a thousand ordinary changes. So the packets of such a
//! change are claimed before it is committed, and released when they are sent. One client may claim
//! half of them. Writers of such a resource wait for the fan-out, and writers of others do not.
//!
//! The cost of a change is known when it has been sent. It is estimated from the changes before it,
//! or at first from the number of stock clients.
//!
//! Invariant: a writer that has a permit never waits for another one, so each permit is released.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use backwire_engine::{CommitOutcome, Engine, Environment, Error};
use backwire_environment::HashMap;
use backwire_records::change::{Change, Resource};
use backwire_records::write::Write;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::{Claim, MemoryBudget};
use crate::settings::Limit;

/// A stock client gets a packet for each change. After this many changes, the fan-out lets the
/// packets leave: they take memory for each connection, and a stock client that has too much of it
/// unread is disconnected.
pub(crate) const MAX_STOCK_CHANGES: usize = 8;

/// Changes of fewer packets than this need no permit. The channel between the engine and the
/// fan-out limits their number.
const MIN_PACKETS: usize = 8;

/// A filter searches this many bytes of text in the time in which one packet is sent.
const BYTES_PER_PACKET: usize = 8 << 10;

/// The pushes that are not sent yet.
pub(crate) struct PushBacklog {
    /// The packets that are committed and not sent yet. One packet takes a few microseconds.
    packets: Arc<MemoryBudget>,
    /// A change counts as at most this many packets. So one client may have [`MAX_STOCK_CHANGES`]
    /// unsent changes, which the fan-out sends together. That costs much less than to send each
    /// alone.
    max_counted: usize,
    limits: Arc<LimitMonitor>,
    /// Only resources whose changes are expensive, or were a while ago.
    resources: Mutex<HashMap<Resource, Entry>>,
}

/// The backlog of one resource.
#[derive(Debug, Default)]
struct Entry {
    /// The estimated packets of one change.
    packets: usize,
    /// The offset of the last change that was sent.
    sent: u64,
    /// Changes that are committed now are not sent, until another one is.
    is_skipped: bool,
    /// The number of permits of writes that have not ended.
    permits: usize,
    /// The claims of changes that are not sent yet, by the offset of the last change of each.
    claims: BTreeMap<u64, Claim>,
}

/// The permission to commit some writes of one resource. When all writes have ended and their
/// changes are sent, its packets are released. It is empty if the writes need no permission.
#[derive(Clone, Default)]
pub(crate) struct PushPermit(Option<Arc<ClaimedPermit>>);

struct ClaimedPermit {
    backlog: Arc<PushBacklog>,
    resource: Resource,
    claim: Mutex<Option<Claim>>,
    /// The offset of the last change of the writes, or 0.
    last: AtomicU64,
}

impl PushBacklog {
    /// Creates an empty backlog, which may have this many packets. One client may claim half.
    pub(crate) fn new(max_packets: usize, limits: Arc<LimitMonitor>) -> Arc<Self> {
        let share = max_packets / 2;
        let packets = MemoryBudget::with_share(max_packets, share);
        let max_counted = (share / MAX_STOCK_CHANGES).max(1);
        Arc::new(Self { packets, max_counted, limits, resources: Mutex::default() })
    }

    /// Returns how many writes of a resource may have one [permit](Self::enter) together.
    /// `stock_clients` follow the resource.
    pub(crate) fn writes_per_permit(&self, resource: &Resource, stock_clients: usize) -> usize {
        let packets = self.estimate(resource, stock_clients);
        if packets < MIN_PACKETS { usize::MAX } else { (self.packets.limit() / 2 / packets).max(1) }
    }

    /// Waits until a client may commit some writes of a resource. `stock_clients` follow it.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        (resource, writes): (&Resource, usize),
        stock_clients: usize,
        client: Option<IpAddr>,
    ) -> PushPermit {
        let packets = self.estimate(resource, stock_clients);
        if packets < MIN_PACKETS {
            return PushPermit::default();
        }
        let mut claim = self.packets.empty_claim(client);
        let mut released = claim.resize_or_wait(packets.saturating_mul(writes));
        if released.is_err() {
            self.limits.reached(Limit::UnsentPackets, client);
        }
        while let Err(is_released) = released {
            is_released.await;
            released = claim.resize_or_wait(packets.saturating_mul(writes));
        }
        let mut resources = self.resources.lock();
        let entry = resources.entry(resource.clone());
        entry.or_insert_with(|| Entry { packets, ..Entry::default() }).permits += 1;
        PushPermit(Some(Arc::new(ClaimedPermit {
            backlog: Arc::clone(self),
            resource: resource.clone(),
            claim: Mutex::new(Some(claim)),
            last: AtomicU64::new(0),
        })))
    }

    /// Returns the estimated packets of a change.
    fn estimate(&self, resource: &Resource, stock_clients: usize) -> usize {
        let mut resources = self.resources.lock();
        let Some(entry) = resources.get(resource) else {
            return stock_clients.min(self.max_counted);
        };
        let packets = entry.packets;
        if packets.max(stock_clients) < MIN_PACKETS && entry.is_idle() {
            resources.remove(resource);
        }
        packets
    }

    /// Called by the fan-out when a change is sent. `packets` were sent to stock clients, and
    /// filters have searched this many bytes.
    pub(crate) fn sent(&self, change: &Change, packets: usize, searched: usize) {
        let packets = (packets + searched / BYTES_PER_PACKET).min(self.max_counted);
        let mut resources = self.resources.lock();
        let entry = match resources.get_mut(&change.resource) {
            Some(entry) => entry,
            None if packets < MIN_PACKETS => return,
            None => resources.entry(change.resource.clone()).or_default(),
        };
        // Cheap changes between expensive ones do not make the expensive ones look cheap.
        entry.packets = packets.max(entry.packets - entry.packets.div_ceil(8));
        (entry.sent, entry.is_skipped) = (change.position.offset, false);
        let unsent = entry.claims.split_off(&(entry.sent + 1));
        let released = std::mem::replace(&mut entry.claims, unsent);
        drop(resources);
        drop(released);
    }

    /// Called when changes of a resource are not sent.
    pub(crate) fn skipped(&self, resource: &Resource) {
        let mut resources = self.resources.lock();
        let Some(entry) = resources.get_mut(resource) else { return };
        entry.is_skipped = true;
        let released = std::mem::take(&mut entry.claims);
        drop(resources);
        drop(released);
    }

    /// Returns the packets that are claimed now.
    pub(crate) fn claimed(&self) -> usize {
        self.packets.claimed()
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.permits == 0 && self.claims.is_empty()
    }
}

impl PushPermit {
    /// Commits a write. The permit is released after the write has ended, also if the result is
    /// dropped before.
    ///
    /// Invariant: the write is queued when this future is polled first.
    pub(crate) async fn commit(
        self,
        environment: &Environment,
        engine: Arc<dyn Engine>,
        write: Write,
    ) -> Result<CommitOutcome, Error> {
        let Some(permit) = self.0 else { return engine.commit(write).await };
        let mut commit = Box::pin(async move {
            let outcome = engine.commit(write).await;
            if let Ok(outcome) = &outcome {
                permit.committed(outcome);
            }
            outcome
        });
        if let Poll::Ready(outcome) = poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx))).await {
            return outcome;
        }
        let (sender, outcome) = oneshot::channel();
        environment.spawn(async move {
            // The caller may have stopped waiting.
            let _ = sender.send(commit.await);
        });
        let stopped = |_| Error::Unavailable("the server has stopped".to_owned());
        outcome.await.map_err(stopped)?
    }
}

impl ClaimedPermit {
    fn committed(&self, outcome: &CommitOutcome) {
        if !outcome.repeated && !outcome.unchanged {
            self.last.fetch_max(outcome.change.position.offset, Ordering::Relaxed);
        }
    }
}

impl Drop for ClaimedPermit {
    fn drop(&mut self) {
        let last = *self.last.get_mut();
        let claim = self.claim.get_mut().take();
        let mut resources = self.backlog.resources.lock();
        if let Some(entry) = resources.get_mut(&self.resource) {
            entry.permits -= 1;
            if last > entry.sent
                && !entry.is_skipped
                && let Some(claim) = claim
            {
                entry.claims.insert(last, claim);
            }
        }
    }
}

impl fmt::Debug for PushBacklog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PushBacklog").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
