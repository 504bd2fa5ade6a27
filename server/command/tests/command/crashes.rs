//! Servers are killed at random times while back ends send and devices ack.
//!
//! A message that was answered with 200 is not lost. A handler that knows ids sees each message
//! once, in send order. A message of a batch that was certainly removed is not sent again.
//!
//! `BACKWIRE_SEED` sets the seed of the random times, and `BACKWIRE_KILLS` the number of kills. The
//! timing still depends on the machine.

use std::cell::Cell;
use std::collections::HashSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite};

use crate::back_end::back_end;

pub(crate) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The number of kills in a normal test run. `cargo xtask crash` uses more.
const KILLS: usize = 100;

/// The number of servers that run in parallel.
const LANES: usize = 4;

/// A test fails if it waits for longer than this.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The token of the device. It stands for two persons, so that a message may be for both of them.
const TOKEN: &str = "user_1+user_a";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_server_loses_no_message_and_repeats_none_that_was_removed() {
    let number = |name| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let seed = number("BACKWIRE_SEED").unwrap_or_else(rand::random);
    let kills = number("BACKWIRE_KILLS").map_or(KILLS, |kills| kills.try_into().unwrap());
    // The output is shown if the test fails.
    println!("BACKWIRE_SEED={seed} BACKWIRE_KILLS={kills}");
    let authority = back_end().await;
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let (seed, authority) = (seed.wrapping_add(lane as u64), authority.clone());
            thread::spawn(move || Lane::new(seed, &authority).run(kills.div_ceil(LANES)))
        })
        .collect();
    let mut interruptions = Interruptions::default();
    for lane in lanes {
        let lane = lane.join().expect("a lane has failed: the seed is above");
        interruptions.answered += lane.answered;
        interruptions.delivered += lane.delivered;
        interruptions.acked += lane.acked;
    }
    println!("killed while something was {interruptions:?}");
    assert!(
        interruptions.answered > 0 && interruptions.delivered > 0 && interruptions.acked > 0,
        "{interruptions:?}"
    );
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
}

/// The number of events in one run of a server.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Events {
    answered: usize,
    delivered: usize,
    acked: usize,
}

/// A run of a server, from its start to its kill.
#[derive(Default)]
struct ServerRun {
    events: watch::Sender<Events>,
    is_over: Cell<bool>,
}

impl ServerRun {
    fn count(&self, change: impl FnOnce(&mut Events)) {
        self.events.send_modify(change);
    }

    /// Kills the server some time after a random number of events of a random kind.
    async fn end(&self, server: Process, random: &mut StdRng) {
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
        drop(server);
        self.is_over.set(true);
    }
}

/// A server with its database, a back end and a device.
struct Lane {
    home: TempDir,
    random: StdRng,
    sender: Sender,
    device: Device,
    interruptions: Interruptions,
}

impl Lane {
    fn new(seed: u64, authority: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let site = format!(
            "shop:\n  authUrl: {authority}\n  apiKey: '54321'\n  userRoomPrefix: user_\n  mostWaiting: 100000\n"
        );
        std::fs::write(home.path().join("sites.yml"), site).unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let sender = Sender::new(StdRng::seed_from_u64(random.random()));
        let device = Device::new(StdRng::seed_from_u64(random.random()));
        Self { home, random, sender, device, interruptions: Interruptions::default() }
    }

