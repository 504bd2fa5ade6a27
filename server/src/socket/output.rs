//! How many bytes one session has been sent and has not read yet.
//!
//! Nothing reports what waits in the queue of a session, so this module counts: bytes that are
//! queued, and bytes that the kernel has been given. The count belongs to the session and not to a
//! connection of its namespace, because a client can leave a namespace and connect to it again
//! while the queue stays.
//!
//! A large packet has a claim of its own. Each session may have [`UNCLAIMED_BYTES`] of small
//! packets unread without a claim. The other claims are counted for each client alone, so no client
//! waits because of packets that another client does not read:
//!
//! | memory | when it is claimed | if there is none |
//! | --- | --- | --- |
//! | the first answer that a session has not read | before the answer is made | the request waits |
//! | its other small answers | before each is made | the request waits |
//! | a small push to one session, or to one that polls | before it is sent | the session ends |
//! | a small answer over HTTP | when it is made | a read is refused |
//! | the buffer of a WebSocket | when the connection is blocked | the connection ends |
//!
//! Small pushes to a room share their text. They count in the buffer of a WebSocket, and each
//! session that polls has a share of them.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use backwire_engine::Environment;
use backwire_records::answer_memory::OutOfMemory;
use parking_lot::Mutex;
use tokio::sync::futures::OwnedNotified;

use super::taken_bytes::TakenBytes;
use crate::memory_budget::{Claim, MemoryBudget, SHARES, UNCOUNTED_BYTES};

/// The size in bytes from which a packet to a room counts.
pub(super) const LARGE_PACKET: usize = 4096;

/// Bytes of small packets that each session may have unread without a claim. 2,048 connections of
/// one address have 32 MiB together.
pub(crate) const UNCLAIMED_BYTES: usize = 16 << 10;

/// The memory of a small packet in the queue beside its text, roughly.
const PACKET_OVERHEAD: usize = 256;

/// Packets of at least `MIN_LARGE` bytes are large for a session that has more than `SMALL_UNREAD`
/// bytes unread.
const MIN_LARGE: usize = 128;
const SMALL_UNREAD: u64 = 8 << 10;

/// Small packets are counted in groups of this many bytes.
const GROUP_SIZE: usize = 4096;

/// The claim of small packets grows in steps of this size, and in smaller ones if the memory is
/// short: many sessions of one address share it.
const CLAIM_STEP: usize = 64 << 10;
const MIN_CLAIM_STEP: usize = 4 << 10;

/// How long a task that waits for room pauses before it checks again whether its client has read.
/// The pause doubles up to the maximum.
const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(160);

/// How often waiting tasks check what all other clients have read.
const RELEASE_INTERVAL: Duration = Duration::from_millis(100);

/// The unread output of one session.
#[derive(Debug)]
pub(crate) struct Output {
    /// Dropped when the session ends.
    taken: Weak<TakenBytes>,
    client: Option<IpAddr>,
    queued: Mutex<OutputQueue>,
    has_ended: AtomicBool,
}

#[derive(Debug, Default)]
struct OutputQueue {
    /// The number of written bytes at which all counted packets have been written.
    end: u64,
    packets: VecDeque<PacketGroup>,
    /// Bytes of the packets that have no claim of their own.
    small: usize,
    /// Answers that are being computed.
    in_progress: usize,
    /// The claim of small packets and of answers in progress, beyond [`UNCLAIMED_BYTES`].
    claim: Option<Claim>,
    /// The claim of the first of these answers, of up to [`UNCOUNTED_BYTES`].
    first: Option<Claim>,
    /// The claim of pushes: of all small packets that wait, without the answers in progress.
    pushes: Option<Claim>,
    /// Whether the budget has this output in its list of outputs with claims.
    is_watched: bool,
}

/// A packet with a claim of its own, or a group of others.
#[derive(Debug)]
struct PacketGroup {
    /// The number of written bytes at which these have been written.
    end: u64,
    /// Bytes of packets without a claim.
    small: usize,
    claim: Option<Claim>,
}

impl Output {
    pub(super) fn new(taken: &Arc<TakenBytes>, client: Option<IpAddr>) -> Self {
        let taken = Arc::downgrade(taken);
        Self { taken, client, queued: Mutex::default(), has_ended: AtomicBool::default() }
    }

    /// Returns an output of a session that is not counted.
    pub(crate) fn uncounted() -> Arc<Self> {
        Arc::new(Self::new(&Arc::default(), None))
    }

