//! Flake ids: 64 bits that grow with time, drawn without asking anybody.
//!
//! From the top: 42 bits of milliseconds since 1970 or since an epoch of one's own, 5 of the datacenter, 5 of the worker, 12 of a sequence.
//! An id is drawn from the one before it and the time. So the last id is all there is to remember, and
//! whatever the clock does the next one is greater: when it stands still, the sequence counts on, and when
//! that is used up, so does the millisecond.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

const SEQUENCE_BITS: u32 = 12;
const NODE_BITS: u32 = 10;
const WORKER_BITS: u32 = 5;

const LAST_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;
const LAST_NODE: u64 = (1 << NODE_BITS) - 1;
const LAST_MILLISECOND: u64 = u64::MAX >> (NODE_BITS + SEQUENCE_BITS);

/// An id. It is told as a decimal string: JavaScript has no integers of this size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flake(u64);

impl Flake {
    /// Before every id that is drawn.
    pub const ZERO: Self = Self(0);

    /// No id is greater.
    pub const MAX: Self = Self(u64::MAX);

    /// The next id after this one, by the same node, at a time in milliseconds since its epoch.
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

    /// The next id after this one by a node that may be another, at a time in Unix milliseconds.
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

/// Who draws ids: no two processes that do it at the same time may be the same node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Node {
    number: u64,
    /// Unix milliseconds at which its time begins.
    epoch: u64,
}

impl Node {
    /// A worker of a datacenter, each 0 to 31.
    pub fn new(datacenter: u64, worker: u64) -> Result<Self, NoNode> {
        let check = |field, number| match number {
            0..32 => Ok(number),
            _ => Err(NoNode { field, number }),
        };
        let (datacenter, worker) = (check("datacenter", datacenter)?, check("worker", worker)?);
        Ok(Self { number: datacenter << WORKER_BITS | worker, epoch: 0 })
    }

    /// The same node with ids whose time begins at these Unix milliseconds.
    pub fn since(self, epoch: u64) -> Self {
        Self { epoch, ..self }
    }
}

/// A number that no node has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {number}, but has to be 0 to 31")]
pub struct NoNode {
    /// Which of the two.
    pub field: &'static str,
    /// What was given.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_795_190_400_000;

    #[test]
    fn an_id_tells_time_datacenter_worker_and_sequence() {
        let node = Node::new(3, 17).unwrap();
        let first = Flake::ZERO.next_by(node, NOW);
        assert_eq!(u64::from(first), NOW << 22 | 3 << 17 | 17 << 12);
        assert_eq!(u64::from(first.next(NOW)), NOW << 22 | 3 << 17 | 17 << 12 | 1);
        assert_eq!(u64::from(first.next(NOW + 5)), (NOW + 5) << 22 | 3 << 17 | 17 << 12);
    }

    #[test]
    fn time_in_an_id_begins_at_the_epoch_of_its_node() {
        let node = Node::new(3, 17).unwrap().since(NOW - 1000);
        let first = Flake::ZERO.next_by(node, NOW);
        assert_eq!(u64::from(first), 1000 << 22 | 3 << 17 | 17 << 12);
        // Also ids of an earlier epoch are followed by greater ones.
        let earlier = Flake::ZERO.next_by(Node::default(), NOW);
        assert!(earlier.next_by(node, NOW + 1) > earlier);
        assert!(Flake::ZERO.next_by(node.since(NOW + 1), NOW) > Flake::ZERO);
    }

    #[test]
    fn an_id_is_told_in_decimal_and_understood_again() {
        let id = Flake::ZERO.next(NOW);
        assert_eq!(id.to_string(), (NOW << 22).to_string());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("-1".parse::<Flake>().is_err());
    }

    #[test]
    fn when_the_sequence_is_used_up_the_next_millisecond_is_begun() {
        let mut id = Flake::ZERO.next(NOW);
        for _ in 0..4095 {
            id = id.next(NOW);
        }
        assert_eq!(u64::from(id), NOW << 22 | 4095);
        assert_eq!(u64::from(id.next(NOW)), (NOW + 1) << 22);
        // Which the clock has not reached yet.
        assert_eq!(u64::from(id.next(NOW).next(NOW)), (NOW + 1) << 22 | 1);
    }

    #[test]
    fn a_node_is_two_numbers_up_to_31() {
        assert!(Node::new(31, 31).is_ok());
        let error = Node::new(0, 32).unwrap_err();
        assert_eq!(error.to_string(), "worker is 32, but has to be 0 to 31");
        assert_eq!(Node::new(32, 0).unwrap_err().field, "datacenter");
    }

    proptest! {
        #[test]
        fn ids_only_grow_whatever_clock_and_node_do(
            // Often the same millisecond, so that sequences are used up; the burst is how often.
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
