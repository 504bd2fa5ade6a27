//! The memory of the values that requests are parsed to.
//!
//! Before the server parses JSON of a client, it claims the [size](JsonSize) of the values until
//! the request is answered. If the memory is not free, the request waits. The server holds values
//! only while it works on a request, so each waiting request gets its turn, whatever clients do.
//!
//! This budget is separate from that of the texts. A request holds its text while it waits for this
//! budget, so with one budget all requests could wait for each other. No task that holds memory of
//! this budget waits for more.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use backwire_engine::Environment;
use backwire_records::json_size::JsonSize;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use crate::error::{Error, Result};
use crate::memory_budget::{Claim, MemoryBudget, UNCOUNTED_INPUT};
use crate::settings::{Limit, Limits};

/// Longer texts take milliseconds to parse and would block other tasks of the thread.
const MAX_INLINE_PARSE_BYTES: usize = 64 << 10;

/// The limit of values of one request, and the memory for the values of all requests.
#[derive(Debug)]
pub(crate) struct ParseLimits {
    environment: Environment,
    max_values: usize,
    budget: Arc<MemoryBudget>,
    /// How long a request waits for memory.
    wait_timeout: Duration,
}

/// The memory of the values of one request.
#[derive(Debug, Clone)]
pub(crate) struct ParseClaim(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Arc<ParseLimits>,
    claim: Mutex<Claim>,
    /// Values of up to this many bytes are not counted.
    uncounted: usize,
}

impl ParseLimits {
    pub(crate) fn new(environment: Environment, limits: &Limits) -> Arc<Self> {
        let budget = MemoryBudget::new(limits.total_request_bytes);
        Arc::new(Self {
            environment,
            max_values: limits.body_values,
            budget,
            wait_timeout: limits.body_deadline,
        })
    }
}

impl ParseLimits {
    /// Returns the maximum number of values in a body.
    pub(crate) fn max_values(&self) -> usize {
        self.max_values
    }
}

impl ParseClaim {
    /// Claims nothing yet.
    pub(crate) fn new(limits: &Arc<ParseLimits>, client: Option<IpAddr>) -> Self {
        Self::with_uncounted(limits, client, UNCOUNTED_INPUT)
    }

    /// The same for a request beside others of the same connection. All its values are counted: a
    /// connection may have many such requests.
    pub(crate) fn beside_others(limits: &Arc<ParseLimits>, client: Option<IpAddr>) -> Self {
        Self::with_uncounted(limits, client, 0)
    }

    fn with_uncounted(limits: &Arc<ParseLimits>, client: Option<IpAddr>, uncounted: usize) -> Self {
        let claim = Mutex::new(limits.budget.empty_claim(client));
        Self(Arc::new(Shared { limits: Arc::clone(limits), claim, uncounted }))
    }

    /// Waits until JSON of this size may be parsed. The claim replaces the one before.
    pub(crate) async fn claim(&self, size: JsonSize) -> Result<()> {
        self.check(size)?;
        self.claim_bytes(size.parsed_bytes()).await
    }

    /// Waits until this much memory is claimed.
    pub(crate) async fn claim_bytes(&self, bytes: usize) -> Result<()> {
        let limits = &self.0.limits;
        if bytes <= self.0.uncounted {
            return Ok(());
        }
        let claimed = limits.environment.timeout(limits.wait_timeout, self.wait_for(bytes)).await;
        claimed.map_err(|_| Error::Busy {
            limit: Limit::TotalRequestBytes,
            bytes: limits.budget.limit(),
        })
    }

    /// Returns an error if JSON has too many values.
    pub(crate) fn check(&self, size: JsonSize) -> Result<()> {
        let (count, limit) = (size.values(), self.0.limits.max_values);
        if count > limit { Err(Error::TooManyValues { count, limit }) } else { Ok(()) }
    }

    async fn wait_for(&self, bytes: usize) {
        loop {
            let released = {
                let mut claim = self.0.claim.lock();
                let Err(released) = claim.resize_or_wait(bytes) else { return };
                if claim.bytes() > 0 {
                    claim.resize(0);
                }
                released
            };
            released.await;
        }
    }
}

/// Parses JSON whose memory is claimed. A long text does not block other tasks of the thread.
#[expect(clippy::disallowed_methods, reason = "the result does not depend on the thread")]
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let runtime_flavor = || Handle::try_current().map(|it| it.runtime_flavor());
    if text.len() > MAX_INLINE_PARSE_BYTES
        && runtime_flavor().is_ok_and(|it| it == RuntimeFlavor::MultiThread)
    {
        return block_in_place(|| serde_json::from_slice(text));
    }
    serde_json::from_slice(text)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    fn limits(total_request_bytes: usize) -> Arc<ParseLimits> {
        ParseLimits::new(Environment::tokio(), &Limits { total_request_bytes, ..Limits::default() })
    }

    fn zeros(count: usize) -> JsonSize {
        JsonSize::of(format!("[{}0]", "0,".repeat(count)))
    }

    #[tokio::test]
    async fn small_values_claim_nothing_and_large_values_wait_for_memory() {
        let limits = limits(1 << 20);
        let [first, second, third] = [(); 3].map(|()| ParseClaim::new(&limits, None));
        first.claim(zeros(1_000)).await.unwrap();
        let claimed = limits.budget.claimed();
        assert!(claimed > 176_000);
        second.claim(zeros(20)).await.unwrap();
        assert_eq!(limits.budget.claimed(), claimed);
        let waiting = tokio::spawn(async move { second.claim(zeros(1_000)).await });
        yield_now().await;
        assert!(!waiting.is_finished());
        assert!(third.check(zeros(200_000)).is_err());
        drop(first);
        waiting.await.unwrap().unwrap();
        assert_eq!(limits.budget.claimed(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn claim_that_waits_too_long_is_refused() {
        let limits = limits(1 << 20);
        let [first, second] = [(); 2].map(|()| ParseClaim::new(&limits, None));
        first.claim(zeros(1_000)).await.unwrap();
        let refused = second.claim(zeros(1_000)).await.unwrap_err();
        assert!(matches!(refused, Error::Busy { limit: Limit::TotalRequestBytes, .. }));
    }

    /// Each task claims twice, the second time while other tasks wait for its memory.
    #[tokio::test]
    async fn all_waiting_claims_get_their_memory() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let limits = limits(1 << 20);
        let mut tasks = JoinSet::new();
        for _ in 0..200 {
            let claim =
                ParseClaim::new(&limits, Some([10, 0, 0, random.random_range(0..6)].into()));
            let sizes = [(); 2].map(|()| zeros(random.random_range(0..4_000)));
            tasks.spawn(async move {
                for size in sizes {
                    claim.claim(size).await.unwrap();
                    yield_now().await;
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(limits.budget.claimed(), 0);
    }
}