    /// Returns the bytes that the client has taken so far. A packet is queued behind at least
    /// these.
    pub(super) fn written(&self) -> u64 {
        self.taken.upgrade().map_or(0, |taken| taken.count())
    }

    /// Returns the bytes that wait to be read. Releases the claims of what has been read.
    pub(super) fn unread(&self) -> u64 {
        match self.taken.upgrade() {
            Some(taken) => self.queued.lock().unread(taken.count()),
            None => 0,
        }
    }

    /// Counts a packet that was queued when `written` bytes had been written.
    pub(super) fn add(&self, written: u64, size: usize, claim: Option<Claim>) {
        if self.taken.strong_count() > 0 && !self.has_ended.load(Ordering::SeqCst) {
            self.queued.lock().add(written, size, claim);
        }
    }

    /// Whether a packet bypasses the buffers of the transport. While much is unread, small packets
    /// bypass them, too: the buffer of a connection stays as large as it has become.
    pub(super) fn is_large(&self, size: usize) -> bool {
        size >= LARGE_PACKET || size >= MIN_LARGE && self.unread() > SMALL_UNREAD
    }

    /// Releases all claims when the session has ended.
    pub(super) fn clear(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
        let mut queued = self.queued.lock();
        (queued.small, queued.in_progress, queued.claim, queued.first) = (0, 0, None, None);
        queued.pushes = None;
        queued.packets.clear();
    }

    /// Sets the number of answers in progress after others have been made.
    pub(super) fn set_answers_in_progress(&self, count: usize) {
        let mut queued = self.queued.lock();
        queued.in_progress = count;
        queued.shrink();
    }
}

impl OutputQueue {
    fn add(&mut self, written: u64, size: usize, claim: Option<Claim>) {
        if claim.is_none() {
            return self.add_shared(written, size, size);
        }
        self.end = self.end.max(written) + size as u64;
        self.packets.push_back(PacketGroup { end: self.end, small: 0, claim });
    }

    /// Adds a small packet whose text takes `share` bytes for this session.
    fn add_shared(&mut self, written: u64, size: usize, share: usize) {
        self.end = self.end.max(written) + size as u64;
        let small = share + PACKET_OVERHEAD;
        self.small += small;
        match self.packets.back_mut() {
            Some(last) if last.claim.is_none() && last.small < GROUP_SIZE => {
                (last.end, last.small) = (self.end, last.small + small);
            }
            _ => self.packets.push_back(PacketGroup { end: self.end, small, claim: None }),
        }
    }

    fn unread(&mut self, written: u64) -> u64 {
        while let Some(read) = self.packets.pop_front_if(|packets| packets.end <= written) {
            self.small -= read.small;
        }
        self.shrink();
        self.end.saturating_sub(written)
    }

    /// Returns the bytes that need a claim while so many answers are in progress, each of up to
    /// [`UNCOUNTED_BYTES`]. A session that has read nearly everything needs no claim for one answer
    /// until that answer is made.
    fn needed(&self, begun: usize) -> usize {
        match self.small.saturating_sub(UNCLAIMED_BYTES) {
            0 if begun <= 1 => 0,
            _ => (self.small + begun * UNCOUNTED_BYTES).saturating_sub(UNCLAIMED_BYTES),
        }
    }

    /// Returns the bytes that need a claim of the first answer. Each session without an unread
    /// answer may claim one, whatever else its client has unread.
    fn needed_first(&self, begun: usize) -> usize {
        (self.small + begun * UNCOUNTED_BYTES).saturating_sub(UNCLAIMED_BYTES).min(UNCOUNTED_BYTES)
    }

    fn claimed(&self) -> usize {
        self.claim.as_ref().map_or(0, Claim::bytes)
    }

    fn claimed_first(&self) -> usize {
        self.first.as_ref().map_or(0, Claim::bytes)
    }

    fn claimed_pushes(&self) -> usize {
        self.pushes.as_ref().map_or(0, Claim::bytes)
    }

    /// Releases memory that is not needed any more.
    fn shrink(&mut self) {
        let bytes = rounded(self.needed(self.in_progress));
        if bytes < self.claimed() {
            // A claim can always become smaller.
            self.claim.as_mut().map(|claim| claim.resize(bytes));
        }
        let first = self.needed_first(self.in_progress);
        if first < self.claimed_first() {
            self.first.as_mut().map(|claim| claim.resize(first));
        }
        let pushes = rounded(self.needed(0));
        if pushes < self.claimed_pushes() {
            self.pushes.as_mut().map(|claim| claim.resize(pushes));
        }
    }

