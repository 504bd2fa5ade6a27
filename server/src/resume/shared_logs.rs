//! Ranges of logs that several clients need at the same time.
//!
//! After a restart, or when a network works again, all clients come back at once and ask for the
//! same range of the log. The server reads and holds this range once for all resumes that use it.
//! After the last of these resumes the range is dropped, unless it is small enough to be kept.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use backwire_engine::{ChangesSince, Engine, Environment, Error, ReadOptions};
use backwire_environment::HashMap;
use backwire_records::change::{Position, Resource, Room};
use parking_lot::Mutex;
use tokio::sync::{Mutex as FairMutex, MutexGuard};

use super::counts::ResumeCounts;
use super::kept_ranges::{KeptBytes, KeptRange};
use super::log_memory::LogMemory;
use super::range::Range;
use super::slots::{Slot, Slots};
use crate::fair_queue::{FairQueue, Permit};
use crate::memory_budget::MemoryBudget;
use crate::settings::Limits;

/// If there are entries for more resources than this, those that no resume uses are removed.
const CLEANUP_THRESHOLD: usize = 64;

/// A range with this many changes is read again instead of extended, because clients may no longer
/// need the changes at its beginning.
const MAX_EXTENDED_CHANGES: usize = 10_000;

/// How long a resume waits for a shared range while no read of it ends. After that, the resume
/// reads the log separately: the current read may wait for other reads of its own client, and other
/// clients must not wait for these.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The shared range of one log.
#[derive(Default)]
struct SharedRange {
    range: FairMutex<Latest>,
    /// The number of reads that have ended.
    reads: AtomicU64,
}

/// The range that was read last.
#[derive(Default)]
struct Latest {
    /// The range, while a resume uses it.
    used: Weak<Range>,
    /// The same range, if it is small enough to be kept.
    kept: Option<KeptRange>,
}

impl Latest {
    /// Returns the range, if it has all changes after an offset.
    fn range_after(&self, offset: u64) -> Option<Arc<Range>> {
        let kept = || self.kept.as_ref().map(|kept| Arc::clone(&kept.range));
        self.used.upgrade().or_else(kept).filter(|range| range.reaches(offset))
    }

    fn replace(&mut self, range: &Arc<Range>, kept_bytes: &KeptBytes) {
        self.used = Arc::downgrade(range);
        let bounds = |range: &Range| (range.from, range.head);
        if self.kept.as_ref().map(|kept| bounds(&kept.range)) != Some(bounds(range)) {
            // First release the bytes of the former range, so that the new one can use them.
            self.kept = None;
            self.kept = KeptRange::new(range, kept_bytes);
        }
    }
}

/// The shared ranges by resource, and the limits, counts and memory that all resumes share.
pub(crate) struct SharedLogs {
    environment: Environment,
    ranges: Mutex<HashMap<Resource, Arc<SharedRange>>>,
    slots: Slots,
    /// Held by a resume whose filters check many changes, so that all such resumes together keep at
    /// most one thread busy.
    turn: FairQueue,
    budget: Arc<MemoryBudget>,
    counts: Arc<ResumeCounts>,
    kept_bytes: KeptBytes,
    /// The maximum size of the changes that one resume reads, in bytes.
    resume_bytes: usize,
}

impl SharedLogs {
    pub(crate) fn new(environment: Environment, limits: &Limits) -> Self {
        Self {
            environment,
            ranges: Mutex::default(),
            slots: Slots::default(),
            turn: FairQueue::new(1, usize::MAX),
            budget: MemoryBudget::new(limits.total_resume_bytes),
            counts: Arc::default(),
            kept_bytes: KeptBytes::default(),
            resume_bytes: limits.resume_bytes,
        }
    }

    /// Returns the budget of the changes that all resumes hold.
    pub(crate) fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// Returns the counts of all resumes.
    pub(crate) fn counts(&self) -> &Arc<ResumeCounts> {
        &self.counts
    }

    /// Returns the memory for the changes that one resume of a client reads.
    pub(crate) fn memory(&self, client: Option<IpAddr>) -> LogMemory {
        LogMemory::new(&self.budget, client, self.resume_bytes)
    }

