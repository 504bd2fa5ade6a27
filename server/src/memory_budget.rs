//! Bytes that clients may make the server hold, all of them together.
//!
//! A claim is made before the bytes are held and given back when it is dropped. One client may claim a
//! quarter of a budget, so that no client can use up what others need.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::lock::lock;

/// The part of a budget that one client may claim is one of this many.
const SHARES: usize = 4;

/// Bytes of each connection that no budget counts. So ordinary requests and answers are never refused, whatever
/// others do.
pub(crate) const UNCOUNTED_BYTES: usize = 64 << 10;

/// A budget in bytes.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: usize,
    claimed: Mutex<Claimed>,
}

#[derive(Debug, Default)]
struct Claimed {
    total: usize,
    /// Clients without a claim are not in it.
    by_client: HashMap<Option<IpAddr>, usize>,
}

/// Bytes of a budget that are in use.
#[derive(Debug)]
pub(crate) struct Claim {
    budget: Arc<MemoryBudget>,
    client: Option<IpAddr>,
    bytes: usize,
}

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, claimed: Mutex::default() })
    }

    /// The size of the budget.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Claims bytes for a client. `None` if they are not left, or if the client holds its share
    /// already. Something that is larger than the share can be claimed alone.
    pub(crate) fn claim(self: &Arc<Self>, client: Option<IpAddr>, bytes: usize) -> Option<Claim> {
        let mut claimed = lock(&self.claimed);
        let held = claimed.by_client.get(&client).copied().unwrap_or_default();
        let is_left = claimed.total + bytes <= self.limit || claimed.total == 0;
        let is_share = held + bytes <= self.limit / SHARES || held == 0;
        if !is_left || !is_share {
            return None;
        }
        claimed.total += bytes;
        claimed.by_client.insert(client, held + bytes);
        Some(Claim { budget: Arc::clone(self), client, bytes })
    }

    fn release(&self, client: Option<IpAddr>, bytes: usize) {
        let mut claimed = lock(&self.claimed);
        claimed.total -= bytes;
        if let Some(held) = claimed.by_client.get_mut(&client) {
            *held -= bytes;
            if *held == 0 {
                claimed.by_client.remove(&client);
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.release(self.client, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> Option<IpAddr> {
        Some([10, 0, 0, number].into())
    }

    #[test]
    fn client_may_claim_a_quarter_and_all_clients_the_whole() {
        let budget = MemoryBudget::new(100);
        let first = budget.claim(client(1), 20);
        assert!(first.is_some() && budget.claim(client(1), 6).is_none());
        let others: Vec<_> = (2..=4).map(|number| budget.claim(client(number), 25)).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(budget.claim(client(5), 6).is_none());
        assert!(budget.claim(client(5), 5).is_some());
    }

    #[test]
    fn dropped_claim_can_be_claimed_again() {
        let budget = MemoryBudget::new(100);
        for _ in 0..10 {
            let claims = [client(1), client(2)].map(|client| budget.claim(client, 25));
            assert!(claims.iter().all(Option::is_some));
        }
        let claimed = lock(&budget.claimed);
        assert!(claimed.total == 0 && claimed.by_client.is_empty());
    }

    #[test]
    fn more_than_the_share_can_be_claimed_alone() {
        let budget = MemoryBudget::new(100);
        let whole = budget.claim(client(1), 150);
        assert!(whole.is_some() && budget.claim(client(2), 1).is_none());
        drop(whole);
        let large = budget.claim(client(1), 60);
        assert!(large.is_some() && budget.claim(client(1), 1).is_none());
        assert!(budget.claim(client(2), 40).is_some());
    }
}
