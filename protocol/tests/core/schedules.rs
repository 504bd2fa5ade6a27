//! Random schedules: whatever the network does, every request finishes once, every write commits
//! once, no record is ever shown older than before, and the page ends equal to the server.

use crate::support::Pair;
use backwire_protocol::{Token, Verb};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Debug, Clone)]
enum Act {
    Read,
    ReadOne(u64),
    Create,
    Update(u64),
    Destroy(u64),
    OtherCreates,
    OtherUpdates(u64),
    OtherDestroys(u64),
    /// How many frames reach the server, replies leave it, pushes leave it, frames reach the client.
    Steps(u8, u8, u8, u8),
    Break,
    Truncate,
    /// The server comes back with another log.
    Restart,
    /// The next write is answered with "not now".
    Busy,
    Wait(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Read),
        1 => (1..6u64).prop_map(Act::ReadOne),
        3 => Just(Act::Create),
        4 => (1..6u64).prop_map(Act::Update),
        1 => (1..6u64).prop_map(Act::Destroy),
        2 => Just(Act::OtherCreates),
        4 => (1..6u64).prop_map(Act::OtherUpdates),
        1 => (1..6u64).prop_map(Act::OtherDestroys),
        12 => (0..4u8, 0..4u8, 0..4u8, 0..4u8).prop_map(|(a, b, c, d)| Act::Steps(a, b, c, d)),
        1 => Just(Act::Break),
        1 => Just(Act::Truncate),
        1 => Just(Act::Restart),
        1 => Just(Act::Busy),
        1 => (0..5_000u16).prop_map(Act::Wait),
    ]
}

/// Does it, and says whether it was a write of the page.
fn perform(pair: &mut Pair, act: &Act, count: u64, asked: &mut Vec<Token>) -> bool {
    let data = json!({"title": count});
    let url = |id: &u64| format!("/todo/{id}");
    match act {
        Act::Read => asked.push(pair.ask(Verb::Get, "/todo", Value::Null)),
        Act::ReadOne(id) => asked.push(pair.ask(Verb::Get, &url(id), Value::Null)),
        Act::Create => asked.push(pair.ask(Verb::Post, "/todo", data)),
        // A page can not name a record it has never been told of.
        Act::Update(id) | Act::Destroy(id) if !pair.app.shown.contains_key(id) => return false,
        Act::Update(id) => asked.push(pair.ask(Verb::Put, &url(id), data)),
        Act::Destroy(id) => asked.push(pair.ask(Verb::Delete, &url(id), Value::Null)),
        Act::OtherCreates => pair.server.write(1, None, &data),
        Act::OtherUpdates(id) => pair.server.write(2, Some(*id), &data),
        Act::OtherDestroys(id) => pair.server.write(3, Some(*id), &data),
        Act::Steps(up, replies, pushes, down) => {
            times(*up, || pair.step_up());
            // Whether the reply to a write or its push is first on the wire is up to the server.
            if up > pushes {
                times(*replies, || pair.step_reply());
                pair.step_push(usize::from(*pushes));
            } else {
                pair.step_push(usize::from(*pushes));
                times(*replies, || pair.step_reply());
            }
            times(*down, || pair.step_down());
        }
        Act::Break => pair.break_line(),
        Act::Truncate => pair.server.truncate(),
        Act::Restart => {
            pair.break_line();
            pair.server.lose_the_log();
        }
        Act::Busy => pair.server.refusals.push_back(429.into()),
        Act::Wait(milliseconds) => pair.wait(u64::from(*milliseconds)),
    }
    matches!(act, Act::Create | Act::Update(_) | Act::Destroy(_))
}

fn times(count: u8, mut step: impl FnMut() -> bool) {
    for _ in 0..count {
        step();
    }
}

#[test]
fn a_write_that_was_told_not_now_and_one_behind_it_are_repeated_without_harm() {
    use Act::{Break, Busy, Create, Destroy, OtherCreates, Read, Steps, Update, Wait};
    let mut acts = vec![Read, Read, Create, Wait(0), OtherCreates, OtherCreates];
    acts.extend([Read, Read, Read, Read, Read, Steps(1, 0, 0, 0), Steps(2, 0, 0, 0), Destroy(1)]);
    acts.extend([Busy, Steps(3, 0, 0, 0), Update(1), Steps(1, 0, 0, 0), Break, Wait(0)]);
    ends_equal(0, &acts).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_network_does_the_page_ends_equal_to_the_server(
        seed: u64,
        acts in prop::collection::vec(act(), 1..60),
    ) {
        ends_equal(seed, &acts)?;
    }
}

fn ends_equal(seed: u64, acts: &[Act]) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(seed);
    pair.client.connect(pair.instant());
    let mut asked = vec![pair.ask(Verb::Get, "/todo", Value::Null)];
    let mut writes = Vec::new();
    for (count, act) in acts.iter().enumerate() {
        let is_write = perform(&mut pair, act, count as u64, &mut asked);
        writes.extend(asked.last().copied().filter(|_| is_write));
    }
    // Every write may be told "not now" once for each `Busy`, and waits half a minute at most.
    pair.wait(3_600_000);
    for token in &asked {
        let times = pair.app.results.iter().filter(|(of, _)| of == token).count();
        prop_assert_eq!(times, 1, "{:?} was finished {} times", token, times);
    }
    prop_assert_eq!(&pair.app.shown, &pair.server.records);
    let is_done = |token: &&Token| pair.status_of(**token) == Some(200);
    prop_assert_eq!(writes.iter().filter(is_done).count(), pair.server.committed.len());
    Ok(())
}