    fn has_claims(&self) -> bool {
        self.claimed() + self.claimed_first() + self.claimed_pushes() > 0
            || self.packets.iter().any(|packets| packets.claim.is_some())
    }
}

/// Returns the size of a claim that has room for so many bytes. The size doubles in large steps, so
/// that not every one of many answers takes the lock of the budget.
fn rounded(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes.next_multiple_of(CLAIM_STEP).next_power_of_two() }
}

fn claim_rounded(claim: &mut Claim, needed: usize) -> Result<(), NoRoom> {
    match claim.resize(rounded(needed)) {
        true => Ok(()),
        false => claim.resize_or_wait(needed.next_multiple_of(MIN_CLAIM_STEP)).map_err(NoRoom),
    }
}

/// The memory budgets of everything that waits to be read.
#[derive(Debug)]
pub(crate) struct OutputBudget {
    /// The budget of large packets, also over HTTP.
    budget: Arc<MemoryBudget>,
    /// The budget of small packets and answers. Each client has its own, because an ordinary answer
    /// must not wait for what other clients do not read.
    small: Arc<MemoryBudget>,
    /// The same for the first answer that each session of a client has not read.
    first: Arc<MemoryBudget>,
    /// The same for pushes and for answers over HTTP, which do not wait. The server reserves memory
    /// in `small` for answers in progress, and such a reservation is no reason to refuse pushes and
    /// answers over HTTP.
    unread: Arc<MemoryBudget>,
    /// The same for the buffers of WebSockets, which last as long as their connections.
    buffers: Arc<MemoryBudget>,
    /// Outputs with claims. A session that reads, and is sent nothing, releases its claims when
    /// other sessions need them.
    outputs: Mutex<Vec<Weak<Output>>>,
    /// When a waiting task last released the claims of what others have read.
    released_at: Mutex<Option<Instant>>,
}

/// There is no room for another answer of a session. The future resolves when there may be room;
/// the session may also have read more.
pub(super) struct NoRoom(OwnedNotified);

/// How long a task that waits for room has paused.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(MIN_PAUSE)
    }
}

