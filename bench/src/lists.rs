//! Reads of short lists out of many records. Only Backwire has them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::de::IgnoredAny;
use tokio::task::JoinSet;

use crate::dialect::{Dialect, TITLE};
use crate::measure::{Sample, Schedule, Workload, measure};
use crate::peer::{Fsync, Kind, Peer, Programs};
use crate::report::{Ratio, Report};
use crate::socket::Socket;

/// Records of the resource.
const RECORDS: usize = 100_000;

/// Records that one request creates.
const BATCH: usize = 50;

/// Lists that the records are in.
const LISTS: usize = 1_000;

/// Records that a request reads.
const LIMIT: usize = 30;

/// Clients that read at the same time.
const READERS: usize = 50;

/// The most that a list may cost with Redis, compared with a file.
const REDIS_BUDGET: f64 = 2.0;

const CONFIG: &str = "resources: {todo: {attributes: {\
    list: {indexed: true}, rank: {indexed: true}, createdAt: {indexed: true}}}}";

#[derive(Debug, Clone, Copy)]
enum List {
    /// The first of one of many lists, by an index.
    OfOne,
    /// The newest of all.
    Newest,
}

/// The lists, in the order of the samples.
const ALL: [(List, &str); 2] = [
    (List::OfOne, "a list: 30 of 100 in one of 1,000 lists, sorted"),
    (List::Newest, "a list: the 30 newest of 100,000"),
];

/// Measures both lists.
pub(crate) async fn run(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let load = Lists::start(programs.start_with(Kind::Backwire, CONFIG).await?).await?;
    let series = measure(vec![(Kind::Backwire.name().to_owned(), load)], schedule).await?;
    let mut report = Report::default();
    for (operation, (_, name)) in ALL.into_iter().enumerate() {
        report.add_costs(name, &series, operation);
    }
    report.add_warm_ups("lists", &series);
    Ok(report)
}

/// Measures both lists with a file and with Redis.
pub(crate) async fn run_with_redis(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let file = Lists::start(programs.start_with(Kind::Backwire, CONFIG).await?).await?;
    let options = Fsync::EverySecond.options();
    let redis = programs.start_sharing(1, options, CONFIG, &[]).await?;
    let redis = Lists::start(redis).await?;
    let targets = vec![("SQLite".to_owned(), file), ("Redis".to_owned(), redis)];
    let series = measure(targets, schedule).await?;
    let mut report = Report::default();
    for (operation, (_, name)) in ALL.into_iter().enumerate() {
        let (redis, file) = ((&series[1], operation), (&series[0], operation));
        let ratio = Ratio::of_cpu(format!("{name}: node and Redis CPU"), "SQLite", redis, file);
        report.ratios.push(ratio.at_most(REDIS_BUDGET));
        report.add_costs(name, &series, operation);
    }
    report.add_warm_ups("lists", &series);
    Ok(report)
}

struct Lists {
    peer: Peer,
    readers: Vec<Socket>,
}

impl Lists {
    async fn start(peer: Peer) -> Result<Self> {
        create_records(&peer).await?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            readers.push(Dialect::Runtime.connect(peer.address()).await?);
        }
        peer.until_idle().await?;
        Ok(Self { peer, readers })
    }

    /// Every reader reads one list after the other, until the time is over.
    async fn read(&mut self, list: List, time: Duration) -> Result<Sample> {
        let end = Instant::now() + time;
        let mut reading = JoinSet::new();
        for (reader, mut socket) in self.readers.drain(..).enumerate() {
            reading.spawn(async move {
                let mut count = 0;
                while Instant::now() < end {
                    let number = reader * LISTS / READERS + count;
                    let request = Dialect::Runtime.read(&list.criteria(number));
                    socket.request("get", &request).await?;
                    let length = socket.reply::<Vec<IgnoredAny>>().await?.len();
                    ensure!(length == LIMIT, "{length} records in a list of {LIMIT}");
                    count += 1;
                }
                anyhow::Ok((socket, count))
            });
        }
        let (done, mut sample) = self
            .peer
            .measure(async { reading.join_all().await.into_iter().collect::<Result<Vec<_>>>() })
            .await?;
        for (socket, count) in done {
            self.readers.push(socket);
            sample.count += count;
        }
        Ok(sample)
    }
}

impl Workload for Lists {
    async fn run(&mut self, time: Duration) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for (list, _) in ALL {
            samples.push(self.read(list, time).await?);
        }
        Ok(samples)
    }

    fn idle_sockets(&mut self) -> Vec<&mut Socket> {
        self.readers.iter_mut().collect()
    }
}

impl List {
    fn criteria(self, number: usize) -> String {
        let list = number % LISTS;
        let criteria = match self {
            Self::OfOne => format!(r#""where":{{"list":{list}}},"sort":"rank""#),
            Self::Newest => r#""sort":"createdAt DESC""#.to_owned(),
        };
        format!(r#"{{{criteria},"limit":{LIMIT}}}"#)
    }
}

async fn create_records(peer: &Peer) -> Result<()> {
    let mut writer = Dialect::Runtime.connect(peer.address()).await?;
    for batch in 0..RECORDS / BATCH {
        let records =
            (batch * BATCH..(batch + 1) * BATCH).map(record).collect::<Vec<_>>().join(",");
        writer.request("post", &format!(r#"{{"url":"/todo","data":[{records}]}}"#)).await?;
        writer.reply::<IgnoredAny>().await?;
    }
    Ok(())
}

/// A record. The ranks are all different, and in no order.
fn record(number: usize) -> String {
    let (list, rank) = (number % LISTS, number * 7_919 % RECORDS);
    format!(r#"{{"title":"{TITLE}","done":false,"list":{list},"rank":{rank}}}"#)
}
