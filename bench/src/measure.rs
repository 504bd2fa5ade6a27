//! Warming and measuring: every server is warmed first, then all of them are measured in turn. Two
//! builds of one server are started anew in each round.

use std::ops::AddAssign;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use crate::socket::Socket;

/// How long a window of the warm-up is.
const WARM_UP_WINDOW: Duration = Duration::from_secs(2);

/// A server is warm if the CPU time of each operation changes by less than this between windows.
const WARM: f64 = 0.03;

/// The fewest windows, because two cold ones may be alike.
const MIN_WINDOWS: usize = 3;

/// The most windows. The report names the servers that were still changing.
const MAX_WINDOWS: usize = 6;

/// The longest time that one run of a load may take.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// How long and how often to measure.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Schedule {
    /// Rounds in which every server is measured once; the median counts
    #[arg(long, default_value_t = 7)]
    pub(crate) rounds: usize,

    /// Seconds that every operation is measured for in each round. Other work of the machine comes
    /// and goes within seconds, so many short rounds are better than a few long ones
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

impl Schedule {
    pub(crate) fn time(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// The resources that one operation used in one window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// CPU time of the server and its database.
    pub(crate) cpu: Duration,
    /// CPU time of the database alone, if that is a program of its own.
    pub(crate) store_cpu: Duration,
    pub(crate) elapsed: Duration,
    /// How many commands and scripts the server has sent to Redis, where that is counted.
    pub(crate) redis_requests: usize,
    /// How often the operation was done.
    pub(crate) count: usize,
    /// How many deliveries arrived, if the operation is one.
    pub(crate) arrivals: Option<Arrivals>,
}

/// Deliveries that had to arrive, and those that did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrivals {
    pub(crate) expected: usize,
    pub(crate) arrived: usize,
    pub(crate) listeners: usize,
    /// Listeners that got every change exactly once.
    pub(crate) complete: usize,
}

impl Sample {
    /// CPU time for each operation, in microseconds.
    pub(crate) fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count as f64
    }

    /// The same of the database alone.
    pub(crate) fn store_micros(&self) -> f64 {
        self.store_cpu.as_secs_f64() * 1e6 / self.count as f64
    }

    /// Commands and scripts that were sent to Redis for each operation.
    pub(crate) fn redis_requests_each(&self) -> f64 {
        self.redis_requests as f64 / self.count as f64
    }

    /// Operations in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }
}

impl AddAssign for Sample {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.store_cpu += other.store_cpu;
        self.elapsed += other.elapsed;
        self.redis_requests += other.redis_requests;
        self.count += other.count;
    }
}

/// A server under a load.
pub(crate) trait Workload {
    /// Does each operation for at least `time` and returns a sample of each, always in the same
    /// order.
    async fn run(&mut self, time: Duration) -> Result<Vec<Sample>>;

    /// The connections that nothing reads between two runs. Their heartbeats are answered while
    /// other servers are measured, or the server would disconnect them.
    fn idle_sockets(&mut self) -> Vec<&mut Socket> {
        Vec::new()
    }
}

/// How the warm-up of a server ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct WarmUp {
    pub(crate) windows: usize,
    /// The smallest change between two windows of the operation that was last to become stable.
    pub(crate) change: f64,
}

impl WarmUp {
    pub(crate) fn is_complete(self) -> bool {
        self.change < WARM
    }
}

/// The measurements of one server.
pub(crate) struct Series {
    pub(crate) server: String,
    /// How the warm-up ended, if the same process was measured in all rounds.
    pub(crate) warm_up: Option<WarmUp>,
    /// The samples of each round, in the order of the operations.
    rounds: Vec<Vec<Sample>>,
}

impl Series {
    /// The samples of one operation, round by round.
    pub(crate) fn of(&self, operation: usize) -> impl Iterator<Item = &Sample> {
        self.rounds.iter().map(move |samples| &samples[operation])
    }
}

/// Warms every server, then measures all of them in each round. Every other round goes backwards,
/// so that no server always follows the same one.
pub(crate) async fn measure<W: Workload>(
    mut targets: Vec<(String, W)>,
    schedule: Schedule,
) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for index in 0..targets.len() {
        let server = targets[index].0.clone();
        eprintln!("  warming {server}");
        let warm_up = one(&mut targets, index, async |workload| warm_up(workload).await).await?;
        all.push(Series { server, warm_up: Some(warm_up), rounds: Vec::new() });
    }
    for round in 0..schedule.rounds {
        eprintln!("  round {} of {}", round + 1, schedule.rounds);
        let mut order: Vec<_> = (0..targets.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let time = schedule.time();
            let samples = one(&mut targets, index, async |workload| run(workload, time).await);
            all[index].rounds.push(samples.await?);
        }
    }
    Ok(all)
}

