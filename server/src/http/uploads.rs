//! The memory of requests and messages while they arrive.
//!
//! The server claims the memory of a request before it reads it. A client that announces much and
//! sends little would keep that memory from others, and a few such clients all of it. So when
//! memory is short, the server ends uploads that are slower than the limit `upload_speed`: those of
//! the client whose slow uploads hold the most memory, the slowest first. This client may not begin
//! another upload for a while. While there is memory, an upload may be slow, within the deadlines.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backwire_engine::Environment;
use backwire_environment::HashMap;
use parking_lot::Mutex;

use super::connection_handle::ConnectionHandle;
use super::raw_response::raw_response;
use crate::error::Error;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::MemoryBudget;
use crate::settings::Limit;

/// How long a client may not begin another upload after a slow one was ended.
const EXCLUDED_TIME: Duration = Duration::from_secs(10);

/// How often slow uploads are looked for.
const SEARCH_INTERVAL: Duration = Duration::from_millis(50);

/// The time in which the speed of an upload is measured.
const MEASURED_TIME: Duration = Duration::from_secs(5);

/// The memory of requests while they arrive.
#[derive(Debug)]
pub(crate) struct UploadMemory {
    environment: Environment,
    budget: Arc<MemoryBudget>,
    /// Slower uploads may end, in bytes per second.
    min_speed: u64,
    limits: Arc<LimitMonitor>,
    uploads: Mutex<Uploads>,
}

#[derive(Debug, Default)]
struct Uploads {
    last: u64,
    by_number: BTreeMap<u64, State>,
    /// When slow uploads were last looked for, and whether there were any.
    searched: Option<(Instant, bool)>,
    /// The clients that may not begin an upload, and until when.
    excluded: HashMap<Option<IpAddr>, Instant>,
}

/// The state of an upload.
#[derive(Debug)]
struct State {
    connection: ConnectionHandle,
    client: Option<IpAddr>,
    /// The bytes that are claimed for it.
    bytes: usize,
    /// When the measurement of its speed began, and the bytes that had arrived before.
    measured: (Instant, u64),
}

/// A request that arrives, until it is complete and this is dropped.
#[derive(Debug)]
pub(crate) struct Upload {
    memory: Arc<UploadMemory>,
    number: u64,
}

impl UploadMemory {
    pub(crate) fn new(
        environment: Environment,
        limit: usize,
        min_speed: usize,
        limits: Arc<LimitMonitor>,
    ) -> Arc<Self> {
        let (budget, uploads) = (MemoryBudget::new(limit), Mutex::default());
        Arc::new(Self { environment, budget, min_speed: min_speed as u64, limits, uploads })
    }

    pub(crate) fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// Reports that memory is claimed for a request that arrives on this connection.
    pub(crate) fn begin(
        self: &Arc<Self>,
        connection: ConnectionHandle,
        client: Option<IpAddr>,
        bytes: usize,
    ) -> Upload {
        let measured = (self.environment.now(), connection.bytes_received());
        let mut uploads = self.uploads.lock();
        uploads.last += 1;
        let number = uploads.last;
        uploads.by_number.insert(number, State { connection, client, bytes, measured });
        Upload { memory: Arc::clone(self), number }
    }

    /// Ends slow uploads if so many bytes are not free. Returns `true` if some end. A client that
    /// has used up its own share ends none.
    pub(crate) fn make_room(&self, bytes: usize) -> bool {
        let missing = (self.budget.claimed() + bytes).saturating_sub(self.budget.limit());
        if missing == 0 {
            return false;
        }
        let now = self.environment.now();
        let mut uploads = self.uploads.lock();
        if let Some((at, are_ending)) = uploads.searched
            && now.saturating_duration_since(at) < SEARCH_INTERVAL
        {
            return are_ending;
        }
        let ended = uploads.take_slow(self.min_speed, now, missing);
        uploads.searched = Some((now, !ended.is_empty()));
        uploads.excluded.retain(|_, until| *until > now);
        uploads.excluded.extend(ended.iter().map(|it| (it.client, now + EXCLUDED_TIME)));
        drop(uploads);
        for upload in &ended {
            self.limits.reached(Limit::UploadSpeed, upload.client);
            self.end(&upload.connection);
        }
        !ended.is_empty()
    }
}

