//! A cache of small ranges, which are kept after the last resume that uses them.
//!
//! After a restart, clients come back within seconds of each other, and a resume takes
//! milliseconds. Without this cache, most clients would read the log separately.
//!
//! Kept ranges claim no bytes of the memory budget, because all of them together have at most
//! [`MAX_BYTES`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::range::Range;

/// The maximum size of one kept range.
const MAX_RANGE_BYTES: usize = 256 << 10;

/// The maximum size of all kept ranges together.
const MAX_BYTES: usize = 4 << 20;

/// The current size of all kept ranges together.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptBytes(Arc<AtomicUsize>);

/// A kept range. Its bytes are released when this is dropped.
pub(super) struct KeptRange {
    pub(super) range: Arc<Range>,
    bytes: usize,
    total: KeptBytes,
}

impl KeptRange {
    /// Keeps a range. Returns `None` if the range is too large, or if all kept ranges together
    /// would be.
    pub(super) fn new(range: &Range, total: &KeptBytes) -> Option<Self> {
        let bytes = range.memory();
        if bytes > MAX_RANGE_BYTES {
            return None;
        }
        let add = |total: usize| Some(total + bytes).filter(|total| *total <= MAX_BYTES);
        total.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Self { range: Arc::new(range.without_claims()), bytes, total: total.clone() })
    }
}

impl Drop for KeptRange {
    fn drop(&mut self) {
        self.total.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
