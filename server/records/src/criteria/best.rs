//! The first of many records in an order.

use std::mem;

use super::{Look, Sort};

/// Fewer than this are not sorted before the end.
const FEW: usize = 256;

/// Keeps the first of records in an order, however many there are to choose from: as soon as there are
/// twice as many as are needed, the rest is dropped. Equal ones stay in the order in which they came.
pub struct Best<'c, R> {
    sort: &'c Sort,
    /// How many are needed; all, where it is not said.
    reach: Option<usize>,
    held: Vec<R>,
    bytes: usize,
    bytes_of: fn(&R) -> usize,
}

impl<'c, R: Look> Best<'c, R> {
    /// Keeps the first `reach` records in the order of `sort`, or all of them. `bytes_of` is the size of a record.
    pub fn new(sort: &'c Sort, reach: Option<usize>, bytes_of: fn(&R) -> usize) -> Self {
        Self { sort, reach, held: Vec::new(), bytes: 0, bytes_of }
    }

    /// Adds a record, which is dropped again if enough others come before it.
    pub fn push(&mut self, record: R) {
        self.bytes += self.bytes_to_sort(&record);
        self.held.push(record);
        if self.reach.is_some_and(|reach| self.held.len() >= reach.max(FEW).saturating_mul(2)) {
            self.prune();
        }
    }

    /// How many are held: at least as many as are needed, if there were so many.
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// Whether the kept records take no more than so many bytes. Drops records that are not needed first.
    pub fn bytes_at_most(&mut self, limit: usize) -> bool {
        if self.bytes > limit && self.reach.is_some_and(|reach| self.held.len() > reach) {
            self.prune();
        }
        self.bytes <= limit
    }

    /// The first, in their order.
    pub fn finish(mut self) -> Vec<R> {
        self.prune();
        self.held
    }

    fn prune(&mut self) {
        let sorted = self.sort.sort(mem::take(&mut self.held));
        self.held = sorted.take(self.reach.unwrap_or(usize::MAX)).collect();
        self.bytes = self.held.iter().map(|record| self.bytes_to_sort(record)).sum();
    }

    /// The bytes of a record, and those that [`Sort::sort`] takes for it.
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
        fn best_are_the_first_of_all_that_are_sorted(
            values in proptest::collection::vec(0..9, 0..2_000),
            reach in proptest::option::of(0_usize..600),
        ) {
            let sort = Sort::read("sort", json!("a DESC")).unwrap();
            let record = |(place, value): (usize, &i32)| {
                Arc::new(Attributes::from_iter([
                    ("a".to_owned(), json!(value)),
                    ("place".to_owned(), json!(place)),
                ]))
            };
            let all: Vec<_> = values.iter().enumerate().map(record).collect();
            let mut best = Best::new(&sort, reach, |_| 1);
            for record in &all {
                best.push(Arc::clone(record));
                let each = 1 + sort.bytes_of_keys::<Arc<Attributes>>();
                prop_assert_eq!(best.bytes, best.held.len() * each);
                prop_assert!(reach.is_none_or(|reach| best.count() < 2 * reach.max(FEW)));
            }
            let expected: Vec<_> = sort.sort(all).take(reach.unwrap_or(usize::MAX)).collect();
            prop_assert_eq!(best.finish(), expected);
        }
    }

    #[test]
    fn bytes_are_those_of_what_is_needed() {
        let sort = Sort::read("sort", json!("a")).unwrap();
        let mut best = Best::new(&sort, Some(2), |_| 10);
        for value in [3, 1, 2] {
            best.push(Arc::new(Attributes::from_iter([("a".to_owned(), Value::from(value))])));
        }
        let each = 10 + sort.bytes_of_keys::<Arc<Attributes>>();
        assert!(best.bytes_at_most(3 * each) && best.count() == 3);
        assert!(best.bytes_at_most(3 * each - 1) && best.count() == 2);
        assert!(!best.bytes_at_most(15));
    }
}
