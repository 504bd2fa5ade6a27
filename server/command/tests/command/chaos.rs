//! Back ends send messages to people with several devices each, while connections are cut, and the
//! server is killed and restored from backups.
//!
//! The test compares the received messages with those that were answered with 200. Each device
//! receives all of them that are for its person, in send order, and a handler that knows ids sees
//! each once. A restore loses messages that were sent after the backup began, so these may be
//! missing on a device. A message that was not answered before a restore is sent again after it,
//! and is then another message to the server.
//!
//! `BACKWIRE_SEED` repeats the cuts, messages and kills of a former run. The timing still depends
//! on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::SinkExt;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::back_end::back_end;
use crate::crashes::{Process, Stream, connect, next};

const PEOPLE: usize = 50;
const DEVICES: usize = 3;

/// Back ends that send concurrently, each to its share of the people.
const SENDERS: usize = 10;
const KILLS: usize = 20;

/// The maximum number of answered messages between two kills.
const MESSAGES_PER_KILL: usize = 30;

/// One of this many kills is followed by a restore of the last backup.
const RESTORE_EACH: usize = 5;

/// A test fails if it waits for longer than this.
const TEST_TIMEOUT: Duration = Duration::from_secs(90);

/// The address of the server, if it runs.
type Address = watch::Receiver<Option<SocketAddr>>;

/// The messages that were answered, by person, and those of them that a restore may have lost.
#[derive(Default)]
struct Sent {
    /// The person of each message, by number.
    answered: BTreeMap<usize, usize>,
    /// The number of answered messages.
    count: watch::Sender<usize>,
    /// Messages that were answered after the last backup began.
    since_backup: BTreeSet<usize>,
    may_be_lost: BTreeSet<usize>,
    /// The unanswered message of each back end.
    open: BTreeMap<usize, usize>,
    /// Messages that were unanswered when a backup was restored. The server may have stored and
    /// delivered them before.
    may_come_again: BTreeSet<usize>,
}

struct Device {
    token: String,
    name: String,
    random: StdRng,
    /// The numbers that its handler received, in order.
    handled: Arc<watch::Sender<Vec<usize>>>,
    seen: BTreeSet<u64>,
    /// Dropped when the device has connected. Its queue exists from then on.
    unconnected: Option<mpsc::Sender<()>>,
}

impl Device {
    /// Connects again and again, until it is aborted.
    async fn keep_connected(mut self, mut address: Address) {
        loop {
            let addr = server_address(&mut address).await;
            let auth = json!({
                "backwire": 1, "site": "shop", "token": self.token, "deviceId": self.name,
            });
            if let Some(stream) = connect(addr, &auth).await {
                self.unconnected = None;
                // The server may be down, or the connection may be cut.
                let _ = self.listen(stream).await;
            }
            sleep(Duration::from_millis(self.random.random_range(1..40))).await;
        }
    }

