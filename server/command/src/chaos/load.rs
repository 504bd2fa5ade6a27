//! The actions of the clients.

use std::time::Duration;

use backwire_checker::act::{self, PageAct};
use backwire_checker::browser::Command;
use backwire_checker::page::WriteKind;
use backwire_checker::view::{Kind, Selection};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// The number of actions of all clients together, per second.
const ACTS_PER_SECOND: u64 = 60;

/// Makes a client act until the run stops.
pub(super) async fn act(
    commands: mpsc::UnboundedSender<Command>,
    clients: usize,
    mut random: StdRng,
    mut stop: watch::Receiver<bool>,
) {
    let mean_pause = 1_000 * u64::try_from(clients).unwrap_or(1) / ACTS_PER_SECOND;
    // The first action is a read, so that each page follows something.
    let mut next = read(&mut random);
    loop {
        if commands.send(Command::Act(next)).is_err() {
            return;
        }
        next = random_act(&mut random);
        let pause = Duration::from_millis(random.random_range(0..=2 * mean_pause.max(1)));
        tokio::select! {
            () = sleep(pause) => {}
            _ = stop.wait_for(|is_over| *is_over) => return,
        }
    }
}

fn random_act(random: &mut StdRng) -> PageAct {
    match random.random_range(0..100) {
        0..75 => write(random),
        75..90 => read(random),
        90..92 => PageAct::Stop(random.random_range(0..3)),
        92..95 => PageAct::Wake,
        95 => PageAct::Sleep(random.random_range(0..3_000)),
        96..98 => PageAct::Reload,
        _ => PageAct::Away(random.random_range(0..5_000)),
    }
}

fn read(random: &mut StdRng) -> PageAct {
    let mut act = act::read(random);
    match &mut act {
        PageAct::ReadOne { kind, .. } => *kind = Kind::Todo,
        PageAct::Read { view, .. } => {
            view.kind = Kind::Todo;
            // Clients read lists with a window again after each change, so there are few of them.
            if let Selection::List { window, .. } = &mut view.selection
                && random.random_bool(0.8)
            {
                *window = None;
            }
        }
        _ => {}
    }
    act
}

fn write(random: &mut StdRng) -> PageAct {
    let mut act = act::write(random);
    if let PageAct::Write { kind, write, .. } = &mut act {
        *kind = Kind::Todo;
        // About as many records are destroyed as are created, so that lists stay short.
        if matches!(write, WriteKind::Create { .. }) && random.random_bool(0.35) {
            *write = WriteKind::Destroy;
        }
    }
    act
}