    fn run(mut self, kills: usize) -> Interruptions {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..kills {
                timeout(TEST_TIMEOUT, self.run_once()).await.expect("a run has its end");
                self.record_interruption();
            }
            timeout(TEST_TIMEOUT, self.end()).await.expect("all sent messages arrive");
        });
        self.interruptions
    }

    /// Runs the server from its start to its kill.
    async fn run_once(&mut self) {
        let mut server = Process::start(self.home.path());
        if self.random.random_ratio(1, 16) {
            // Kills the server before it is ready.
            sleep(Duration::from_micros(self.random.random_range(0..30_000))).await;
            return;
        }
        let addr = server.wait_for_address();
        let run = ServerRun::default();
        let killed = run.end(server, &mut self.random);
        tokio::join!(self.sender.send(addr, &run), self.device.listen(addr, &run), killed);
    }

    /// Records the step that the last run interrupted.
    fn record_interruption(&mut self) {
        self.interruptions.answered += usize::from(self.sender.answered > self.device.handled);
        self.interruptions.delivered += usize::from(self.device.has_unacked);
        self.interruptions.acked += usize::from(self.device.is_acked_again);
    }

    /// Checks that all messages arrive, and that acked messages do not arrive again.
    async fn end(&mut self) {
        let mut server = Process::start(self.home.path());
        let addr = server.wait_for_address();
        let run = ServerRun::default();
        self.sender.is_last = true;
        self.sender.send(addr, &run).await;
        let Self { sender, device, .. } = self;
        assert_eq!(sender.answered, sender.sent, "a repeated send is answered in the end");
        device.last = Some(sender.sent);
        device.listen(addr, &run).await;
        assert_eq!(device.handled, sender.sent);
    }
}

/// A back end that sends one message or a list at a time, and repeats it until it is answered.
struct Sender {
    random: StdRng,
    http: Client,
    /// The numbers of sent and of answered messages.
    sent: usize,
    answered: usize,
    /// The unanswered messages.
    open: Option<Value>,
    is_last: bool,
}

impl Sender {
    fn new(random: StdRng) -> Self {
        Self { random, http: Client::new(), sent: 0, answered: 0, open: None, is_last: false }
    }

    /// Sends until the server stops, or until everything is answered in the last run.
    async fn send(&mut self, addr: SocketAddr, run: &ServerRun) {
        let url = format!("http://{addr}/send?site=shop&apiKey=54321");
        while !(self.is_last && self.open.is_none()) {
            let messages = match self.open.take() {
                Some(open) => open,
                None => self.next(),
            };
            self.open = Some(messages.clone());
            let key = format!("upto-{}", self.sent);
            let request = self.http.post(&url).header("idempotency-key", key).json(&messages);
            let Ok(response) = request.send().await else { return };
            assert_eq!(response.status(), StatusCode::OK);
            (self.open, self.answered) = (None, self.sent);
            run.count(|events| events.answered += 1);
        }
    }

    /// Returns one message or a list, each with its number, for one person or both.
    fn next(&mut self) -> Value {
        let is_list = self.random.random_ratio(1, 4);
        let count = if is_list { self.random.random_range(1..100) } else { 1 };
        let mut message = || {
            self.sent += 1;
            let rooms = [json!("user_1"), json!("user_a"), json!(["user_a", "user_1"])];
            let event = ["news", "mail"][self.random.random_range(0..2)];
            let rooms = &rooms[self.random.random_range(0..3)];
            json!({ "rooms": rooms, "event": event, "args": [self.sent] })
        };
        let messages = Vec::from_iter((0..count).map(|_| message()));
        match is_list {
            true => messages.into(),
            false => messages.into_iter().next().unwrap(),
        }
    }
}

/// A page with the runtime, which survives its server.
struct Device {
    random: StdRng,
    /// The number of messages that its handlers have received, in order.
    handled: usize,
    seen: HashSet<u64>,
    /// The acked messages, and those that the server has certainly removed.
    acked: HashSet<u64>,
    removed: HashSet<u64>,
    /// The messages that were delivered on this connection.
    delivered_here: HashSet<u64>,
    /// Whether a delivered message is not acked yet.
    has_unacked: bool,
    /// Whether an acked message was delivered again in this run.
    is_acked_again: bool,
    /// The number of the last message.
    last: Option<usize>,
}

impl Device {
    fn new(random: StdRng) -> Self {
        Self {
            random,
            handled: 0,
            seen: HashSet::new(),
            acked: HashSet::new(),
            removed: HashSet::new(),
            delivered_here: HashSet::new(),
            has_unacked: false,
            is_acked_again: false,
            last: None,
        }
    }

