//! Small ranges that are kept after the last resume that needs them.
//!
//! Clients come back within seconds of each other, and a resume takes milliseconds. Without this,
//! most of them would read the log for themselves.
//!
//! Kept ranges need no claim, because there are few bytes of them in all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::range::Range;

/// The bytes of the changes of one range, and of all ranges together.
const MAX_RANGE_BYTES: usize = 256 << 10;
const MAX_BYTES: usize = 4 << 20;

/// The bytes of all kept ranges.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptBytes(Arc<AtomicUsize>);

/// A kept range.
pub(super) struct KeptRange {
    pub(super) range: Arc<Range>,
    bytes: usize,
    total: KeptBytes,
}

impl KeptRange {
    /// Keeps a range, unless it is too large, or all together are.
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
