//! Limits log lines that callers can cause: each is written once, and their number is bounded.

use std::hash::Hash;

use backwire_environment::HashSet;
use parking_lot::Mutex;

/// The keys of the lines that were logged. When the set is full, no further line is logged, so
/// callers cannot fill the log.
#[derive(Debug)]
pub(crate) struct LogOnce<K> {
    logged: Mutex<HashSet<K>>,
    capacity: usize,
}

impl<K: Hash + Eq> LogOnce<K> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { logged: Mutex::default(), capacity }
    }

    /// Whether the caller must log the line of this key now.
    pub(crate) fn is_new(&self, key: K) -> bool {
        let mut logged = self.logged.lock();
        logged.len() < self.capacity && logged.insert(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_logged_once_up_to_the_capacity() {
        let once = LogOnce::new(3);
        assert!(once.is_new("a"));
        assert!(!once.is_new("a"));
        assert_eq!(["b", "c", "d", "e"].map(|key| once.is_new(key)), [true, true, false, false]);
    }
}
