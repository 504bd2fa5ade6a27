//! `cargo xtask simulate`: runs the stories of many seeds, and prints those that break a guarantee.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::{self, Command, ExitCode};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use backwire_simulation::planted::{BUGS, find, violation};
use backwire_simulation::{run_seed, shorten};
use clap::Parser;

/// The exit code if the reader of the standard output has closed it: 128 and the number of SIGPIPE.
const CLOSED: i32 = 141;

/// The failing seeds of which the story is shortened. The others are only listed.
const MAX_SHORTENED: usize = 3;

/// Run clients and a server in a simulation, with faults that a seed decides, and check the
/// guarantees.
#[derive(Parser)]
struct Args {
    /// The number of seeds
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Print all packets of the first failing seed, or of a single seed
    #[arg(long)]
    trace: bool,
    /// Only check that the recorded seeds find the planted bugs
    #[arg(long, conflicts_with = "find_planted")]
    planted: bool,
    /// Only search for seeds that find these planted bugs, or all of them
    #[arg(long, num_args = 0.., value_name = "BUG")]
    find_planted: Option<Vec<String>>,
    /// Only print the hashes of the seeds that run twice
    #[arg(long, hide = true)]
    hashes: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    std::panic::set_hook(Box::new(|_| {}));
    if args.planted {
        return check_planted(None);
    }
    if let Some(names) = &args.find_planted {
        return check_planted(Some(names));
    }
    if args.hashes {
        repeated_hashes(&args)
            .iter()
            .for_each(|(seed, hash)| print_line(format_args!("{seed} {hash}")));
        return ExitCode::SUCCESS;
    }
    let begin = Instant::now();
    let failed = run_all(&args);
    let seconds = begin.elapsed().as_secs_f64();
    print_line(format_args!(
        "{} seeds from {}: {} failed, {seconds:.1} s, {:.1} ms each",
        args.seeds,
        args.from,
        failed.len(),
        seconds * 1000.0 * thread::available_parallelism().map_or(1, usize::from) as f64
            / args.seeds as f64
    ));
    for (seed, violation) in &failed {
        print_line(format_args!("seed {seed}: {violation}"));
    }
    for (seed, _) in failed.iter().take(MAX_SHORTENED) {
        print_short(*seed, args.trace);
    }
    if args.trace && args.seeds == 1 && failed.is_empty() {
        print_line(run_seed(args.from, true).trace);
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One of this many seeds runs again in another process, to check that both runs are the same.
const REPEATED: u64 = 16;

/// Runs the seeds on all cores, and returns those that failed.
fn run_all(args: &Args) -> Vec<(u64, String)> {
    let outcomes = on_all_cores(args, 1, |seed| {
        let outcome = run_seed(seed, false);
        (outcome.violation, outcome.hash)
    });
    let hashes = hashes_of_other_process(args);
    let failed = outcomes.into_iter().filter_map(|(seed, (violation, hash))| {
        let differs = hashes.get(&seed).is_some_and(|other| *other != hash);
        let differs = differs.then(|| "two runs of this seed differ".to_owned());
        Some((seed, violation.or(differs)?))
    });
    failed.collect()
}

fn repeated_hashes(args: &Args) -> Vec<(u64, u64)> {
    on_all_cores(args, REPEATED, |seed| run_seed(seed, false).hash)
}

/// Returns the hashes of the seeds that run twice. In another process, addresses and random keys
/// are others.
fn hashes_of_other_process(args: &Args) -> BTreeMap<u64, u64> {
    let mut process = Command::new(env::current_exe().expect("this program has a path"));
    process.args(["--hashes", "--seeds", &args.seeds.to_string()]);
    let output = process.args(["--from", &args.from.to_string()]).output();
    let output = output.expect("this program can be run");
    assert!(output.status.success(), "the second runs of seeds failed");
    let hash = |line: &str| {
        let (seed, hash) = line.split_once(' ').expect("a line has two numbers");
        (seed.parse().expect("a seed"), hash.parse().expect("a hash"))
    };
    String::from_utf8_lossy(&output.stdout).lines().map(hash).collect()
}

/// Runs those of the seeds that are multiples of a number on all cores, and returns the results in
/// the order of the seeds.
fn on_all_cores<T: Send>(
    args: &Args,
    multiples: u64,
    run: impl Fn(u64) -> T + Sync,
) -> Vec<(u64, T)> {
    let end = args.from + args.seeds;
    let next = AtomicU64::new(args.from.next_multiple_of(multiples));
    let done = AtomicUsize::new(0);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut results: Vec<_> = thread::scope(|scope| {
        let work = || {
            let (mut results, mut reported) = (Vec::new(), Instant::now());
            loop {
                let seed = next.fetch_add(multiples, Ordering::Relaxed);
                if seed >= end {
                    return results;
                }
                results.push((seed, run(seed)));
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if reported.elapsed() > Duration::from_secs(20) {
                    reported = Instant::now();
                    eprintln!("{done} of {}", args.seeds / multiples);
                }
            }
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|it| it.join().expect("runs catch panics")).collect()
    });
    results.sort_by_key(|(seed, _)| *seed);
    results
}

/// Checks that each planted bug is found by its recorded seed; or searches for seeds that find the
/// bugs of these names, or all.
fn check_planted(search: Option<&[String]>) -> ExitCode {
    let is_chosen = |(bug, _): &&(&str, u64)| {
        search.is_none_or(|names| names.is_empty() || names.iter().any(|name| name == bug))
    };
    let bugs: Vec<_> = BUGS.iter().filter(is_chosen).collect();
    let must_search = search.is_some();
    let next = AtomicUsize::new(0);
    let missed = AtomicUsize::new(0);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((bug, seed)) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = match must_search {
                        true => find(bug),
                        false => violation(bug, *seed).map(|violation| (*seed, violation)),
                    };
                    match found {
                        Some((seed, violation)) if must_search => {
                            print_line(format_args!("    (\"{bug}\", {seed}), // {violation}"));
                        }
                        Some(_) => {}
                        None => {
                            print_line(format_args!("{bug} is not found"));
                            missed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let missed = missed.into_inner();
    print_line(format_args!("{} planted bugs, {missed} of them not found", bugs.len()));
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_short(seed: u64, with_trace: bool) {
    let Some(short) = shorten(seed) else { return };
    print_line(format_args!(
        "\nseed {seed}, shortened: {}",
        short.outcome.violation.unwrap_or_default()
    ));
    short.steps.iter().for_each(|step| print_line(format_args!("  {step}")));
    if with_trace {
        print_line(short.outcome.trace);
    }
}

/// Prints a line. If the reader of the output has closed it, the program ends without a message,
/// as one that SIGPIPE has ended.
fn print_line(text: impl Display) {
    if writeln!(io::stdout(), "{text}").is_err() {
        process::exit(CLOSED);
    }
}
