//! Tokens that a site has recently refused.
//!
//! A client that connects again and again with a bad token costs the site one request per
//! [`REFUSAL_CACHE_TIME`]. The server keeps no tokens, only hashes of them with keys of this
//! process.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use backwire_environment::{HashKey, HashMap};
use parking_lot::Mutex;

use super::refusal::Refusal;

/// How long a refusal is repeated without asking the site again.
const REFUSAL_CACHE_TIME: Duration = Duration::from_secs(5);

/// Refusals that are remembered. With more, the oldest are forgotten earlier.
const MAX_REFUSALS: usize = 10_000;

#[derive(Default)]
pub(super) struct RefusedTokens {
    /// Two keys, so that no token is refused because its hash equals that of another.
    keys: [HashKey; 2],
    refusals: Mutex<Refusals>,
}

type Hash = [u64; 2];

#[derive(Default)]
struct Refusals {
    by_token: HashMap<Hash, (Instant, Refusal)>,
    /// When each refusal is forgotten, the earliest first.
    ends: VecDeque<(Instant, Hash)>,
}

impl RefusedTokens {
    /// Returns why this token was refused recently, if it was.
    pub(super) fn get(&self, token: &str, now: Instant) -> Option<Refusal> {
        let mut refusals = self.refusals.lock();
        refusals.forget_old(now);
        refusals.by_token.get(&self.hash(token)).map(|(_, refusal)| *refusal)
    }

    pub(super) fn insert(&self, token: &str, refusal: Refusal, now: Instant) {
        let mut refusals = self.refusals.lock();
        let (hash, end) = (self.hash(token), now + REFUSAL_CACHE_TIME);
        refusals.by_token.insert(hash, (end, refusal));
        refusals.ends.push_back((end, hash));
        while refusals.ends.len() > MAX_REFUSALS {
            refusals.forget_first();
        }
    }

    fn hash(&self, token: &str) -> Hash {
        self.keys.each_ref().map(|key| key.hash_one(token))
    }
}

impl Refusals {
    fn forget_old(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((end, hash)) = self.ends.pop_front() else { return };
        // The token may have been refused again since.
        if self.by_token.get(&hash).is_some_and(|(last, _)| *last == end) {
            self.by_token.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_remembered_for_five_seconds() {
        let (refused, begin) = (RefusedTokens::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(refused.get("T", begin), None);
        refused.insert("T", Refusal::Unauthorized, begin);
        assert_eq!(refused.get("T", at(4)), Some(Refusal::Unauthorized));
        assert_eq!(refused.get("other", at(4)), None);
        refused.insert("T", Refusal::Status(403), at(4));
        assert_eq!(refused.get("T", at(8)), Some(Refusal::Status(403)));
        assert_eq!(refused.get("T", at(9)), None);
        assert!(refused.refusals.lock().ends.is_empty());
    }

    #[test]
    fn oldest_refusal_is_forgotten_beyond_the_limit() {
        let (refused, now) = (RefusedTokens::default(), Instant::now());
        for number in 0..=MAX_REFUSALS {
            refused.insert(&number.to_string(), Refusal::Unauthorized, now);
        }
        assert_eq!(refused.get("0", now), None);
        assert_eq!(refused.get("1", now), Some(Refusal::Unauthorized));
    }
}
