//! How much of each log and of the ledger is kept.

use std::time::Duration;

use backwire_protocol::wire::LEDGER_RETENTION;

/// The limits of each resource's log, and of the ledger. The engine may drop entries that exceed
/// any of them.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The maximum number of changes per resource. A log may have a sixteenth more.
    pub count: u64,
    /// The maximum bytes of these changes per resource. The oldest are dropped first.
    pub bytes: u64,
    /// How long a change is kept.
    pub age: Duration,
    /// How long the key of a write or a message is known, so that a repeat has no effect.
    pub ledger_age: Duration,
    /// The maximum bytes of the ledger entries of writes. The oldest entries are dropped first, a
    /// few with each write.
    pub ledger_bytes: u64,
}

impl Default for Window {
    /// 10,000 changes, 1 GiB and 24 hours; of the ledger 7 days and 1 GiB.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            count: 10_000,
            bytes: 1 << 30,
            age: day,
            ledger_age: LEDGER_RETENTION,
            ledger_bytes: 1 << 30,
        }
    }
}

impl Window {
    /// Returns the time before which changes may be dropped.
    pub(super) fn cutoff(&self, now: u64) -> u64 {
        before(now, self.age)
    }

    /// Returns the time before which used keys are no longer known, also if they have not been
    /// dropped yet.
    pub(super) fn ledger_cutoff(&self, now: u64) -> u64 {
        before(now, self.ledger_age)
    }
}

fn before(now: u64, age: Duration) -> u64 {
    now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}
