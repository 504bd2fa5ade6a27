//! Durable creates, updates and destroys with ack, by clients that are subscribed to nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::task::JoinSet;

use crate::dialect::{Dialect, Write, key_prefix};
use crate::measure::{Sample, Schedule, Workload, measure};
use crate::peer::{Fsync, Kind, Peer, Programs};
use crate::report::{Ratio, Report};
use crate::socket::Socket;

/// Clients that write at the same time.
const WRITERS: usize = 50;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Create,
    Update,
    Destroy,
}

/// The operations, in the order of the samples.
pub(crate) const OPERATIONS: [(Operation, &str); 3] =
    [(Operation::Create, "create"), (Operation::Update, "update"), (Operation::Destroy, "destroy")];

/// Measures Backwire with both kinds of clients, and its peers.
pub(crate) async fn run(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let mut targets = Vec::new();
    for (name, kind, dialect) in [
        ("Backwire", Kind::Backwire, Dialect::Runtime),
        ("Backwire, stock clients", Kind::Backwire, Dialect::Stock),
        (Kind::Bare.name(), Kind::Bare, Dialect::Runtime),
        (Kind::Npm.name(), Kind::Npm, Dialect::Runtime),
    ] {
        let load = Writes::start(programs.start(kind).await?, dialect).await?;
        targets.push((name.to_owned(), load));
    }
    let series = measure(targets, schedule).await?;
    let [ours, stock, bare, npm] = &series[..] else { unreachable!("there are four servers") };
    let mut report = Report::default();
    for (suffix, of, to, name, budget) in [
        ("", ours, npm, "npm", 1.0),
        ("", ours, bare, "bare", 2.0),
        (" of a stock client", stock, ours, "our runtime", 1.2),
    ] {
        for (operation, (_, verb)) in OPERATIONS.into_iter().enumerate() {
            let work = format!("durable {verb}{suffix} with ack");
            let ratio = Ratio::of_cpu(work, name, (of, operation), (to, operation));
            report.ratios.push(ratio.at_most(budget));
        }
    }
    for (operation, (_, verb)) in OPERATIONS.into_iter().enumerate() {
        report.add_costs(&format!("{verb} with ack, {WRITERS} connections"), &series, operation);
    }
    report.add_warm_ups("writes", &series);
    Ok(report)
}

/// Measures Backwire with a file and with Redis.
pub(crate) async fn run_with_redis(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let file = programs.start(Kind::Backwire).await?;
    let mut targets = vec![("SQLite".to_owned(), Writes::start(file, Dialect::Runtime).await?)];
    for fsync in Fsync::ALL {
        let peer = programs.start_sharing(1, fsync.options(), "", &[]).await?;
        let load = Writes::start(peer, Dialect::Runtime).await?;
        targets.push((format!("Redis, {}", fsync.name()), load));
    }
    let series = measure(targets, schedule).await?;
    let mut report = Report::default();
    let (file, redis) = (&series[0], &series[1..]);
    for (operation, (_, verb)) in OPERATIONS.into_iter().enumerate() {
        for of in redis {
            let work = |what| format!("{verb} with ack, {}: {what}", of.server);
            let (of, file) = ((of, operation), (file, operation));
            let cpu = Ratio::of_cpu(work("node and Redis CPU"), "SQLite", of, file);
            let rate = Ratio::of_rate(work("per second"), "SQLite", of, file);
            report.ratios.extend([cpu, rate]);
        }
        report.add_costs(&format!("{verb} with ack, {WRITERS} connections"), &series, operation);
    }
    report.add_warm_ups("writes", &series);
    Ok(report)
}

/// A server and its writers.
pub(crate) struct Writes {
    peer: Peer,
    writers: Vec<Writer>,
}

impl Writes {
    pub(crate) async fn start(peer: Peer, dialect: Dialect) -> Result<Self> {
        let mut writers = Vec::new();
        for page in 0..WRITERS {
            writers.push(Writer::connect(peer.address(), dialect, page).await?);
        }
        peer.until_idle().await?;
        Ok(Self { peer, writers })
    }

