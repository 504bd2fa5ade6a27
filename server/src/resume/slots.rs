//! A limit on the resumes that one address has in progress.
//!
//! Each address waits only for its own resumes. All further queues of resumes are in the order of
//! arrival, so this bounds how many resumes of one address can be before that of another.

use std::net::IpAddr;
use std::sync::Arc;

use backwire_environment::HashMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The resumes that one address may have in progress. While one of several ends, another keeps the
/// parts of logs that they share.
pub(super) const MAX_PER_ADDRESS: usize = 2;

/// Clients whose address is not known share their slots.
type Address = Option<IpAddr>;

/// The slots that are in use or waited for, by address.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<HashMap<Address, Arc<Semaphore>>>);

/// The permission to be in progress. Dropping it lets the next resume of the address begin.
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    address: Address,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slots {
    /// Waits until the address has fewer resumes in progress.
    pub(super) async fn acquire(&self, address: Address) -> Slot<'_> {
        let new = || Arc::new(Semaphore::new(MAX_PER_ADDRESS));
        let semaphore = Arc::clone(self.0.lock().entry(address).or_insert_with(new));
        // If this future is dropped, the slot removes the entry of its address.
        let mut slot = Slot { slots: self, address, permit: None };
        slot.permit = semaphore.acquire_owned().await.ok();
        slot
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.permit = None;
        let mut slots = self.slots.0.lock();
        // Each resume in progress has a handle, and so has each that waits.
        if slots.get(&self.address).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            slots.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn address(number: u8) -> Address {
        Some([10, 0, 0, number].into())
    }

    #[test]
    fn address_waits_only_for_its_own_resumes() {
        let slots = Slots::default();
        let mut running: Vec<_> =
            (0..MAX_PER_ADDRESS).map(|_| slots.acquire(address(1)).now_or_never()).collect();
        assert!(running.iter().all(Option::is_some));
        let mut waiting: Vec<_> = (0..98).map(|_| Box::pin(slots.acquire(address(1)))).collect();
        assert!(waiting.iter_mut().all(|it| it.now_or_never().is_none()));
        assert!(slots.acquire(address(2)).now_or_never().is_some());
        running.pop();
        let next = (&mut waiting[0]).now_or_never();
        assert!(next.is_some() && (&mut waiting[1]).now_or_never().is_none());
        drop((running, next));
        drop(waiting);
        assert!(slots.0.lock().is_empty());
    }
}
