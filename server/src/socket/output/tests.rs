//! Compares claims with a simple model.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::socket::session::Session;
use crate::socket::session::tests::sessions;

/// The packets that a session was sent: for each, its end, its size, and whether it is small.
#[derive(Default)]
struct Model {
    sent: VecDeque<(u64, usize, bool)>,
    end: u64,
    in_progress: usize,
}

impl Model {
    fn small(&self) -> usize {
        self.sent.iter().filter(|(.., is_small)| *is_small).map(|(_, size, _)| size).sum()
    }
}

#[test]
fn unread_bytes_of_a_client_are_claimed_except_a_part_of_each_session() {
    const LIMIT: usize = 4 << 20;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..20 {
        let (budget, sessions) = (OutputBudget::new(LIMIT), sessions(8));
        let mut models: Vec<_> = sessions.iter().map(|_| Model::default()).collect();
        for _ in 0..2000 {
            let index = random.random_range(0..sessions.len());
            let (session, model) = (&sessions[index], &mut models[index]);
            step(&budget, session, model, &mut random);
        }
        for (session, model) in sessions.iter().zip(&mut models) {
            read(session, model, model.end);
            session.output.set_answers_in_progress(0);
        }
        assert_eq!(budget.claimed(), 0);
    }
}

fn step(budget: &OutputBudget, session: &Session, model: &mut Model, random: &mut StdRng) {
    let output = &session.output;
    match random.random_range(0..4) {
        0 if budget.begin(output, model.in_progress).is_ok() => {
            model.in_progress += 1;
            let beside = model.small() + (model.in_progress - 1) * UNCOUNTED_BYTES;
            let queued = output.queued.lock();
            let claimed = queued.claimed();
            let first = (beside + UNCOUNTED_BYTES).min(UNCLAIMED_BYTES + UNCOUNTED_BYTES);
            assert!(first <= UNCLAIMED_BYTES + queued.claimed_first());
            assert!(beside <= UNCLAIMED_BYTES + claimed, "{beside} with {claimed}");
        }
        1 if model.in_progress > 0 => {
            let size = random.random_range(1..=UNCOUNTED_BYTES - PACKET_OVERHEAD);
            output.add(output.written(), size, None);
            model.in_progress -= 1;
            model.end += size as u64;
            model.sent.push_back((model.end, size, true));
        }
        2 => {
            let size = random.random_range(UNCOUNTED_BYTES..MAX_LARGE);
            if let Some(claim) = budget.claim(output.client, size) {
                budget.add(output, output.written(), size, claim);
                model.end += size as u64;
                model.sent.push_back((model.end, size, false));
            }
        }
        _ => {
            let unread = model.end - session.taken.count();
            read(session, model, session.taken.count() + random.random_range(0..=unread));
        }
    }
}

const MAX_LARGE: usize = 1 << 20;

fn read(session: &Session, model: &mut Model, until: u64) {
    session.taken.add(until - session.taken.count());
    while model.sent.pop_front_if(|(end, ..)| *end <= until).is_some() {}
    assert_eq!(session.output.unread(), model.end - until);
}

#[test]
fn ended_connections_are_removed_from_the_budget() {
    let budget = OutputBudget::new(1 << 20);
    for _ in 0..10_000 {
        let output = Arc::new(Output::new(&Arc::default(), None));
        budget.add(&output, 0, 1, budget.claim(None, 1).unwrap());
    }
    assert!(budget.outputs.lock().len() < 16);
}

#[test]
fn reservations_for_answers_do_not_refuse_pushes_or_http_answers_of_the_same_client() {
    let (budget, sessions) = (OutputBudget::new(64 << 20), sessions(2));
    let [busy, listening] = [0, 1].map(|index: usize| Arc::clone(&sessions[index].output));
    for begun in 0..256 {
        assert!(budget.begin(&busy, begun).is_ok());
    }
    for _ in 0..500 {
        assert!(budget.add_small(&listening, 200, 200).is_ok());
    }
    assert!(budget.claim_small(busy.client, UNCOUNTED_BYTES).is_some());
    let unread = listening.queued.lock().small;
    assert!(unread <= UNCLAIMED_BYTES + listening.queued.lock().claimed_pushes());
}
