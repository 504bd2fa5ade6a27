//! A limit on how many requests run at once, shared fairly among addresses.
//!
//! Each address has a queue of its own, and the queues take turns. So a client waits for as many
//! others as there are addresses before it, however many wait at one of them. The queue is bounded:
//! a newcomer to a full queue takes the place of the last one at the address where the most wait.
//!
//! Invariant: while a permit is free, no client waits.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use backwire_environment::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A client whose address is not known shares a queue with all such clients.
type Address = Option<IpAddr>;

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

pub(crate) struct FairQueue(Arc<Mutex<State>>);

struct State {
    free: usize,
    waiting: usize,
    max_waiting: usize,
    next_number: u64,
    by_address: HashMap<Address, BTreeMap<u64, oneshot::Sender<()>>>,
    /// The keys of `by_address`, each once, in the order of their turns.
    turns: VecDeque<Address>,
}

/// The permission to run one request. Dropping it lets the next client run one.
pub(crate) struct Permit(Arc<Mutex<State>>);

/// A position in the queue. Dropping it leaves the queue.
struct Ticket {
    state: Arc<Mutex<State>>,
    address: Address,
    number: u64,
    turn: oneshot::Receiver<()>,
}

impl FairQueue {
    pub(crate) fn new(permits: usize, max_waiting: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: permits,
            waiting: 0,
            max_waiting,
            next_number: 0,
            by_address: HashMap::default(),
            turns: VecDeque::new(),
        })))
    }

    /// Waits for a permit. The caller has its position in the queue after the first poll.
    pub(crate) async fn acquire(&self, address: Address) -> Result<Permit, Full> {
        let ticket = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit(Arc::clone(&self.0)));
            }
            let (number, turn) = state.enqueue(address)?;
            Ticket { state: Arc::clone(&self.0), address, number, turn }
        };
        ticket.wait().await
    }
}

impl State {
    fn enqueue(&mut self, address: Address) -> Result<(u64, oneshot::Receiver<()>), Full> {
        if self.waiting >= self.max_waiting {
            self.make_room(address)?;
        }
        let number = self.next_number;
        self.next_number += 1;
        let (grant, turn) = oneshot::channel();
        let turns = &mut self.turns;
        let queue = self.by_address.entry(address).or_insert_with(|| {
            turns.push_back(address);
            BTreeMap::new()
        });
        queue.insert(number, grant);
        self.waiting += 1;
        Ok((number, turn))
    }

    /// Removes the last client of the longest queue, unless that is the newcomer's own queue.
    fn make_room(&mut self, newcomer: Address) -> Result<(), Full> {
        let own = self.by_address.get(&newcomer).map_or(0, BTreeMap::len);
        let longest = self.by_address.values_mut().max_by_key(|queue| queue.len());
        let longest = longest.filter(|queue| queue.len() > own).ok_or(Full)?;
        // Dropping the sender tells the removed client that the queue is full.
        drop(longest.pop_last());
        self.waiting -= 1;
        Ok(())
    }

    /// Gives a permit to the next client in turn.
    fn release(&mut self) {
        while let Some(address) = self.turns.pop_front() {
            let queue = self.by_address.get_mut(&address);
            let first = queue.and_then(|queue| Some((queue.pop_first()?.1, queue.is_empty())));
            let Some((grant, is_last)) = first else {
                // All clients of this address have left.
                self.by_address.remove(&address);
                continue;
            };
            self.waiting -= 1;
            if is_last {
                self.by_address.remove(&address);
            } else {
                self.turns.push_back(address);
            }
            if grant.send(()).is_ok() {
                return;
            }
        }
        self.free += 1;
    }

    fn leave(&mut self, address: Address, number: u64) {
        let queue = self.by_address.get_mut(&address);
        if queue.is_some_and(|queue| queue.remove(&number).is_some()) {
            self.waiting -= 1;
        }
    }
}

impl Ticket {
    async fn wait(mut self) -> Result<Permit, Full> {
        (&mut self.turn).await.map_err(|_| Full)?;
        Ok(Permit(Arc::clone(&self.state)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        self.turn.close();
        match self.turn.try_recv() {
            // The permit was granted and not used.
            Ok(()) => state.release(),
            Err(_) => state.leave(self.address, self.number),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.lock().release();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::Pin;

    use futures_util::FutureExt;

    use super::*;

    type Acquire<'a> = Pin<Box<dyn Future<Output = Result<Permit, Full>> + Send + 'a>>;

    fn address(number: u8) -> Address {
        Some(Ipv4Addr::new(10, 0, 0, number).into())
    }

    /// Begins to wait from an address, and returns when the client is in the queue.
    fn enqueued(queue: &FairQueue, number: u8) -> Acquire<'_> {
        let mut acquire: Acquire<'_> = Box::pin(queue.acquire(address(number)));
        assert!((&mut acquire).now_or_never().is_none());
        acquire
    }

    fn poll(acquire: &mut Acquire<'_>) -> Option<Result<Permit, Full>> {
        acquire.now_or_never()
    }

    #[test]
    fn addresses_take_turns_however_many_wait_at_one() {
        let queue = FairQueue::new(1, 100);
        let running = queue.acquire(address(1)).now_or_never().unwrap();
        let mut flood: Vec<_> = (0..50).map(|_| enqueued(&queue, 1)).collect();
        let (mut honest, mut other) = (enqueued(&queue, 2), enqueued(&queue, 3));
        drop(running);
        let first = poll(&mut flood[0]).unwrap().unwrap();
        assert!(poll(&mut honest).is_none());
        drop(first);
        let second = poll(&mut honest).unwrap();
        assert!(poll(&mut other).is_none());
        drop(second);
        let third = poll(&mut other).unwrap();
        drop(third);
        assert!(poll(&mut flood[1]).unwrap().is_ok());
    }

    #[test]
    fn newcomer_to_a_full_queue_replaces_the_last_client_of_the_longest() {
        let queue = FairQueue::new(1, 3);
        let running = queue.acquire(address(1)).now_or_never().unwrap();
        let mut flood: Vec<_> = (0..3).map(|_| enqueued(&queue, 1)).collect();
        assert!(matches!(queue.acquire(address(1)).now_or_never(), Some(Err(Full))));
        let mut honest = enqueued(&queue, 2);
        assert!(matches!(poll(&mut flood[2]), Some(Err(Full))));
        drop(running);
        drop(poll(&mut flood[0]).unwrap().unwrap());
        assert!(poll(&mut honest).unwrap().is_ok());
    }

    #[test]
    fn client_that_leaves_does_not_block_others() {
        let queue = FairQueue::new(1, 100);
        let running = queue.acquire(address(1)).now_or_never().unwrap();
        let (leaves, stays) = (enqueued(&queue, 1), enqueued(&queue, 2));
        let mut last = enqueued(&queue, 1);
        drop(leaves);
        drop(running);
        // Address 1 gives its turn to `last`, and the client of address 2 leaves during its own
        // turn.
        drop(poll(&mut last).unwrap());
        drop(stays);
        assert!(queue.acquire(address(3)).now_or_never().unwrap().is_ok());
        let state = queue.0.lock();
        assert_eq!((state.free, state.waiting), (1, 0));
        assert!(state.by_address.is_empty() && state.turns.is_empty());
    }
}
