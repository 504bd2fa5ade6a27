//! The memory of one answer. It is claimed while the answer is read and written, and until the
//! client has read it.
//!
//! Each request has one [`AnswerClaim`]. It covers the larger of the bytes that were read from the
//! database and the bytes that were written to the answer, and claims them before they are in
//! memory. If they are not free, the read ends with an error. When the answer is complete,
//! [`finish`](AnswerClaim::finish) returns a claim of its real size. The rest of a claim is
//! released when the request is dropped.
//!
//! Invariant: the answer to a write is never refused for lack of memory, because the write is
//! already committed.

use std::net::IpAddr;
use std::sync::Arc;

use backwire_records::answer_memory::{AnswerMemory, ClaimMemory, OutOfMemory};
use http::Method;
use parking_lot::Mutex;

use crate::memory_budget::{Claim, UNCOUNTED_BYTES};
use crate::socket::{OutputBudget, UNCLAIMED_BYTES};

/// A claim grows in steps of this size, so that the budget is not locked for each record.
const STEP: usize = 64 << 10;

/// Whether requests with this method change nothing, unless their path says otherwise.
pub(crate) fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// The memory of the answer to one request.
#[derive(Debug, Clone)]
pub(crate) struct AnswerClaim(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    budget: Arc<OutputBudget>,
    client: Option<IpAddr>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    read: usize,
    written: usize,
    claim: Option<Claim>,
    /// Whether the answer must not be refused.
    is_required: bool,
}

impl AnswerClaim {
    /// Claims nothing yet. If `is_required`, the answer is not refused.
    pub(crate) fn new(
        budget: Arc<OutputBudget>,
        client: Option<IpAddr>,
        is_required: bool,
    ) -> Self {
        let state = State { is_required, ..State::default() };
        Self(Arc::new(Shared { budget, client, state: Mutex::new(state) }))
    }

    /// Returns the memory that the reads of the request claim from.
    pub(crate) fn memory(&self) -> AnswerMemory {
        AnswerMemory::new(Arc::clone(&self.0) as Arc<dyn ClaimMemory>)
    }

    /// Sets whether the answer must not be refused, for requests whose path and not method decides
    /// whether they write.
    pub(crate) fn set_required(&self, is_required: bool) {
        self.0.state.lock().is_required = is_required;
    }

    /// Claims more for an answer that can do without it. Returns `false`, and changes nothing, if
    /// the bytes are not free.
    pub(crate) fn try_add(&self, bytes: usize) -> bool {
        let mut state = self.0.state.lock();
        let before = state.read;
        state.read = before.saturating_add(bytes);
        let fits = self.0.try_grow(&mut state);
        if !fits {
            state.read = before;
        }
        fits
    }

    /// Returns the claim of the complete answer, or an error if there is no memory for it. Answers
    /// of up to [`UNCOUNTED_BYTES`] have no claim.
    pub(crate) fn finish(&self, size: usize) -> Result<Option<Claim>, OutOfMemory> {
        let mut state = self.0.state.lock();
        (state.read, state.written) = (0, 0);
        if size <= UNCOUNTED_BYTES {
            state.claim = None;
            return Ok(None);
        }
        let fits = self.0.try_resize(&mut state, size);
        self.0.check(&mut state, fits)?;
        Ok(state.claim.take())
    }
}

impl AnswerClaim {
    /// Like [`finish`](Self::finish), over HTTP. There, nothing else counts small answers, so only
    /// answers of up to [`UNCLAIMED_BYTES`] have no claim.
    pub(crate) fn finish_over_http(&self, size: usize) -> Result<Option<Claim>, OutOfMemory> {
        if size <= UNCLAIMED_BYTES || size > UNCOUNTED_BYTES {
            return self.finish(size);
        }
        let mut state = self.0.state.lock();
        state.claim = self.0.budget.claim_small(self.0.client, size);
        let fits = state.claim.is_some();
        self.0.check(&mut state, fits)?;
        Ok(state.claim.take())
    }
}

impl Shared {
    /// Changes the claim to this size. Returns `false`, and keeps the claim, if the bytes are not
    /// free.
    fn try_resize(&self, state: &mut State, bytes: usize) -> bool {
        if let Some(claim) = &mut state.claim {
            return self.budget.resize(claim, bytes);
        }
        state.claim = self.budget.claim(self.client, bytes);
        state.claim.is_some()
    }

    /// Grows the claim to what has been read and written. Returns `false`, and keeps the claim, if
    /// the bytes are not free.
    fn try_grow(&self, state: &mut State) -> bool {
        let bytes = state.read.max(state.written);
        let is_claimed = state.claim.as_ref().is_some_and(|claim| claim.bytes() >= bytes);
        bytes <= UNCOUNTED_BYTES
            || is_claimed
            || self.try_resize(state, bytes.next_multiple_of(STEP))
    }

    /// Returns an error if there is no memory for an answer that may be refused. The answer is
    /// dropped, so its claim is released.
    fn check(&self, state: &mut State, fits: bool) -> Result<(), OutOfMemory> {
        if fits || state.is_required {
            return Ok(());
        }
        state.claim = None;
        Err(self.budget.exhausted())
    }
}

impl ClaimMemory for Shared {
    fn add_read(&self, bytes: usize) -> Result<(), OutOfMemory> {
        let mut state = self.state.lock();
        state.read = state.read.saturating_add(bytes);
        let fits = self.try_grow(&mut state);
        self.check(&mut state, fits)
    }

