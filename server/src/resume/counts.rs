//! Counts of resumes, and of the changes that were read for them. `GET /metrics` shows both.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts since the start of the server.
#[derive(Default)]
pub(crate) struct ResumeCounts {
    resumes: AtomicU64,
    changes_read: AtomicU64,
}

impl ResumeCounts {
    pub(super) fn begin_resume(&self) {
        self.resumes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_read(&self, changes: usize) {
        self.changes_read.fetch_add(changes as u64, Ordering::Relaxed);
    }

    /// Returns the number of resumes.
    pub(crate) fn resumes(&self) -> u64 {
        self.resumes.load(Ordering::Relaxed)
    }

    /// Returns the number of changes that were read from logs.
    pub(crate) fn changes_read(&self) -> u64 {
        self.changes_read.load(Ordering::Relaxed)
    }
}