    /// Waits until the client has few other resumes in progress. A resume waits before it holds
    /// memory.
    pub(super) async fn slot(&self, client: Option<IpAddr>) -> Slot<'_> {
        self.slots.acquire(client).await
    }

    /// Returns a range with all changes after a position, up to the current head of the log. It may
    /// also have earlier changes. `None` if the log no longer reaches the position, or if there is
    /// no memory.
    pub(super) async fn read(
        &self,
        engine: &dyn Engine,
        resource: &Resource,
        from: Position,
        memory: &LogMemory,
    ) -> Result<Option<Arc<Range>>, Error> {
        let class = Room::class(resource.clone());
        let shared = self.shared_range(resource);
        let Some(mut latest) = self.lock(&shared).await else {
            return self.read_separately(engine, &class, from, memory).await;
        };
        let known = latest.range_after(from.offset);
        let read = self.read_or_extend(engine, &class, from, known, memory).await;
        shared.reads.fetch_add(1, Ordering::Relaxed);
        let read = read?;
        match &read {
            Some(range) => latest.replace(range, &self.kept_bytes),
            None => *latest = Latest::default(),
        }
        Ok(read)
    }

    /// Waits for the other reads of a shared range. `None` if none of them ends within
    /// [`MAX_WAIT`].
    async fn lock<'s>(&self, shared: &'s SharedRange) -> Option<MutexGuard<'s, Latest>> {
        let mut lock = pin!(shared.range.lock());
        let mut ended = shared.reads.load(Ordering::Relaxed);
        loop {
            if let Ok(range) = self.environment.timeout(MAX_WAIT, lock.as_mut()).await {
                return Some(range);
            }
            let before = std::mem::replace(&mut ended, shared.reads.load(Ordering::Relaxed));
            if before == ended {
                return None;
            }
        }
    }

    async fn read_or_extend(
        &self,
        engine: &dyn Engine,
        class: &Room,
        from: Position,
        known: Option<Arc<Range>>,
        memory: &LogMemory,
    ) -> Result<Option<Arc<Range>>, Error> {
        let Some(range) = known else {
            return self.read_separately(engine, class, from, memory).await;
        };
        let (options, claim) = memory.begin_read();
        // The range was read before the caller joined its rooms, so later changes may be missing.
        match self.changes_since(engine, class, range.head, &options).await? {
            // The same log may have another epoch by now.
            ChangesSince::Changes { head, .. } if head == range.head => Ok(Some(range)),
            ChangesSince::Changes { changes, head }
                if range.changes.len() < MAX_EXTENDED_CHANGES =>
            {
                Ok(Some(Arc::new(range.extended(changes, head, Some(claim)))))
            }
            _ if memory.refused().is_some() => Ok(None),
            _ => self.read_separately(engine, class, from, memory).await,
        }
    }

    async fn read_separately(
        &self,
        engine: &dyn Engine,
        class: &Room,
        from: Position,
        memory: &LogMemory,
    ) -> Result<Option<Arc<Range>>, Error> {
        let (options, claim) = memory.begin_read();
        Ok(match self.changes_since(engine, class, from, &options).await? {
            ChangesSince::Changes { changes, head } => {
                Some(Arc::new(Range::new(from.offset, head, changes, Some(claim))))
            }
            ChangesSince::OutOfReach => None,
        })
    }

    /// Reads the changes of a room after a position, and counts them.
    pub(super) async fn changes_since(
        &self,
        engine: &dyn Engine,
        room: &Room,
        from: Position,
        options: &ReadOptions,
    ) -> Result<ChangesSince, Error> {
        let since = engine.changes_since_for(room, from, options).await?;
        if let ChangesSince::Changes { changes, .. } = &since {
            self.counts.add_read(changes.len());
        }
        Ok(since)
    }

    fn shared_range(&self, resource: &Resource) -> Arc<SharedRange> {
        let mut ranges = self.ranges.lock();
        if ranges.len() > CLEANUP_THRESHOLD {
            ranges.retain(|_, shared| Arc::strong_count(shared) > 1 || is_used(shared));
        }
        Arc::clone(ranges.entry(resource.clone()).or_default())
    }

    /// Waits until no other resume has filters that check many changes. Clients take turns.
    pub(super) async fn turn(&self, client: Option<IpAddr>) -> Option<Permit> {
        self.turn.acquire(client).await.ok()
    }
}

fn is_used(shared: &SharedRange) -> bool {
    shared.range.try_lock().map_or(true, |latest| latest.used.strong_count() > 0)
}
