//! Log lines that callers can cause: each is written once, and there are not more than so many.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Mutex;

use crate::lock::lock;

/// What has been logged. When it is full, nothing more is: what callers send cannot fill the log.
#[derive(Debug)]
pub(crate) struct LogOnce<K> {
    logged: Mutex<HashSet<K>>,
    capacity: usize,
}

impl<K: Hash + Eq> LogOnce<K> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { logged: Mutex::default(), capacity }
    }

    /// Whether it is to be logged now.
    pub(crate) fn is_new(&self, key: K) -> bool {
        let mut logged = lock(&self.logged);
        logged.len() < self.capacity && logged.insert(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_logged_once_and_no_more_than_there_is_room_for() {
        let once = LogOnce::new(3);
        assert!(once.is_new("a"));
        assert!(!once.is_new("a"));
        assert_eq!(["b", "c", "d", "e"].map(|key| once.is_new(key)), [true, true, false, false]);
    }
}
