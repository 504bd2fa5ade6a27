//! Queues that take turns.
//!
//! Each client has a queue of its own. So a client that writes much waits only for its own jobs,
//! and other clients do not wait for them. The jobs of one queue are done in the order of their
//! arrival.

use backwire_environment::HashMap;
use std::collections::VecDeque;
use std::net::IpAddr;

use backwire_records::write::{Action, Write};

use crate::KeyLookup;

/// The owner of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    Client(IpAddr),
    /// The server itself.
    Server,
    /// The server itself, for work that no request waits for.
    Background,
}

impl Owner {
    pub(crate) fn of_write(write: &Write) -> Self {
        match write.action {
            Action::Detach(_) => Self::Background,
            _ => write.client.map_or(Self::Server, Self::Client),
        }
    }

    pub(crate) fn of_lookup(lookup: &KeyLookup) -> Self {
        lookup.client.map_or(Self::Server, Self::Client)
    }
}

/// Queues that take turns.
#[derive(Debug)]
pub(crate) struct RoundRobin<T> {
    /// None of them is empty.
    queues: HashMap<Owner, VecDeque<T>>,
    /// The owners of the queues, in the order of their turns.
    next: VecDeque<Owner>,
}

impl<T> Default for RoundRobin<T> {
    fn default() -> Self {
        Self { queues: HashMap::default(), next: VecDeque::new() }
    }
}

impl<T> RoundRobin<T> {
    /// Puts an item in the queue of its owner.
    pub(crate) fn push(&mut self, owner: Owner, item: T) {
        let queue = self.queues.entry(owner).or_default();
        if queue.is_empty() {
            self.next.push_back(owner);
        }
        queue.push_back(item);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Takes the next item of the queue whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let owner = self.next.pop_front()?;
        let queue = self.queues.get_mut(&owner)?;
        let item = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&owner);
        } else {
            self.next.push_back(owner);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(number: u8) -> Owner {
        Owner::Client([10, 0, 0, number].into())
    }

    #[test]
    fn client_with_one_write_does_not_wait_for_all_writes_of_another() {
        let mut turns = RoundRobin::default();
        (0..1000).for_each(|n| turns.push(client(1), n));
        turns.push(client(2), 1000);
        assert_eq!([turns.pop(), turns.pop(), turns.pop()], [Some(0), Some(1000), Some(1)]);
    }

    proptest! {
        /// Each queue keeps the order of arrival, and no queue has two turns while another waits.
        #[test]
        fn queues_take_turns(steps in prop::collection::vec(prop::option::of(0..4u8), 0..200)) {
            let mut turns = RoundRobin::default();
            let mut model: Vec<VecDeque<usize>> = vec![VecDeque::new(); 4];
            // For each waiting queue, the queues that have had a turn since then.
            let mut passed: Vec<Vec<u8>> = vec![Vec::new(); 4];
            let pushes_and_pops = steps.into_iter().chain([None; 200]);
            for (n, step) in pushes_and_pops.enumerate() {
                if let Some(line) = step {
                    turns.push(client(line), (line, n));
                    model[usize::from(line)].push_back(n);
                    continue;
                }
                let Some((line, n)) = turns.pop() else {
                    prop_assert!(model.iter().all(VecDeque::is_empty));
                    continue;
                };
                let own = usize::from(line);
                prop_assert_eq!(model[own].pop_front(), Some(n));
                for other in (0..4).filter(|other| *other != own && !model[*other].is_empty()) {
                    prop_assert!(!passed[other].contains(&line), "{} waits for {} twice", other, own);
                    passed[other].push(line);
                }
                passed[own].clear();
            }
        }
    }
}
