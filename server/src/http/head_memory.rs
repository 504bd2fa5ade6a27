//! The memory of the head of a request, while it arrives and as long as the request is handled.
//!
//! A head of up to [`UNCOUNTED_INPUT`] is not counted. For a larger one, as much is claimed as a head may have, before more of
//! it is read. If that is not left, the connection is not read; `header_deadline` ends it if that takes too long. Nothing
//! grows while it holds a claim, so no head waits for another one that waits.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::futures::OwnedNotified;

use super::activity::Direction;
use crate::memory_budget::{Claim, MemoryBudget, UNCOUNTED_INPUT};

/// The largest head of a request: a url of 64 KiB, and as much for the headers.
pub(super) const MAX_HEAD_BYTES: usize = 128 << 10;

/// The memory of the head on one connection.
#[derive(Debug)]
pub(super) struct HeadMemory {
    budget: Arc<MemoryBudget>,
    /// Bytes of it that have arrived.
    bytes: usize,
    claim: Option<Claim>,
    /// An empty claim that waits to grow. It stays, because it knows what it has waited for.
    growing: Option<Claim>,
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

impl HeadMemory {
    pub(super) fn new(budget: Arc<MemoryBudget>) -> Self {
        Self { budget, bytes: 0, claim: None, growing: None, waiting: None }
    }

    /// Ready when more may be read.
    pub(super) fn poll_claim(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Poll<()> {
        match direction {
            Direction::Head if self.bytes < UNCOUNTED_INPUT || self.claim.is_some() => {}
            Direction::Head => ready!(self.poll_large(cx, client)),
            Direction::Other => {
                (self.growing, self.waiting) = (None, None);
                let bytes = self.bytes.saturating_sub(UNCOUNTED_INPUT);
                if let Some(claim) = self.claim.as_mut().filter(|claim| claim.bytes() > bytes) {
                    // It becomes smaller, which is always possible.
                    claim.resize(bytes);
                }
            }
            Direction::Nothing => {
                (self.bytes, self.claim, self.growing, self.waiting) = (0, None, None, None);
            }
        }
        Poll::Ready(())
    }

    /// Bytes of a head have arrived.
    pub(super) fn received(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn poll_large(
        &mut self,
        cx: &mut Context<'_>,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Poll<()> {
        let claim = self.growing.get_or_insert_with(|| self.budget.empty_claim(client()));
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            match claim.resize_or_wait(MAX_HEAD_BYTES) {
                Ok(()) => break,
                Err(released) => self.waiting = Some(Box::pin(released)),
            }
        }
        self.claim = self.growing.take();
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    fn may_read(head: &mut HeadMemory, direction: Direction) -> bool {
        head.poll_claim(&mut Context::from_waker(Waker::noop()), direction, || None).is_ready()
    }

    #[test]
    fn large_head_is_read_when_there_is_memory_for_all_of_it() {
        let budget = MemoryBudget::new(4 * MAX_HEAD_BYTES);
        let [mut first, mut second] = [(); 2].map(|()| HeadMemory::new(Arc::clone(&budget)));
        for head in [&mut first, &mut second] {
            assert!(may_read(head, Direction::Nothing));
            head.received(UNCOUNTED_INPUT);
        }
        assert!(may_read(&mut first, Direction::Head) && !may_read(&mut second, Direction::Head));
        assert_eq!(budget.claimed(), MAX_HEAD_BYTES);
        first.received(1_000);
        assert!(may_read(&mut first, Direction::Head));
        // Its request is handled, and keeps the memory of the head.
        assert!(may_read(&mut first, Direction::Other));
        assert_eq!(budget.claimed(), 1_000);
        assert!(!may_read(&mut second, Direction::Head));
        assert!(may_read(&mut first, Direction::Nothing));
        assert!(may_read(&mut second, Direction::Head));
        drop(second);
        assert_eq!(budget.claimed(), 0);
    }

    #[test]
    fn heads_that_wait_do_not_wake_each_other_or_themselves() {
        let budget = MemoryBudget::new(MAX_HEAD_BYTES);
        let _all = budget.claim(None, MAX_HEAD_BYTES);
        let mut heads = [(); 3].map(|()| HeadMemory::new(Arc::clone(&budget)));
        let woken = [(); 3].map(|()| Arc::new(Woken(AtomicBool::new(true))));
        heads.iter_mut().for_each(|head| head.received(UNCOUNTED_INPUT));
        for _ in 0..10 {
            for (head, woken) in heads.iter_mut().zip(&woken) {
                if woken.0.swap(false, Ordering::SeqCst) {
                    let waker = Waker::from(Arc::clone(woken));
                    let mut cx = Context::from_waker(&waker);
                    assert!(head.poll_claim(&mut cx, Direction::Head, || None).is_pending());
                }
            }
        }
        assert!(woken.iter().all(|woken| !woken.0.load(Ordering::SeqCst)), "they wake each other");
    }

    /// Whether a task was woken.
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn small_heads_are_read_whatever_others_hold() {
        let budget = MemoryBudget::new(1);
        let _all = budget.claim(None, 1_000_000);
        let mut head = HeadMemory::new(budget);
        for _ in 0..10 {
            assert!(may_read(&mut head, Direction::Nothing));
            head.received(UNCOUNTED_INPUT - 1);
            assert!(may_read(&mut head, Direction::Head) && may_read(&mut head, Direction::Other));
        }
    }
}
