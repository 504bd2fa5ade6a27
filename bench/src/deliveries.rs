//! Deliveries of creates to many subscribed clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::dialect::Dialect;
use crate::measure::{Arrivals, Sample, Schedule, Series, Workload, measure};
use crate::peer::{Fsync, Kind, Peer, Programs};
use crate::report::{Ratio, Report};
use crate::socket::{Created, Socket};
use crate::writes::Writer;

/// Clients that connect at the same time.
const CONNECTING: usize = 50;

/// If nothing arrives for this long, the rest is lost.
const LOSS_TIMEOUT: Duration = Duration::from_secs(5);

/// Creates that the writer has in flight, in the order of the samples.
pub(crate) const IN_FLIGHT: [usize; 2] = [8, 1];

/// The filters of the listeners that have one. Every record fulfils all of them.
const FILTERS: usize = 10;

/// The servers that share a Redis.
const NODES: usize = 3;

/// The most that a delivery may cost with filters, compared with one without.
const FILTERED_BUDGET: f64 = 1.3;

/// The clients that subscribe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listeners {
    pub(crate) count: usize,
    pub(crate) dialect: Dialect,
    /// In how many filters they are; 0 means that they read everything.
    pub(crate) filters: usize,
}

/// 1,000 listeners: our runtime, with and without filters, stock clients, and the peers.
pub(crate) async fn run(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let count = 1_000;
    let runtime = Listeners { count, dialect: Dialect::Runtime, filters: 0 };
    let stock = Listeners { dialect: Dialect::Stock, ..runtime };
    let filtered = Listeners { filters: FILTERS, ..runtime };
    let mut targets = Vec::new();
    for (name, kind, listeners) in [
        ("Backwire", Kind::Backwire, runtime),
        ("Backwire, stock clients", Kind::Backwire, stock),
        ("Backwire, in 10 filters", Kind::Backwire, filtered),
        (Kind::Bare.name(), Kind::Bare, runtime),
        (Kind::Npm.name(), Kind::Npm, runtime),
    ] {
        let load = Deliveries::start(programs.start(kind).await?, listeners, &IN_FLIGHT).await?;
        targets.push((name.to_owned(), load));
    }
    let series = measure(targets, schedule).await?;
    let [ours, stock, filtered, bare, npm] = &series[..] else {
        unreachable!("there are five servers")
    };
    let mut report = Report::default();
    let compare = |work: &str, to: &str, of, peer, operation| {
        Ratio::of_cpu(format!("one delivery{work}"), to, (of, operation), (peer, operation))
    };
    report.ratios.extend([
        compare(" to our runtime, 1,000 listeners, 8 creates in flight", "bare", ours, bare, 0)
            .at_most(0.6),
        compare(" to stock clients, 1,000 listeners", "bare", stock, bare, 0).at_most(1.3),
        compare(" to our runtime, 1 create in flight", "bare", ours, bare, 1).at_most(1.1),
        compare(" to stock clients, 1 create in flight", "bare", stock, bare, 1),
        compare(" to our runtime, 1,000 listeners, 8 creates in flight", "npm", ours, npm, 0),
        compare(" to listeners in 10 filters", "all in one room", filtered, ours, 0)
            .at_most(FILTERED_BUDGET),
    ]);
    add_costs(&mut report, count, &series, &IN_FLIGHT);
    Ok(report)
}

/// 5,000 stock clients.
pub(crate) async fn run_with_many(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let count = 5_000;
    let mut targets = Vec::new();
    for (name, kind, dialect) in [
        ("Backwire, stock clients", Kind::Backwire, Dialect::Stock),
        (Kind::Bare.name(), Kind::Bare, Dialect::Runtime),
    ] {
        let listeners = Listeners { count, dialect, filters: 0 };
        let peer = programs.start(kind).await?;
        targets.push((name.to_owned(), Deliveries::start(peer, listeners, &IN_FLIGHT[..1]).await?));
    }
    let series = measure(targets, schedule).await?;
    let [stock, bare] = &series[..] else { unreachable!("there are two servers") };
    let mut report = Report::default();
    let work = "one delivery to stock clients, 5,000 listeners".to_owned();
    report.ratios.push(Ratio::of_cpu(work, "bare", (stock, 0), (bare, 0)).at_most(1.3));
    add_costs(&mut report, count, &series, &IN_FLIGHT[..1]);
    Ok(report)
}

/// 1,000 listeners at three servers that share a Redis, beside one server with a file.
pub(crate) async fn run_with_redis(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let count = 1_000;
    let listeners = Listeners { count, dialect: Dialect::Runtime, filters: 0 };
    let mut targets = Vec::new();
    for (name, nodes) in [("one server, SQLite", 0), ("one, Redis", 1), ("three, Redis", NODES)] {
        let peer = match nodes {
            0 => programs.start(Kind::Backwire).await?,
            _ => programs.start_sharing(nodes, Fsync::EverySecond.options(), "", &[]).await?,
        };
        targets.push((name.to_owned(), Deliveries::start(peer, listeners, &IN_FLIGHT).await?));
    }
    let series = measure(targets, schedule).await?;
    let mut report = Report::default();
    for (operation, in_flight) in IN_FLIGHT.iter().enumerate() {
        for of in &series[1..] {
            let work = format!("one delivery, {in_flight} creates in flight, {}: CPU", of.server);
            let (of, file) = ((of, operation), (&series[0], operation));
            report.ratios.push(Ratio::of_cpu(work, "one server, SQLite", of, file));
        }
    }
    add_costs(&mut report, count, &series, &IN_FLIGHT);
    Ok(report)
}