    /// Receives messages until the server stops, or until the last message has arrived.
    async fn listen(&mut self, addr: SocketAddr, run: &ServerRun) {
        (self.has_unacked, self.is_acked_again) = (false, false);
        // The server may be killed at any time.
        let _ = self.try_listen(addr, run).await;
    }

    async fn try_listen(&mut self, addr: SocketAddr, run: &ServerRun) -> Option<()> {
        let auth = json!({ "backwire": 1, "site": "shop", "token": TOKEN });
        let mut stream = connect(addr, &auth).await?;
        self.delivered_here.clear();
        // The messages acked in this run. The server has removed them when it sends the next batch.
        let mut before = Vec::new();
        while self.last.is_none_or(|last| self.handled < last) {
            let deliveries = next(&mut stream).await?;
            self.removed.extend(before.drain(..));
            before = self.handle(&deliveries);
            self.has_unacked = true;
            run.count(|events| events.delivered += 1);
            if self.random.random() {
                // The handlers of the page may be slow.
                sleep(Duration::from_millis(self.random.random_range(0..4))).await;
            }
            let last = before.last().expect("something is delivered");
            stream.send(format!(r#"42["delivered","{last}"]"#).into()).await.ok()?;
            if run.is_over.get() {
                return None;
            }
            self.has_unacked = false;
            self.acked.extend(&before);
            if before.len() == 1 {
                // The server waits for acks only before a batch, so this removal is not certain.
                before.clear();
            }
            run.count(|events| events.acked += 1);
        }
        Some(())
    }

    /// Passes new messages to the handlers. Returns all ids.
    fn handle(&mut self, deliveries: &[Value]) -> Vec<u64> {
        let mut ids = Vec::new();
        for delivery in deliveries {
            let id = delivery[2].as_str().unwrap().parse().unwrap();
            assert!(!self.removed.contains(&id), "{delivery} was acked and removed");
            assert!(
                self.delivered_here.insert(id),
                "{delivery} is delivered twice on one connection"
            );
            self.is_acked_again |= self.acked.contains(&id);
            if self.seen.insert(id) {
                self.handled += 1;
                assert_eq!(delivery[3][1], self.handled, "each once and in its order");
            }
            ids.push(id);
        }
        ids
    }
}

/// Connects a runtime with this auth. Returns `None` if the server is down.
pub(crate) async fn connect(addr: SocketAddr, auth: &Value) -> Option<Stream> {
    let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket");
    let (mut stream, _) = connect_async(url).await.ok()?;
    frame(&mut stream).await.filter(|open| open.starts_with('0'))?;
    stream.send(format!("40{auth}").into()).await.ok()?;
    let answer = frame(&mut stream).await?;
    assert!(answer.starts_with("40{"), "{answer}");
    Some(stream)
}

/// Receives the next frame, or returns `None` if the server is down.
async fn frame(stream: &mut Stream) -> Option<String> {
    loop {
        match stream.next().await?.ok()? {
            tungstenite::Message::Text(text) if text.as_str() == "2" => {
                stream.send("3".into()).await.ok()?;
            }
            tungstenite::Message::Text(text) => return Some(text.to_string()),
            _ => {}
        }
    }
}

/// Receives the next deliveries.
pub(crate) async fn next(stream: &mut Stream) -> Option<Vec<Value>> {
    let frame = frame(stream).await?;
    let event_text = frame.strip_prefix("42").expect("it is an event");
    let (event, room, _, _, deliveries): (String, String, u8, u8, Vec<Value>) =
        serde_json::from_str(event_text).unwrap();
    assert_eq!((&*event, &*room), ("push", ""));
    Some(deliveries)
}

/// `backwire serve`, killed when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(home: &Path) -> Self {
        let engine = format!("sqlite:{}", home.join("backwire.db").display());
        let child = Command::new(env!("CARGO_BIN_EXE_backwire"))
            .args(["serve", "--port", "0", "--engine", &engine, "--sites", "sites.yml"])
            .current_dir(home)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Waits until the server listens, and returns its address.
    pub(crate) fn wait_for_address(&mut self) -> SocketAddr {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit_once(':').expect("it has started").1.parse().unwrap();
        ([127, 0, 0, 1], port).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
