//! Hash maps and sets of the server's logic.
//!
//! Clients choose many of the keys, so the hashes are keyed at random: nobody can choose keys that
//! collide. The order of a map depends on its key, and may reach an output. So a simulation sets
//! the keys by [`seed_hashes`], and then has the same order in each run.

use std::cell::Cell;
use std::collections;
use std::hash::BuildHasher;

use ahash::{AHasher, RandomState};

/// A hash map with a random key.
pub type HashMap<K, V> = collections::HashMap<K, V, HashKey>;

/// A hash set with a random key.
pub type HashSet<T> = collections::HashSet<T, HashKey>;

/// The key of the hashes of one map.
#[derive(Debug, Clone)]
pub struct HashKey(RandomState);

thread_local! {
    static NEXT_SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes the keys of the maps that this thread creates from now on depend on a seed. They are no
/// secret then.
pub fn seed_hashes(seed: u64) {
    NEXT_SEED.set(Some(seed));
}

impl Default for HashKey {
    /// Returns a key that no other map of this thread has.
    fn default() -> Self {
        let Some(seed) = NEXT_SEED.get() else { return Self(RandomState::new()) };
        NEXT_SEED.set(Some(seed.wrapping_add(1)));
        Self(RandomState::with_seeds(seed, 0, 0, 0))
    }
}

impl BuildHasher for HashKey {
    type Hasher = AHasher;

    fn build_hasher(&self) -> AHasher {
        self.0.build_hasher()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> [Vec<u32>; 2] {
        [(); 2].map(|()| HashSet::from_iter(0..1_000).into_iter().collect())
    }

    #[test]
    fn order_of_a_map_depends_on_the_seed_alone() {
        let [first, again, other] = [7, 7, 8].map(|seed| {
            seed_hashes(seed);
            orders()
        });
        assert_eq!(first, again);
        assert!(first != other && first[0] != first[1]);
    }

    #[test]
    fn order_is_random_without_a_seed() {
        let orders: Vec<_> = (0..2).map(|_| std::thread::spawn(orders).join().unwrap()).collect();
        assert_ne!(orders[0], orders[1]);
    }
}
