//! Reads of lists from memory.
//!
//! A read runs on a thread that serves other tasks, too, so it yields to them in between. A read
//! whose future is dropped ends there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backwire_environment::Environment;
use backwire_records::change::Attributes;
use backwire_records::criteria::{Criteria, Projection};
use tokio::task::yield_now;

use crate::{Error, ReadOptions, Record};

/// How long a read runs before it yields.
const YIELD_INTERVAL: Duration = Duration::from_millis(1);

/// Returns the records that the criteria pick from all records, which are in the order of their
/// ids.
pub(super) async fn find(
    environment: &Environment,
    all: Vec<Arc<Attributes>>,
    criteria: &Criteria,
    options: &ReadOptions,
    deadline: Duration,
) -> Result<Vec<Record>, Error> {
    let mut budget = ReadBudget::begin(environment, deadline, options);
    // If records are in their final order, no more are collected than are needed.
    let needed =
        criteria.needed_records().filter(|_| criteria.sort.is_by_id()).unwrap_or(usize::MAX);
    let mut matching = Vec::new();
    for record in all {
        if matching.len() >= needed {
            break;
        }
        budget.next().await?;
        if criteria.matches(&record) {
            matching.push(record);
        }
    }
    let chosen = criteria.arrange(matching.into_iter());
    options.check_records(chosen.len())?;
    let (mut shown, mut bytes) = (Vec::new(), 0_usize);
    for record in chosen {
        budget.next().await?;
        let record = criteria.projection.of(record);
        // A whole record is shared, and its bytes are counted when the answer is written.
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

/// The time of a read. The read yields after each interval, and fails at its deadline.
struct ReadBudget<'o> {
    environment: &'o Environment,
    begin: Instant,
    slice: Instant,
    deadline: Duration,
    options: &'o ReadOptions,
}

impl<'o> ReadBudget<'o> {
    fn begin(environment: &'o Environment, deadline: Duration, options: &'o ReadOptions) -> Self {
        let now = environment.now();
        Self { environment, begin: now, slice: now, deadline, options }
    }

    /// Yields or fails if it is time. Called before each record.
    async fn next(&mut self) -> Result<(), Error> {
        let mut now = self.environment.now();
        if now - self.slice >= YIELD_INTERVAL {
            yield_now().await;
            now = self.environment.now();
            self.slice = now;
        }
        match now - self.begin >= self.options.time.left_of(self.deadline) {
            true => Err(Error::ReadDeadline(self.deadline)),
            false => Ok(()),
        }
    }
}

impl Drop for ReadBudget<'_> {
    fn drop(&mut self) {
        self.options.time.spend(self.environment.now() - self.begin);
    }
}
