//! Parts of logs that several clients need at a time.
//!
//! After a restart, or behind a network that failed, all clients come back at once and ask for the same part of
//! the log. It is read and kept once for all who are being answered, and forgotten after the last of them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use backwire_engine::{Engine, Error, Since};
use backwire_records::change::{Position, Resource, Room};
use parking_lot::Mutex;
use tokio::sync::{Mutex as FairMutex, Semaphore, SemaphorePermit};

use super::log::Range;

/// Resources of which something is remembered before it is looked which of them nobody needs any more.
const MANY_RESOURCES: usize = 64;

/// A range to which so many changes were added is read again: those at its beginning may be old.
const MAX_ADDED: usize = 10_000;

type Shared = Arc<FairMutex<Weak<Range>>>;

/// The parts of logs that are being used, by resource.
pub(crate) struct SharedLogs {
    ranges: Mutex<HashMap<Resource, Shared>>,
    /// Held by who has filters look at many changes: all of them together keep one thread busy at most.
    turn: Semaphore,
}

impl Default for SharedLogs {
    fn default() -> Self {
        Self { ranges: Mutex::default(), turn: Semaphore::new(1) }
    }
}

impl SharedLogs {
    /// Everything after a position that the log reaches, or more, to the head as it is now. `None` if the log
    /// does not reach it any more.
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
            // The caller has joined its rooms since that was read.
            Some(range) => match engine.since(&class, range.head).await? {
                Since::Changes { changes, .. } if changes.is_empty() => Some(range),
                Since::Changes { changes, head } if range.changes.len() < MAX_ADDED => {
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
        if ranges.len() > MANY_RESOURCES {
            ranges.retain(|_, shared| Arc::strong_count(shared) > 1 || is_used(shared));
        }
        Arc::clone(ranges.entry(resource.clone()).or_default())
    }

    /// Waits until nobody else has filters look at many changes.
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
    Ok(match engine.since(class, from).await? {
        Since::Changes { changes, head } => Some(Arc::new(Range::new(from.offset, head, changes))),
        Since::OutOfReach => None,
    })
}
