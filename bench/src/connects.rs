//! Connections: the CPU time of connecting and subscribing, and the memory of idle sockets.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::deliveries::Listeners;
use crate::dialect::Dialect;
use crate::measure::{Sample, Schedule, Workload, measure};
use crate::peer::{Kind, Peer, Programs};
use crate::report::{Ratio, Report};

/// Sockets that are connected before all of them are closed again.
const SOCKETS: usize = 2_000;

/// Idle sockets whose memory is measured.
const IDLE_SOCKETS: usize = 1_000;

/// The CPU time of connecting and subscribing.
pub(crate) async fn run(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let mut targets = Vec::new();
    for kind in Kind::ALL {
        let peer = programs.start(kind).await?;
        targets.push((kind.name().to_owned(), Connects(peer)));
    }
    let series = measure(targets, schedule).await?;
    let [ours, bare, npm] = &series[..] else { unreachable!("there are three servers") };
    let mut report = Report::default();
    let work = || "connect and subscribe".to_owned();
    report.ratios.push(Ratio::of_cpu(work(), "bare", (ours, 0), (bare, 0)).at_most(1.1));
    report.ratios.push(Ratio::of_cpu(work(), "npm", (ours, 0), (npm, 0)));
    report.add_costs("connect and subscribe", &series, 0);
    report.add_warm_ups("connects", &series);
    Ok(report)
}

pub(crate) struct Connects(pub(crate) Peer);

impl Workload for Connects {
    async fn run(&mut self, time: Duration) -> Result<Vec<Sample>> {
        let Self(peer) = self;
        let mut total = Sample::default();
        while total.elapsed < time {
            let addresses = peer.addresses();
            let connecting = listeners(SOCKETS).connect(&addresses);
            let (sockets, mut sample) = peer.measure(connecting).await?;
            sample.count = sockets.len();
            total += sample;
            drop(sockets);
            peer.until_idle().await?;
        }
        Ok(vec![total])
    }
}

/// The memory of idle subscribed sockets. Each round has new servers: what a server has freed it
/// keeps, so a second measurement of the same one would show nothing.
pub(crate) async fn run_memory(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let mut kilobytes = [Vec::new(), Vec::new(), Vec::new()];
    for round in 1..=schedule.rounds {
        eprintln!("  round {round} of {}", schedule.rounds);
        for (kind, kilobytes) in Kind::ALL.into_iter().zip(&mut kilobytes) {
            kilobytes.push(memory(programs.start(kind).await?).await? / 1024.0);
        }
    }
    let mut report = Report::default();
    let [ours, bare, npm] = &kilobytes;
    let work = || "idle subscribed socket: memory".to_owned();
    report.ratios.push(Ratio::new(work(), "bare", ours, bare).at_most(0.6));
    report.ratios.push(Ratio::new(work(), "npm", ours, npm));
    for (kind, kilobytes) in Kind::ALL.into_iter().zip(&kilobytes) {
        report.add_memory("idle subscribed socket", kind.name(), kilobytes);
    }
    Ok(report)
}

/// Bytes for each idle socket.
async fn memory(peer: Peer) -> Result<f64> {
    // The first request of all needs memory that no socket has.
    let first = listeners(1).connect(&peer.addresses()).await?;
    peer.until_idle().await?;
    let before = peer.memory()?;
    let sockets = listeners(IDLE_SOCKETS).connect(&peer.addresses()).await?;
    peer.until_idle().await?;
    sleep(Duration::from_secs(1)).await;
    let after = peer.memory()?;
    drop((first, sockets));
    peer.stop().await?;
    Ok((after - before) as f64 / IDLE_SOCKETS as f64)
}

fn listeners(count: usize) -> Listeners {
    Listeners { count, dialect: Dialect::Runtime, filters: 0 }
}
