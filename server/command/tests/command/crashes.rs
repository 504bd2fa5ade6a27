//! Servers are killed at random times while back ends send and devices ack. If servers share a
//! Redis, it is killed as well.
//!
//! A message that was answered with 200 is not lost. A handler that knows ids sees each message
//! once, in send order. A message of a batch that was certainly removed is not sent again.
//!
//! `BACKWIRE_SEED` sets the seed of the random times, and `BACKWIRE_KILLS` the number of kills. The
//! timing still depends on the machine.

mod device;
mod sender;
mod servers;

use std::cell::Cell;
use std::env;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::back_end::back_end;
use device::Device;
pub(crate) use device::{Stream, connect, next};
use sender::Sender;
pub(crate) use servers::Process;
use servers::{Servers, Store};

/// The number of kills in a normal test run. `cargo xtask crash` uses more.
const KILLS: usize = 100;

/// The same for servers that share a Redis. A run takes longer there.
const KILLS_WITH_REDIS: usize = 24;

/// The number of servers, or of groups of servers, that run in parallel.
const LANES: usize = 4;

/// The maximum number of attempts to interrupt the servers at steps of all kinds. The machine
/// decides whether one attempt is enough.
const MAX_ATTEMPTS: u64 = 10;

/// A test fails if it waits for longer than this.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_server_loses_no_message_and_repeats_none_that_was_removed() {
    kill_at_all_steps(KILLS, || Store::File, Interruptions::are_at_all_steps).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_servers_with_redis_lose_no_message_and_repeat_none_that_was_removed() {
    let are_enough = |it: &Interruptions| it.are_at_all_steps() && it.redis_kills > 0;
    kill_at_all_steps(KILLS_WITH_REDIS, Store::redis, are_enough).await;
}

/// Kills servers until they were interrupted often enough.
async fn kill_at_all_steps(
    kills: usize,
    store: fn() -> Store,
    are_enough: impl Fn(&Interruptions) -> bool,
) {
    let number = |name| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let first_seed = number("BACKWIRE_SEED").unwrap_or_else(rand::random);
    let kills = number("BACKWIRE_KILLS").map_or(kills, |kills| kills.try_into().unwrap());
    let authority = back_end().await;
    let mut interruptions = Interruptions::default();
    for attempt in 0..MAX_ATTEMPTS {
        let seed = first_seed.wrapping_add(attempt * LANES as u64);
        // The output is shown if the test fails.
        println!("BACKWIRE_SEED={seed} BACKWIRE_KILLS={kills}");
        interruptions.add(run_lanes(seed, kills, store, &authority));
        println!("killed while something was {interruptions:?}");
        if are_enough(&interruptions) {
            return;
        }
    }
    panic!("no server was killed at some steps: {interruptions:?}");
}

/// Runs all lanes, and returns the sum of their interruptions.
fn run_lanes(seed: u64, kills: usize, store: fn() -> Store, authority: &str) -> Interruptions {
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let (seed, authority) = (seed.wrapping_add(lane as u64), authority.to_owned());
            thread::spawn(move || Lane::new(seed, store(), &authority).run(kills.div_ceil(LANES)))
        })
        .collect();
    let mut sum = Interruptions::default();
    for lane in lanes {
        sum.add(lane.join().expect("a lane has failed: the seed is above"));
    }
    sum
}

/// The number of server runs that ended between two steps.
#[derive(Debug, Default, Clone, Copy)]
struct Interruptions {
    /// A message was answered but not delivered.
    answered: usize,
    /// A message was delivered but not acked.
    delivered: usize,
    /// A message was acked but not removed, so it was delivered again.
    acked: usize,
    /// How often Redis was killed as well.
    redis_kills: usize,
    /// The requests that were answered with 503 meanwhile, and sent again.
    unavailable: usize,
    /// The messages that were sent in all runs.
    messages: usize,
}

impl Interruptions {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.delivered += other.delivered;
        self.acked += other.acked;
        self.redis_kills += other.redis_kills;
        self.unavailable += other.unavailable;
        self.messages += other.messages;
    }

    fn are_at_all_steps(&self) -> bool {
        self.answered > 0 && self.delivered > 0 && self.acked > 0
    }
}

/// The number of events in one run of a server.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Events {
    answered: usize,
    delivered: usize,
    acked: usize,
}

/// A run of servers, from their start to their kill.
#[derive(Default)]
struct ServerRun {
    events: watch::Sender<Events>,
    is_over: Cell<bool>,
    /// Whether the servers share a store, which may be out of reach.
    has_shared_store: bool,
}

impl ServerRun {
    fn new(servers: &Servers) -> Self {
        Self { has_shared_store: servers.has_shared_store(), ..Self::default() }
    }

