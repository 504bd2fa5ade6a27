//! The engine in SQLite survives power cuts and disks that fail.
//!
//! A seed draws a history of a store: concurrent writes, messages, acks, checkpoints and reads. The
//! power is cut after calls of the disk that the seed draws, and what survives is drawn as well.
//! The store is then opened on it and compared with a model, and further histories begin there.
//!
//! `BACKWIRE_POWER_CUTS` sets the number of cuts, and `BACKWIRE_SEED` the first seed. A failed
//! test prints its seed, which repeats it. With a disk that fails, it may take several attempts,
//! because the threads of the engine also decide which of them meets a fault.

#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]

mod failed_sync;
mod first_transaction;
mod history;
mod model;
mod observed;
mod operation;
mod runs;
mod store;
mod survival;

use std::env;

use backwire_power_loss::Lie;

use runs::{Run, Runs};

/// The number of power cuts in each run of the tests.
const CUTS: usize = 2000;

/// The number of seeds with a disk that fails in each run of the tests.
const FAILING_DISKS: usize = 60;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|number| number.parse().unwrap())
}

/// Returns the first seed and the number of cuts.
fn scope(cuts: usize) -> (u64, usize) {
    let seed = number("BACKWIRE_SEED").unwrap_or_else(rand::random);
    let cuts = number("BACKWIRE_POWER_CUTS").map_or(cuts, |cuts| usize::try_from(cuts).unwrap());
    (seed, cuts)
}

#[test]
fn power_cut_loses_no_answered_write_and_leaves_no_half_of_another() {
    let (seed, cuts) = scope(CUTS);
    Runs::new(seed, Run::default()).run(cuts).unwrap();
}

#[test]
fn failing_disk_loses_no_answered_write() {
    let (seed, cuts) = scope(CUTS);
    let run = Run { has_faults: true, ..Run::default() };
    let runs = (cuts * FAILING_DISKS).div_ceil(CUTS);
    Runs::new(seed, run).run(runs * run.cuts()).unwrap();
}

/// The seed of a run in which a rollback journal comes back: a cut while a new database changes to
/// a write-ahead log, and another one after the start that has rolled it back.
const SEED_WITH_RETURNED_JOURNAL: u64 = 913;

#[test]
fn power_cut_of_a_new_database_and_another_one_after_it_lose_no_answered_write() {
    Runs::new(SEED_WITH_RETURNED_JOURNAL, Run::default()).run(1).unwrap();
}

#[test]
fn missing_folder_sync_lets_a_second_power_cut_damage_the_database_in_random_runs() {
    let run = Run { lie: Lie::IgnoreSyncsOfFolder, ..Run::default() };
    let found = Runs::new(SEED_WITH_RETURNED_JOURNAL, run).run(1).unwrap_err();
    assert!(found.contains("malformed"), "{found}");
}

/// A mistake is found within this many cuts.
const CUTS_TO_FIND_A_MISTAKE: usize = 1000;

/// Checks that a mistake is found, and that the violation is one that it causes.
fn assert_found(run: Run, violation: &str) {
    let found = Runs::new(1, run).run(CUTS_TO_FIND_A_MISTAKE).unwrap_err();
    println!("{found}");
    assert!(found.contains(violation), "{found}");
}

#[test]
fn store_that_never_syncs_is_found() {
    assert_found(Run { lie: Lie::IgnoreSyncs, ..Run::default() }, "calls: ");
}

#[test]
fn store_that_does_not_sync_in_a_commit_is_found() {
    assert_found(Run { lie: Lie::IgnoreSyncsOfLogs, ..Run::default() }, "no allowed state");
}

#[test]
fn store_that_never_syncs_its_folder_is_found() {
    assert_found(Run { lie: Lie::IgnoreSyncsOfNames, ..Run::default() }, "no allowed state");
}

#[test]
fn answer_before_the_sync_is_found() {
    assert_found(Run { lie: Lie::SyncLate, ..Run::default() }, "no allowed state");
}

#[test]
fn key_that_is_stored_after_its_write_is_found() {
    assert_found(Run { splits_ledger: true, ..Run::default() }, "key ");
}
