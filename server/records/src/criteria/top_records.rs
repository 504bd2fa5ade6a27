//! The first records of many in a sort order (top-k).

use std::mem;

use super::{HasAttributes, Sort};

/// The minimum number of held records per pruning. Fewer records are sorted only at the end.
const MIN_RECORDS_TO_PRUNE: usize = 256;

/// Keeps the first records in a sort order, however many are added: as soon as it holds twice as
/// many as are needed, it drops the rest. Equal records stay in the order in which they were added.
pub struct TopRecords<'c, R> {
    sort: &'c Sort,
    /// The number of records that are needed; `None` for all.
    needed: Option<usize>,
    held: Vec<R>,
    bytes: usize,
    bytes_of: fn(&R) -> usize,
}

impl<'c, R: HasAttributes> TopRecords<'c, R> {
    /// Keeps the first `needed` records in the order of `sort`, or all of them. `bytes_of` returns
    /// the size of a record.
    pub fn new(sort: &'c Sort, needed: Option<usize>, bytes_of: fn(&R) -> usize) -> Self {
        Self { sort, needed, held: Vec::new(), bytes: 0, bytes_of }
    }

    /// Adds a record. It is dropped later if enough other records come before it.
    pub fn push(&mut self, record: R) {
        self.bytes += self.bytes_to_sort(&record);
        self.held.push(record);
        if self.needed.is_some_and(|needed| {
            self.held.len() >= needed.max(MIN_RECORDS_TO_PRUNE).saturating_mul(2)
        }) {
            self.prune();
        }
    }

    /// Returns the number of held records: at least as many as are needed, if that many were added.
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// Whether the held records fit into this many bytes. If they do not, it first drops records
    /// that are not needed.
    pub fn bytes_at_most(&mut self, limit: usize) -> bool {
        if self.bytes > limit && self.needed.is_some_and(|needed| self.held.len() > needed) {
            self.prune();
        }
        self.bytes <= limit
    }

    /// Returns the first records, in their order.
    pub fn finish(mut self) -> Vec<R> {
        self.prune();
        self.held
    }

    fn prune(&mut self) {
        let sorted = self.sort.sort(mem::take(&mut self.held));
        self.held = sorted.take(self.needed.unwrap_or(usize::MAX)).collect();
        self.bytes = self.held.iter().map(|record| self.bytes_to_sort(record)).sum();
    }

    /// Returns the bytes of a record, and those that [`Sort::sort`] takes for it.
    fn bytes_to_sort(&self, record: &R) -> usize {
        (self.bytes_of)(record) + self.sort.bytes_of_keys::<R>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::change::Attributes;

    proptest! {
        #[test]
        fn top_records_are_the_first_of_all_sorted_records(
            values in proptest::collection::vec(0..9, 0..2_000),
            needed in proptest::option::of(0_usize..600),
        ) {
            let sort = Sort::read("sort", json!("a DESC")).unwrap();
            let record = |(place, value): (usize, &i32)| {
                Arc::new(Attributes::from_iter([
                    ("a".to_owned(), json!(value)),
                    ("place".to_owned(), json!(place)),
                ]))
            };
            let all: Vec<_> = values.iter().enumerate().map(record).collect();
            let mut top = TopRecords::new(&sort, needed, |_| 1);
            for record in &all {
                top.push(Arc::clone(record));
                let each = 1 + sort.bytes_of_keys::<Arc<Attributes>>();
                prop_assert_eq!(top.bytes, top.held.len() * each);
                prop_assert!(needed.is_none_or(|needed| top.count() < 2 * needed.max(MIN_RECORDS_TO_PRUNE)));
            }
            let expected: Vec<_> = sort.sort(all).take(needed.unwrap_or(usize::MAX)).collect();
            prop_assert_eq!(top.finish(), expected);
        }
    }

    #[test]
    fn records_that_are_not_needed_are_dropped_at_the_byte_limit() {
        let sort = Sort::read("sort", json!("a")).unwrap();
        let mut top = TopRecords::new(&sort, Some(2), |_| 10);
        for value in [3, 1, 2] {
            top.push(Arc::new(Attributes::from_iter([("a".to_owned(), Value::from(value))])));
        }
        let each = 10 + sort.bytes_of_keys::<Arc<Attributes>>();
        assert!(top.bytes_at_most(3 * each) && top.count() == 3);
        assert!(top.bytes_at_most(3 * each - 1) && top.count() == 2);
        assert!(!top.bytes_at_most(15));
    }
}
