//! The actions of pages and their users, as data, and random actions.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::page::{Pick, WriteKind};
use crate::people::PEOPLE;
use crate::view::{Kind, Selection, View};

/// An action of a page or its user.
#[derive(Debug, Clone)]
pub enum PageAct {
    Read {
        target: u32,
        view: View,
        replaces: bool,
    },
    /// A model reads one of the records that the page knows.
    ReadOne {
        target: u32,
        kind: Kind,
        pick: Pick,
    },
    Stop(u32),
    Write {
        kind: Kind,
        write: WriteKind,
        pick: Pick,
    },
    /// The tab does not run for this many milliseconds.
    Sleep(u64),
    Wake,
    Park,
    Reload,
    /// The page is closed and opened again after this many milliseconds.
    Away(u64),
    /// Another person signs in. The unsent writes of the former one are dropped.
    SignIn(usize),
}

/// Returns a read of a list or a record.
pub fn read(random: &mut StdRng) -> PageAct {
    let kind = kind(random);
    // A collection has records of one resource.
    let target = random.random_range(0..3) + if kind == Kind::Note { 20 } else { 0 };
    if random.random_bool(0.2) {
        let pick = pick(random);
        return PageAct::ReadOne { target: target + 10, kind, pick };
    }
    let window = (random.random_range(0..3), random.random_range(1..4));
    let selection = Selection::List {
        done: [None, None, Some(true), Some(false)].choose(random).copied().flatten(),
        is_sorted: random.random(),
        window: random.random_bool(0.3).then_some(window),
    };
    // A collection can add records of other reads.
    PageAct::Read { target, view: View { kind, selection }, replaces: random.random_bool(0.75) }
}

fn kind(random: &mut StdRng) -> Kind {
    if random.random_bool(0.6) { Kind::Todo } else { Kind::Note }
}

/// Returns a write.
pub fn write(random: &mut StdRng) -> PageAct {
    let (done, rank) = (random.random(), random.random_range(0..5));
    let write = match random.random_range(0..10) {
        0..4 => WriteKind::Create { done, rank },
        4..9 => WriteKind::Update {
            done: random.random_bool(0.5).then_some(done),
            rank: random.random_bool(0.5).then_some(rank),
            is_patch: random.random(),
        },
        _ => WriteKind::Destroy,
    };
    PageAct::Write { kind: kind(random), write, pick: pick(random) }
}

fn pick(random: &mut StdRng) -> Pick {
    let pick = random.random_range(0..8);
    if random.random_bool(0.9) { Pick::Known(pick) } else { Pick::Guessed(pick) }
}

/// Returns what does not happen often.
pub fn unusual(random: &mut StdRng) -> PageAct {
    match random.random_range(0..8) {
        0 => PageAct::Sleep(random.random_range(0..120_000)),
        1..3 => PageAct::Wake,
        3 => PageAct::Park,
        4..6 => PageAct::Reload,
        6 => PageAct::Away(random.random_range(0..10_000_000)),
        _ => PageAct::SignIn(random.random_range(0..PEOPLE.len())),
    }
}
