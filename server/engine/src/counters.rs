//! The counters of each resource.

use std::ops::RangeInclusive;

use backwire_records::change::{Change, Id, Position, Verb};

use crate::Window;

/// A log may exceed its count by one part in this many: dropping many changes at a time costs less
/// than dropping each by itself.
const LOG_SLACK_DIVISOR: u64 = 16;

/// The largest id of a client that moves the counter. Otherwise a client could use up the ids of
/// all others with one large id. Larger ids may be in use by records, so creates without an id skip
/// those.
pub(super) const MAX_COUNTED_ID: i64 = 1 << 52;

/// The number of ids that a resource skips after the store may have lost its last writes: records
/// that are lost may have had them. Redis may also lose nothing at a restart, and they are skipped
/// all the same.
pub(super) const SKIPPED_IDS: i64 = 1_000;

/// The approximate bytes of a change in the log beside its texts.
pub(super) const CHANGE_BYTES: u64 = 128;

/// Returns the bytes of a change in the log. `texts` are the lengths of the record before and after
/// it and of the names of the attributes that it set, as JSON.
pub(super) fn change_bytes(texts: [usize; 3]) -> u64 {
    CHANGE_BYTES + texts.iter().sum::<usize>() as u64
}

/// The counters of a resource: the range of its log, the next id, and the sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    /// The offset of the newest change, 0 before the first.
    pub(super) head: u64,
    /// The offset of the newest change that was dropped from the log, 0 before the first.
    pub(super) floor: u64,
    /// The id of the next record without an id, unless a client has given a record that id. Up to
    /// [`MAX_COUNTED_ID`] it only grows, so that an id is never used twice: links to the record
    /// that had it may still exist.
    pub(super) next_id: i64,
    /// The number of records.
    pub(super) records: u64,
    /// The [bytes](change_bytes) of the changes in the log after the floor.
    pub(super) log_bytes: u64,
}

/// The counters of a resource without any writes.
impl Default for Counters {
    fn default() -> Self {
        Self { head: 0, floor: 0, next_id: 1, records: 0, log_bytes: 0 }
    }
}

impl Counters {
    /// Returns the head of the log.
    pub(super) fn position(&self, epoch: u64) -> Position {
        Position { epoch, offset: self.head }
    }

    /// Returns the position of the next change.
    pub(super) fn next_position(&self, epoch: u64) -> Position {
        Position { epoch, offset: self.head + 1 }
    }

    /// Counts a change. `free` is the [free id](Self::free_id) that a create without an id gets.
    pub(super) fn count(&mut self, change: &Change, free: i64) {
        self.head = change.position.offset;
        match (change.verb, &change.id) {
            (Verb::Create, Id::Integer(taken)) if *taken == free => self.next_id = free + 1,
            (Verb::Create, Id::Integer(taken)) if *taken <= MAX_COUNTED_ID => {
                self.next_id = self.next_id.max(taken + 1);
            }
            _ => {}
        }
    }

    /// Counts the record of a change, given whether it existed before and exists after.
    pub(super) fn count_record(&mut self, existed: bool, exists: bool) {
        self.records = (self.records + u64::from(exists)).saturating_sub(existed.into());
    }

    /// Returns how many bytes the log has to drop to keep to its limit.
    pub(super) fn excess_bytes(&self, window: &Window) -> u64 {
        self.log_bytes.saturating_sub(window.bytes)
    }

    /// Returns the id that a create without an id gets; `None` if there is none left. `first_free`
    /// finds the [first integer of a range](first_free) that is not the id of a record.
    ///
    /// A counter that has reached the end continues after the counted ids. Earlier versions counted
    /// all ids.
    pub(super) fn free_id<E>(
        &self,
        first_free: impl Fn(RangeInclusive<i64>) -> Result<Option<i64>, E>,
    ) -> Result<Option<i64>, E> {
        if self.next_id <= MAX_COUNTED_ID {
            return Ok(Some(self.next_id));
        }
        for range in Self::uncounted(self.next_id) {
            if let Some(free) = first_free(range)? {
                return Ok(Some(free));
            }
        }
        Ok(None)
    }

    /// Returns the ranges to search for a free id when the counter has passed the counted ids.
    pub(super) fn uncounted(next_id: i64) -> [RangeInclusive<i64>; 2] {
        [next_id, MAX_COUNTED_ID + 1].map(|first| first..=Id::MAX_SAFE_INTEGER)
    }

    /// Whether all changes after an offset are still in the log.
    pub(super) fn reaches(&self, offset: u64) -> bool {
        (self.floor..=self.head).contains(&offset)
    }

    /// Returns the minimum floor for the log to keep to its count.
    pub(super) fn floor_by_count(&self, window: &Window) -> u64 {
        let floor = self.head.saturating_sub(window.count).max(self.floor);
        let is_worth_it = floor - self.floor > window.count / LOG_SLACK_DIVISOR;
        if is_worth_it { floor } else { self.floor }
    }
}

/// Returns the first integer of a range that is not in `taken`: the ids of records within the
/// range, in ascending order.
pub(super) fn first_free<E>(
    range: &RangeInclusive<i64>,
    taken: impl IntoIterator<Item = Result<i64, E>>,
) -> Result<Option<i64>, E> {
    let mut free = *range.start();
    for id in taken {
        if id? != free {
            break;
        }
        free += 1;
    }
    Ok(range.contains(&free).then_some(free))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn free(range: RangeInclusive<i64>, taken: &[i64]) -> Option<i64> {
        let taken = taken.iter().filter(|id| range.contains(*id));
        let Ok(free) = first_free(&range, taken.copied().map(Ok::<_, Infallible>));
        free
    }

    #[test]
    fn first_free_id_is_the_first_gap() {
        assert_eq!(free(3..=9, &[]), Some(3));
        assert_eq!(free(3..=9, &[5]), Some(3));
        assert_eq!(free(3..=9, &[3, 4, 6]), Some(5));
        assert_eq!(free(3..=4, &[3, 4]), None);
        assert_eq!(free(RangeInclusive::new(5, 4), &[]), None);
    }

    #[test]
    fn counter_at_the_end_continues_with_uncounted_ids() {
        let next_id = |next_id, taken: &[i64]| {
            let counters = Counters { next_id, ..Counters::default() };
            let Ok(id) = counters.free_id(|range| Ok::<_, Infallible>(free(range, taken)));
            id
        };
        let (first, last) = (MAX_COUNTED_ID + 1, Id::MAX_SAFE_INTEGER);
        assert_eq!(next_id(7, &[]), Some(7));
        assert_eq!(next_id(last, &[]), Some(last));
        assert_eq!(next_id(last, &[last]), Some(first));
        assert_eq!(next_id(last + 1, &[first, first + 1]), Some(first + 2));
    }
}
