//! The push service beside what it replaces: messages that are stored, delivered, acked and
//! removed.
//!
//! - [`back_end`]: a back end that sends;
//! - [`site`]: the site whose users receive.

mod back_end;
mod site;

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::measure::{Sample, Schedule, Workload, measure};
use crate::peer::{self, Fsync, Peer, Programs, Redis};
use crate::report::{Ratio, Report};
use crate::socket::Socket;
use back_end::BackEnd;
use site::Site;

/// Users that are connected.
const USERS: usize = 200;

/// A way in which back ends send: messages in one request, back ends that send at the same time,
/// and its name.
type Way = (usize, usize, &'static str);

/// The ways of the push service, in the order of the samples.
const WAYS: [Way; 2] =
    [(1, 50, "a push message, single POSTs"), (100, 4, "a push message, 100 in a POST")];

/// The ways with Redis. One back end alone shows what a message costs that shares nothing.
const WAYS_WITH_REDIS: [Way; 3] = [WAYS[0], WAYS[1], (1, 1, "a push message, one POST at a time")];

/// How long the last messages may take to arrive.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// The servers that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With SQLite: every message is on the disk before the reply.
    Backwire,
    /// With Redis.
    BackwireWithRedis(Fsync),
    /// npm's Socket.IO and Redis as it is installed: messages are on the disk some time later.
    Redis,
    /// The same with an append-only file.
    DurableRedis(Fsync),
}

impl Kind {
    const ALL: [Self; 3] = [Self::Backwire, Self::Redis, Self::DurableRedis(Fsync::Always)];

    fn name(self) -> String {
        match self {
            Self::Backwire => "Backwire".to_owned(),
            Self::BackwireWithRedis(fsync) => format!("Backwire + Redis, {}", fsync.name()),
            Self::Redis => "npm + Redis".to_owned(),
            Self::DurableRedis(fsync) => format!("npm + Redis, {}", fsync.name()),
        }
    }

    fn redis_options(self) -> &'static [&'static str] {
        match self {
            Self::Backwire | Self::Redis => &[],
            Self::BackwireWithRedis(fsync) | Self::DurableRedis(fsync) => fsync.options(),
        }
    }
}

/// Measures all servers for which the machine has the programs.
pub(crate) async fn run(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let has_redis = peer::has_redis().await;
    if !has_redis {
        eprintln!("  redis-server is missing: only Backwire is measured");
    }
    let mut targets = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|&kind| has_redis || kind == Kind::Backwire) {
        targets.push((kind.name(), Pushes::start(kind, programs, &WAYS).await?));
    }
    let series = measure(targets, schedule).await?;
    let mut report = Report::default();
    let (ours, peers) = (&series[0], &series[1..]);
    for (operation, (.., work)) in WAYS.into_iter().enumerate() {
        for peer in peers {
            let (ours, theirs) = ((ours, operation), (peer, operation));
            report.ratios.push(Ratio::of_cpu(work.to_owned(), &peer.server, ours, theirs));
        }
        report.add_costs(work, &series, operation);
    }
    report.add_warm_ups("push service", &series);
    Ok(report)
}

/// Measures Backwire and npm's Socket.IO with the same Redis, and how often each message uses it.
pub(crate) async fn run_with_redis(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let mut targets = Vec::new();
    for fsync in Fsync::ALL {
        for kind in [Kind::BackwireWithRedis(fsync), Kind::DurableRedis(fsync)] {
            let pushes = Pushes::start(kind, programs, &WAYS_WITH_REDIS).await?;
            targets.push((kind.name(), pushes));
        }
    }
    let series = measure(targets, schedule).await?;
    let mut report = Report::default();
    for (operation, (.., work)) in WAYS_WITH_REDIS.into_iter().enumerate() {
        for pair in series.chunks_exact(2) {
            let (ours, theirs) = ((&pair[0], operation), (&pair[1], operation));
            let peer = &pair[1].server;
            let rate = Ratio::of_rate(format!("{work}: per second"), peer, ours, theirs);
            report.ratios.push(rate.at_least(1.0));
            report.ratios.push(Ratio::of_cpu(format!("{work}: CPU"), peer, ours, theirs));
        }
        report.add_costs(work, &series, operation);
        report.add_round_trips(work, &series, operation);
    }
    report.add_warm_ups("messages", &series);
    Ok(report)
}

/// A server and its connected users, who ack every message.
struct Pushes {
    peer: Peer,
    /// Kept: it authenticates the users.
    _site: Site,
    received: Arc<AtomicUsize>,
    listening: JoinSet<Result<()>>,
    ways: &'static [Way],
}

