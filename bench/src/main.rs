//! Backwire's server and its peers under the same load, side by side in one run.
//!
//! In reading order:
//!
//! - [`report`]: the ratios, their budgets, and what they are made of;
//! - [`measure`]: every server is warmed, then all are measured in turn;
//! - [`before`]: Backwire beside another build of it;
//! - [`writes`], [`latency`], [`deliveries`], [`connects`], [`lists`], [`push`], [`jitter`],
//!   [`restart`]: the benchmarks;
//! - [`dialect`]: the requests of our runtime and of stock clients;
//! - [`peer`]: a server as a child process, with its CPU time and memory;
//! - [`clients`], [`journal`]: clients that connect again by themselves, and what they receive;
//! - [`socket`]: a client that does as little as possible.
//!
//! All peers speak Socket.IO and answer the same events, so one load drives them all. A ratio is
//! made of two measurements of the same round, and the median of the rounds counts: other work of
//! the machine disturbs all servers of a round alike.

mod before;
mod clients;
mod connects;
mod deliveries;
mod dialect;
mod jitter;
mod journal;
mod latency;
mod lists;
mod measure;
mod peer;
mod push;
mod report;
mod restart;
mod socket;
mod writes;

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use measure::Schedule;
use peer::Programs;
use report::Report;

/// Measures the server beside a bare socketioxide program, npm's Socket.IO and lists in Redis.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    programs: Programs,

    #[command(flatten)]
    schedule: Schedule,

    /// Only these benchmarks
    #[arg(long, value_enum)]
    only: Vec<Benchmark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    Writes,
    Latency,
    Deliveries,
    ManyListeners,
    Connects,
    Memory,
    Lists,
    PushService,
    RedisWrites,
    RedisLists,
    RedisDeliveries,
    RedisMessages,
    Jitter,
    Restart,
}

impl Benchmark {
    async fn run(self, programs: &Programs, schedule: Schedule) -> Result<Report> {
        match self {
            Self::Writes => writes::run(programs, schedule).await,
            Self::Latency => latency::run(programs, schedule).await,
            Self::Deliveries => deliveries::run(programs, schedule).await,
            Self::ManyListeners => deliveries::run_with_many(programs, schedule).await,
            Self::Connects => connects::run(programs, schedule).await,
            Self::Memory => connects::run_memory(programs, schedule).await,
            Self::Lists => lists::run(programs, schedule).await,
            Self::PushService => push::run(programs, schedule).await,
            Self::RedisWrites => writes::run_with_redis(programs, schedule).await,
            Self::RedisLists => lists::run_with_redis(programs, schedule).await,
            Self::RedisDeliveries => deliveries::run_with_redis(programs, schedule).await,
            Self::RedisMessages => push::run_with_redis(programs, schedule).await,
            Self::Jitter => jitter::run(programs).await,
            Self::Restart => restart::run(programs).await,
        }
    }

    /// Whether it can compare two builds of Backwire.
    fn compares_builds(self) -> bool {
        matches!(self, Self::Writes | Self::Deliveries | Self::Connects)
    }

    /// Compares Backwire with the build before.
    async fn run_before(self, programs: &Programs, schedule: Schedule) -> Result<Report> {
        match self {
            Self::Writes => before::writes(programs, schedule).await,
            Self::Deliveries => before::deliveries(programs, schedule).await,
            _ => before::connects(programs, schedule).await,
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    peer::raise_open_file_limit()?;
    let mut report = Report::default();
    let result = run(&cli, &mut report).await;
    // A failure must not discard the results of the benchmarks before it.
    // If the reader of the standard output has closed it, nobody needs the report.
    let _ = writeln!(io::stdout(), "{report}");
    result
}

/// Runs the selected benchmarks, until one fails.
async fn run(cli: &Cli, report: &mut Report) -> Result<()> {
    let before = cli.programs.before.is_some();
    for &benchmark in Benchmark::value_variants() {
        if before && !benchmark.compares_builds() {
            continue;
        }
        if cli.only.is_empty() || cli.only.contains(&benchmark) {
            let name = benchmark.name();
            eprintln!("{name}");
            let result = match before {
                true => benchmark.run_before(&cli.programs, cli.schedule).await,
                false => benchmark.run(&cli.programs, cli.schedule).await,
            };
            report.append(result.with_context(|| name)?);
        }
    }
    Ok(())
}
