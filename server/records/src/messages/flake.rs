//! Flake (snowflake) ids: 64 bits that grow with time. A node creates them without coordination.
//!
//! From the top: 42 bits of milliseconds since 1970 or since a configured epoch, 5 of the
//! datacenter, 5 of the worker, 12 of a sequence. An id is computed from the id before it and the
//! time. So only the last id is remembered, and the next id is greater whatever the clock does: if
//! the clock stands still, the sequence grows; if the sequence is used up, the millisecond grows.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

const SEQUENCE_BITS: u32 = 12;
const NODE_BITS: u32 = 10;
const WORKER_BITS: u32 = 5;

/// How far an id is ahead of the one before and of the clock if ids between may have been lost, in
/// milliseconds. The clock of the node that gave those may have been ahead of others.
const AHEAD: u64 = 60 * 60 * 1000;

const LAST_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;
const LAST_NODE: u64 = (1 << NODE_BITS) - 1;
const LAST_MILLISECOND: u64 = u64::MAX >> (NODE_BITS + SEQUENCE_BITS);

/// An id. It is written as a decimal string, because JavaScript has no integers of this size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flake(u64);

impl Flake {
    /// The smallest value. All ids are greater.
    pub const ZERO: Self = Self(0);

    /// The largest value.
    pub const MAX: Self = Self(u64::MAX);

    /// Returns the next id of the same node, at a time in milliseconds since its epoch.
    pub fn next(self, now: u64) -> Self {
        let now = now.min(LAST_MILLISECOND);
        if now > self.millisecond() {
            return Self::compose(now, self.node());
        }
        if self.0 & LAST_SEQUENCE < LAST_SEQUENCE {
            return Self(self.0 + 1);
        }
        Self::compose(self.millisecond() + 1, self.node())
    }

    /// Returns the next id of the same node if later ones than this may have been lost with the
    /// last writes of a store. Devices that have received those ignore smaller ones. The engine in
    /// Redis does the same in `queue_data.lua`.
    #[must_use]
    pub fn next_after_loss(self, now: u64) -> Self {
        self.next(now.max(self.millisecond()).saturating_add(AHEAD))
    }

    /// Returns the next id of a node, which may be another than the node of this id, at a time in
    /// Unix milliseconds.
    pub fn next_by(self, node: Node, now: u64) -> Self {
        let now = now.saturating_sub(node.epoch);
        let next = self.next(now);
        if next.node() == node.number {
            return next;
        }
        Self::compose(now.min(LAST_MILLISECOND).max(self.millisecond() + 1), node.number)
    }

    fn compose(millisecond: u64, node: u64) -> Self {
        Self(millisecond << (NODE_BITS + SEQUENCE_BITS) | node << SEQUENCE_BITS)
    }

    fn millisecond(self) -> u64 {
        self.0 >> (NODE_BITS + SEQUENCE_BITS)
    }

    fn node(self) -> u64 {
        self.0 >> SEQUENCE_BITS & LAST_NODE
    }
}

impl From<u64> for Flake {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<Flake> for u64 {
    fn from(Flake(number): Flake) -> Self {
        number
    }
}

impl fmt::Display for Flake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Flake {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A creator of ids. No two processes that create ids at the same time may be the same node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Node {
    number: u64,
    /// Unix milliseconds at which its time begins.
    epoch: u64,
}

impl Node {
    /// Returns a worker of a datacenter. Both numbers are 0 to 31.
    pub fn new(datacenter: u64, worker: u64) -> Result<Self, InvalidNode> {
        let check = |field, number| match number {
            0..32 => Ok(number),
            _ => Err(InvalidNode { field, number }),
        };
        let (datacenter, worker) = (check("datacenter", datacenter)?, check("worker", worker)?);
        Ok(Self { number: datacenter << WORKER_BITS | worker, epoch: 0 })
    }

    /// Returns the same node with ids whose time begins at these Unix milliseconds.
    pub fn since(self, epoch: u64) -> Self {
        Self { epoch, ..self }
    }
}

/// The error of a node number that is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {number}, but has to be 0 to 31")]
pub struct InvalidNode {
    /// The name of the number: `datacenter` or `worker`.
    pub field: &'static str,
    /// The given number.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_795_190_400_000;

    #[test]
    fn id_contains_time_datacenter_worker_and_sequence() {
        let node = Node::new(3, 17).unwrap();
        let first = Flake::ZERO.next_by(node, NOW);
        assert_eq!(u64::from(first), NOW << 22 | 3 << 17 | 17 << 12);
        assert_eq!(u64::from(first.next(NOW)), NOW << 22 | 3 << 17 | 17 << 12 | 1);
        assert_eq!(u64::from(first.next(NOW + 5)), (NOW + 5) << 22 | 3 << 17 | 17 << 12);
    }

    #[test]
    fn time_in_id_begins_at_the_epoch_of_its_node() {
        let node = Node::new(3, 17).unwrap().since(NOW - 1000);
        let first = Flake::ZERO.next_by(node, NOW);
        assert_eq!(u64::from(first), 1000 << 22 | 3 << 17 | 17 << 12);
        // The next id is greater also after an id with an earlier epoch.
        let earlier = Flake::ZERO.next_by(Node::default(), NOW);
        assert!(earlier.next_by(node, NOW + 1) > earlier);
        assert!(Flake::ZERO.next_by(node.since(NOW + 1), NOW) > Flake::ZERO);
    }

    #[test]
    fn id_is_written_in_decimal_and_parsed_back() {
        let id = Flake::ZERO.next(NOW);
        assert_eq!(id.to_string(), (NOW << 22).to_string());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("-1".parse::<Flake>().is_err());
    }

    #[test]
    fn used_up_sequence_continues_in_the_next_millisecond() {
        let mut id = Flake::ZERO.next(NOW);
        for _ in 0..4095 {
            id = id.next(NOW);
        }
        assert_eq!(u64::from(id), NOW << 22 | 4095);
        assert_eq!(u64::from(id.next(NOW)), (NOW + 1) << 22);
        // The clock has not reached that millisecond yet.
        assert_eq!(u64::from(id.next(NOW).next(NOW)), (NOW + 1) << 22 | 1);
    }

    #[test]
    fn id_after_a_loss_is_an_hour_ahead_of_the_last_one_and_of_the_clock() {
        let last = Flake::ZERO.next(5_000);
        assert_eq!(last.next_after_loss(4_000).millisecond(), 5_000 + AHEAD);
        assert_eq!(last.next_after_loss(6_000).millisecond(), 6_000 + AHEAD);
    }

    #[test]
    fn node_numbers_are_at_most_31() {
        assert!(Node::new(31, 31).is_ok());
        let error = Node::new(0, 32).unwrap_err();
        assert_eq!(error.to_string(), "worker is 32, but has to be 0 to 31");
        assert_eq!(Node::new(32, 0).unwrap_err().field, "datacenter");
    }

    proptest! {
        #[test]
        fn ids_grow_for_any_clock_and_node(
            // Bursts in the same millisecond use up sequences.
            steps in vec((0..3u64, 0..32u64, 1..6000u32), 1..20),
        ) {
            let mut last = Flake::ZERO;
            for (clock, worker, burst) in steps {
                let (now, node) = (NOW + clock, Node::new(0, worker).unwrap());
                let begun = last.next_by(node, now);
                prop_assert!(begun > last);
                last = begun;
                for _ in 0..burst {
                    let next = last.next(now);
                    prop_assert!(next > last);
                    prop_assert_eq!(next.node(), worker);
                    last = next;
                }
            }
        }
    }
}
