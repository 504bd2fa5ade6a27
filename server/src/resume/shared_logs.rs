//! Parts of logs that several clients need at the same time.
//!
//! After a restart, or when a network works again, all clients come back at once and ask for the
//! same part of the log. It is read and kept once for all clients that are being answered, and
//! dropped after the last of them.

use std::sync::{Arc, Weak};

use backwire_engine::{ChangesSince, Engine, Error};
use backwire_environment::HashMap;
use backwire_records::change::{Position, Resource, Room};
use parking_lot::Mutex;
use tokio::sync::{Mutex as FairMutex, Semaphore, SemaphorePermit};

use super::range::Range;

/// The number of resources above which those that no client needs any more are removed.
const CLEANUP_THRESHOLD: usize = 64;

/// A range of this many changes is read again instead of extended: the changes at its beginning may
/// be old.
const MAX_EXTENDED_CHANGES: usize = 10_000;

type Shared = Arc<FairMutex<Weak<Range>>>;

/// The parts of logs that are in use, by resource.
pub(crate) struct SharedLogs {
    ranges: Mutex<HashMap<Resource, Shared>>,
    /// Held by a resume whose filters check many changes: all of them together keep at most one
    /// thread busy.
    turn: Semaphore,
}

impl Default for SharedLogs {
    fn default() -> Self {
        Self { ranges: Mutex::default(), turn: Semaphore::new(1) }
    }
}

impl SharedLogs {
    /// Returns all changes after a position that the log reaches, or more, up to the head as it is
    /// now. `None` if the log does not reach the position any more.
    pub(super) async fn read(
        &self,
        engine: &dyn Engine,
        resource: &Resource,
        from: Position,
    ) -> Result<Option<Arc<Range>>, Error> {
        let shared = self.of(resource);
        let mut shared = shared.lock().await;
        let class = Room::class(resource.clone());
        let known = shared.upgrade().filter(|range| range.from <= from.offset);
        let range = match known {
            // The caller has joined its rooms after the range was read.
            Some(range) => match engine.changes_since(&class, range.head).await? {
                ChangesSince::Changes { changes, .. } if changes.is_empty() => Some(range),
                ChangesSince::Changes { changes, head }
                    if range.changes.len() < MAX_EXTENDED_CHANGES =>
                {
                    Some(Arc::new(range.extended(changes, head)))
                }
                _ => read(engine, &class, from).await?,
            },
            None => read(engine, &class, from).await?,
        };
        *shared = range.as_ref().map_or_else(Weak::new, Arc::downgrade);
        Ok(range)
    }

    fn of(&self, resource: &Resource) -> Shared {
        let mut ranges = self.ranges.lock();
        if ranges.len() > CLEANUP_THRESHOLD {
            ranges.retain(|_, shared| Arc::strong_count(shared) > 1 || is_used(shared));
        }
        Arc::clone(ranges.entry(resource.clone()).or_default())
    }

    /// Waits until no other resume has filters that check many changes.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turn.acquire().await.ok()
    }
}

fn is_used(shared: &Shared) -> bool {
    shared.try_lock().map_or(true, |range| range.strong_count() > 0)
}

async fn read(
    engine: &dyn Engine,
    class: &Room,
    from: Position,
) -> Result<Option<Arc<Range>>, Error> {
    Ok(match engine.changes_since(class, from).await? {
        ChangesSince::Changes { changes, head } => {
            Some(Arc::new(Range::new(from.offset, head, changes)))
        }
        ChangesSince::OutOfReach => None,
    })
}
