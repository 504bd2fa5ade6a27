//! The queue of short reads, in which clients take turns: a client with many reads does not delay
//! those of others.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use backwire_environment::HashMap;

/// A client, or the server itself.
type Owner = Option<IpAddr>;

/// Reads that wait, by the client that they are for.
///
/// Invariant: each key of `by_owner` is in `turns` once.
#[derive(Debug)]
pub(super) struct ShortReads<T> {
    /// The reads of each client, by their numbers. A queue may be empty until its turn comes.
    by_owner: HashMap<Owner, BTreeMap<u64, T>>,
    turns: VecDeque<Owner>,
}

impl<T> Default for ShortReads<T> {
    fn default() -> Self {
        Self { by_owner: HashMap::default(), turns: VecDeque::new() }
    }
}

impl<T> ShortReads<T> {
    /// Adds a read. Its number is larger than those of earlier reads.
    pub(super) fn push(&mut self, owner: Owner, number: u64, read: T) {
        let turns = &mut self.turns;
        let queue = self.by_owner.entry(owner).or_insert_with(|| {
            turns.push_back(owner);
            BTreeMap::new()
        });
        queue.insert(number, read);
    }

    /// Takes out the first read of the client whose turn it is.
    pub(super) fn pop(&mut self) -> Option<(u64, T)> {
        while let Some(owner) = self.turns.pop_front() {
            let queue = self.by_owner.get_mut(&owner)?;
            let first = queue.pop_first();
            if queue.is_empty() {
                self.by_owner.remove(&owner);
            } else {
                self.turns.push_back(owner);
            }
            if first.is_some() {
                return first;
            }
        }
        None
    }

    /// Takes out a read that is not done any more.
    pub(super) fn remove(&mut self, owner: Owner, number: u64) -> Option<T> {
        self.by_owner.get_mut(&owner)?.remove(&number)
    }

    pub(super) fn len(&self) -> usize {
        self.by_owner.values().map(BTreeMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn client(number: u8) -> Owner {
        (number > 0).then(|| [10, 0, 0, number].into())
    }

    #[test]
    fn clients_take_turns_however_many_reads_one_has() {
        let mut queue = ShortReads::default();
        (0..100).for_each(|number| queue.push(client(1), number, ()));
        queue.push(client(2), 100, ());
        queue.push(None, 101, ());
        let numbers: Vec<_> =
            std::iter::from_fn(|| queue.pop()).map(|(number, ())| number).collect();
        assert_eq!(numbers[..5], [0, 100, 101, 1, 2]);
        assert_eq!(numbers.len(), 102);
    }

    proptest! {
        /// Compares with a list of all reads and a list of the clients in the order of their turns.
        /// A failure prints the steps and the seed.
        #[test]
        fn reads_come_in_the_order_of_a_simple_model(steps in vec((0..4_u8, 0..4_u8), 1..200)) {
            let mut queue = ShortReads::default();
            let (mut reads, mut turns) = (Vec::<(Owner, u64)>::new(), Vec::<Owner>::new());
            for (number, (kind, of)) in (0..).zip(steps) {
                let owner = client(of);
                match kind {
                    0 | 1 => {
                        queue.push(owner, number, number);
                        reads.push((owner, number));
                        if !turns.contains(&owner) {
                            turns.push(owner);
                        }
                    }
                    2 => {
                        let own = reads.iter().position(|(other, _)| *other == owner);
                        let removed = own.map(|at| reads.remove(at).1);
                        let number = removed.unwrap_or(u64::MAX);
                        prop_assert_eq!(queue.remove(owner, number), removed);
                    }
                    _ => {
                        let has_read = |owner: &Owner| reads.iter().any(|(other, _)| other == owner);
                        let at = turns.iter().position(has_read);
                        let mut passed: Vec<_> = turns.drain(..at.map_or(turns.len(), |at| at + 1)).collect();
                        let next = at.and_then(|_| passed.pop());
                        let first = next.map(|owner| {
                            let at = reads.iter().position(|(other, _)| *other == owner).unwrap();
                            reads.remove(at).1
                        });
                        if let Some(owner) = next
                            && reads.iter().any(|(other, _)| *other == owner)
                        {
                            turns.push(owner);
                        }
                        prop_assert_eq!(queue.pop(), first.map(|number| (number, number)));
                    }
                }
                prop_assert_eq!(queue.len(), reads.len());
            }
        }
    }
}
