//! Locks as they are taken everywhere here.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// No code that could panic runs under these locks, so a poisoned one is as good as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