    fn set_written(&self, bytes: usize) -> Result<(), OutOfMemory> {
        let mut state = self.state.lock();
        state.written = state.written.max(bytes);
        let fits = self.try_grow(&mut state);
        self.check(&mut state, fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KB: usize = 1 << 10;

    fn claim(budget: &Arc<OutputBudget>, client: u8, is_required: bool) -> AnswerClaim {
        AnswerClaim::new(Arc::clone(budget), Some([10, 0, 0, client].into()), is_required)
    }

    #[test]
    fn answer_claims_the_larger_of_bytes_read_and_bytes_written() {
        let budget = OutputBudget::new(1024 * KB);
        let answer = claim(&budget, 1, false);
        let memory = answer.memory();
        memory.add(64 * KB).unwrap();
        assert_eq!(budget.claimed(), 0);
        memory.add(1).unwrap();
        assert_eq!(budget.claimed(), 128 * KB);
        memory.clone().add(100 * KB).unwrap();
        assert_eq!(budget.claimed(), 192 * KB);
        answer.0.set_written(100 * KB).unwrap();
        assert_eq!(budget.claimed(), 192 * KB);
        answer.0.set_written(200 * KB).unwrap();
        assert_eq!(budget.claimed(), 256 * KB);
        // The complete answer has its own claim, which outlives the request.
        let complete = answer.finish(170 * KB).unwrap();
        drop((answer, memory));
        assert_eq!(budget.claimed(), 170 * KB);
        drop(complete);
        assert_eq!(budget.claimed(), 0);
    }

    #[test]
    fn answer_that_is_small_when_complete_claims_nothing() {
        let budget = OutputBudget::new(1024 * KB);
        let answer = claim(&budget, 1, false);
        answer.memory().add(200 * KB).unwrap();
        assert!(answer.finish(64 * KB).unwrap().is_none());
        assert_eq!(budget.claimed(), 0);
    }

    #[test]
    fn ordinary_answer_is_claimed_for_its_client_alone() {
        let budget = OutputBudget::new(512 * KB);
        let [large, ordinary, more] = [(); 3].map(|()| claim(&budget, 1, false));
        let large = large.finish_over_http(400 * KB).unwrap();
        let unread = ordinary.finish_over_http(64 * KB).unwrap().unwrap();
        let read_by_same_client = more.finish_over_http(65 * KB);
        assert!(large.is_some() && unread.bytes() == 64 * KB && read_by_same_client.is_err());
        let unread = [unread, claim(&budget, 1, false).finish_over_http(64 * KB).unwrap().unwrap()];
        let busy = claim(&budget, 1, false).finish_over_http(17 * KB).unwrap_err();
        assert_eq!(busy, OutOfMemory { limit: 512 * KB });
        assert!(claim(&budget, 1, true).finish_over_http(17 * KB).unwrap().is_none());
        assert!(claim(&budget, 1, false).finish_over_http(16 * KB).unwrap().is_none());
        assert!(claim(&budget, 2, false).finish_over_http(64 * KB).unwrap().is_some());
        drop(unread);
        assert!(claim(&budget, 1, false).finish_over_http(17 * KB).unwrap().is_some());
    }

    #[test]
    fn read_without_memory_fails_and_releases_its_claim() {
        let budget = OutputBudget::new(1024 * KB);
        let (first, second) = (claim(&budget, 1, false), claim(&budget, 1, false));
        first.memory().add(128 * KB).unwrap();
        second.memory().add(128 * KB).unwrap();
        let refused = first.memory().add(1).unwrap_err();
        assert_eq!(refused, OutOfMemory { limit: 1024 * KB });
        // So one of two concurrent reads completes.
        second.memory().add(128 * KB).unwrap();
        assert_eq!(budget.claimed(), 256 * KB);
        assert!(first.finish(100 * KB).is_err());
        assert_eq!(second.finish(200 * KB).unwrap().map(|it| it.bytes()), Some(200 * KB));
    }

    #[test]
    fn answer_to_a_write_is_not_refused() {
        let budget = OutputBudget::new(1024 * KB);
        let other = budget.claim(Some([10, 0, 0, 1].into()), 200 * KB);
        let write = claim(&budget, 1, true);
        write.memory().add(10_000 * KB).unwrap();
        assert!(write.finish(10_000 * KB).unwrap().is_none());
        let by_path = claim(&budget, 1, false);
        by_path.set_required(true);
        by_path.memory().add(10_000 * KB).unwrap();
        assert_eq!(budget.claimed(), 200 * KB);
        drop(other);
        // It claims the bytes that are free.
        assert!(by_path.finish(10_000 * KB).unwrap().is_some());
    }

    #[test]
    fn optional_growth_that_is_refused_keeps_the_claim() {
        let budget = OutputBudget::new(1024 * KB);
        let answer = claim(&budget, 1, false);
        assert!(answer.try_add(100 * KB));
        let other = budget.claim(Some([10, 0, 0, 1].into()), 64 * KB);
        assert!(!answer.try_add(100 * KB) && answer.try_add(64 * KB) && !answer.try_add(64 * KB));
        drop(other);
        assert_eq!(budget.claimed(), 192 * KB);
        assert!(answer.try_add(28 * KB));
        assert_eq!(budget.claimed(), 192 * KB);
    }
}