    /// Every writer does one after the other, until the time is over. Destroys end when no record
    /// is left.
    async fn all(&mut self, operation: Operation, time: Duration) -> Result<Sample> {
        let end = Instant::now() + time;
        let mut writing = JoinSet::new();
        for mut writer in self.writers.drain(..) {
            writing.spawn(async move {
                let count = match operation {
                    Operation::Create => writer.create_until(end).await?,
                    Operation::Update => writer.update_until(end).await?,
                    Operation::Destroy => writer.destroy_all().await?,
                };
                anyhow::Ok((writer, count))
            });
        }
        let (done, mut sample) = self
            .peer
            .measure(async { writing.join_all().await.into_iter().collect::<Result<Vec<_>>>() })
            .await?;
        for (writer, count) in done {
            self.writers.push(writer);
            sample.count += count;
        }
        Ok(sample)
    }
}

impl Workload for Writes {
    async fn run(&mut self, time: Duration) -> Result<Vec<Sample>> {
        let mut create = self.all(Operation::Create, time).await?;
        let update = self.all(Operation::Update, time).await?;
        let mut destroy = self.all(Operation::Destroy, time).await?;
        // Destroys may be faster than the creates of what they destroy.
        while destroy.elapsed < time {
            create += self.all(Operation::Create, time / 4).await?;
            destroy += self.all(Operation::Destroy, time).await?;
        }
        Ok(vec![create, update, destroy])
    }

    fn idle_sockets(&mut self) -> Vec<&mut Socket> {
        self.writers.iter_mut().map(|writer| &mut writer.socket).collect()
    }
}

/// A client that writes one thing after the other.
pub(crate) struct Writer {
    dialect: Dialect,
    key_prefix: String,
    pub(crate) socket: Socket,
    writes: usize,
    /// The records that it has created.
    ids: Vec<u64>,
}

#[derive(Deserialize)]
struct Record {
    id: u64,
}

impl Writer {
    /// Connects. `page` tells its keys from those of other writers.
    pub(crate) async fn connect(address: &str, dialect: Dialect, page: usize) -> Result<Self> {
        let socket = dialect.connect(address).await?;
        Ok(Self { dialect, key_prefix: key_prefix(page), socket, writes: 0, ids: Vec::new() })
    }

    /// Sends a write without waiting for its reply.
    async fn send(&mut self, write: Write) -> Result<()> {
        self.writes += 1;
        let key = format!("{}-{}", self.key_prefix, self.writes);
        self.dialect.write(&mut self.socket, write, &key, self.writes).await
    }

    /// Sends a create without waiting for its reply.
    pub(crate) async fn send_create(&mut self) -> Result<()> {
        self.send(Write::Create).await
    }

    /// Reads the reply to a create, and returns the id of the record.
    pub(crate) async fn created(&mut self) -> Result<u64> {
        let Record { id } = self.socket.reply().await?;
        self.ids.push(id);
        Ok(id)
    }

    /// Creates a record.
    pub(crate) async fn create(&mut self) -> Result<()> {
        self.send_create().await?;
        self.created().await?;
        Ok(())
    }

    /// Updates the record that it created last.
    pub(crate) async fn update(&mut self) -> Result<()> {
        let &id = self.ids.last().context("it has created a record")?;
        self.send(Write::Update(id)).await?;
        self.socket.reply::<IgnoredAny>().await?;
        Ok(())
    }

    async fn create_until(&mut self, end: Instant) -> Result<usize> {
        let before = self.ids.len();
        while Instant::now() < end {
            self.create().await?;
        }
        Ok(self.ids.len() - before)
    }

    async fn update_until(&mut self, end: Instant) -> Result<usize> {
        let before = self.writes;
        while Instant::now() < end {
            self.update().await?;
        }
        Ok(self.writes - before)
    }

    /// Destroys all records that it has created, and returns how many there were.
    pub(crate) async fn destroy_all(&mut self) -> Result<usize> {
        let count = self.ids.len();
        while let Some(id) = self.ids.pop() {
            self.send(Write::Destroy(id)).await?;
            self.socket.reply::<IgnoredAny>().await?;
        }
        Ok(count)
    }
}
