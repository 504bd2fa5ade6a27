//! A shared value whose changes tasks can wait for.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A shared value whose changes tasks can wait for. Tasks are woken in the order in which they
/// began to wait, so that a simulation can be repeated. (`tokio::sync::watch` wakes them in random
/// order.)
#[derive(Default)]
pub struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> Watched<T> {
    /// Creates a value.
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// Changes the value, and wakes all tasks that wait.
    pub fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    /// Returns a clone of the value.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.lock().clone()
    }

    /// Waits until the value meets a condition. Returns at once if it already does.
    pub async fn wait_for(&self, mut condition: impl FnMut(&T) -> bool) {
        loop {
            // This comes before the check, so that no change after the check is missed.
            let changed = self.changed.notified();
            if condition(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.lock()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn tasks_are_woken_in_the_order_in_which_they_began_to_wait() {
        let value = Arc::new(Watched::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..50)
            .map(|task| {
                let (value, order) = (Arc::clone(&value), Arc::clone(&order));
                tokio::spawn(async move {
                    value.wait_for(|value| *value == 1).await;
                    order.lock().unwrap().push(task);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        value.update(|value| *value = 1);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), Vec::from_iter(0..50));
    }

    #[tokio::test]
    async fn wait_for_returns_at_once_if_the_value_meets_the_condition() {
        let value = Watched::new(1);
        value.wait_for(|value| *value == 1).await;
        value.update(|value| *value = 2);
        assert_eq!(value.get(), 2);
    }
}