    async fn listen(&mut self, mut stream: Stream) -> Option<()> {
        let mut on_this_connection = BTreeSet::new();
        let cut_after = self.random.random_range(1..30);
        for _ in 0..cut_after {
            let deliveries = next(&mut stream).await?;
            for delivery in &deliveries {
                let id = delivery[2].as_str().unwrap().parse().unwrap();
                assert!(on_this_connection.insert(id), "{delivery} came twice on one connection");
                if self.seen.insert(id) {
                    let number = delivery[3][1].as_u64().unwrap();
                    let number = usize::try_from(number).unwrap();
                    self.handled.send_modify(|handled| handled.push(number));
                }
            }
            if self.random.random_ratio(1, 10) {
                // Cuts the connection between the handler and its ack.
                return None;
            }
            let last = deliveries.last()?[2].as_str()?.to_owned();
            stream.send(format!(r#"42["delivered","{last}"]"#).into()).await.ok()?;
        }
        None
    }
}

/// Waits until a server runs, and returns its address.
async fn server_address(address: &mut Address) -> SocketAddr {
    address.wait_for(Option::is_some).await.expect("it comes back").expect("it was waited for")
}

/// Sends messages to a share of the people, one after the other. Repeats each until it is answered.
async fn send(
    share: usize,
    mut address: Address,
    sent: Arc<Mutex<Sent>>,
    mut random: StdRng,
    stop: watch::Receiver<bool>,
) {
    let http = Client::new();
    let mut number = share;
    while !*stop.borrow() {
        number += SENDERS;
        let person = random.random_range(0..PEOPLE / SENDERS) * SENDERS + share;
        let message = json!({
            "rooms": [format!("user_{person}")], "event": "news", "args": [number],
        });
        sent.lock().unwrap().open.insert(share, number);
        loop {
            let addr = server_address(&mut address).await;
            let url = format!("http://{addr}/send?site=shop&apiKey=54321");
            let request = http.post(url).header("idempotency-key", number.to_string());
            match request.json(&message).send().await {
                Ok(response) => {
                    assert_eq!(response.status(), StatusCode::OK);
                    let mut sent = sent.lock().unwrap();
                    sent.answered.insert(number, person);
                    let count = sent.answered.len();
                    sent.count.send_replace(count);
                    sent.since_backup.insert(number);
                    break;
                }
                // The server was killed. `server_address` waits for the next one.
                Err(_) => yield_now().await,
            }
        }
    }
}

struct World {
    home: TempDir,
    server: Option<Process>,
    place: watch::Sender<Option<SocketAddr>>,
    sent: Arc<Mutex<Sent>>,
}

impl World {
    fn start(&mut self) {
        let mut server = Process::start(self.home.path());
        self.place.send_replace(Some(server.wait_for_address()));
        self.server = Some(server);
    }

    fn kill(&mut self) {
        self.place.send_replace(None);
        self.server = None;
    }

    fn backwire(&self, command: &str, copy: &Path) {
        let engine = format!("sqlite:{}", self.home.path().join("backwire.db").display());
        let mut process = Command::new(env!("CARGO_BIN_EXE_backwire"));
        process.arg(command).arg(copy).args(["--engine", &engine]);
        let output = process.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn back_up(&self, copy: &Path) {
        self.sent.lock().unwrap().since_backup.clear();
        self.backwire("backup", copy);
    }

    /// Restores a backup while the server does not run.
    fn restore(&self, copy: &Path) {
        self.backwire("restore", copy);
        let mut sent = self.sent.lock().unwrap();
        let lost = sent.since_backup.clone();
        sent.may_be_lost.extend(lost);
        let open = sent.open.values().copied().collect::<Vec<_>>();
        sent.may_come_again.extend(open);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_receive_all_messages_through_cuts_kills_and_restores() {
    let seed = std::env::var("BACKWIRE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    // The output is shown if the test fails.
    println!("BACKWIRE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let home = tempfile::tempdir().unwrap();
    let site = format!(
        "shop:\n  authUrl: {}\n  apiKey: '54321'\n  userRoomPrefix: user_\n  mostWaiting: 100000\n",
        back_end().await
    );
    std::fs::write(home.path().join("sites.yml"), site).unwrap();
    let (place, address) = watch::channel(None);
    let sent = Arc::new(Mutex::new(Sent::default()));
    let mut world = World { home, server: None, place, sent: Arc::clone(&sent) };
    world.start();

    let (unconnected, mut all_connected) = mpsc::channel(1);
    let mut handled = Vec::new();
    let mut devices = Vec::new();
    for (person, device) in (0..PEOPLE).flat_map(|it| (0..DEVICES).map(move |device| (it, device)))
    {
        let device = Device {
            token: format!("user_{person}"),
            name: format!("device-{device}"),
            random: StdRng::seed_from_u64(random.random()),
            handled: Arc::default(),
            seen: BTreeSet::new(),
            unconnected: Some(unconnected.clone()),
        };
        handled.push((person, Arc::clone(&device.handled)));
        devices.push(tokio::spawn(device.keep_connected(address.clone())));
    }
    drop(unconnected);
    timeout(TEST_TIMEOUT, all_connected.recv()).await.expect("all devices connect");
    let (stop, is_stopped) = watch::channel(false);
    let senders: Vec<_> = (0..SENDERS)
        .map(|share| {
            let random = StdRng::seed_from_u64(random.random());
            let (address, sent, stop) = (address.clone(), Arc::clone(&sent), is_stopped.clone());
            tokio::spawn(send(share, address, sent, random, stop))
        })
        .collect();

    let mut copy = None;
    let mut count = sent.lock().unwrap().count.subscribe();
    for kill in 1..=KILLS {
        // Some messages are sent between two kills, even on a busy machine.
        let enough = *count.borrow() + random.random_range(1..MESSAGES_PER_KILL);
        let is_enough = timeout(TEST_TIMEOUT, count.wait_for(|count| *count >= enough)).await;
        is_enough.expect("messages are answered").unwrap();
        sleep(Duration::from_millis(random.random_range(0..100))).await;
        if kill % RESTORE_EACH == 2 {
            let file = world.home.path().join(format!("{kill}.db"));
            world.back_up(&file);
            copy = Some(file);
        }
        world.kill();
        if let Some(copy) = copy.take_if(|_| kill % RESTORE_EACH == 0) {
            world.restore(&copy);
        }
        world.start();
    }
    stop.send_replace(true);
    for sender in senders {
        timeout(TEST_TIMEOUT, sender).await.expect("the last message is answered").unwrap();
    }
    let all_received = timeout(
        TEST_TIMEOUT,
        join_all(handled.iter().map(|(person, handled)| receives_all(*person, handled, &sent))),
    );
    if all_received.await.is_err() {
        for (person, handled) in &handled {
            let missing = missing(*person, &handled.borrow(), &sent.lock().unwrap());
            assert!(missing.is_empty(), "a device of person {person} misses {missing:?}");
        }
    }
    for device in devices {
        device.abort();
        // A check of the device may have failed.
        assert!(device.await.is_err_and(|error| error.is_cancelled()));
    }
    let sent = sent.lock().unwrap();
    for (person, handled) in &handled {
        check(*person, &handled.borrow(), &sent);
    }
    println!("{} messages, of which {} may be lost", sent.answered.len(), sent.may_be_lost.len());
}

/// Waits until a device has received all its messages.
async fn receives_all(person: usize, handled: &watch::Sender<Vec<usize>>, sent: &Mutex<Sent>) {
    let has_all = |handled: &Vec<usize>| missing(person, handled, &sent.lock().unwrap()).is_empty();
    handled.subscribe().wait_for(has_all).await.expect("the sender is here");
}

fn missing(person: usize, handled: &[usize], sent: &Sent) -> Vec<usize> {
    let handled: BTreeSet<_> = handled.iter().copied().collect();
    let own = sent.answered.iter().filter(|(_, of)| **of == person).map(|(number, _)| *number);
    own.filter(|number| !handled.contains(number) && !sent.may_be_lost.contains(number)).collect()
}

/// Checks that each message was sent to this person, and that it arrived once and in send order.
fn check(person: usize, handled: &[usize], sent: &Sent) {
    let mut known = BTreeSet::new();
    for number in handled {
        let is_again = !known.insert(*number);
        let may_come_again = sent.may_come_again.contains(number);
        assert!(
            !is_again || may_come_again,
            "{number} was handled twice by a device of person {person}"
        );
        assert_eq!(sent.answered.get(number), Some(&person), "{number}");
    }
    let is_kept = |it: &&usize| !sent.may_be_lost.contains(it) && !sent.may_come_again.contains(it);
    let kept: Vec<_> = handled.iter().filter(is_kept).collect();
    assert!(kept.is_sorted(), "out of order at a device of person {person}: {kept:?}");
}
