//! How much one connection has been sent and has not read yet.
//!
//! Nothing reports what waits in the queue of a connection, so this counts: bytes that are queued, and bytes that the kernel has been given.
//! Small packets are not counted: the limit `unread_packets` bounds them. What they take is at most
//! `unread_packets` × [`LARGE_PACKET`].

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};

use super::session::Session;
use crate::engine;
use crate::lock::lock;
use crate::memory_budget::{Claim, MemoryBudget};
use crate::settings::Limit;

/// A packet of at least so many bytes counts.
pub(super) const LARGE_PACKET: usize = 4096;

/// The unread output of one connection.
#[derive(Debug)]
pub(super) struct Output {
    session: Option<Arc<Session>>,
    queued: Mutex<Queued>,
}

#[derive(Debug, Default)]
struct Queued {
    /// When so many bytes have been written, all counted packets have been.
    end: u64,
    /// Claims of packets, by the end of the packet.
    claims: VecDeque<(u64, Claim)>,
    /// The budget knows that there are claims.
    is_watched: bool,
}

impl Output {
    pub(super) fn new(session: Option<Arc<Session>>) -> Self {
        Self { session, queued: Mutex::default() }
    }

    /// Bytes that the client has taken so far. A packet is queued behind at least these.
    pub(super) fn written(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.taken())
    }

    /// Bytes that wait to be read. Gives back the claims of what has been read.
    pub(super) fn unread(&self) -> u64 {
        match &self.session {
            Some(session) => lock(&self.queued).unread(session.taken()),
            None => 0,
        }
    }

    /// A packet was queued when `written` bytes had been written.
    pub(super) fn add(&self, written: u64, size: usize, claim: Option<Claim>) {
        if self.session.is_none() {
            return;
        }
        let mut queued = lock(&self.queued);
        queued.end = queued.end.max(written) + size as u64;
        let end = queued.end;
        queued.claims.extend(claim.map(|claim| (end, claim)));
    }

    /// The connection has ended.
    pub(super) fn clear(&self) {
        lock(&self.queued).claims.clear();
    }
}

impl Queued {
    fn unread(&mut self, written: u64) -> u64 {
        while self.claims.pop_front_if(|(end, _)| *end <= written).is_some() {}
        self.end.saturating_sub(written)
    }
}

/// The budget of all that waits to be read, also over HTTP.
#[derive(Debug)]
pub(crate) struct OutputBudget {
    budget: Arc<MemoryBudget>,
    /// Connections with claims. One that only reads, and is sent nothing, gives them back when others need them.
    outputs: Mutex<Vec<Weak<Output>>>,
}

impl OutputBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { budget: MemoryBudget::new(limit), outputs: Mutex::default() })
    }

    /// The error of a read for which nothing is left.
    pub(crate) fn exhausted(&self) -> engine::Error {
        engine::Error::Busy { limit: Limit::TotalUnreadBytes, bytes: self.budget.limit() }
    }

    /// The bytes that are claimed for what clients have not read.
    pub(crate) fn claimed(&self) -> usize {
        self.release();
        self.budget.claimed()
    }

    /// Claims bytes that are sent to a client. `None` if they are not left.
    pub(crate) fn claim(&self, client: Option<IpAddr>, bytes: usize) -> Option<Claim> {
        self.budget.claim(client, bytes).or_else(|| {
            self.release();
            self.budget.claim(client, bytes)
        })
    }

    /// Changes the size of a claim. `false` if it cannot grow to that: then it stays as it is.
    pub(crate) fn resize(&self, claim: &mut Claim, bytes: usize) -> bool {
        claim.resize(bytes) || {
            self.release();
            claim.resize(bytes)
        }
    }

    /// A packet with a claim was queued when `written` bytes had been written.
    pub(super) fn add(&self, output: &Arc<Output>, written: u64, size: usize, claim: Claim) {
        output.add(written, size, Some(claim));
        let mut outputs = lock(&self.outputs);
        if !std::mem::replace(&mut lock(&output.queued).is_watched, true) {
            // Before the list grows, so that connections that have ended do not make it grow.
            if outputs.len() == outputs.capacity() {
                outputs.retain(|output| output.strong_count() > 0);
            }
            outputs.push(Arc::downgrade(output));
        }
    }

    fn release(&self) {
        let is_in_use = |output: &Weak<Output>| {
            output.upgrade().is_some_and(|output| {
                output.unread();
                let mut queued = lock(&output.queued);
                queued.is_watched = !queued.claims.is_empty();
                queued.is_watched
            })
        };
        lock(&self.outputs).retain(is_in_use);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_have_ended_are_forgotten() {
        let budget = OutputBudget::new(1 << 20);
        for _ in 0..10_000 {
            let output = Arc::new(Output::new(None));
            budget.add(&output, 0, 1, budget.claim(None, 1).unwrap());
        }
        assert!(lock(&budget.outputs).len() < 16);
    }
}
