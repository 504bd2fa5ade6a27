//! What a store counts for each resource.

use std::ops::RangeInclusive;

use backwire_records::change::{Change, Id, Position, Verb};

use crate::Window;

/// The part of its count that a log may have too much: many changes that are forgotten at a time cost less than
/// as many by themselves.
const FORGOTTEN_TOGETHER: u64 = 16;

/// The largest id given by a client that moves the counter: a client that gives a larger one would use up
/// the ids of all others. From here on ids may be those of records, which creates without an id pass over.
const LARGEST_COUNTED: i64 = 1 << 52;

/// What a change takes in the log beside its texts, roughly.
pub(super) const CHANGE_BYTES: u64 = 128;

/// What a change takes in the log. `texts` are the lengths of the record before and after it and of the
/// names of what it set, as JSON.
pub(super) fn change_bytes(texts: [usize; 3]) -> u64 {
    CHANGE_BYTES + texts.iter().sum::<usize>() as u64
}

/// How far a resource's log reaches and which id comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    /// Offset of the newest change, 0 before the first.
    pub(super) head: u64,
    /// Offset of the newest change that was dropped from the log, 0 before the first.
    pub(super) floor: u64,
    /// The id of the next record that brings none, unless a client has given a record that id. Only grows up to
    /// [`LARGEST_COUNTED`], so that an id is never given twice: somebody may still hold a link to the
    /// record that had it.
    pub(super) next_id: i64,
    /// Records that there are.
    pub(super) records: u64,
    /// [Bytes](change_bytes) of the changes in the log after the floor.
    pub(super) log_bytes: u64,
}

/// Of a resource nobody has written to.
impl Default for Counters {
    fn default() -> Self {
        Self { head: 0, floor: 0, next_id: 1, records: 0, log_bytes: 0 }
    }
}

impl Counters {
    /// Where the log stands.
    pub(super) fn position(&self, epoch: u64) -> Position {
        Position { epoch, offset: self.head }
    }

    /// The place the next change will take.
    pub(super) fn next_position(&self, epoch: u64) -> Position {
        Position { epoch, offset: self.head + 1 }
    }

    /// Counts a change in. `free` is the [free id](Self::free_id) that a create without one gets.
    pub(super) fn count(&mut self, change: &Change, free: i64) {
        self.head = change.position.offset;
        match (change.verb, &change.id) {
            (Verb::Create, Id::Integer(taken)) if *taken == free => self.next_id = free + 1,
            (Verb::Create, Id::Integer(taken)) if *taken <= LARGEST_COUNTED => {
                self.next_id = self.next_id.max(taken + 1);
            }
            _ => {}
        }
    }

    /// Counts a record that was there before a change, or is there after it.
    pub(super) fn count_record(&mut self, was_there: bool, is_there: bool) {
        self.records = (self.records + u64::from(is_there)).saturating_sub(was_there.into());
    }

    /// How many bytes the log has to forget to keep to its limit.
    pub(super) fn excess_bytes(&self, window: &Window) -> u64 {
        self.log_bytes.saturating_sub(window.bytes)
    }

    /// The id that a create without one gets; `None` if there is none left. `first_free` finds
    /// the [first integer of a range](first_free) that is no record's id.
    ///
    /// A counter that has reached the end goes on behind the ids that are counted. Earlier versions counted all.
    pub(super) fn free_id<E>(
        &self,
        first_free: impl Fn(RangeInclusive<i64>) -> Result<Option<i64>, E>,
    ) -> Result<Option<i64>, E> {
        if self.next_id <= LARGEST_COUNTED {
            return Ok(Some(self.next_id));
        }
        match first_free(self.next_id..=Id::LARGEST)? {
            Some(free) => Ok(Some(free)),
            None => first_free(LARGEST_COUNTED + 1..=Id::LARGEST),
        }
    }

    /// Whether everything after an offset is still in the log.
    pub(super) fn reaches(&self, offset: u64) -> bool {
        (self.floor..=self.head).contains(&offset)
    }

    /// Where the floor has to be at least for the log to keep to its count.
    pub(super) fn floor_by_count(&self, window: &Window) -> u64 {
        let floor = self.head.saturating_sub(window.count).max(self.floor);
        let is_worth_it = floor - self.floor > window.count / FORGOTTEN_TOGETHER;
        if is_worth_it { floor } else { self.floor }
    }
}

/// The first integer of a range that is not among `taken`: the ids of records within the range, in ascending
/// order.
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
    fn counter_at_the_end_goes_on_with_ids_that_are_not_counted() {
        let next_id = |next_id, taken: &[i64]| {
            let counters = Counters { next_id, ..Counters::default() };
            let Ok(id) = counters.free_id(|range| Ok::<_, Infallible>(free(range, taken)));
            id
        };
        let (first, last) = (LARGEST_COUNTED + 1, Id::LARGEST);
        assert_eq!(next_id(7, &[]), Some(7));
        assert_eq!(next_id(last, &[]), Some(last));
        assert_eq!(next_id(last, &[last]), Some(first));
        assert_eq!(next_id(last + 1, &[first, first + 1]), Some(first + 2));
    }
}
