//! Random schedules: whatever happens in whatever order, each target ends with what its queries
//! would find, and nothing is asked for ever.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;

use crate::page::{Page, Target};
use crate::server::{Criteria, Record, State};

const CASES: u64 = 2_000;
const STEPS: u64 = 60;

/// SplitMix64.
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

    fn criteria(&mut self) -> Criteria {
        if self.is_one_in(6) {
            return Criteria::One(self.below(6) + 1);
        }
        let a = (!self.is_one_in(3)).then(|| self.below(2));
        let window = self.is_one_in(2).then(|| (self.below(3) as usize * 2, 2));
        Criteria::List { a, is_sorted: self.is_one_in(2), window }
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

/// Does one thing.
fn step(page: &mut Page, random: &mut Random) {
    let target = random.below(4) as u32;
    let id = Some(random.below(page.server.head() as u64 + 1) + 1);
    match random.below(40) {
        0..=3 => page.fetch(target, &random.criteria(), random.is_one_in(3)),
        4 => page.stop(target),
        5 => page.set_order(target, random.is_one_in(3)),
        6 => page.add_own(target),
        7 => page.retry(),
        8 => page.write(1, None, &random.record()),
        9 => page.write(2, id, &random.attributes()),
        10 => page.write(3, id, &Record::new()),
        11..=13 => drop(page.server.write(1, None, &random.record())),
        14..=17 => drop(page.server.write(2, id, &random.attributes())),
        18 => drop(page.server.write(3, id, &Record::new())),
        19 if random.is_one_in(3) => page.break_line(),
        20 if random.is_one_in(3) => page.server.truncate(),
        21 if random.is_one_in(3) => page.server.close(random.below(3) as usize),
        22 if random.is_one_in(3) => page.server.failures += 1,
        23..=26 => drop(page.step_up()),
        27..=30 => drop(page.server.answer(random.below(8) as usize)),
        31..=32 => page.server.push(random.below(3) as usize + 1),
        _ => drop(page.step_down(random.below(64) as usize)),
    }
    if page.server.is_orderly {
        page.server.push(usize::MAX);
    }
}

/// Everything that is on its way arrives.
fn finish(page: &mut Page) {
    page.server.failures = 0;
    for _ in 0..3 {
        page.retry();
        let asks = page.asks;
        loop {
            page.server.push(usize::MAX);
            if !(page.step_up() || page.server.answer(0) || page.step_down(0)) {
                break;
            }
            assert!(page.asks < asks + 500, "it asks for ever");
        }
    }
    let asks = page.asks;
    page.retry();
    assert_eq!(page.asks, asks, "it still asks");
}

fn check(page: &Page) {
    for (id, target) in &page.targets {
        check_target(*id, target, page.server.state());
    }
    for room in page.server.rooms().difference(&page.server.refused) {
        assert!(page.is_followed(room), "{room} is not left");
    }
    let queries = page.targets.values().flat_map(|target| &target.queries);
    for (_, criteria) in
        queries.filter(|(_, criteria)| !criteria.evaluate(page.server.state()).is_empty())
    {
        let room = criteria.room();
        assert!(page.is_followed(&room), "{room} is not followed");
        assert!(page.server.rooms().contains(&room), "{room} is not joined");
    }
}

/// Each query in turn has its records next, in its order if it has one.
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
    let mut page = Page::new(seed, seed.is_multiple_of(2));
    for _ in 0..steps {
        step(&mut page, &mut random);
    }
    finish(&mut page);
    check(&page);
}

fn fails(seed: u64, steps: usize) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(seed, steps))).is_err()
}

/// More or longer ones with `LIVE_CASES` and `LIVE_STEPS`, others with `LIVE_SEED`.
fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_target_ends_with_what_its_queries_find() {
    let first = from_environment("LIVE_SEED", 0);
    let steps = from_environment("LIVE_STEPS", STEPS) as usize;
    for seed in first..first + from_environment("LIVE_CASES", CASES) {
        if fails(seed, steps) {
            let fewest = (1..steps).find(|steps| fails(seed, *steps)).unwrap_or(steps);
            panic!("seed {seed} fails after {fewest} steps");
        }
    }
}
