//! The bytes that all clients together may make the server hold.
//!
//! Code claims bytes before it holds them, and the bytes are released when the claim is dropped. A
//! claim can grow. One client may claim a quarter of a budget, so that no client can use up what
//! others need.

use std::net::IpAddr;
use std::sync::Arc;

use backwire_environment::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// One client may claim one of this many equal parts of a budget.
pub(crate) const SHARES: usize = 4;

/// Answers of up to this many bytes use no budget that is shared with other clients. Bodies over
/// HTTP of up to this many bytes wait for memory instead of being refused.
pub(crate) const UNCOUNTED_BYTES: usize = 64 << 10;

/// The bytes of each connection's incoming data, and of each request's parsed values, that no
/// budget counts. It is smaller than [`UNCOUNTED_BYTES`], because one address may have thousands of
/// connections.
pub(crate) const UNCOUNTED_INPUT: usize = 8 << 10;

/// A budget in bytes.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: usize,
    /// The bytes that one client may claim, if it has more than one claim.
    share: usize,
    claimed: Mutex<Claimed>,
    /// Wakes one task that waits because the whole budget is claimed.
    released: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Claimed {
    total: usize,
    /// How often bytes have been released.
    releases: u64,
    /// Only clients with a claim have an entry.
    by_client: HashMap<Option<IpAddr>, Share>,
}

/// The bytes that one client has claimed.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    /// Wakes one task that waits because the client has claimed its share.
    released: Arc<Notify>,
}

/// Bytes of a budget that are in use.
#[derive(Debug)]
pub(crate) struct Claim {
    budget: Arc<MemoryBudget>,
    client: Option<IpAddr>,
    bytes: usize,
    /// The number of releases when this last failed to grow.
    failed_at_release: Option<u64>,
}

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Self::with_share(limit, limit / SHARES)
    }

    /// Creates a budget that each client has for itself, independent of all others.
    pub(crate) fn of_each_client(limit: usize) -> Arc<Self> {
        Self::with_share(usize::MAX, limit)
    }

    /// Creates a budget of which one client may claim `share`.
    pub(crate) fn with_share(limit: usize, share: usize) -> Arc<Self> {
        Arc::new(Self { limit, share, claimed: Mutex::default(), released: Arc::default() })
    }

    /// Returns the size of the budget.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the bytes that are claimed now.
    pub(crate) fn claimed(&self) -> usize {
        self.claimed.lock().total
    }

    /// Claims bytes for a client. Returns `None` if they are not free, or if the client would
    /// exceed its share. A client without other claims may claim more than its share.
    pub(crate) fn claim(self: &Arc<Self>, client: Option<IpAddr>, bytes: usize) -> Option<Claim> {
        let mut claim = self.empty_claim(client);
        claim.resize(bytes).then_some(claim)
    }

    /// Returns a claim of no bytes, which can grow.
    pub(crate) fn empty_claim(self: &Arc<Self>, client: Option<IpAddr>) -> Claim {
        Claim { budget: Arc::clone(self), client, bytes: 0, failed_at_release: None }
    }

    /// Changes the size of a claim of a client. If it cannot grow, the error is notified when bytes
    /// are released. It wakes its waiting tasks one at a time.
    fn resize(&self, client: Option<IpAddr>, from: usize, to: usize) -> Result<(), Arc<Notify>> {
        let mut claimed = self.claimed.lock();
        let claimed = &mut *claimed;
        let (others, share) = (claimed.total - from, claimed.by_client.entry(client).or_default());
        let others_of_client = share.bytes - from;
        if to > from && others_of_client + to > self.share && others_of_client > 0 {
            return Err(Arc::clone(&share.released));
        }
        if to > from && others + to > self.limit && others > 0 {
            if share.bytes == 0 {
                claimed.by_client.remove(&client);
            }
            return Err(Arc::clone(&self.released));
        }
        share.bytes = others_of_client + to;
        // There may be enough for the next waiting task, also if this claim has grown.
        share.released.notify_one();
        self.released.notify_one();
        claimed.releases += u64::from(to < from);
        if share.bytes == 0 {
            share.released.notify_waiters();
            claimed.by_client.remove(&client);
        }
        claimed.total = others + to;
        Ok(())
    }
}

impl MemoryBudget {
    /// Wakes the next waiting task, if this claim has not done so since the last release: too few
    /// bytes for one task may be enough for another.
    fn pass_on(&self, client: Option<IpAddr>, failed_at_release: &mut Option<u64>) {
        let claimed = self.claimed.lock();
        if failed_at_release.replace(claimed.releases) != Some(claimed.releases) {
            self.released.notify_one();
            if let Some(share) = claimed.by_client.get(&client) {
                share.released.notify_one();
            }
        }
    }
}

