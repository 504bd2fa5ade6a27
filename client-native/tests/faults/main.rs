//! Many clients with interrupted connections: no change is lost, and none arrives twice.
//!
//! The seed decides the schedule of the interruptions and the jitter of the clients. A failing run
//! prints its seed, and `BACKWIRE_SEED=… cargo test -p backwire-client-native` repeats the
//! schedule.

#![allow(clippy::unwrap_used, reason = "whatever fails in a test fails the test")]

mod balancer;
mod faulty_proxy;
#[path = "../../../server/engine/tests/engines/polling.rs"]
#[allow(dead_code, reason = "the tests of the engine use the rest of it")]
mod polling;
#[path = "../../../server/engine/tests/engines/redis_server.rs"]
#[allow(dead_code, reason = "the tests of the engine use the rest of it")]
mod redis_server;
mod screen;

use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backwire::Server;
use backwire::settings::{Flake, Store};
use backwire_client_native::{Client, Events, Verb};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use balancer::Balancer;
use faulty_proxy::{Faults, FaultyProxy};
use redis_server::RedisServer;
use screen::{Screen, offset_of, records_of};

/// The average time between interruptions of a connection.
const CUT_INTERVAL: Duration = Duration::from_millis(500);
/// The average time for which the proxy refuses connections after that.
const OUTAGE: Duration = Duration::from_millis(100);
/// The time between two changes.
const WRITE_INTERVAL: Duration = Duration::from_millis(50);
/// A test fails if it waits for longer than this.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The schedule of one run. It prints its seed if the run fails.
struct Schedule(u64);

impl Schedule {
    fn of_this_run() -> Self {
        let given = std::env::var("BACKWIRE_SEED").ok();
        Self(given.map_or_else(rand::random, |seed| seed.parse().expect("the seed is a number")))
    }

    /// Returns the seed of a proxy or a client.
    fn part(&self, number: u64) -> u64 {
        self.0.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn client(&self, line: &FaultyProxy, number: u64) -> (Client, Events) {
        // `Client::connect` would use random numbers that the seed does not decide.
        let session = format!("{:016x}-{number}", self.0);
        Client::connect_as(&line.url(), session, self.part(number))
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        if std::thread::panicking() {
            log(&format!("failed with BACKWIRE_SEED={}", self.0));
        }
    }
}

/// Prints a line directly, because the test runner would capture it.
fn log(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(TEST_TIMEOUT, future).await.expect("all is done in time")
}

async fn all_of<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut done = Vec::new();
    while let Some(outcome) = in_time(tasks.join_next()).await {
        // A panic of a client fails the test.
        done.push(outcome.unwrap());
    }
    done
}

