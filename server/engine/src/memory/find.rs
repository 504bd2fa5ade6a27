//! Reading a list from memory.
//!
//! It is read on the thread that others are served by, too, so it lets them have their turn in between. That
//! is also where a read ends that nobody waits for any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backwire_records::change::Attributes;
use backwire_records::criteria::{Criteria, Projection};
use tokio::task::yield_now;

use crate::{Error, ReadOptions, Record};

/// How long a read goes on before others have their turn.
const SLICE: Duration = Duration::from_millis(1);

/// What the criteria pick of all records in the order of their ids.
pub(super) async fn find(
    all: Vec<Arc<Attributes>>,
    criteria: &Criteria,
    options: &ReadOptions,
    deadline: Duration,
) -> Result<Vec<Record>, Error> {
    let mut turn = Turn::begin(deadline, options);
    // Of those that come in their order, no more than are needed.
    let needed = criteria.reach().filter(|_| criteria.sort.is_by_id()).unwrap_or(usize::MAX);
    let mut matching = Vec::new();
    for record in all {
        if matching.len() >= needed {
            break;
        }
        turn.next().await?;
        if criteria.matches(&record) {
            matching.push(record);
        }
    }
    let chosen = criteria.arrange(matching.into_iter());
    options.check_records(chosen.len())?;
    let (mut shown, mut bytes) = (Vec::new(), 0_usize);
    for record in chosen {
        turn.next().await?;
        let record = criteria.projection.of(record);
        // A whole record is shared, and counted when the answer is written.
        if criteria.projection != Projection::Whole {
            let more = options.json(&record)?.len();
            bytes += more;
            options.check_bytes(bytes)?;
            options.memory.add(more)?;
        }
        shown.push(record.into());
    }
    Ok(shown)
}

/// Time that a read has before others have their turn.
struct Turn<'o> {
    begin: Instant,
    slice: Instant,
    deadline: Duration,
    options: &'o ReadOptions,
}

impl<'o> Turn<'o> {
    fn begin(deadline: Duration, options: &'o ReadOptions) -> Self {
        let now = Instant::now();
        Self { begin: now, slice: now, deadline, options }
    }

    /// Before each record.
    async fn next(&mut self) -> Result<(), Error> {
        if self.slice.elapsed() >= SLICE {
            yield_now().await;
            self.slice = Instant::now();
        }
        match self.begin.elapsed() >= self.options.time.left_of(self.deadline) {
            true => Err(Error::ReadDeadline(self.deadline)),
            false => Ok(()),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.options.time.spend(self.begin.elapsed());
    }
}
