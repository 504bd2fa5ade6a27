//! Servers that are killed at any moment, again and again, while back ends send and devices ack.
//!
//! Facts: what was answered with 200 is not lost; a handler that knows ids sees each message once, in
//! the order of sending; and what was in a batch that is certainly done with does not come again.
//!
//! Where it is killed is drawn at random, from `BACKWIRE_SEED` if that is set; what is going on at
//! that moment is up to the machine. `BACKWIRE_KILLS` says how often.

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

/// In a run of all tests. `cargo xtask crash` does more.
const KILLS: usize = 100;

/// Servers that are killed beside each other.
const LANES: usize = 4;

/// After this long, a test that waits has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the device is for its site: two persons, so that a message may be for both of them.
const TOKEN: &str = "user_1+user_a";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_is_killed_loses_nothing_and_repeats_nothing_that_is_done_with() {
    let number = |name| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let seed = number("BACKWIRE_SEED").unwrap_or_else(rand::random);
    let kills = number("BACKWIRE_KILLS").map_or(KILLS, |kills| kills.try_into().unwrap());
    // It is shown if the test fails.
    println!("BACKWIRE_SEED={seed} BACKWIRE_KILLS={kills}");
    let authority = back_end().await;
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let (seed, authority) = (seed.wrapping_add(lane as u64), authority.clone());
            thread::spawn(move || Lane::new(seed, &authority).run(kills.div_ceil(LANES)))
        })
        .collect();
    let mut hit = Hit::default();
    for lane in lanes {
        let lane = lane.join().expect("a lane has failed: the seed is above");
        hit.answered += lane.answered;
        hit.told += lane.told;
        hit.acked += lane.acked;
    }
    println!("killed while something was {hit:?}");
    assert!(hit.answered > 0 && hit.told > 0 && hit.acked > 0, "{hit:?}");
}

/// Lives that ended in the middle of something.
#[derive(Debug, Default, Clone, Copy)]
struct Hit {
    /// Stored and answered, but not told.
    answered: usize,
    /// Told, but not acked.
    told: usize,
    /// Acked, but not removed: it came again.
    acked: usize,
}

/// What has happened in the life of a server.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Events {
    answered: usize,
    told: usize,
    acked: usize,
}

/// From the start of a server to when it is killed.
#[derive(Default)]
struct Life {
    events: watch::Sender<Events>,
    is_over: Cell<bool>,
}

impl Life {
    fn count(&self, change: impl FnOnce(&mut Events)) {
        self.events.send_modify(change);
    }

    /// Kills the server some time after something has happened for the so manyth time.
    async fn end(&self, server: Process, random: &mut StdRng) {
        let (what, count) = (random.random_range(0..4), random.random_range(1..8));
        let is_time = |events: &Events| match what {
            0 => true,
            1 => events.answered >= count,
            2 => events.told >= count,
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

/// One server with its database, a back end and a device.
struct Lane {
    home: TempDir,
    random: StdRng,
    sender: Sender,
    device: Device,
    hit: Hit,
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
        Self { home, random, sender, device, hit: Hit::default() }
    }

    fn run(mut self, kills: usize) -> Hit {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..kills {
                timeout(PATIENCE, self.live()).await.expect("a life has its end");
                self.look();
            }
            timeout(PATIENCE, self.end()).await.expect("all that was sent comes");
        });
        self.hit
    }

    /// From one start of the server to when it is killed.
    async fn live(&mut self) {
        let mut server = Process::start(self.home.path());
        if self.random.random_ratio(1, 16) {
            // Before it is ready.
            sleep(Duration::from_micros(self.random.random_range(0..30_000))).await;
            return;
        }
        let addr = server.listens();
        let life = Life::default();
        let killed = life.end(server, &mut self.random);
        tokio::join!(self.sender.send(addr, &life), self.device.listen(addr, &life), killed);
    }

    /// What the last life was in the middle of.
    fn look(&mut self) {
        self.hit.answered += usize::from(self.sender.answered > self.device.handled);
        self.hit.told += usize::from(self.device.is_told);
        self.hit.acked += usize::from(self.device.is_acked_again);
    }

    /// All that was sent comes, and once it is acked nothing comes any more.
    async fn end(&mut self) {
        let mut server = Process::start(self.home.path());
        let addr = server.listens();
        let life = Life::default();
        self.sender.is_last = true;
        self.sender.send(addr, &life).await;
        let Self { sender, device, .. } = self;
        assert_eq!(sender.answered, sender.sent, "whoever repeats is answered in the end");
        device.last = Some(sender.sent);
        device.listen(addr, &life).await;
        assert_eq!(device.handled, sender.sent);
    }
}