async fn serve(port: u16, store: Store) -> Server {
    Server::builder().port(port).store(store).bind().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_with_interrupted_connections_receive_each_change_once_and_in_order() {
    const CLIENTS: u64 = 200;
    const CHANGES: u64 = 120;

    let schedule = Schedule::of_this_run();
    let server = serve(0, Store::Memory).await;
    let faults = Faults::new(CUT_INTERVAL, OUTAGE);
    let mut opening = JoinSet::new();
    for number in 0..CLIENTS {
        let line = FaultyProxy::to(server.addr(), faults.clone(), schedule.part(number)).await;
        let (client, events) = schedule.client(&line, number);
        opening.spawn(async move { (Screen::open(&client).await, client, events, line) });
    }
    let mut listening = JoinSet::new();
    for (mut screen, client, mut events, line) in all_of(opening).await {
        listening.spawn(async move {
            screen.listen(&mut events, CHANGES as usize).await;
            drop((client, line));
            screen
        });
    }

    let (maker, _) = Client::connect(&format!("ws://{}", server.addr()));
    make_changes(&maker, CHANGES).await;
    faults.end();
    let screens = all_of(listening).await;

    let every_change_once_and_in_order: Vec<u64> = (1..=CHANGES).collect();
    let truth = records_of(&maker.request(Verb::Get, "/todo", None).await);
    for screen in screens {
        assert_eq!(screen.offsets, every_change_once_and_in_order);
        assert_eq!(screen.records(), &truth);
    }
    let cuts = faults.injected();
    log(&format!("{CLIENTS} clients saw {CHANGES} changes each through {cuts} cuts"));
    assert!(cuts > CLIENTS as usize, "only {cuts} cuts");
    server.shutdown().await;
}

/// Makes changes. Of any three, two create a record, and the third updates or destroys the last
/// created one.
async fn make_changes(maker: &Client, count: u64) {
    let mut interval = interval(WRITE_INTERVAL);
    let mut last = 0;
    for number in 0..count {
        interval.tick().await;
        let (verb, url, body) = match number % 6 {
            2 => (Verb::Put, format!("/todo/{last}"), Some(json!({"done": number}))),
            5 => (Verb::Delete, format!("/todo/{last}"), None),
            _ => (Verb::Post, "/todo".into(), Some(json!({"title": number}))),
        };
        let reply = maker.request(verb, &url, body).await;
        assert_eq!(offset_of(&reply), number + 1, "{reply:?}");
        if let (Verb::Post, Some(record)) = (verb, &reply.body) {
            last = record["id"].as_u64().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_over_interrupted_connections_are_committed_once() {
    let schedule = Schedule::of_this_run();
    let server = serve(0, Store::Memory).await;
    let run = WriteRun::start(&schedule, server.addr()).await;
    run.end(&server).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_restart_with_the_same_database_loses_and_repeats_no_write() {
    let schedule = Schedule::of_this_run();
    let home = tempfile::tempdir().unwrap();
    let store = |home: &Path| Store::Sqlite(home.join("backwire.db"));
    let mut server = serve(0, store(home.path())).await;
    let run = WriteRun::start(&schedule, server.addr()).await;
    for part in 1..=2 {
        run.has_made(WriteRun::TOTAL * part / 3).await;
        let port = server.addr().port();
        server.shutdown().await;
        server = serve(port, store(home.path())).await;
    }
    run.end(&server).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drained_server_loses_and_repeats_no_write() {
    let schedule = Schedule::of_this_run();
    let redis = RedisServer::start(&["--save", ""]);
    let begin = async |worker| {
        let store = redis.url().parse::<Store>().unwrap();
        let builder = Server::builder().port(0).store(store);
        let builder = builder.flake(Flake { worker, ..Flake::default() });
        builder.shutdown_time(Duration::from_secs(8)).bind().await.unwrap()
    };
    let (mut one, mut two) = (begin(1).await, begin(2).await);
    let balancer = Balancer::start([two.addr(), one.addr()]).await;
    let run = WriteRun::start(&schedule, balancer.address).await;
    for (part, worker) in [(1, 2), (2, 1)] {
        run.has_made(WriteRun::TOTAL * part / 3).await;
        two.shutdown().await;
        // The clients are at the other server now, which is the next to stop.
        two = std::mem::replace(&mut one, begin(worker).await);
        balancer.prefer([two.addr(), one.addr()]);
    }
    run.end(&one).await;
    one.shutdown().await;
    two.shutdown().await;
}

/// A run in which all clients write, and receive the writes of all others.
struct WriteRun {
    faults: Arc<Faults>,
    made: watch::Sender<usize>,
    clients: JoinSet<Screen>,
}

impl WriteRun {
    const CLIENTS: usize = 40;
    const WRITES: usize = 10;
    const TOTAL: usize = Self::CLIENTS * Self::WRITES;

    async fn start(schedule: &Schedule, server: SocketAddr) -> Self {
        let faults = Faults::new(CUT_INTERVAL, OUTAGE);
        let made = watch::Sender::new(0);
        let mut clients = JoinSet::new();
        for number in 0..Self::CLIENTS as u64 {
            let line = FaultyProxy::to(server, faults.clone(), schedule.part(number)).await;
            let (client, events) = schedule.client(&line, number);
            let made = made.clone();
            clients.spawn(async move {
                let screen = write_and_listen(client, events, &made).await;
                drop(line);
                screen
            });
        }
        Self { faults, made, clients }
    }

    /// Waits until this many writes are answered.
    async fn has_made(&self, count: usize) {
        let mut made = self.made.subscribe();
        in_time(made.wait_for(|made| *made >= count)).await.expect("the writers are ours");
    }

    /// Waits for all writes, and compares the records of the clients with those of the server.
    async fn end(self, server: &Server) {
        self.has_made(Self::TOTAL).await;
        self.faults.end();
        let screens = all_of(self.clients).await;
        let (reader, _) = Client::connect(&format!("ws://{}", server.addr()));
        let reply = reader.request(Verb::Get, "/todo", None).await;
        assert_eq!(offset_of(&reply), Self::TOTAL as u64, "one change for each write");
        let truth = records_of(&reply);
        assert_eq!(truth.len(), Self::CLIENTS);
        assert!(truth.values().all(|record| record["writes"] == json!(Self::WRITES)));
        for mut screen in screens {
            screen.offsets.sort_unstable();
            let each_once: Vec<u64> = (screen.snapshot + 1..=Self::TOTAL as u64).collect();
            assert_eq!(
                screen.offsets, each_once,
                "each change arrives by a reply or by a push, never by both"
            );
            assert_eq!(screen.records(), &truth);
        }
        let cuts = self.faults.injected();
        log(&format!("{} writes were committed once through {cuts} cuts", Self::TOTAL));
    }
}

/// Creates a record, updates it repeatedly, and receives the changes of all other records.
async fn write_and_listen(
    client: Client,
    mut events: Events,
    made: &watch::Sender<usize>,
) -> Screen {
    let mut screen = Screen::open(&client).await;
    let mut interval = interval(WRITE_INTERVAL * 5);
    let mut url = String::from("/todo");
    for number in 1..=WriteRun::WRITES {
        interval.tick().await;
        let verb = if number == 1 { Verb::Post } else { Verb::Put };
        let reply = client.request(verb, &url, Some(json!({"writes": number}))).await;
        screen.show_reply(&reply);
        url = format!("/todo/{}", reply.body.as_ref().unwrap()["id"]);
        made.send_modify(|made| *made += 1);
    }
    let missing = WriteRun::TOTAL as u64 - screen.snapshot;
    screen.listen(&mut events, missing as usize).await;
    // Any further output of the core would be a duplicate.
    client.disconnect();
    screen
}