impl OutputBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let [small, first, unread, buffers] =
            [SHARES, 2, SHARES, SHARES].map(|part| MemoryBudget::of_each_client(limit / part));
        let budget = MemoryBudget::new(limit);
        Arc::new(Self {
            budget,
            small,
            first,
            unread,
            buffers,
            outputs: Mutex::default(),
            released_at: Mutex::default(),
        })
    }

    /// Returns the error of a read for which no memory is left.
    pub(crate) fn exhausted(&self) -> OutOfMemory {
        OutOfMemory { limit: self.budget.limit() }
    }

    /// Returns the bytes that are claimed for packets that clients have not read.
    pub(crate) fn claimed(&self) -> usize {
        self.release();
        let small = [&self.small, &self.first, &self.unread, &self.buffers];
        self.budget.claimed() + small.map(|budget| budget.claimed()).iter().sum::<usize>()
    }

    /// Claims bytes that are sent to a client. Returns `None` if there are not enough left.
    pub(crate) fn claim(&self, client: Option<IpAddr>, bytes: usize) -> Option<Claim> {
        self.budget.claim(client, bytes).or_else(|| {
            self.release();
            self.budget.claim(client, bytes)
        })
    }

    /// Changes the size of a claim. Returns `false` if it cannot grow to that size; then it does
    /// not change.
    pub(crate) fn resize(&self, claim: &mut Claim, bytes: usize) -> bool {
        claim.resize(bytes) || {
            self.release();
            claim.resize(bytes)
        }
    }

    /// Claims an answer over HTTP of up to [`UNCOUNTED_BYTES`]. Returns `None` if the client has
    /// used up its budget.
    pub(crate) fn claim_small(&self, client: Option<IpAddr>, bytes: usize) -> Option<Claim> {
        self.unread.claim(client, bytes).or_else(|| {
            self.release();
            self.unread.claim(client, bytes)
        })
    }

    /// Returns an empty claim for the buffer of a connection.
    pub(super) fn claim_of_buffer(&self, client: Option<IpAddr>) -> Claim {
        self.buffers.empty_claim(client)
    }

    /// Counts a packet with a claim that was queued when `written` bytes had been written.
    pub(super) fn add(&self, output: &Arc<Output>, written: u64, size: usize, claim: Claim) {
        output.add(written, size, Some(claim));
        self.watch(output);
    }

    /// Claims memory for an answer of a session, if it needs a claim, while `begun` others are in
    /// progress.
    pub(super) fn begin(&self, output: &Arc<Output>, begun: usize) -> Result<(), NoRoom> {
        let begin = |queued: &mut OutputQueue, _| {
            queued.in_progress = begun + 1;
            self.claim_needed(queued, output.client)
        };
        self.grow(output, begin).inspect_err(|_| output.queued.lock().in_progress = begun)
    }

    /// Counts a small push whose text takes `share` bytes of memory for this session. An error
    /// means that there is no memory for it.
    pub(super) fn add_small(
        &self,
        output: &Arc<Output>,
        size: usize,
        share: usize,
    ) -> Result<(), NoRoom> {
        self.grow(output, |queued, written| {
            queued.add_shared(written, size, share);
            self.claim_pushes(queued, output.client)
        })
    }

    /// Adds a packet or an answer with `add`, which gets the number of written bytes, and claims
    /// the memory that it needs.
    fn grow(
        &self,
        output: &Arc<Output>,
        add: impl FnOnce(&mut OutputQueue, u64) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        let Some(taken) = output.taken.upgrade() else { return Ok(()) };
        if output.has_ended.load(Ordering::SeqCst) {
            return Ok(());
        }
        let written = taken.count();
        let mut queued = output.queued.lock();
        queued.unread(written);
        let claimed = add(&mut queued, written);
        let is_new = !queued.is_watched && queued.has_claims();
        drop(queued);
        if is_new {
            self.watch(output);
        }
        claimed
    }

    fn claim_pushes(&self, queued: &mut OutputQueue, client: Option<IpAddr>) -> Result<(), NoRoom> {
        let needed = queued.needed(0);
        if needed <= queued.claimed_pushes() {
            return Ok(());
        }
        let claim = queued.pushes.get_or_insert_with(|| self.unread.empty_claim(client));
        claim_rounded(claim, needed)
    }

    fn claim_needed(&self, queued: &mut OutputQueue, client: Option<IpAddr>) -> Result<(), NoRoom> {
        let first = queued.needed_first(queued.in_progress);
        if first > queued.claimed_first() {
            let claim = queued.first.get_or_insert_with(|| self.first.empty_claim(client));
            claim.resize_or_wait(first).map_err(NoRoom)?;
        }
        let needed = queued.needed(queued.in_progress);
        if needed <= queued.claimed() {
            return Ok(());
        }
        // An empty claim is kept: it remembers that it has waited, so that it does not wake itself.
        let claim = queued.claim.get_or_insert_with(|| self.small.empty_claim(client));
        claim_rounded(claim, needed)
    }

    /// Waits until there may be room for an answer: either in the budget, or because the session
    /// has read.
    pub(super) async fn wait_for_room(
        &self,
        environment: &Environment,
        no_room: Option<NoRoom>,
        Pause(pause): &mut Pause,
    ) {
        if no_room.is_some() {
            self.release_if_due(environment.now());
        }
        match no_room {
            // A timeout means that nothing was released meanwhile.
            Some(NoRoom(released)) => drop(environment.timeout(*pause, released).await),
            None => environment.sleep(*pause).await,
        }
        *pause = (*pause * 2).min(MAX_PAUSE);
    }

    fn release_if_due(&self, now: Instant) {
        let mut released_at = self.released_at.lock();
        if released_at.is_none_or(|at| now - at >= RELEASE_INTERVAL) {
            *released_at = Some(now);
            drop(released_at);
            self.release();
        }
    }

    fn watch(&self, output: &Arc<Output>) {
        let mut outputs = self.outputs.lock();
        if !std::mem::replace(&mut output.queued.lock().is_watched, true) {
            // This runs before the list grows, so that ended connections do not make it grow.
            if outputs.len() == outputs.capacity() {
                outputs.retain(|output| output.strong_count() > 0);
            }
            outputs.push(Arc::downgrade(output));
        }
    }

    /// Releases the claims of what has been read.
    fn release(&self) {
        let is_in_use = |output: &Weak<Output>| {
            output.upgrade().is_some_and(|output| {
                output.unread();
                let mut queued = output.queued.lock();
                queued.is_watched = queued.has_claims();
                queued.is_watched
            })
        };
        self.outputs.lock().retain(is_in_use);
    }
}

#[cfg(test)]
mod tests;
