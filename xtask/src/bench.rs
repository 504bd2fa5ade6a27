//! `cargo xtask bench`: the server beside its peers under the same load, `Backbone.sync` beside
//! plain Ajax, pushes beside `collection.set`, the start of a page, and the size of what it
//! downloads.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::command::{cargo, program, run};
use crate::output::print_line;
use crate::requirements::{BROWSER, GZIP, REDIS, Requirement};
use crate::size::Size;
use crate::workspace::{Profile, Workspace};
use crate::{build, demo_site, scripts};

const BENCH: &str = "backwire-bench";

/// The benchmarks that Node runs, and their scripts in `bench/page`.
const PAGE_SCRIPTS: [(Benchmark, &str); 2] =
    [(Benchmark::Pushes, "pushes.mjs"), (Benchmark::StartUp, "startup.mjs")];

/// Measure the server beside a bare socketioxide program, npm's Socket.IO and lists in Redis.
///
/// Every server is warmed, then measured. All benchmarks take about 25 minutes, on a machine that
/// does nothing else. docs/explanation/performance.md describes the results.
#[derive(Args)]
pub(crate) struct Bench {
    /// Rounds in which everything is measured for 2 seconds; the median counts
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(3..))]
    rounds: u16,

    /// Compare with this build of `backwire` instead of the peers: writes, deliveries and connects
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,

    /// Run only this benchmark; may be given several times
    #[arg(long, value_enum, value_name = "BENCHMARK")]
    only: Vec<Benchmark>,
}

/// The benchmarks. All but the last four are those of the crate `backwire-bench`, by the same
/// names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// Durable creates, updates and destroys with ack
    Writes,
    /// A durable update at one connection, beside one fdatasync
    Latency,
    /// Deliveries to 1,000 listeners
    Deliveries,
    /// Deliveries to 5,000 listeners
    ManyListeners,
    /// CPU time of connecting and subscribing
    Connects,
    /// Memory of idle sockets
    Memory,
    /// Short lists out of 100,000 records
    Lists,
    /// The push service, beside lists in Redis
    PushService,
    /// Durable writes with Redis, beside SQLite
    RedisWrites,
    /// Short lists out of 100,000 records with Redis, beside SQLite
    RedisLists,
    /// Deliveries by three servers that share a Redis
    RedisDeliveries,
    /// Messages with Redis, beside lists in the same Redis
    RedisMessages,
    /// 200 and 1,000 clients that are cut all the time, beside npm's connection state recovery
    Jitter,
    /// A restart under 2,000 clients
    Restart,
    /// `Backbone.sync` in Chromium
    Sync,
    /// 1,000 pushes to a page, beside `collection.set`
    Pushes,
    /// The start of a page, beside Socket.IO's own client
    StartUp,
    /// The size of the scripts
    Download,
}

impl Bench {
    /// The requirements of the selected benchmarks.
    pub(crate) fn requirements(&self) -> Vec<Requirement> {
        let mut requirements = [build::RUNTIME, build::SERVER].concat();
        if Benchmark::value_variants().iter().any(|it| it.needs_redis() && self.includes(*it)) {
            requirements.push(REDIS);
        }
        if self.includes(Benchmark::Sync) {
            requirements.extend(BROWSER);
        }
        if self.includes(Benchmark::Download) {
            requirements.push(GZIP);
        }
        requirements
    }

    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        build::runtime(workspace)?;
        if self.includes(Benchmark::Sync) || !self.of_servers().is_empty() {
            build::server(workspace, Profile::Release)?;
        }
        self.measure_servers(workspace)?;
        if self.includes(Benchmark::Sync) {
            self.measure_sync(workspace)?;
        }
        for (benchmark, script) in PAGE_SCRIPTS {
            if self.includes(benchmark) {
                let script = workspace.root().join("bench/page").join(script);
                run(program(workspace, "node").arg(script).arg(self.rounds.to_string()))?;
            }
        }
        if self.includes(Benchmark::Download) {
            print_sizes(workspace)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn includes(&self, benchmark: Benchmark) -> bool {
        let selected = self.only.is_empty() || self.only.contains(&benchmark);
        selected && (self.before.is_none() || benchmark.compares_builds())
    }

    /// Runs the selected benchmarks of servers, if there are any.
    fn measure_servers(&self, workspace: &Workspace) -> Result<()> {
        let selected = self.of_servers();
        if selected.is_empty() {
            return Ok(());
        }
        let programs = ["build", "--release", "--package", BENCH, "--bins", "--examples"];
        run(&mut cargo(workspace, programs))?;
        let peers = workspace.root().join("bench/peers");
        let mut bench = program(workspace, workspace.release(BENCH));
        bench.arg("--backwire").arg(workspace.server(Profile::Release));
        bench.arg("--bare").arg(workspace.release("examples/bare"));
        bench.arg("--node").arg(peers.join("node.mjs"));
        bench.arg("--relay").arg(peers.join("relay.mjs"));
        bench.arg("--clients").arg(peers.join("clients.mjs"));
        // The directory of temporary files may be in memory, where nothing is durable.
        bench.arg("--directory").arg(workspace.scratch().join("bench"));
        bench.args(["--rounds", &self.rounds.to_string()]);
        if let Some(before) = &self.before {
            bench.arg("--before").arg(before);
        }
        for benchmark in selected {
            bench.args(["--only", &benchmark.name()]);
        }
        run(&mut bench)
    }

    /// The selected benchmarks that the crate runs.
    fn of_servers(&self) -> Vec<Benchmark> {
        let of_servers = |it: &Benchmark| !it.is_of_pages();
        let all = Benchmark::value_variants().iter().copied();
        all.filter(|it| self.includes(*it)).filter(of_servers).collect()
    }

    /// Measures calls of `Backbone.sync` in a browser. The program that drives the browser is built
    /// as the tests are.
    fn measure_sync(&self, workspace: &Workspace) -> Result<()> {
        demo_site::assemble(workspace)?;
        run(cargo(
            workspace,
            ["run", "--quiet", "--package", "backwire-tests", "--example", "sync_cost"],
        )
        .env("BACKWIRE_BIN", workspace.server(Profile::Release))
        .env("BACKWIRE_DEMO", workspace.demo_site())
        .env("BACKWIRE_ROUNDS", self.rounds.to_string()))
    }
}

impl Benchmark {
    const fn is_of_pages(self) -> bool {
        matches!(self, Self::Sync | Self::Pushes | Self::StartUp | Self::Download)
    }