impl Claim {
    /// Returns the claimed bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the size of the claim. Returns `false`, and changes nothing, if it cannot grow.
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        self.try_resize(bytes).is_ok()
    }

    /// Changes the size of the claim. If it cannot grow, the error is a future that resolves when
    /// the caller should try again.
    pub(crate) fn resize_or_wait(&mut self, bytes: usize) -> Result<(), OwnedNotified> {
        let Err(mut released) = self.try_resize(bytes) else { return Ok(()) };
        loop {
            // Tried again: releases before this line do not wake the caller.
            let waiting = Arc::clone(&released).notified_owned();
            match self.try_resize(bytes) {
                Ok(()) => return Ok(()),
                Err(same) if Arc::ptr_eq(&same, &released) => {
                    self.budget.pass_on(self.client, &mut self.failed_at_release);
                    return Err(waiting);
                }
                Err(other) => released = other,
            }
        }
    }

    fn try_resize(&mut self, bytes: usize) -> Result<(), Arc<Notify>> {
        self.budget.resize(self.client, self.bytes, bytes)?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // An empty claim releases nothing that a task could wait for.
        if self.bytes > 0 {
            // A claim can always become smaller.
            let _ = self.budget.resize(self.client, self.bytes, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    fn client(number: u8) -> Option<IpAddr> {
        Some([10, 0, 0, number].into())
    }

    #[test]
    fn client_may_claim_a_quarter_and_all_clients_the_whole_budget() {
        let budget = MemoryBudget::new(100);
        let first = budget.claim(client(1), 20);
        assert!(first.is_some() && budget.claim(client(1), 6).is_none());
        let others: Vec<_> = (2..=4).map(|number| budget.claim(client(number), 25)).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(budget.claim(client(5), 6).is_none());
        assert!(budget.claim(client(5), 5).is_some());
    }

    #[test]
    fn budget_of_each_client_does_not_limit_others() {
        let budget = MemoryBudget::of_each_client(100);
        let first = budget.claim(client(1), 90);
        assert!(first.is_some() && budget.claim(client(1), 11).is_none());
        let others: Vec<_> = (2..=40).map(|number| budget.claim(client(number), 100)).collect();
        assert!(others.iter().all(Option::is_some) && budget.claim(client(1), 10).is_some());
    }

    #[test]
    fn bytes_of_a_dropped_claim_can_be_claimed_again() {
        let budget = MemoryBudget::new(100);
        for _ in 0..10 {
            let claims = [client(1), client(2)].map(|client| budget.claim(client, 25));
            assert!(claims.iter().all(Option::is_some));
        }
        let claimed = budget.claimed.lock();
        assert!(claimed.total == 0 && claimed.by_client.is_empty());
    }

    #[test]
    fn single_claim_may_exceed_the_share() {
        let budget = MemoryBudget::new(100);
        let whole = budget.claim(client(1), 150);
        assert!(whole.is_some() && budget.claim(client(2), 1).is_none());
        drop(whole);
        let large = budget.claim(client(1), 60);
        assert!(large.is_some() && budget.claim(client(1), 1).is_none());
        assert!(budget.claim(client(2), 40).is_some());
    }

    #[test]
    fn claim_grows_to_any_size_that_could_be_claimed_at_once() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.claim(client(1), 5).unwrap();
        let second = budget.claim(client(1), 10).unwrap();
        assert!(first.resize(15) && !first.resize(16));
        assert_eq!((first.bytes(), budget.claimed()), (15, 25));
        drop(second);
        // It is now the only claim of its client, and then the only claim of all.
        assert!(first.resize(60));
        let other = budget.claim(client(2), 25).unwrap();
        assert!(first.resize(75) && !first.resize(76));
        drop(other);
        assert!(first.resize(200) && first.resize(10));
        assert_eq!(budget.claimed(), 10);
    }

    #[test]
    fn claim_above_the_limit_can_shrink_beside_other_claims() {
        let budget = MemoryBudget::new(100);
        let mut small = budget.claim(client(1), 10).unwrap();
        let mut large = budget.claim(client(2), 90).unwrap();
        drop(small);
        assert!(large.resize(300));
        small = budget.claim(client(3), 0).unwrap();
        assert!(!small.resize(1) && large.resize(90));
        assert!(small.resize(10) && !large.resize(91));
        drop((small, large));
        assert!(budget.claimed.lock().by_client.is_empty());
    }

    /// Each task claims bytes, lets others run, and releases them. None waits for ever.
    #[tokio::test]
    async fn all_waiting_tasks_get_their_bytes() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..20 {
            let budget = MemoryBudget::new(random.random_range(1..200));
            let mut tasks = JoinSet::new();
            for _ in 0..100 {
                let mut claim = budget.empty_claim(client(random.random_range(0..6)));
                let sizes: [usize; 3] = std::array::from_fn(|_| random.random_range(0..80));
                let turns = random.random_range(0..5);
                tasks.spawn(async move {
                    for bytes in sizes {
                        // No task holds bytes while it waits, so no two wait for each other.
                        assert!(claim.resize(0));
                        while let Err(released) = claim.resize_or_wait(bytes) {
                            released.await;
                        }
                        for _ in 0..turns {
                            yield_now().await;
                        }
                    }
                });
            }
            tasks.join_all().await;
            assert_eq!(budget.claimed(), 0);
        }
    }

    #[tokio::test]
    async fn small_claim_does_not_wait_for_a_large_one() {
        let budget = MemoryBudget::new(100);
        let holders: Vec<_> = (1..=4).map(|number| budget.claim(client(number), 24)).collect();
        let wait = |number, bytes| {
            let mut claim = budget.empty_claim(client(number));
            tokio::spawn(async move {
                while let Err(released) = claim.resize_or_wait(bytes) {
                    released.await;
                }
            })
        };
        let (much, little) = (wait(5, 90), wait(6, 12));
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(!much.is_finished() && !little.is_finished());
        // Of the 28 bytes that are free now, one can be given 12.
        let mut holders = holders.into_iter();
        drop(holders.next());
        little.await.unwrap();
        assert!(!much.is_finished());
        drop(holders);
        much.await.unwrap();
    }

    /// A random operation on claims.
    #[derive(Debug, Clone)]
    enum Step {
        Claim { client: u8, bytes: usize },
        Resize { index: usize, bytes: usize },
        Drop { index: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_u8, 0..60_usize).prop_map(|(client, bytes)| Step::Claim { client, bytes }),
            (0..8_usize, 0..120_usize).prop_map(|(index, bytes)| Step::Resize { index, bytes }),
            (0..8_usize).prop_map(|index| Step::Drop { index }),
        ]
    }

    /// Whether a client may claim these bytes beside what others claim: `(client, bytes)` each.
    fn is_allowed(limit: usize, others: &[(u8, usize)], client: u8, bytes: usize) -> bool {
        let total: usize = others.iter().map(|(_, bytes)| bytes).sum();
        let own = others.iter().filter(|(other, _)| *other == client);
        let own: usize = own.map(|(_, bytes)| bytes).sum();
        (total == 0 || total + bytes <= limit) && (own == 0 || own + bytes <= limit / 4)
    }

    proptest! {
        /// A failure prints the steps and the seed.
        #[test]
        fn claims_equal_those_of_a_simple_model(limit in 1..200_usize, steps in vec(step(), 1..80)) {
            let budget = MemoryBudget::new(limit);
            let mut claims: Vec<Claim> = Vec::new();
            let mut model: Vec<(u8, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Claim { client: number, bytes } => {
                        let claim = budget.claim(client(number), bytes);
                        let expected = bytes == 0 || is_allowed(limit, &model, number, bytes);
                        prop_assert_eq!(claim.is_some(), expected);
                        if let Some(claim) = claim {
                            claims.push(claim);
                            model.push((number, bytes));
                        }
                    }
                    Step::Resize { index, bytes } if index < claims.len() => {
                        let (number, before) = model.swap_remove(index);
                        let may = bytes <= before || is_allowed(limit, &model, number, bytes);
                        let mut claim = claims.swap_remove(index);
                        prop_assert_eq!(claim.resize(bytes), may);
                        model.push((number, if may { bytes } else { before }));
                        claims.push(claim);
                    }
                    Step::Drop { index } if index < claims.len() => {
                        model.swap_remove(index);
                        claims.swap_remove(index);
                    }
                    Step::Resize { .. } | Step::Drop { .. } => {}
                }
                let sizes: Vec<_> = claims.iter().map(Claim::bytes).collect();
                let expected: Vec<_> = model.iter().map(|(_, bytes)| *bytes).collect();
                prop_assert_eq!(&sizes, &expected);
                let total: usize = sizes.iter().sum();
                prop_assert_eq!(budget.claimed(), total);
                let is_alone = sizes.iter().filter(|bytes| **bytes > 0).count() <= 1;
                prop_assert!(total <= limit || is_alone);
            }
            drop(claims);
            let claimed = budget.claimed.lock();
            prop_assert!(claimed.total == 0 && claimed.by_client.is_empty());
        }
    }
}
