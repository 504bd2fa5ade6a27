//! The latency of a durable write at one connection, beside one `fdatasync` of the same disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::dialect::Dialect;
use crate::measure::{Sample, Schedule, Workload, warm_up};
use crate::peer::{Kind, Peer, Programs};
use crate::report::{Ratio, Report};
use crate::writes::Writer;

/// A page of SQLite and its header in the log.
const BLOCK: usize = 4_096 + 24;

/// Blocks of the file, which is written over and over like SQLite's log.
const BLOCKS: usize = 1_000;

/// One connection that updates a record, one update after the other.
struct Latency {
    peer: Peer,
    writer: Writer,
    latencies: Vec<Duration>,
}

impl Workload for Latency {
    async fn run(&mut self, time: Duration) -> Result<Vec<Sample>> {
        let Self { peer, writer, latencies } = self;
        latencies.clear();
        let end = Instant::now() + time;
        let updates = async {
            while Instant::now() < end {
                let start = Instant::now();
                writer.update().await?;
                latencies.push(start.elapsed());
            }
            Ok(())
        };
        let ((), mut sample) = peer.measure(updates).await?;
        sample.count = latencies.len();
        Ok(vec![sample])
    }
}

/// Measures updates and syncs in turn.
pub(crate) async fn run(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let peer = programs.start(Kind::Backwire).await?;
    let mut writer = Writer::connect(peer.address(), Dialect::Runtime, 0).await?;
    writer.create().await?;
    peer.until_idle().await?;
    let mut load = Latency { peer, writer, latencies: Vec::new() };
    eprintln!("  warming Backwire");
    let warm = warm_up(&mut load).await?;
    let mut updates = [Vec::new(), Vec::new()];
    let mut syncs = [Vec::new(), Vec::new()];
    for round in 1..=schedule.rounds {
        eprintln!("  round {round} of {}", schedule.rounds);
        load.run(schedule.time()).await?;
        let mut synced = sync_repeatedly(programs, schedule.time())?;
        for (index, part) in [0.5, 0.99].into_iter().enumerate() {
            updates[index].push(percentile(&mut load.latencies, part));
            syncs[index].push(percentile(&mut synced, part));
        }
    }
    let mut report = Report::default();
    for (index, name) in ["p50", "p99"].into_iter().enumerate() {
        let work = format!("latency of a durable update at 1 connection, {name}");
        let ratio = Ratio::new(work, "one fdatasync", &updates[index], &syncs[index]);
        report.ratios.push(ratio);
        report.add_latency(
            &format!("durable update, 1 connection, {name}"),
            "Backwire",
            &updates[index],
        );
        report.add_latency(&format!("one fdatasync, {name}"), "the same disk", &syncs[index]);
    }
    report.add_warm_up("latency", "Backwire", warm);
    Ok(report)
}

/// How long each write of a block with `fdatasync` takes.
fn sync_repeatedly(programs: &Programs, time: Duration) -> Result<Vec<Duration>> {
    let directory = programs.temporary_directory()?;
    let file = File::create_new(directory.path().join("blocks"))?;
    let block = [7; BLOCK];
    for number in 0..BLOCKS {
        file.write_all_at(&block, (number * BLOCK) as u64)?;
    }
    file.sync_all()?;
    let mut durations = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let position = (durations.len() % BLOCKS * BLOCK) as u64;
        let start = Instant::now();
        file.write_all_at(&block, position)?;
        file.sync_data()?;
        durations.push(start.elapsed());
    }
    Ok(durations)
}

/// In microseconds.
fn percentile(durations: &mut [Duration], part: f64) -> f64 {
    durations.sort_unstable();
    let index = (durations.len() as f64 * part) as usize;
    durations.get(index).or(durations.last()).map_or(f64::NAN, |it| it.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_computed_from_sorted_durations() {
        let mut durations: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile(&mut durations, 0.5).round(), 51.0);
        assert_eq!(percentile(&mut durations, 0.99).round(), 100.0);
    }
}