impl Pushes {
    async fn start(kind: Kind, programs: &Programs, ways: &'static [Way]) -> Result<Self> {
        let site = Site::open().await?;
        let peer = launch(kind, programs, &site).await?;
        let received = Arc::new(AtomicUsize::new(0));
        let listening = listen(peer.address(), &received).await?;
        peer.until_idle().await?;
        Ok(Self { peer, _site: site, received, listening, ways })
    }

    /// Back ends send until the time is over. Then all messages arrive.
    async fn send(&mut self, batch: usize, senders: usize, time: Duration) -> Result<Sample> {
        let Self { peer, received, listening, .. } = self;
        received.store(0, Ordering::Relaxed);
        let end = Instant::now() + time;
        let mut sending = JoinSet::new();
        for sender in 0..senders {
            let first = sender * USERS / senders;
            sending.spawn(send_until(end, peer.address().to_owned(), first, batch));
        }
        let load = async {
            let mut sent = 0;
            for count in sending.join_all().await {
                sent += count?;
            }
            let arrived = timeout(DELIVERY_TIMEOUT, async {
                while received.load(Ordering::Relaxed) < sent {
                    sleep(Duration::from_millis(2)).await;
                    if let Some(lost) = listening.try_join_next() {
                        return lost?;
                    }
                }
                Ok(())
            });
            arrived.await??;
            Ok(sent)
        };
        let before = requests(peer).await?;
        let (sent, mut sample) = peer.measure(load).await?;
        sample.redis_requests = requests(peer).await? - before;
        ensure!(received.load(Ordering::Relaxed) == sent, "a message was delivered twice");
        sample.count = sent;
        Ok(sample)
    }
}

impl Workload for Pushes {
    async fn run(&mut self, time: Duration) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for &(batch, senders, _) in self.ways {
            samples.push(self.send(batch, senders, time).await?);
        }
        Ok(samples)
    }
}

async fn launch(kind: Kind, programs: &Programs, site: &Site) -> Result<Peer> {
    let home = programs.temporary_directory()?;
    let options = kind.redis_options();
    match kind {
        Kind::Backwire => {
            let mut backwire = programs.serve(&home);
            backwire.arg("--sites").arg(site.describe(home.path())?);
            Peer::launch(&kind.name(), backwire, home).await
        }
        Kind::BackwireWithRedis(_) => {
            let sites = site.describe(home.path())?;
            let arguments = [OsStr::new("--sites"), sites.as_os_str()];
            programs.start_sharing(1, options, "", &arguments).await
        }
        Kind::Redis | Kind::DurableRedis(_) => {
            let redis = Redis::start(&home, options).await?;
            let mut relay = Command::new("node");
            relay.arg(&programs.relay).arg(redis.port.to_string()).env("NODE_ENV", "production");
            Ok(Peer::launch(&kind.name(), relay, home).await?.with_store(redis))
        }
    }
}

/// How many commands and scripts the server has sent to its Redis so far, if it has one.
async fn requests(peer: &Peer) -> Result<usize> {
    let Some(redis) = peer.store() else { return Ok(0) };
    let calls = redis.calls().await?;
    let of = |name: &str| calls.get(name).copied().unwrap_or_default();
    // Scripts call no such commands. The peer has no scripts.
    Ok(["evalsha", "xread", "rpush", "lrem"].into_iter().map(of).sum())
}

/// Connects all users. They ack every message, and count it.
async fn listen(address: &str, received: &Arc<AtomicUsize>) -> Result<JoinSet<Result<()>>> {
    let mut listening = JoinSet::new();
    for user in 0..USERS {
        let auth = json!({"token": user.to_string()}).to_string();
        let mut socket = Socket::connect(address, &format!("/{},", site::NAME), &auth).await?;
        let received = Arc::clone(received);
        listening.spawn(async move {
            loop {
                received.fetch_add(socket.messages().await?, Ordering::Relaxed);
            }
        });
    }
    Ok(listening)
}

/// One back end sends, the next request when the last is answered. Returns how many messages.
async fn send_until(end: Instant, address: String, first: usize, batch: usize) -> Result<usize> {
    let mut back_end = BackEnd::connect(&address).await?;
    let mut sent = 0;
    while Instant::now() < end {
        back_end.send(&body(first + sent, batch)).await?;
        sent += batch;
    }
    Ok(sent)
}

/// A message, or a list of them, to one user after the other.
fn body(first: usize, batch: usize) -> String {
    let mut messages: Vec<_> = (first..first + batch).map(message).collect();
    match messages.len() {
        1 => messages.remove(0),
        _ => format!("[{}]", messages.join(",")),
    }
}

fn message(number: usize) -> String {
    let user = number % USERS;
    format!(
        r#"{{"rooms":"user_{user}","event":"update_store","args":["user",{{"id":{number},"name":"Ann Other","note":"has seen the cat, and put up a note"}}]}}"#
    )
}
