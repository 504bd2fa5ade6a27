//! Many clients, each behind a line that breaks all the time: nothing is lost, nothing comes twice.
//!
//! What is seeded is the schedule of the faults and the clients' jitter; a failing run names its
//! seed, and `BACKWIRE_SEED=… cargo test -p backwire-client-native` gives the same schedule again.

#![allow(clippy::unwrap_used, reason = "whatever fails in a test fails the test")]

mod line;
mod screen;

use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backwire::Server;
use backwire::settings::Store;
use backwire_client_native::{Client, Events, Verb};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use line::{Faults, Line};
use screen::{Screen, offset_of, records_of};

/// A connection is cut about this often,
const PERIOD: Duration = Duration::from_millis(500);
/// and its client kept away for about this long.
const AWAY: Duration = Duration::from_millis(100);
/// Between two changes.
const PACE: Duration = Duration::from_millis(50);
/// What has not come by then will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The schedule of one run. Tells its seed if the run fails.
struct Schedule(u64);

impl Schedule {
    fn of_this_run() -> Self {
        let given = std::env::var("BACKWIRE_SEED").ok();
        Self(given.map_or_else(rand::random, |seed| seed.parse().expect("the seed is a number")))
    }

    /// A part of it with a number: a line, or a client.
    fn part(&self, number: u64) -> u64 {
        self.0.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn client(&self, line: &Line, number: u64) -> (Client, Events) {
        // Not `Client::connect`, which would draw lots.
        let session = format!("{:016x}-{number}", self.0);
        Client::connect_as(&line.url(), session, self.part(number))
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("failed with BACKWIRE_SEED={}", self.0));
        }
    }
}

/// Past the test runner, which would keep it to itself.
fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("all is done in time")
}

async fn all_of<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut done = Vec::new();
    while let Some(outcome) = in_time(tasks.join_next()).await {
        // A panic of a client is a failure of the test.
        done.push(outcome.unwrap());
    }
    done
}

async fn serve(port: u16, store: Store) -> Server {
    Server::builder().port(port).store(store).bind().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_that_are_cut_all_the_time_see_every_change_once_and_in_order() {
    const CLIENTS: u64 = 200;
    const CHANGES: u64 = 120;

    let schedule = Schedule::of_this_run();
    let server = serve(0, Store::Memory).await;
    let faults = Faults::new(PERIOD, AWAY);
    let mut opening = JoinSet::new();
    for number in 0..CLIENTS {
        let line = Line::to(server.addr(), faults.clone(), schedule.part(number)).await;
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
        assert_eq!(screen.told, every_change_once_and_in_order);
        assert_eq!(screen.records(), &truth);
    }
    let cuts = faults.injected();
    say(&format!("{CLIENTS} clients saw {CHANGES} changes each through {cuts} cuts"));
    assert!(cuts > CLIENTS as usize, "only {cuts} cuts");
    server.shutdown().await;
}

/// Of any three changes two create, and the third updates or destroys what the first created.
async fn make_changes(maker: &Client, count: u64) {
    let mut pace = interval(PACE);
    let mut last = 0;
    for number in 0..count {
        pace.tick().await;
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
async fn writes_through_lines_that_are_cut_all_the_time_are_committed_once_each() {
    let schedule = Schedule::of_this_run();
    let server = serve(0, Store::Memory).await;
    let writing = Writing::start(&schedule, server.addr()).await;
    writing.end(&server).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_with_its_file_loses_no_write_and_doubles_none() {
    let schedule = Schedule::of_this_run();
    let home = tempfile::tempdir().unwrap();
    let store = |home: &Path| Store::Sqlite(home.join("backwire.db"));
    let mut server = serve(0, store(home.path())).await;
    let writing = Writing::start(&schedule, server.addr()).await;
    for part in 1..=2 {
        writing.has_made(Writing::TOTAL * part / 3).await;
        let port = server.addr().port();
        server.shutdown().await;
        server = serve(port, store(home.path())).await;
    }
    writing.end(&server).await;
    server.shutdown().await;
}

/// Clients that all write, and all see what the others write.
struct Writing {
    faults: Arc<Faults>,
    made: watch::Sender<usize>,
    clients: JoinSet<Screen>,
}

impl Writing {
    const CLIENTS: usize = 40;
    const WRITES: usize = 10;
    const TOTAL: usize = Self::CLIENTS * Self::WRITES;

    async fn start(schedule: &Schedule, server: SocketAddr) -> Self {
        let faults = Faults::new(PERIOD, AWAY);
        let made = watch::Sender::new(0);
        let mut clients = JoinSet::new();
        for number in 0..Self::CLIENTS as u64 {
            let line = Line::to(server, faults.clone(), schedule.part(number)).await;
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

    /// Waits until so many writes were answered.
    async fn has_made(&self, count: usize) {
        let mut made = self.made.subscribe();
        in_time(made.wait_for(|made| *made >= count)).await.expect("the writers are ours");
    }

    /// Waits for all of it, and compares what the clients were told with what is stored.
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
            screen.told.sort_unstable();
            let each_once: Vec<u64> = (screen.snapshot + 1..=Self::TOTAL as u64).collect();
            assert_eq!(screen.told, each_once, "told by a reply or by a push, never by both");
            assert_eq!(screen.records(), &truth);
        }
        let cuts = self.faults.injected();
        say(&format!("{} writes were committed once through {cuts} cuts", Self::TOTAL));
    }
}

/// One record of its own, changed again and again; and the records of the others.
async fn write_and_listen(
    client: Client,
    mut events: Events,
    made: &watch::Sender<usize>,
) -> Screen {
    let mut screen = Screen::open(&client).await;
    let mut pace = interval(PACE * 5);
    let mut url = String::from("/todo");
    for number in 1..=Writing::WRITES {
        pace.tick().await;
        let verb = if number == 1 { Verb::Post } else { Verb::Put };
        let reply = client.request(verb, &url, Some(json!({"writes": number}))).await;
        screen.show_reply(&reply);
        url = format!("/todo/{}", reply.body.as_ref().unwrap()["id"]);
        made.send_modify(|made| *made += 1);
    }
    let missing = Writing::TOTAL as u64 - screen.snapshot;
    screen.listen(&mut events, missing as usize).await;
    // What the core still has to say would be too much.
    client.disconnect();
    screen
}
