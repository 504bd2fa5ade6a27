//! The push service beside what it replaces: messages that are stored, told, acked and removed.
//!
//! - [`back_end`]: who sends;
//! - [`site`]: whose people are told;
//! - [`table`]: what comes out.

mod back_end;
mod site;
pub(crate) mod table;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::peer::{self, Peer};
use crate::socket::Socket;
use back_end::BackEnd;
use site::Site;

/// Messages in one request, when there are several.
const BATCH: usize = 100;

/// Back ends that send one message after the other, and that send many at once.
const SINGLE_SENDERS: usize = 50;
const BATCH_SENDERS: usize = 4;

/// How long the last messages may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With SQLite, every message on the disk before it is answered.
    Backwire,
    /// With npm's socket.io and Redis as it is installed: on the disk some time.
    Redis,
    /// The same, with Redis told to have everything on the disk before it answers.
    SafeRedis,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Backwire, Self::Redis, Self::SafeRedis];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Backwire => "Backwire",
            Self::Redis => "npm + Redis",
            Self::SafeRedis => "npm + Redis, fsync always",
        }
    }

    const fn redis_options(self) -> &'static [&'static str] {
        match self {
            Self::Backwire | Self::Redis => &[],
            Self::SafeRedis => &["--appendonly", "yes", "--appendfsync", "always"],
        }
    }
}

/// Where the programs are.
#[derive(Clone, Copy)]
pub(crate) struct Programs<'a> {
    pub(crate) backwire: &'a Path,
    /// The script peers/relay.mjs.
    pub(crate) relay: &'a Path,
}

/// How much of it.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) persons: usize,
    pub(crate) singles: usize,
    pub(crate) batched: usize,
}

/// What one peer did in one round.
pub(crate) struct Round {
    pub(crate) singles: Sent,
    pub(crate) batched: Sent,
}

/// What came of sending in one way.
pub(crate) struct Sent {
    /// CPU for each message that was stored, told, acked and removed.
    pub(crate) cpu: Duration,
    /// Of which that of the store's own process.
    pub(crate) store_cpu: Duration,
    /// Stored and told in a second.
    pub(crate) rate: f64,
}

impl Load {
    /// One round of one peer. Each way of sending gets a server that has done nothing else.
    pub(crate) async fn measure(self, kind: Kind, programs: Programs<'_>) -> Result<Round> {
        Ok(Round {
            singles: self.send(kind, programs, self.singles, (1, SINGLE_SENDERS)).await?,
            batched: self.send(kind, programs, self.batched, (BATCH, BATCH_SENDERS)).await?,
        })
    }

    /// Everybody connects; then so many senders send so many messages at once, until all are sent.
    async fn send(
        self,
        kind: Kind,
        programs: Programs<'_>,
        messages: usize,
        (at_once, senders): (usize, usize),
    ) -> Result<Sent> {
        let site = Site::open().await?;
        let peer = start(kind, programs, &site).await?;
        let told = Arc::new(AtomicUsize::new(0));
        let mut listening = listen(&peer.address, self.persons, &told).await?;
        peer.is_idle().await?;

        let (cpu, store_cpu, start) = (peer.cpu()?, peer.store_cpu()?, Instant::now());
        let mut sending = JoinSet::new();
        let share = messages / senders / at_once;
        for sender in 0..senders {
            let (address, first) = (peer.address.clone(), sender * share * at_once);
            let requests = (0..share).map(|number| {
                let first = first + number * at_once;
                body(first..first + at_once, self.persons)
            });
            let requests: Vec<_> = requests.collect();
            sending.spawn(send_all(address, requests));
        }
        let sent = share * at_once * senders;
        let arrived = timeout(PATIENCE, async {
            while told.load(Ordering::Relaxed) < sent {
                sleep(Duration::from_millis(2)).await;
                if let Some(lost) = listening.try_join_next() {
                    return lost?;
                }
                if let Some(done) = sending.try_join_next() {
                    done??;
                }
            }
            Ok(())
        });
        arrived.await??;
        let took = start.elapsed();
        while let Some(done) = sending.join_next().await {
            done??;
        }
        peer.is_idle().await?;
        ensure!(told.load(Ordering::Relaxed) == sent, "something was told twice");
        let cpu = peer.cpu()?.saturating_sub(cpu);
        let store_cpu = peer.store_cpu()?.saturating_sub(store_cpu);
        peer.stop().await?;
        let each = |cpu: Duration| cpu.div_f64(sent as f64);
        Ok(Sent {
            cpu: each(cpu),
            store_cpu: each(store_cpu),
            rate: sent as f64 / took.as_secs_f64(),
        })
    }
}

async fn start(kind: Kind, programs: Programs<'_>, site: &Site) -> Result<Peer> {
    let home = TempDir::new()?;
    if kind == Kind::Backwire {
        let mut backwire = peer::serve(programs.backwire, &home);
        backwire.arg("--sites").arg(site.describe(home.path())?);
        return Peer::launch(kind.name(), backwire, home).await;
    }
    let (redis, socket) = peer::redis(&home, kind.redis_options()).await?;
    let mut relay = Command::new("node");
    relay.arg(programs.relay).arg(socket).env("NODE_ENV", "production");
    Ok(Peer::launch(kind.name(), relay, home).await?.with(redis))
}

/// Connects everybody. They ack whatever they are told, and count it.
async fn listen(
    address: &str,
    persons: usize,
    told: &Arc<AtomicUsize>,
) -> Result<JoinSet<Result<()>>> {
    let mut listening = JoinSet::new();
    for person in 0..persons {
        let auth = json!({"token": person.to_string()}).to_string();
        let mut socket = Socket::connect(address, &format!("/{},", site::NAME), &auth).await?;
        let told = Arc::clone(told);
        listening.spawn(async move {
            loop {
                told.fetch_add(socket.messages().await?, Ordering::Relaxed);
            }
        });
    }
    Ok(listening)
}

async fn send_all(address: String, requests: Vec<String>) -> Result<()> {
    let mut back_end = BackEnd::connect(&address).await?;
    for request in requests {
        back_end.send(&request).await?;
    }
    Ok(())
}

/// A message, or a list of them, to one person after the other.
fn body(numbers: std::ops::Range<usize>, persons: usize) -> String {
    let mut messages: Vec<_> = numbers.map(|number| message(number, persons)).collect();
    match messages.len() {
        1 => messages.remove(0),
        _ => format!("[{}]", messages.join(",")),
    }
}

fn message(number: usize, persons: usize) -> String {
    let person = number % persons;
    json!({
        "rooms": format!("user_{person}"),
        "event": "update_store",
        "args": ["user", {"id": number, "name": "Ann Other", "note": "has seen the cat, and put up a note"}],
    })
    .to_string()
}