/// A back end that has each message answered before it sends the next, or a list of them.
struct Sender {
    random: StdRng,
    http: Client,
    /// How many are sent, and how many of these are answered.
    sent: usize,
    answered: usize,
    /// What is not answered yet.
    open: Option<Value>,
    is_last: bool,
}

impl Sender {
    fn new(random: StdRng) -> Self {
        Self { random, http: Client::new(), sent: 0, answered: 0, open: None, is_last: false }
    }

    /// Sends until the server is gone, or nothing is open at last.
    async fn send(&mut self, addr: SocketAddr, life: &Life) {
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
            life.count(|events| events.answered += 1);
        }
    }

    /// One message or some, each with its number, for one of the persons or both.
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

/// A page with our runtime, which lives on when its server does not.
struct Device {
    random: StdRng,
    /// How many messages its handlers have been given: they come in their order.
    handled: usize,
    seen: HashSet<u64>,
    /// What has been acked, and what has certainly been removed, too.
    acked: HashSet<u64>,
    removed: HashSet<u64>,
    /// What has been told on this connection.
    told: HashSet<u64>,
    /// Whether something is told that is not acked yet.
    is_told: bool,
    /// Whether, in this life, something has come again that had been acked.
    is_acked_again: bool,
    /// With which message it is done.
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
            told: HashSet::new(),
            is_told: false,
            is_acked_again: false,
            last: None,
        }
    }

    /// Listens until the server is gone, or it has all.
    async fn listen(&mut self, addr: SocketAddr, life: &Life) {
        (self.is_told, self.is_acked_again) = (false, false);
        // That the server is gone is no news.
        let _ = self.try_listen(addr, life).await;
    }

    async fn try_listen(&mut self, addr: SocketAddr, life: &Life) -> Option<()> {
        let auth = json!({ "backwire": 1, "site": "shop", "token": TOKEN });
        let mut stream = connect(addr, &auth).await?;
        self.told.clear();
        // What was acked in this life: by the next batch it is removed.
        let mut before = Vec::new();
        while self.last.is_none_or(|last| self.handled < last) {
            let deliveries = next(&mut stream).await?;
            self.removed.extend(before.drain(..));
            before = self.handle(&deliveries);
            self.is_told = true;
            life.count(|events| events.told += 1);
            if self.random.random() {
                // Its handlers take their time.
                sleep(Duration::from_millis(self.random.random_range(0..4))).await;
            }
            let last = before.last().expect("something is delivered");
            stream.send(format!(r#"42["delivered","{last}"]"#).into()).await.ok()?;
            if life.is_over.get() {
                return None;
            }
            self.is_told = false;
            self.acked.extend(&before);
            if before.len() == 1 {
                // Not before a batch is waited for what was acked.
                before.clear();
            }
            life.count(|events| events.acked += 1);
        }
        Some(())
    }

    /// Gives to its handlers what is new, and tells which ids there were.
    fn handle(&mut self, deliveries: &[Value]) -> Vec<u64> {
        let mut ids = Vec::new();
        for delivery in deliveries {
            let id = delivery[2].as_str().unwrap().parse().unwrap();
            assert!(!self.removed.contains(&id), "{delivery} was acked and removed");
            assert!(self.told.insert(id), "{delivery} is told twice on one connection");
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

/// Connects our runtime with this auth, unless the server is gone.
pub(crate) async fn connect(addr: SocketAddr, auth: &Value) -> Option<Stream> {
    let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket");
    let (mut stream, _) = connect_async(url).await.ok()?;
    frame(&mut stream).await.filter(|open| open.starts_with('0'))?;
    stream.send(format!("40{auth}").into()).await.ok()?;
    let answer = frame(&mut stream).await?;
    assert!(answer.starts_with("40{"), "{answer}");
    Some(stream)
}

/// The next frame, unless the server is gone.
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

/// What is delivered next.
pub(crate) async fn next(stream: &mut Stream) -> Option<Vec<Value>> {
    let frame = frame(stream).await?;
    let said = frame.strip_prefix("42").expect("it is an event");
    let (event, room, _, _, deliveries): (String, String, u8, u8, Vec<Value>) =
        serde_json::from_str(said).unwrap();
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

    /// Waits until it listens, and tells where.
    pub(crate) fn listens(&mut self) -> SocketAddr {
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
