//! The memory of the changes that one resume reads.
//!
//! Each read of a log claims the bytes of a change before it holds the change, from a budget that
//! all resumes share. The claim is a part of the [`Range`](super::range::Range), so it is released
//! with the last resume that uses the range. A read without memory is out of reach, and no read
//! waits for memory: so no two resumes wait for each other.
//!
//! Invariant: after a read that was refused, a resume reads no more.

use std::net::IpAddr;
use std::sync::Arc;

use backwire_engine::ReadOptions;
use backwire_records::answer_memory::{AnswerMemory, ClaimMemory, OutOfMemory};
use parking_lot::Mutex;

use crate::memory_budget::{Claim, MemoryBudget};
use crate::settings::Limit;

/// A claim grows in steps of this size, so that the budget is not locked for each change.
const STEP: usize = 64 << 10;

/// The memory of one resume.
#[derive(Debug, Clone)]
pub(crate) struct LogMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    budget: Arc<MemoryBudget>,
    client: Option<IpAddr>,
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The bytes of all reads, also of those whose changes are not held any more.
    read_bytes: usize,
    refused: Option<Limit>,
}

/// The claim of one read.
#[derive(Debug)]
pub(super) struct LogClaim {
    of: LogMemory,
    state: Mutex<ClaimState>,
}

#[derive(Debug)]
struct ClaimState {
    bytes: usize,
    claim: Claim,
}

impl LogMemory {
    /// Returns the memory of a resume that may read this many bytes in all.
    pub(super) fn new(
        budget: &Arc<MemoryBudget>,
        client: Option<IpAddr>,
        max_bytes: usize,
    ) -> Self {
        let (budget, state) = (Arc::clone(budget), Mutex::default());
        Self(Arc::new(Shared { budget, client, max_bytes, state }))
    }

    /// Returns the address of the client.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.0.client
    }

    /// Returns the limit that a read has reached.
    pub(crate) fn refused(&self) -> Option<Limit> {
        self.0.state.lock().refused
    }

    /// Returns the options of one read, and the claim of its changes.
    pub(super) fn begin_read(&self) -> (ReadOptions, Arc<LogClaim>) {
        let claim = self.0.budget.empty_claim(self.0.client);
        let state = Mutex::new(ClaimState { bytes: 0, claim });
        let claim = Arc::new(LogClaim { of: self.clone(), state });
        let memory = AnswerMemory::new(Arc::clone(&claim) as Arc<dyn ClaimMemory>);
        (ReadOptions { client: self.0.client, memory, ..ReadOptions::default() }, claim)
    }

    /// Returns the options of a read whose changes are dropped at once.
    pub(crate) fn read_options(&self) -> ReadOptions {
        self.begin_read().0
    }
}

impl LogClaim {
    /// Returns the bytes of the changes.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

impl Shared {
    fn refuse(&self, limit: Limit) -> OutOfMemory {
        self.state.lock().refused = Some(limit);
        OutOfMemory { limit: self.budget.limit() }
    }
}

impl ClaimMemory for LogClaim {
    fn add_read(&self, bytes: usize) -> Result<(), OutOfMemory> {
        let shared = &self.of.0;
        let read_bytes = {
            let mut resume = shared.state.lock();
            resume.read_bytes = resume.read_bytes.saturating_add(bytes);
            resume.read_bytes
        };
        if read_bytes > shared.max_bytes {
            return Err(shared.refuse(Limit::ResumeBytes));
        }
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_add(bytes);
        let needed = state.bytes;
        let is_claimed = needed <= state.claim.bytes()
            || state.claim.resize(needed.next_multiple_of(STEP))
            || state.claim.resize(needed);
        is_claimed.then_some(()).ok_or_else(|| shared.refuse(Limit::TotalResumeBytes))
    }

    fn set_written(&self, _: usize) -> Result<(), OutOfMemory> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KB: usize = 1 << 10;

    fn memory(budget: &Arc<MemoryBudget>, client: u8) -> LogMemory {
        LogMemory::new(budget, Some([10, 0, 0, client].into()), 500 * KB)
    }

    #[test]
    fn changes_of_a_resume_are_claimed_until_the_last_user_drops_them() {
        let budget = MemoryBudget::new(1024 * KB);
        let (options, claim) = memory(&budget, 1).begin_read();
        options.memory.add(100 * KB).unwrap();
        options.memory.add(20 * KB).unwrap();
        drop(options);
        let shared = Arc::clone(&claim);
        drop(claim);
        assert_eq!(budget.claimed(), 128 * KB);
        drop(shared);
        assert_eq!(budget.claimed(), 0);
    }

    #[test]
    fn all_reads_of_a_resume_share_its_limit() {
        let budget = MemoryBudget::new(1024 * KB);
        let memory = memory(&budget, 1);
        for _ in 0..5 {
            assert!(memory.read_options().memory.add(100 * KB).is_ok());
        }
        assert_eq!(memory.refused(), None);
        assert!(memory.read_options().memory.add(1).is_err());
        assert_eq!((memory.refused(), budget.claimed()), (Some(Limit::ResumeBytes), 0));
    }

    #[test]
    fn reads_of_one_client_are_refused_beyond_its_share_and_others_are_not() {
        let budget = MemoryBudget::new(1024 * KB);
        let (first, second, other) = (memory(&budget, 1), memory(&budget, 1), memory(&budget, 2));
        let reads = [first.begin_read(), second.begin_read(), other.begin_read()];
        assert!(reads[0].0.memory.add(200 * KB).is_ok());
        assert!(reads[1].0.memory.add(100 * KB).is_err());
        assert_eq!(second.refused(), Some(Limit::TotalResumeBytes));
        assert!(reads[2].0.memory.add(200 * KB).is_ok() && other.refused().is_none());
    }
}