    fn count(&self, change: impl FnOnce(&mut Events)) {
        self.events.send_modify(change);
    }

    /// Kills the servers some time after a random number of events of a random kind.
    async fn end(&self, servers: &mut Servers, random: &mut StdRng) {
        let (what, count) = (random.random_range(0..4), random.random_range(1..8));
        let is_time = |events: &Events| match what {
            0 => true,
            1 => events.answered >= count,
            2 => events.delivered >= count,
            _ => events.acked >= count,
        };
        self.events.subscribe().wait_for(is_time).await.expect("the events are ours");
        match random.random_range(0..3) {
            0 => {}
            1 => yield_now().await,
            _ => sleep(Duration::from_micros(random.random_range(0..8_000))).await,
        }
        servers.kill(random).await;
        self.is_over.set(true);
    }
}

/// Servers with their store, a back end and devices: one for each server.
struct Lane {
    servers: Servers,
    random: StdRng,
    sender: Sender,
    devices: Vec<Device>,
    interruptions: Interruptions,
}

impl Lane {
    fn new(seed: u64, store: Store, authority: &str) -> Self {
        let site = format!(
            "shop:\n  authUrl: {authority}\n  apiKey: '54321'\n  userRoomPrefix: user_\n  mostWaiting: 100000\n"
        );
        let servers = Servers::new(store, &site);
        let mut random = StdRng::seed_from_u64(seed);
        let sender = Sender::new(StdRng::seed_from_u64(random.random()));
        let devices = (0..if servers.has_shared_store() { 2 } else { 1 })
            .map(|it| Device::new(format!("device-{it}"), StdRng::seed_from_u64(random.random())))
            .collect();
        Self { servers, random, sender, devices, interruptions: Interruptions::default() }
    }

    fn run(mut self, kills: usize) -> Interruptions {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            timeout(TEST_TIMEOUT, self.begin()).await.expect("the devices connect");
            for _ in 0..kills {
                timeout(TEST_TIMEOUT, self.run_once()).await.expect("a run has its end");
                self.record_interruption();
            }
            timeout(TEST_TIMEOUT, self.end()).await.expect("all sent messages arrive");
        });
        let (Sender { unavailable, sent, .. }, redis_kills) =
            (self.sender, self.servers.redis_kills);
        Interruptions { redis_kills, unavailable, messages: sent, ..self.interruptions }
    }

    /// Connects all devices, so that each has queues from now on.
    async fn begin(&mut self) {
        self.servers.start();
        let addrs = self.servers.wait_for_addresses();
        for device in &self.devices {
            device.begin(addrs[0]).await;
        }
        self.servers.kill(&mut self.random).await;
    }

    /// Runs the servers from their start to their kill.
    async fn run_once(&mut self) {
        self.servers.start();
        if self.random.random_ratio(1, 16) {
            // Kills the servers before they are ready.
            sleep(Duration::from_micros(self.random.random_range(0..30_000))).await;
            return self.servers.kill(&mut self.random).await;
        }
        let addrs = self.servers.wait_for_addresses();
        let run = ServerRun::new(&self.servers);
        let killed = run.end(&mut self.servers, &mut self.random);
        let listening = listen(&mut self.devices, &addrs, &run);
        tokio::join!(self.sender.send(addrs[0], &run), listening, killed);
    }

    /// Records the step that the last run interrupted.
    fn record_interruption(&mut self) {
        let Self { sender, devices, interruptions, .. } = self;
        let is_behind = devices.iter().any(|device| sender.answered > device.handled);
        interruptions.answered += usize::from(is_behind);
        interruptions.delivered += usize::from(devices.iter().any(|it| it.has_unacked));
        interruptions.acked += usize::from(devices.iter().any(|it| it.is_acked_again));
    }

    /// Checks that all messages arrive, and that acked messages do not arrive again.
    async fn end(&mut self) {
        self.servers.start();
        let addrs = self.servers.wait_for_addresses();
        let run = ServerRun::new(&self.servers);
        self.sender.is_last = true;
        self.sender.send(addrs[0], &run).await;
        let Self { sender, devices, .. } = self;
        assert_eq!(sender.answered, sender.sent, "a repeated send is answered in the end");
        for device in devices.iter_mut() {
            device.last = Some(sender.sent);
        }
        listen(devices, &addrs, &run).await;
        for device in devices {
            assert_eq!(device.handled, sender.sent);
        }
    }
}

/// Each device listens at another server. The first is not at that of the back end, if there are
/// several.
async fn listen(devices: &mut [Device], addrs: &[SocketAddr], run: &ServerRun) {
    let devices = devices.iter_mut().zip(addrs.iter().rev());
    join_all(devices.map(|(device, addr)| device.listen(*addr, run))).await;
}
