//! Random schedules. Whatever happens in whatever order, each target ends with the results of its
//! queries, and no query is sent again forever.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;

use crate::criteria::{Criteria, Record, State};
use crate::page::{Page, Target};

const CASES: u64 = 2_000;
const STEPS: u64 = 80;

/// A random number generator: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn is_one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Returns a query; mostly one of another target, or another page of one.
    fn criteria(&mut self, page: &Page) -> Criteria {
        if self.is_one_in(8) {
            return Criteria::One(self.below(6) + 1);
        }
        let others = page.targets.values().flat_map(|target| &target.queries);
        let others: Vec<_> = others.map(|(_, criteria)| criteria).collect();
        let window = (!self.is_one_in(3)).then(|| (self.below(2) as usize * 2, 2));
        if !others.is_empty() && !self.is_one_in(3) {
            match others[self.below(others.len() as u64) as usize] {
                Criteria::List { window: None, .. } | Criteria::One(_) => {}
                Criteria::List { a, is_sorted, .. } => {
                    return Criteria::List { a: *a, is_sorted: *is_sorted, window };
                }
            }
        }
        let a = (!self.is_one_in(3)).then(|| self.below(2));
        Criteria::List { a, is_sorted: self.is_one_in(2), window }
    }

    /// Returns an id; mostly of an existing record.
    fn id(&mut self, page: &Page) -> Option<u64> {
        let ids: Vec<_> = page.server.state().keys().copied().collect();
        if ids.is_empty() || self.is_one_in(8) {
            return Some(self.below(page.server.head() as u64 + 1) + 1);
        }
        Some(ids[self.below(ids.len() as u64) as usize])
    }

    fn attributes(&mut self) -> Record {
        let mut set = Record::new();
        let both = self.below(3);
        if both != 0 {
            set.insert("a".into(), json!(self.below(2)));
        }
        if both != 1 {
            set.insert("b".into(), json!(self.below(4)));
        }
        set
    }

    fn record(&mut self) -> Record {
        let mut record = Record::new();
        record.insert("a".into(), json!(self.below(2)));
        record.insert("b".into(), json!(self.below(4)));
        record
    }
}

/// Performs one random action.
fn step(page: &mut Page, random: &mut Random) {
    let target = random.below(3) as u32;
    let id = random.id(page);
    let criteria = random.criteria(page);
    match random.below(48) {
        0..=2 => page.fetch(target, &criteria, random.is_one_in(3)),
        3 if random.is_one_in(3) => page.stop(target),
        4 => page.set_order(target, random.is_one_in(3)),
        5 => page.add_own(target),
        6 => page.retry(),
        7 => page.write(1, None, &random.record()),
        8 => page.write(2, id, &random.attributes()),
        9 if random.is_one_in(2) => page.write(3, id, &Record::new()),
        10 => drop(page.server.write(1, None, &random.record())),
        11..=15 => drop(page.server.write(2, id, &random.attributes())),
        16 if random.is_one_in(2) => drop(page.server.write(3, id, &Record::new())),
        17 if random.is_one_in(6) => page.break_line(),
        18 if random.is_one_in(3) => page.server.truncate(),
        19 if random.is_one_in(3) => page.server.close(random.below(3) as usize),
        20 if random.is_one_in(3) => page.server.failures += 1,
        21..=26 => drop(page.step_up()),
        27..=34 => drop(page.server.answer(random.below(8) as usize)),
        35..=36 => page.server.push(random.below(3) as usize + 1),
        _ => drop(page.step_down(random.below(64) as usize)),
    }
    if page.server.is_orderly {
        page.server.push(usize::MAX);
    }
}

/// Creates a connected page whose targets have read a query each.
fn start(seed: u64, random: &mut Random) -> Page {
    let mut page = Page::new(seed, seed.is_multiple_of(2));
    for _ in 0..6 {
        page.server.write(1, None, &random.record());
    }
    for target in 0..3 {
        let criteria = random.criteria(&page);
        page.fetch(target, &criteria, true);
        run_all(&mut page);
    }
    page
}

/// Delivers everything that is in flight.
fn run_all(page: &mut Page) {
    let asks = page.asks;
    loop {
        page.server.push(usize::MAX);
        if !(page.step_up() || page.server.answer(0) || page.step_down(0)) {
            break;
        }
        assert!(page.asks < asks + 500, "a query is sent again forever");
    }
}

/// Stops all failures, and waits until no query is sent again.
fn finish(page: &mut Page) {
    page.server.failures = 0;
    for _ in 0..3 {
        page.retry();
        run_all(page);
    }
    let asks = page.asks;
    page.retry();
    assert_eq!(page.asks, asks, "a query is still sent again");
}

fn check(page: &mut Page) {
    for (id, target) in &page.targets {
        check_target(*id, target, page.server.state());
    }
    let rooms = page.server.rooms();
    for room in rooms.difference(&page.server.refused.clone()) {
        assert!(page.is_followed(room), "{room} is not left");
    }
    let queries = page.targets.values().flat_map(|target| &target.queries);
    let has_records = |criteria: &&Criteria| !criteria.evaluate(page.server.state()).is_empty();
    let followed = queries.map(|(_, criteria)| criteria).filter(has_records);
    for room in followed.map(Criteria::room).collect::<Vec<_>>() {
        assert!(page.is_followed(&room), "{room} is not followed");
        assert!(page.server.rooms().contains(&room), "{room} is not joined");
    }
}

/// Checks that the target shows the results of its queries one after another, each in its own order
/// if it has one.
fn check_target(id: u32, target: &Target, state: &State) {
    let is_ordered =
        !target.has_own_order && target.queries.iter().any(|(_, query)| query.is_ordered());
    let shown: Vec<_> = target.models.iter().filter(|id| !id.starts_with("own")).cloned().collect();
    let mut expected: Vec<String> = Vec::new();
    for (_, query) in &target.queries {
        let mut next = query.evaluate(state);
        next.retain(|id| !expected.contains(id));
        if is_ordered && !query.is_ordered() {
            let place = |id: &String| shown.iter().position(|other| other == id);
            next.sort_by_key(place);
        }
        expected.extend(next);
    }
    let (mut shown, mut expected) = (shown, expected);
    if !is_ordered {
        shown.sort();
        expected.sort();
    }
    assert_eq!(shown, expected, "target {id} of {:?}", target.queries);
}

fn run(seed: u64, steps: usize) {
    let mut random = Random(seed);
    let mut page = start(seed, &mut random);
    for _ in 0..steps {
        step(&mut page, &mut random);
    }
    finish(&mut page);
    check(&mut page);
}

fn fails(seed: u64, steps: usize) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(seed, steps))).is_err()
}

/// Returns a number from the environment: `LIVE_CASES`, `LIVE_STEPS` (the length of each schedule)
/// or `LIVE_SEED` (the first seed).
fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_target_ends_with_the_results_of_its_queries() {
    let first = from_environment("LIVE_SEED", 0);
    let steps = from_environment("LIVE_STEPS", STEPS) as usize;
    for seed in first..first + from_environment("LIVE_CASES", CASES) {
        if fails(seed, steps) {
            let fewest = (1..steps).find(|steps| fails(seed, *steps)).unwrap_or(steps);
            panic!("seed {seed} fails after {fewest} steps");
        }
    }
}