/// Measures servers that are started anew in each round, after one window of warm-up. Where the
/// pages of a process are in memory changes its CPU time by up to a tenth for as long as it runs,
/// so two builds cannot be compared by one process of each.
pub(crate) async fn measure_new_processes<W: Workload>(
    servers: &[String],
    start: impl AsyncFn(usize) -> Result<W>,
    schedule: Schedule,
) -> Result<Vec<Series>> {
    let series =
        |server: &String| Series { server: server.clone(), warm_up: None, rounds: Vec::new() };
    let mut all: Vec<_> = servers.iter().map(series).collect();
    for round in 0..schedule.rounds {
        eprintln!("  round {} of {}", round + 1, schedule.rounds);
        // In each round another server is the first, and each has each neighbor.
        let mut order: Vec<_> = (0..servers.len()).collect();
        order.rotate_left(round % servers.len());
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let mut workload = start(index).await?;
            let measured = async {
                run(&mut workload, WARM_UP_WINDOW).await?;
                run(&mut workload, schedule.time()).await
            };
            let samples = measured.await.with_context(|| servers[index].clone())?;
            all[index].rounds.push(samples);
        }
    }
    Ok(all)
}

/// Puts a load on one server while the connections of the others stay open.
async fn one<W: Workload, T>(
    targets: &mut [(String, W)],
    index: usize,
    load: impl AsyncFnOnce(&mut W) -> Result<T>,
) -> Result<T> {
    let (before, rest) = targets.split_at_mut(index);
    let ((server, workload), after) = rest.split_first_mut().context("the index is valid")?;
    let others = before.iter_mut().chain(after).flat_map(|(_, other)| other.idle_sockets());
    let mut idle: FuturesUnordered<_> = others.map(Socket::answer_heartbeats).collect();
    tokio::select! {
        result = load(workload) => result.with_context(|| server.clone()),
        Some(error) = idle.next() => Err(error.context("an idle connection ended")),
    }
}

/// Runs the load in short windows until the CPU time of every operation is stable.
pub(crate) async fn warm_up<W: Workload>(workload: &mut W) -> Result<WarmUp> {
    let mut windows = Vec::new();
    loop {
        let samples = run(workload, WARM_UP_WINDOW).await?;
        let micros: Vec<_> = samples.iter().map(Sample::micros).collect();
        let shown: Vec<_> = micros.iter().map(|micros| format!("{micros:.1}")).collect();
        eprintln!("    {} µs", shown.join(", "));
        windows.push(micros);
        if let Some(warm_up) = end_of_warm_up(&windows) {
            return Ok(warm_up);
        }
    }
}

/// The result of the warm-up if it is over after these windows.
fn end_of_warm_up(windows: &[Vec<f64>]) -> Option<WarmUp> {
    if windows.len() < MIN_WINDOWS {
        return None;
    }
    // Each operation has its own windows, and other work of the machine may disturb any of them. So
    // an operation that has been stable once stays warm.
    let smallest_change = |operation: usize| {
        let pairs = windows.windows(2).skip(MIN_WINDOWS - 2);
        let changes = pairs.map(|pair| (pair[1][operation] / pair[0][operation] - 1.0).abs());
        changes.fold(f64::INFINITY, f64::min)
    };
    let change = (0..windows[0].len()).map(smallest_change).fold(0.0, f64::max);
    let warm_up = WarmUp { windows: windows.len(), change };
    (warm_up.is_complete() || warm_up.windows == MAX_WINDOWS).then_some(warm_up)
}

async fn run<W: Workload>(workload: &mut W, time: Duration) -> Result<Vec<Sample>> {
    timeout(TIME_LIMIT, workload.run(time)).await.context("no answer")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_ends_when_every_operation_is_stable() {
        let mut windows = vec![vec![50.0, 9.0], vec![30.0, 8.0], vec![25.0, 7.9]];
        assert_eq!(end_of_warm_up(&windows), None);
        // The second operation is warm already.
        windows.push(vec![24.5, 7.0]);
        let warm_up = end_of_warm_up(&windows).unwrap();
        assert_eq!((warm_up.windows, warm_up.is_complete()), (4, true));
    }

    #[test]
    fn warm_up_continues_after_two_equal_cold_windows() {
        assert_eq!(end_of_warm_up(&[vec![50.0], vec![50.0]]), None);
    }

    #[test]
    fn warm_up_that_reaches_its_limit_is_incomplete() {
        let windows: Vec<_> = (1..=MAX_WINDOWS).map(|window| vec![window as f64]).collect();
        assert!(!end_of_warm_up(&windows).unwrap().is_complete());
    }
}
