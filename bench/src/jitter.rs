//! Clients whose connections are cut about every 5 seconds and who are away for about one, and the
//! changes that reach them meanwhile.
//!
//! [`network`] is a proxy with a port for each client, where connections are cut.
//!
//! Backwire's clients are those of `client-native`, which have the core of the browser client. The
//! clients of the peers are npm's `socket.io-client` in one process of Node. Both are cut at the
//! same times, and both get the same changes.

mod network;

use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::IgnoredAny;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clients::Clients;
use crate::dialect::{Dialect, Write, key_prefix};
use crate::journal::{Journal, Outcome, now};
use crate::peer::{Kind, Programs};
use crate::report::{Ratio, Report, Table};
use crate::socket::Socket;
use network::Network;

/// The numbers of clients that are measured.
const CLIENTS: [usize; 2] = [200, 1_000];

/// The changes of a run, and the time between two of them.
const CHANGES: usize = 120;
const INTERVAL: Duration = Duration::from_millis(250);

/// How long clients may take to connect.
const START: Duration = Duration::from_secs(60);

/// A run is over when nothing has arrived for this long.
const SILENCE: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(100);

/// The servers, in the order of the table.
const PEERS: [(Kind, &str); 3] = [
    (Kind::Backwire, "Backwire"),
    (Kind::RecoveringNpm, "npm Socket.IO, connection state recovery"),
    (Kind::Bare, "bare socketioxide, no recovery"),
];

/// The figures of one server.
struct Run {
    outcome: Outcome,
    cpu: Duration,
}

const HEADER: [&str; 10] = [
    "clients that are cut",
    "server",
    "delivered",
    "twice",
    "out of order",
    "lag: p50, p95, p99",
    "of what was missed, from the return: p50, p95, p99",
    "read again",
    "server CPU",
    "",
];

/// Runs all servers with each number of clients.
pub(crate) async fn run(programs: &Programs) -> Result<Report> {
    let (mut report, mut table) = (Report::default(), Table::new(&HEADER));
    for clients in CLIENTS {
        let mut runs = Vec::new();
        for (kind, name) in PEERS {
            eprintln!("  {clients} clients, {name}");
            let run = measure(programs, kind, clients).await.context(name)?;
            table.add(row(clients, name, kind, &run));
            runs.push(run);
        }
        report.ratios.extend(ratios(clients, &runs[0], &runs[1]));
    }
    report.tables.push(table);
    Ok(report)
}

fn ratios(clients: usize, ours: &Run, npm: &Run) -> [Ratio; 3] {
    let ratio = |what: &str, of: fn(&Run) -> f64| {
        let work = format!("{CHANGES} changes to {clients} clients that are cut: {what}");
        Ratio::new(work, "npm with recovery", &[of(ours)], &[of(npm)])
    };
    [
        ratio("server CPU", |run| run.cpu.as_secs_f64()),
        ratio("p95 of the lag", |run| run.outcome.lags.at(0.95)),
        ratio("p95 from the return", |run| run.outcome.lags_from_return.at(0.95)),
    ]
}

fn row(clients: usize, name: &str, kind: Kind, Run { outcome, cpu }: &Run) -> Vec<String> {
    let Outcome { expected, delivered, twice, out_of_order, .. } = outcome;
    let share = 100.0 * *delivered as f64 / *expected as f64;
    let verdict = match kind {
        Kind::Backwire if outcome.is_complete() => "met",
        Kind::Backwire => "MISSED",
        _ => "–",
    };
    vec![
        clients.to_string(),
        name.to_owned(),
        format!("{share:.2} % ({delivered} of {expected})"),
        twice.to_string(),
        out_of_order.to_string(),
        outcome.lags.shown(),
        outcome.lags_from_return.shown(),
        outcome.read_again.to_string(),
        format!("{:.2} s", cpu.as_secs_f64()),
        verdict.to_owned(),
    ]
}

async fn measure(programs: &Programs, kind: Kind, clients: usize) -> Result<Run> {
    let peer = programs.start(kind).await?;
    let network = Network::open(peer.address(), clients).await?;
    let journal = Journal::new(clients);
    let connecting = Clients::connect(programs, kind, network.ports(), &journal);
    let connected = timeout(START, connecting).await.context("the clients do not connect")??;
    peer.until_idle().await?;
    let load = async {
        let cutting = network.cut_connections();
        let sent = write(peer.address()).await?;
        drop(cutting);
        network.heal();
        wait(&journal).await;
        Ok(sent)
    };
    let (sent, sample) = peer.measure(load).await?;
    drop(connected);
    let outcome = journal.outcome(&sent, &network.returns());
    peer.stop().await?;
    Ok(Run { outcome, cpu: sample.cpu })
}

/// Waits until the clients have everything, or nothing more arrives.
async fn wait(journal: &Journal) {
    let mut last = (journal.arrived(), Instant::now());
    while !journal.is_complete(CHANGES) && last.1.elapsed() < SILENCE {
        sleep(POLL).await;
        let arrived = journal.arrived();
        if arrived != last.0 {
            last = (arrived, Instant::now());
        }
    }
}

/// Makes all changes, at equal intervals. Returns when each was sent.
async fn write(address: &str) -> Result<Vec<f64>> {
    let mut socket: Socket = Dialect::Runtime.connect(address).await?;
    let begin = Instant::now();
    let mut sent = Vec::new();
    for number in 0..CHANGES {
        sleep_until(begin + INTERVAL * u32::try_from(number)?).await;
        sent.push(now());
        let key = format!("{}{number:08}", key_prefix(0));
        Dialect::Runtime.write(&mut socket, Write::Create, &key, number).await?;
        socket.reply::<IgnoredAny>().await?;
    }
    Ok(sent)
}
