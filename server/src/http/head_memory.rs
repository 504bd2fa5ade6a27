//! Counts the memory of the head of a request, while it arrives and while the request is handled.
//!
//! A head of up to [`UNCOUNTED_INPUT`] is not counted. For a larger head, the server claims the
//! size of the largest head before it reads more. If that much is not free, the server does not
//! read the connection; `header_deadline` ends it if that takes too long.
//!
//! Invariant: no claim grows while it holds memory, so no head waits for another one that waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::futures::OwnedNotified;

use super::activity::RequestPart;
use super::connection_handle::ConnectionHandle;
use super::uploads::{Upload, UploadMemory};
use crate::memory_budget::{Claim, UNCOUNTED_INPUT};

/// The size limit of the head of a request: a url of 64 KiB, and as much for the headers.
pub(super) const MAX_HEAD_BYTES: usize = 128 << 10;

/// The memory of the head on one connection.
#[derive(Debug)]
pub(super) struct HeadMemory {
    memory: Arc<UploadMemory>,
    /// Bytes of the head that have arrived.
    bytes: usize,
    claim: Option<Claim>,
    /// An empty claim that waits to grow. It is kept while it waits, because it records what it has
    /// waited for.
    growing: Option<Claim>,
    waiting: Option<Pin<Box<OwnedNotified>>>,
    /// Set while a large head arrives.
    upload: Option<Upload>,
}

impl HeadMemory {
    pub(super) fn new(memory: Arc<UploadMemory>) -> Self {
        Self { memory, bytes: 0, claim: None, growing: None, waiting: None, upload: None }
    }

    /// Is ready when more may be read.
    pub(super) fn poll_claim(
        &mut self,
        cx: &mut Context<'_>,
        part: RequestPart,
        connection: impl FnOnce() -> ConnectionHandle,
    ) -> Poll<()> {
        if part != RequestPart::Head {
            self.upload = None;
        }
        match part {
            RequestPart::Head if self.bytes < UNCOUNTED_INPUT || self.claim.is_some() => {}
            RequestPart::Head => ready!(self.poll_large(cx, connection)),
            RequestPart::Other => {
                (self.growing, self.waiting) = (None, None);
                let bytes = self.bytes.saturating_sub(UNCOUNTED_INPUT);
                if let Some(claim) = self.claim.as_mut().filter(|claim| claim.bytes() > bytes) {
                    // The claim becomes smaller, which is always possible.
                    claim.resize(bytes);
                }
            }
            RequestPart::Nothing => {
                (self.bytes, self.claim, self.growing, self.waiting) = (0, None, None, None);
            }
        }
        Poll::Ready(())
    }

    /// Adds bytes of the head that have arrived.
    pub(super) fn received(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn poll_large(
        &mut self,
        cx: &mut Context<'_>,
        connection: impl FnOnce() -> ConnectionHandle,
    ) -> Poll<()> {
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
        let (connection, budget) = (connection(), self.memory.budget());
        let client = connection.client();
        if self.memory.excludes(client) {
            self.memory.end(&connection);
            return Poll::Ready(());
        }
        let claim = self.growing.get_or_insert_with(|| budget.empty_claim(client));
        while let Err(released) = claim.resize_or_wait(MAX_HEAD_BYTES) {
            self.memory.make_room(MAX_HEAD_BYTES);
            let mut waiting = Box::pin(released);
            let is_released = waiting.as_mut().poll(cx).is_ready();
            if !is_released {
                self.waiting = Some(waiting);
                return Poll::Pending;
            }
        }
        self.claim = self.growing.take();
        self.upload = Some(self.memory.begin(connection, client, MAX_HEAD_BYTES));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use backwire_engine::Environment;

    use super::*;

    fn memory(limit: usize) -> Arc<UploadMemory> {
        UploadMemory::new(Environment::tokio(), limit, 1, Arc::default())
    }

    fn may_read(head: &mut HeadMemory, part: RequestPart) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        head.poll_claim(&mut cx, part, ConnectionHandle::closed_for_test).is_ready()
    }

    #[test]
    fn large_head_is_read_when_memory_for_the_largest_head_is_free() {
        let memory = memory(4 * MAX_HEAD_BYTES);
        let budget = memory.budget();
        let [mut first, mut second] = [(); 2].map(|()| HeadMemory::new(Arc::clone(&memory)));
        for head in [&mut first, &mut second] {
            assert!(may_read(head, RequestPart::Nothing));
            head.received(UNCOUNTED_INPUT);
        }
        assert!(may_read(&mut first, RequestPart::Head));
        assert!(!may_read(&mut second, RequestPart::Head));
        assert_eq!(budget.claimed(), MAX_HEAD_BYTES);
        first.received(1_000);
        assert!(may_read(&mut first, RequestPart::Head));
        // The server handles its request, which keeps the memory of the head.
        assert!(may_read(&mut first, RequestPart::Other));
        assert_eq!(budget.claimed(), 1_000);
        assert!(!may_read(&mut second, RequestPart::Head));
        assert!(may_read(&mut first, RequestPart::Nothing));
        assert!(may_read(&mut second, RequestPart::Head));
        drop(second);
        assert_eq!(budget.claimed(), 0);
    }

    #[test]
    fn waiting_heads_do_not_wake_each_other_or_themselves() {
        let memory = memory(MAX_HEAD_BYTES);
        let _all = memory.budget().claim(None, MAX_HEAD_BYTES);
        let mut heads = [(); 3].map(|()| HeadMemory::new(Arc::clone(&memory)));
        let woken = [(); 3].map(|()| Arc::new(Woken(AtomicBool::new(true))));
        heads.iter_mut().for_each(|head| head.received(UNCOUNTED_INPUT));
        for _ in 0..10 {
            for (head, woken) in heads.iter_mut().zip(&woken) {
                if woken.0.swap(false, Ordering::SeqCst) {
                    let waker = Waker::from(Arc::clone(woken));
                    let mut cx = Context::from_waker(&waker);
                    assert!(
                        head.poll_claim(
                            &mut cx,
                            RequestPart::Head,
                            ConnectionHandle::closed_for_test
                        )
                        .is_pending()
                    );
                }
            }
        }
        assert!(woken.iter().all(|woken| !woken.0.load(Ordering::SeqCst)), "they wake each other");
    }

    /// Records whether a task was woken.
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn small_head_is_read_when_no_memory_is_free() {
        let memory = memory(1);
        let _all = memory.budget().claim(None, 1_000_000);
        let mut head = HeadMemory::new(memory);
        for _ in 0..10 {
            assert!(may_read(&mut head, RequestPart::Nothing));
            head.received(UNCOUNTED_INPUT - 1);
            assert!(may_read(&mut head, RequestPart::Head));
            assert!(may_read(&mut head, RequestPart::Other));
        }
    }
}
