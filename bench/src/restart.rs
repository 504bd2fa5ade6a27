//! A restart of the server under many clients: how soon all of them have everything again, and how
//! often the log is read for that.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::IgnoredAny;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::clients::Clients;
use crate::dialect::{Dialect, Write, key_prefix};
use crate::journal::{Journal, Lags, Outcome, now};
use crate::peer::{End, Kind, Peer, Programs};
use crate::report::{Report, Table};

const CLIENTS: usize = 2_000;

/// How long there is no server.
const OUTAGE: Duration = Duration::from_secs(2);

/// The changes right before the end of the server, and right after its start.
const CHANGES: usize = 20;

/// The budget of the time from the start until 95 % of the clients have everything.
const MAX_P95: f64 = 5_000.0;

/// The budget of the changes that are read for all clients together: twice all that were made.
const MAX_READ: u64 = 4 * CHANGES as u64;

/// How long clients may take to connect, and until they have everything.
const START: Duration = Duration::from_secs(120);
const RECOVERY: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(50);

const HEADER: [&str; 11] = [
    "2,000 clients, no server for 2 s",
    "back, with all changes",
    "twice, out of order",
    "from the start until current: p50, p95, p99",
    "budget of the p95",
    "",
    "resumes",
    "changes in their answers",
    "changes read from the log",
    "budget",
    "",
];

const ENDS: [(End, &str); 2] =
    [(End::Killed, "the server is killed"), (End::Stopped, "the server is stopped")];

/// The figures of one restart.
struct Run {
    outcome: Outcome,
    /// Of each client that has everything, from the start of the server.
    until_current: Vec<f64>,
    /// How many resumes there were, and with how many changes.
    resumes: (usize, usize),
    changes_read: u64,
}

/// Measures both ends.
pub(crate) async fn run(programs: &Programs) -> Result<Report> {
    let (mut report, mut table) = (Report::default(), Table::new(&HEADER));
    for (end, name) in ENDS {
        eprintln!("  {name}");
        table.add(row(name, measure(programs, end).await.context(name)?));
    }
    report.tables.push(table);
    Ok(report)
}

fn row(name: &str, run: Run) -> Vec<String> {
    let Run { outcome, until_current, resumes, changes_read } = run;
    let (back, until_current) = (until_current.len(), Lags::new(until_current));
    let verdict = |is_met| if is_met { "met" } else { "MISSED" }.to_owned();
    vec![
        name.to_owned(),
        format!("{back} of {CLIENTS}"),
        format!("{}, {}", outcome.twice, outcome.out_of_order),
        until_current.shown(),
        format!("≤ {:.0} s", MAX_P95 / 1e3),
        verdict(outcome.is_complete() && until_current.at(0.95) <= MAX_P95),
        resumes.0.to_string(),
        resumes.1.to_string(),
        changes_read.to_string(),
        format!("≤ {MAX_READ}"),
        verdict(changes_read <= MAX_READ),
    ]
}

async fn measure(programs: &Programs, end: End) -> Result<Run> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut peer = programs.start_on(port).await?;
    let journal = Journal::new(CLIENTS);
    let connecting = Clients::connect(programs, Kind::Backwire, vec![port; CLIENTS], &journal);
    let clients = timeout(START, connecting).await.context("the clients do not connect")??;
    peer.until_idle().await?;
    let mut sent = write(&peer, 0).await?;
    peer.end_server(end).await?;
    sleep(OUTAGE).await;
    peer.start_again(programs, port).await?;
    let start = now();
    sent.extend(write(&peer, CHANGES).await?);
    let begin = Instant::now();
    while !journal.is_complete(sent.len()) && begin.elapsed() < RECOVERY {
        sleep(POLL).await;
    }
    let changes_read = changes_read(peer.address()).await?;
    drop(clients);
    peer.stop().await?;
    let until_current = journal.last_arrivals(sent.len());
    Ok(Run {
        outcome: journal.outcome(&sent, &vec![Vec::new(); CLIENTS]),
        until_current: until_current.into_iter().map(|time| time - start).collect(),
        resumes: journal.resumes(),
        changes_read,
    })
}

/// Makes changes, one after the other, with numbers from `first` on. Returns when each was sent.
async fn write(peer: &Peer, first: usize) -> Result<Vec<f64>> {
    let mut socket = Dialect::Runtime.connect(peer.address()).await?;
    let mut sent = Vec::new();
    for number in first..first + CHANGES {
        sent.push(now());
        let key = format!("{}{number:08}", key_prefix(0));
        Dialect::Runtime.write(&mut socket, Write::Create, &key, number).await?;
        socket.reply::<IgnoredAny>().await?;
    }
    Ok(sent)
}

/// Returns how many changes the server has read from its log for resumes.
async fn changes_read(address: &str) -> Result<u64> {
    const NAME: &str = "backwire_resume_changes_read_total ";
    let mut stream = TcpStream::connect(address.replace("localhost", "127.0.0.1")).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let value = text.lines().find_map(|line| line.strip_prefix(NAME));
    Ok(value.context("the server does not report what it has read")?.trim().parse()?)
}