    fn needs_redis(self) -> bool {
        let with_redis = [
            Self::PushService,
            Self::RedisWrites,
            Self::RedisLists,
            Self::RedisDeliveries,
            Self::RedisMessages,
        ];
        with_redis.contains(&self)
    }

    /// Whether it can compare two builds of the server.
    fn compares_builds(self) -> bool {
        matches!(self, Self::Writes | Self::Deliveries | Self::Connects)
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The sizes of what a page downloads, beside Socket.IO's own client, which has no sync.
fn print_sizes(workspace: &Workspace) -> Result<()> {
    let ours = scripts::all(workspace)?.into_iter();
    let ours = ours.map(|script| (script.path(workspace), Some(script.budget)));
    let theirs = workspace.node_modules().join("socket.io-client/dist/socket.io.min.js");
    print_line("| download | size | budget, gzipped | |\n| --- | --- | --- | --- |")?;
    for (script, budget) in ours.chain([(theirs, None)]) {
        let size = Size::of(&script)?;
        let (budget, verdict) = match budget {
            Some(most) if size.within(most).is_ok() => (format!("≤ {} KB", most / 1024), "met"),
            Some(most) => (format!("≤ {} KB", most / 1024), "MISSED"),
            None => ("–".to_owned(), "–"),
        };
        print_line(format_args!(
            "| {} | {size} | {budget} | {verdict} |",
            workspace.short(&script)
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(only: &[Benchmark]) -> Bench {
        Bench { rounds: 7, before: None, only: only.to_vec() }
    }

    #[test]
    fn benchmark_checks_only_for_the_programs_that_it_needs() {
        let requirements = bench(&[Benchmark::Writes]).requirements();
        assert!(!requirements.contains(&REDIS) && !requirements.contains(&GZIP));
        assert!(!requirements.contains(&BROWSER[0]));
        assert!(bench(&[Benchmark::PushService]).requirements().contains(&REDIS));
        assert!(bench(&[Benchmark::RedisLists]).requirements().contains(&REDIS));
        assert!(bench(&[]).requirements().contains(&BROWSER[0]));
    }

    #[test]
    fn benchmarks_of_servers_are_selected_by_name() {
        let selected = [Benchmark::Sync, Benchmark::Pushes, Benchmark::ManyListeners];
        let selected = bench(&selected).of_servers();
        assert_eq!(selected.iter().map(|it| it.name()).collect::<Vec<_>>(), ["many-listeners"]);
        assert_eq!(bench(&[]).of_servers().len(), 14);
    }

    #[test]
    fn another_build_is_compared_in_writes_deliveries_and_connects() {
        let before = Bench { before: Some("backwire".into()), ..bench(&[]) };
        let names: Vec<_> = before.of_servers().iter().map(|it| it.name()).collect();
        assert_eq!(names, ["writes", "deliveries", "connects"]);
        assert!(!before.requirements().contains(&BROWSER[0]));
    }
}