impl UploadMemory {
    /// Whether a client may not begin an upload now, because a slow one of it was ended. Otherwise
    /// its next uploads would take the memory before those who wait for it.
    pub(crate) fn excludes(&self, client: Option<IpAddr>) -> bool {
        let uploads = self.uploads.lock();
        uploads.excluded.get(&client).is_some_and(|until| *until > self.environment.now())
    }

    /// Ends a connection. An HTTP client gets a response with the reason first.
    pub(crate) fn end(&self, connection: &ConnectionHandle) {
        if !connection.is_upgraded() {
            let (limit, bytes) = (Limit::TotalRequestBytes, self.budget.limit());
            connection.finish_with(&raw_response(&Error::Busy { limit, bytes }));
        }
        connection.abort();
    }
}

impl Uploads {
    /// Takes out slow uploads that have claimed this many bytes, or all if they are fewer.
    fn take_slow(&mut self, min_speed: u64, now: Instant, missing: usize) -> Vec<State> {
        let mut slow: Vec<_> = self
            .by_number
            .iter_mut()
            .filter_map(|(number, upload)| Some((*number, upload.slow_speed(min_speed, now)?)))
            .collect();
        slow.sort_unstable_by_key(|(number, speed)| (*speed, *number));
        let mut held = HashMap::<Option<IpAddr>, usize>::default();
        for (number, _) in &slow {
            let upload = &self.by_number[number];
            *held.entry(upload.client).or_default() += upload.bytes;
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < missing && !slow.is_empty() {
            // The first of the slowest, among the clients that hold the most.
            let most = slow.iter().map(|(number, _)| held[&self.by_number[number].client]).max();
            let is_of_most =
                |(number, _): &(u64, u64)| Some(held[&self.by_number[number].client]) == most;
            let Some(at) = slow.iter().position(is_of_most) else { break };
            let (number, _) = slow.remove(at);
            let Some(upload) = self.by_number.remove(&number) else { break };
            *held.entry(upload.client).or_default() -= upload.bytes;
            bytes += upload.bytes;
            taken.push(upload);
        }
        taken
    }
}

impl State {
    /// Returns the speed of an upload that waits for its client and is too slow, in bytes per
    /// second.
    fn slow_speed(&mut self, min_speed: u64, now: Instant) -> Option<u64> {
        let (begin, before) = self.measured;
        let (time, read) = (now.saturating_duration_since(begin), self.connection.bytes_received());
        if time < MEASURED_TIME || !self.connection.awaits_client() {
            return None;
        }
        self.measured = (now, read);
        let speed = (read - before) * 1_000 / u64::try_from(time.as_millis()).ok()?;
        (speed < min_speed).then_some(speed)
    }
}

impl Upload {
    /// Reports that other bytes are claimed for it than at first.
    pub(crate) fn set_bytes(&self, bytes: usize) {
        if let Some(upload) = self.memory.uploads.lock().by_number.get_mut(&self.number) {
            upload.bytes = bytes;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.memory.uploads.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use tokio::time::advance;

    use super::*;

    const LIMIT: usize = 4_000_000;

    const MIN_SPEED: u64 = 32 << 10;

    fn memory() -> Arc<UploadMemory> {
        UploadMemory::new(Environment::tokio(), LIMIT, MIN_SPEED as usize, Arc::default())
    }

    fn client(number: u8) -> Option<IpAddr> {
        Some([10, 0, 0, number].into())
    }

    fn connection() -> ConnectionHandle {
        ConnectionHandle::closed_for_test()
    }

    fn receive(connection: &ConnectionHandle, bytes: u64) {
        connection.state.read.fetch_add(bytes, Ordering::Relaxed);
    }

    fn numbers(memory: &UploadMemory) -> Vec<u64> {
        memory.uploads.lock().by_number.keys().copied().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn slow_uploads_of_the_largest_client_end_when_memory_is_short() {
        let memory = memory();
        let claims: Vec<_> =
            (1..=4).map(|number| memory.budget().claim(client(number), LIMIT / 4)).collect();
        assert!(claims.iter().all(Option::is_some));
        let [busy, fast, slow, stalled, other] = [(); 5].map(|()| connection());
        busy.activity().request_begins();
        let uploads = [
            memory.begin(busy, client(1), 600_000),
            memory.begin(fast.clone(), client(1), 400_000),
            memory.begin(slow.clone(), client(2), 500_000),
            memory.begin(stalled, client(2), 500_000),
            memory.begin(other, client(3), 900_000),
        ];
        assert!(!memory.make_room(100_000), "none is measured yet");
        advance(MEASURED_TIME).await;
        receive(&fast, MIN_SPEED * MEASURED_TIME.as_secs());
        receive(&slow, 100);
        assert!(memory.make_room(100_000));
        assert_eq!(numbers(&memory), [1, 2, 3, 5]);
        // It is not looked for others so soon.
        assert!(memory.make_room(100_000));
        assert_eq!(numbers(&memory), [1, 2, 3, 5]);
        advance(MEASURED_TIME).await;
        assert!(memory.make_room(1_500_000));
        assert_eq!(numbers(&memory), [1], "the fast one has stalled since");
        drop(uploads);
        assert!(numbers(&memory).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_has_used_up_its_share_ends_no_uploads_of_others() {
        let memory = memory();
        let claims = [1, 2].map(|number| memory.budget().claim(client(number), LIMIT / 4));
        let _upload = memory.begin(connection(), client(2), LIMIT / 4);
        advance(MEASURED_TIME).await;
        assert!(memory.budget().claim(client(1), 300_000).is_none());
        assert!(!memory.make_room(300_000));
        assert_eq!((numbers(&memory), claims.len()), (vec![1], 2));
    }

    #[tokio::test(start_paused = true)]
    async fn client_whose_slow_upload_was_ended_is_excluded_for_a_while() {
        let memory = memory();
        let _all = memory.budget().claim(client(1), LIMIT);
        let _upload = memory.begin(connection(), client(1), LIMIT);
        advance(MEASURED_TIME).await;
        assert!(memory.make_room(1) && memory.excludes(client(1)));
        assert!(!memory.excludes(client(2)) && !memory.excludes(None));
        advance(EXCLUDED_TIME).await;
        assert!(!memory.excludes(client(1)));
    }

    /// Compares with the rule, written as a loop over all uploads for each that ends.
    #[tokio::test(start_paused = true)]
    async fn random_uploads_end_as_the_rule_says() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..200 {
            let memory = memory();
            let all = memory.budget().claim(None, LIMIT);
            let mut uploads = Vec::new();
            for _ in 0..random.random_range(0..12) {
                let (connection, of) = (connection(), random.random_range(1..4));
                let bytes = random.random_range(1..1_000_000);
                let upload = memory.begin(connection.clone(), client(of), bytes);
                let received = random.random_range(0..4) * MIN_SPEED * 3;
                uploads.push((upload.number, of, bytes, received));
                receive(&connection, received);
                std::mem::forget(upload);
            }
            advance(MEASURED_TIME).await;
            let wanted = random.random_range(1..2_000_000);
            let mut freed = 0;
            while freed < wanted {
                let slow = |received: u64| received / MEASURED_TIME.as_secs() < MIN_SPEED;
                let held = |of: u8| -> usize {
                    let own = uploads.iter().filter(|it| it.1 == of && slow(it.3));
                    own.map(|it| it.2).sum()
                };
                let slowest = uploads.iter().filter(|it| slow(it.3));
                let next = slowest.max_by_key(|it| (held(it.1), std::cmp::Reverse((it.3, it.0))));
                let Some(&(number, _, bytes, _)) = next else { break };
                freed += bytes;
                uploads.retain(|it| it.0 != number);
            }
            assert_eq!(memory.make_room(wanted), freed > 0);
            let left: Vec<_> = uploads.iter().map(|it| it.0).collect();
            assert_eq!(numbers(&memory), left);
            drop(all);
        }
    }
}
