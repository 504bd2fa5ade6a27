//! Runs: a seed draws histories and power cuts.

use std::collections::BTreeMap;
use std::time::Duration;

use backwire_engine::Window;
use backwire_power_loss::{Call, Disk, Failure, Fault, Image, Lie};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;

use crate::history::{self, History, Plan, Violation};
use crate::model::Model;
use crate::store::Folder;
use crate::survival::{self, Survived};

/// The number of histories in a run. Each begins with what a cut of the one before has left.
const GENERATIONS: usize = 3;

/// The number of cuts of each history.
const CUTS_PER_GENERATION: usize = 20;

/// The same with a disk that fails. There, more histories find more than more cuts.
const CUTS_WITH_FAULTS: usize = 5;

/// After this many cuts, the progress is printed.
const CUTS_PER_REPORT: usize = 3000;

/// A kind of run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    /// Whether calls of the disk fail.
    pub(crate) has_faults: bool,
    /// A mistake that the test has to find.
    pub(crate) lie: Lie,
    /// Another one: a write and its key are stored one after the other.
    pub(crate) splits_ledger: bool,
}

/// Runs with one seed after the other.
pub(crate) struct Runs {
    first: u64,
    run: Run,
    folder: Folder,
    runtime: Runtime,
}

impl Run {
    /// Returns the number of cuts of a run.
    pub(crate) fn cuts(self) -> usize {
        GENERATIONS * self.cuts_per_generation()
    }

    fn cuts_per_generation(self) -> usize {
        if self.has_faults { CUTS_WITH_FAULTS } else { CUTS_PER_GENERATION }
    }
}

impl Runs {
    pub(crate) fn new(first: u64, run: Run) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { first, run, folder: Folder::new(), runtime }
    }

    /// Makes at least this many cuts.
    pub(crate) fn run(&self, cuts: usize) -> Result<(), Violation> {
        let runs = cuts.div_ceil(self.run.cuts()) as u64;
        for (seed, done) in (0..runs).map(|run| (self.first.wrapping_add(run), run)) {
            let done = usize::try_from(done).unwrap() * self.run.cuts();
            if done > 0 && done.is_multiple_of(CUTS_PER_REPORT) {
                println!("{done} power cuts");
            }
            let how = match self.run.has_faults {
                // The threads of the engine decide which of them meets a fault.
                true => "try again, possibly several times,",
                false => "repeat it",
            };
            self.runtime.block_on(self.run_seed(seed)).map_err(|violation| {
                format!("{violation}\n{how} with BACKWIRE_SEED={seed} BACKWIRE_POWER_CUTS=1")
            })?;
        }
        Ok(())
    }

    async fn run_seed(&self, seed: u64) -> Result<(), Violation> {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut image, mut given) = (Image::new(), Vec::new());
        let (mut model, mut flakes) = (Model::default(), BTreeMap::new());
        let mut next_number = 0;
        let window = match self.run.splits_ledger {
            true => Window::default(),
            false => draw_window(&mut random),
        };
        for generation in 0..GENERATIONS {
            let faults = match self.run.has_faults {
                true => draw_faults(&mut random),
                false => Vec::new(),
            };
            let steps = random.random_range(4..24);
            let splits_ledger = self.run.splits_ledger;
            let plan =
                Plan { image, model, flakes, next_number, window, steps, faults, splits_ledger };
            let disk = Disk::new(plan.image.clone());
            disk.set_lie(self.run.lie);
            let history = history::record(&self.folder, &disk, plan, &mut random).await;
            let history = history.map_err(|it| format!("history {generation}: {it}"))?;
            next_number = history.next_number;
            let mut survivors = Vec::new();
            for cut in 0..self.run.cuts_per_generation() {
                let calls = draw_calls(&history, &mut random);
                let left = history.journal.cut(calls, &mut random);
                let checked =
                    survival::check(&self.folder, &history, &given, calls, left.clone()).await;
                let survived = checked.map_err(|violation| {
                    let last = history.journal.describe(calls, described()).join("\n  ");
                    format!(
                        "history {generation}, cut {cut}, after {calls} of {} calls: {violation}\n  {last}",
                        history.journal.len()
                    )
                })?;
                survivors.extend(survived.map(|survived| (left, survived)));
            }
            if survivors.is_empty() {
                return Ok(());
            }
            let at = random.random_range(0..survivors.len());
            let survived;
            (image, survived) = survivors.swap_remove(at);
            Survived { model, flakes, given } = survived;
        }
        Ok(())
    }
}

/// Returns the number of calls that the report of a violation has.
fn described() -> usize {
    std::env::var("BACKWIRE_CALLS").map_or(12, |count| count.parse().unwrap())
}

/// Draws the moment of a cut: any, or shortly after an answer.
fn draw_calls(history: &History, random: &mut StdRng) -> usize {
    match history.operations.choose(random) {
        Some(recorded) if random.random_bool(0.4) => {
            let at = recorded.answered + random.random_range(0..3);
            at.min(history.journal.len())
        }
        _ => random.random_range(0..=history.journal.len()),
    }
}

/// Some logs forget early, and with them the ledger moves its entries.
fn draw_window(random: &mut StdRng) -> Window {
    let count = *[12, 40, 10_000].choose(random).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    Window { count, age: day, ..Window::default() }
}

fn draw_faults(random: &mut StdRng) -> Vec<Fault> {
    let calls = match random.random_range(0..4) {
        0 => Call::ALL.to_vec(),
        1 => vec![Call::Sync],
        2 => vec![Call::Write, Call::Sync],
        _ => vec![*Call::ALL.choose(random).unwrap()],
    };
    let most = *[10, 50, 200, 800].choose(random).unwrap();
    let after = random.random_range(0..most);
    let failure = *[Failure::Device, Failure::NoSpace].choose(random).unwrap();
    vec![Fault { calls, file: None, after, failure, is_lasting: random.random_bool(0.4) }]
}