fn add_costs(report: &mut Report, listeners: usize, series: &[Series], in_flight: &[usize]) {
    for (operation, in_flight) in in_flight.iter().enumerate() {
        let work = format!("one delivery, {listeners} listeners, {in_flight} in flight");
        report.add_costs(&work, series, operation);
    }
    report.add_warm_ups(&format!("deliveries to {listeners}"), series);
}

/// A server, its listeners, and the client that creates what they get.
pub(crate) struct Deliveries {
    peer: Peer,
    writer: Writer,
    in_flight: &'static [usize],
    received: Arc<Received>,
    listening: JoinSet<anyhow::Error>,
}

/// The deliveries that the listeners have received.
struct Received {
    total: AtomicUsize,
    listeners: Vec<Total>,
}

/// The number of created records, and the sum of their ids.
#[derive(Debug, Default)]
struct Total {
    count: AtomicUsize,
    ids: AtomicU64,
}

impl Total {
    /// Returns what arrived since the last call.
    fn take(&self) -> Created {
        let ids = self.ids.swap(0, Ordering::Relaxed);
        Created { count: self.count.swap(0, Ordering::Relaxed), ids }
    }
}

impl Deliveries {
    pub(crate) async fn start(
        peer: Peer,
        listeners: Listeners,
        in_flight: &'static [usize],
    ) -> Result<Self> {
        let sockets = listeners.connect(&peer.addresses()).await?;
        let totals = sockets.iter().map(|_| Total::default()).collect();
        let received = Arc::new(Received { total: AtomicUsize::new(0), listeners: totals });
        let mut listening = JoinSet::new();
        for (number, socket) in sockets.into_iter().enumerate() {
            listening.spawn(listen(socket, received.clone(), number));
        }
        let writer = Writer::connect(peer.address(), listeners.dialect, 0).await?;
        peer.until_idle().await?;
        Ok(Self { peer, writer, in_flight, received, listening })
    }

    async fn deliver(&mut self, in_flight: usize, time: Duration) -> Result<Sample> {
        let Self { peer, writer, received, listening, .. } = self;
        let listeners = received.listeners.len();
        received.total.store(0, Ordering::Relaxed);
        let (created, mut sample) = peer
            .measure(async {
                let created = create(writer, in_flight, time).await?;
                received.wait_for(created.count * listeners, listening).await?;
                Ok(created)
            })
            .await?;
        let arrived = received.total.load(Ordering::Relaxed);
        let complete = received.listeners.iter().filter(|total| total.take() == created).count();
        let expected = created.count * listeners;
        sample.count = arrived;
        sample.arrivals = Some(Arrivals { expected, arrived, listeners, complete });
        Ok(sample)
    }
}

impl Workload for Deliveries {
    async fn run(&mut self, time: Duration) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for &in_flight in self.in_flight {
            samples.push(self.deliver(in_flight, time).await?);
            // A server limits the rooms of records that a stock client is in.
            self.writer.destroy_all().await?;
            self.peer.until_idle().await?;
        }
        Ok(samples)
    }

    fn idle_sockets(&mut self) -> Vec<&mut Socket> {
        vec![&mut self.writer.socket]
    }
}

impl Received {
    /// Waits until so many deliveries have arrived, or until nothing more arrives.
    async fn wait_for(
        &self,
        expected: usize,
        listening: &mut JoinSet<anyhow::Error>,
    ) -> Result<()> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let now = self.total.load(Ordering::Relaxed);
            if now >= expected {
                return Ok(());
            }
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > LOSS_TIMEOUT {
                return Ok(());
            }
            if let Some(error) = listening.try_join_next() {
                return Err(error?.context("a listener was disconnected"));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Counts what one listener receives, until its connection ends.
async fn listen(mut socket: Socket, received: Arc<Received>, number: usize) -> anyhow::Error {
    loop {
        match socket.created().await {
            Ok(created) => {
                let total = &received.listeners[number];
                total.count.fetch_add(created.count, Ordering::Relaxed);
                total.ids.fetch_add(created.ids, Ordering::Relaxed);
                received.total.fetch_add(created.count, Ordering::Relaxed);
            }
            Err(error) => return error,
        }
    }
}

/// Creates records until the time is over.
async fn create(writer: &mut Writer, in_flight: usize, time: Duration) -> Result<Created> {
    let end = Instant::now() + time;
    let (mut created, mut pending) = (Created::default(), 0);
    loop {
        while pending < in_flight && Instant::now() < end {
            writer.send_create().await?;
            pending += 1;
        }
        if pending == 0 {
            return Ok(created);
        }
        created.ids += writer.created().await?;
        created.count += 1;
        pending -= 1;
    }
}

impl Listeners {
    /// Connects and subscribes all of them, 50 at the same time, to all servers in turn.
    pub(crate) async fn connect(self, addresses: &[String]) -> Result<Vec<Socket>> {
        let mut connecting = JoinSet::new();
        for worker in 0..CONNECTING {
            let share = (self.count + worker) / CONNECTING;
            let address = addresses[worker % addresses.len()].clone();
            connecting.spawn(async move {
                let mut sockets = Vec::with_capacity(share);
                for number in 0..share {
                    let criteria = self.criteria(number);
                    sockets.push(self.dialect.subscribe(&address, &criteria).await?);
                }
                anyhow::Ok(sockets)
            });
        }
        let mut sockets = Vec::with_capacity(self.count);
        for connected in connecting.join_all().await {
            sockets.append(&mut connected?);
        }
        if sockets.len() == self.count { Ok(sockets) } else { Err(anyhow!("a share is missing")) }
    }

    /// Different filters, all of which every record fulfils.
    fn criteria(self, number: usize) -> String {
        match number.checked_rem(self.filters) {
            Some(filter) => format!(r#"{{"where":{{"number":{{">":-{}}}}}}}"#, filter + 1),
            None => String::new(),
        }
    }
}
